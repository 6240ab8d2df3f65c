from __future__ import annotations

import pytest

from servman.sources import (
    All,
    ServableToMonitor,
)
from servman.testing import ManualPool
from tests.unit.sources.rig import M, N, Rig, quiet, servable


def test_the_first_round_comes_at_once_and_the_next_an_interval_after_its_beginning() -> None:
    rig = Rig(M, poll_interval=5.0)
    rig.run()
    assert rig.disk.looked() == ["/m"]
    rig.clock.advance(4.9)
    rig.run()
    assert rig.disk.looked() == []
    rig.clock.advance(0.1)
    rig.run()
    assert rig.disk.looked() == ["/m"]


def test_with_interval_zero_there_is_one_round_by_itself() -> None:
    rig = Rig(M, poll_interval=0)
    rig.run()
    rig.clock.advance(1e6)
    rig.run()
    assert rig.disk.looked() == ["/m"]


def test_with_a_negative_interval_it_looks_only_when_told() -> None:
    rig = Rig(M, poll_interval=-1)
    rig.run()
    rig.clock.advance(1e6)
    rig.run()
    assert rig.disk.looked() == []
    rig.source.poll()
    assert rig.disk.looked() == ["/m"]


@pytest.mark.parametrize("interval", [0.0, -1.0])
def test_what_is_added_or_changed_is_looked_at_at_once_and_the_rest_is_not(interval: float) -> None:
    rig = Rig(M, N, poll_interval=interval)
    rig.source.poll()
    rig.disk.looked()
    moved = ServableToMonitor("n", "/elsewhere")
    rig.source.update_config([M, moved, servable("o")])
    assert rig.disk.looked() == ["/elsewhere", "/o"]
    rig.source.update_config([servable("m", All()), moved])
    assert rig.disk.looked() == ["/m"]


@pytest.mark.parametrize(("happens", "looks"), [("an event", 2), ("poll()", 2), ("a round", 1)])
def test_an_event_or_a_poll_during_a_look_makes_it_look_again_and_a_round_does_not(
    happens: str, looks: int
) -> None:
    pool = ManualPool()
    rig = Rig(M, poll_interval=1.0, pool=pool)

    def happen(path: str) -> None:
        rig.disk.during = quiet
        if happens == "an event":
            rig.source._actor.look_at_path(path)
        elif happens == "poll()":
            rig.source.poll()
        else:
            rig.clock.advance(1.0)
            rig.source.step()

    rig.disk.during = happen
    rig.source.step()
    for _ in range(3):
        pool.run_all()
        rig.run()
    assert rig.disk.looked() == ["/m"] * looks


def test_events_before_a_queued_look_begins_need_no_second_one() -> None:
    pool = ManualPool()
    rig = Rig(M, pool=pool)
    rig.source.step()
    for _ in range(3):
        rig.source._actor.look_at_path("/m")
    pool.run_all()
    rig.run()
    assert pool.jobs == []
