"""Why the list that a servable has was sent, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from servman.data import ServableData
from servman.sources import All, ServableToMonitor, settled
from servman.testing import ManualPool
from tests.unit.sources.rig import M, N, Rig, quiet, servable


def told(rig: Rig, name: str = "m") -> tuple[str, float | None]:
    status = rig.source.status(name)
    assert rig.source.versions_cause(name) == status.versions_cause
    return status.versions_cause, status.versions_since


def test_before_the_first_list_there_is_neither() -> None:
    rig = Rig(M)
    assert told(rig) == ("", None)
    rig.run()  # the base path is missing: no list is sent
    assert told(rig) == ("", None)


def test_each_kind_of_look_is_told_as_the_cause_of_the_list_that_it_led_to() -> None:
    rig = Rig(M)
    causes = []
    looks: tuple[Callable[[], object], ...] = (
        rig.source.step,
        lambda: rig.clock.advance(1.0),
        rig.source.poll,
        lambda: rig.source._actor.look_at_path("/m"),
        lambda: rig.source.update_config([servable("m", All())]),
    )
    for number, look in enumerate(looks):
        rig.disk.paths["/m"] = [str(version) for version in range(number + 1)]
        look()
        rig.run()
        assert told(rig)[1] == rig.clock.wall()
        causes.append(told(rig)[0])
    assert causes == ["start", "poll", "poll() was called", "file event", "configuration"]


def test_a_look_that_sends_nothing_changes_neither() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    rig.run()
    sent = told(rig)
    rig.clock.advance(5.0)
    rig.source.poll()
    assert told(rig) == sent
    rig.source.update_config([servable("m", All())])  # which chooses the same
    assert told(rig) == sent


def test_a_version_that_was_waited_for_is_told_to_have_settled(tmp_path: Path) -> None:
    rig = Rig(ServableToMonitor("m", str(tmp_path), completeness=settled(5.0)), poll_interval=-1)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "weights").touch()
    rig.disk.paths[str(tmp_path)] = ["1"]
    rig.source.poll()
    assert told(rig) == ("", None)
    rig.clock.advance(5.0)
    rig.run()
    assert told(rig)[0] == "settled"


def test_what_happened_during_a_look_is_the_cause_of_the_list_that_the_next_one_leads_to() -> None:
    pool = ManualPool()
    rig = Rig(M, pool=pool)

    def happen(path: str) -> None:
        rig.disk.during = quiet
        rig.disk.paths[path] = ["1"]
        rig.source._actor.look_at_path(path)

    rig.disk.during = happen
    rig.disk.paths["/m"] = []
    rig.source.step()
    for _ in range(3):
        pool.run_all()
        rig.run()
    assert (rig.source.status("m").versions, told(rig)[0]) == ((1,), "file event")


def test_a_target_that_asks_while_it_is_told_gets_the_cause_of_that_very_list() -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]
    asked: list[str] = []

    class Asking:
        def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
            asked.append(rig.source.versions_cause(name))

    rig.source._actor.target = Asking()
    rig.run()
    assert asked == ["start"]


@pytest.mark.parametrize("fails", [True, False])
def test_a_list_that_the_target_refuses_was_not_sent(fails: bool) -> None:
    rig = Rig(M)
    rig.disk.paths["/m"] = ["1"]

    class Refusing:
        def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
            if fails:
                raise ValueError("no")

    rig.source._actor.target = Refusing()
    rig.run()
    assert told(rig)[0] == ("" if fails else "start")


def test_what_is_no_longer_named_was_unaspired_by_the_configuration() -> None:
    rig = Rig(M, N)
    rig.disk.paths["/m"] = ["1"]
    rig.run()
    rig.source.update_config([N])
    assert rig.source.versions_cause("m") == "configuration"
