from __future__ import annotations

from collections.abc import Callable

import pytest

from servman.reasons import Reason, ReasonCode
from servman.sources.look import PATIENCE, Look
from servman.sources.rounds import SAFETY, Rounds
from servman.sources.stream import MonitoredStream
from servman.sources.versions import IncompleteVersion, Selection
from servman.testing import FakeClock
from tests.unit.sources.rig import servable


def never(path: str) -> bool:
    return False


def always(path: str) -> bool:
    return True


class Rig:
    def __init__(self, *names: str, interval: float = 1.0) -> None:
        self.clock = FakeClock()
        self.rounds = Rounds(self.clock, interval)
        self.streams = [MonitoredStream(servable(name), keep_last=False) for name in names]
        for name in names:
            self.rounds.add(name)

    def due(self, tells_all: Callable[[str], bool] = never) -> list[str]:
        return [one.servable.name for one in self.rounds.due(self.streams, tells_all)]

    def note(
        self,
        name: str,
        recheck: float | None = None,
        selection: Selection | None = None,
        *,
        failure: Reason | None = None,
        is_told: bool = True,
    ) -> None:
        look = Look((name, f"/{name}"), selection=selection, failure=failure)
        self.rounds.note(name, look, recheck, is_told=is_told)


INCOMPLETE = Selection(incomplete=(IncompleteVersion(1, "1", "still copied"),))


def test_a_servable_whose_versions_are_incomplete_takes_part_in_every_round() -> None:
    rig = Rig("m")
    rig.due(always)
    rig.note("m", selection=INCOMPLETE)
    for _ in range(SAFETY):
        rig.clock.advance(1.0)
        assert rig.due(always) == ["m"]
    rig.note("m", selection=Selection())
    turns = []
    for _ in range(SAFETY):
        rig.clock.advance(1.0)
        turns += rig.due(always)
    assert turns == ["m"]


def test_the_turns_do_not_shift_when_servables_come_and_go() -> None:
    rig = Rig("m")
    turns = []
    for number in range(3 * SAFETY):
        rig.rounds.add(f"other-{number}")
        rig.rounds.remove(f"other-{number}")
        rig.rounds.add("m")  # changed
        turns.append(rig.due(always))
        rig.clock.advance(1.0)
    assert [number for number, names in enumerate(turns) if names] == [9, 19, 29]


def test_what_may_have_become_complete_is_looked_at_when_it_may_and_between_rounds() -> None:
    rig = Rig("m", "n", interval=0)
    assert rig.due() == ["m", "n"]
    rig.note("m", recheck=rig.clock.monotonic() + 5.0)
    assert rig.rounds.next_instant == rig.clock.monotonic() + 5.0
    rig.clock.advance(4.9)
    assert rig.due() == []
    rig.clock.advance(0.1)
    assert rig.due() == ["m"]
    assert rig.due() == []
    assert rig.rounds.next_instant is None


def test_a_look_that_failed_while_something_may_become_complete_is_repeated_a_little_later() -> (
    None
):
    rig = Rig("m", interval=-1)
    now = rig.clock.monotonic()
    failure = Reason(ReasonCode.BASE_PATH_UNREADABLE, "not now")
    rig.note("m", recheck=now - 1.0, failure=failure)
    assert rig.rounds.next_instant == now + PATIENCE


@pytest.mark.parametrize("interval", [1.0, 0.0, -1.0])
def test_nothing_is_due_of_a_servable_that_was_removed(interval: float) -> None:
    rig = Rig("m", interval=interval)
    rig.due()
    rig.note("m", recheck=rig.clock.monotonic(), selection=INCOMPLETE)
    rig.rounds.remove("m")
    rig.streams.clear()
    assert rig.due() == []
