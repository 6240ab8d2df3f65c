"""The requests of the demo: every wrong answer and every gap has to show."""

from __future__ import annotations

import threading
from typing import Any, Self

from servman.cli.demo_traffic import Traffic
from servman.clock import SystemClock
from servman.ids import ServableId
from servman.testing.clock import WATCHDOG


class Handle:
    """Stands for a handle on the model, and for the model."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.id = ServableId("m", 2)
        self.servable = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def predict(self, inputs: dict[str, list[float]]) -> dict[str, list[float]]:
        return {"y": [x / 2 + self.core.offset for x in inputs["x"]]}


class Core:
    """Stands for a core; it counts the lookups, and tells the test about the tenth."""

    def __init__(self, *, offset: float = 2.0, error: BaseException | None = None) -> None:
        self.offset = offset
        self.error = error
        self.lookups = 0
        self.enough = threading.Event()

    def get_servable_handle(self, name: str) -> Handle:
        self.lookups += 1
        if self.lookups >= 10:
            self.enough.set()
        if self.error is not None:
            raise self.error
        return Handle(self)


def traffic_on(core: Any) -> Traffic:
    """Return the counts after ten requests of one thread at least."""
    traffic = Traffic(core, "m", 1, SystemClock())
    assert core.enough.wait(WATCHDOG)
    assert traffic.stop(WATCHDOG)
    return traffic


def test_right_answers_are_served() -> None:
    traffic = traffic_on(Core())
    assert traffic.served >= 9
    assert (traffic.failed, traffic.failures, traffic.versions) == (0, [], [2])
    assert traffic.longest_gap > 0


def test_a_wrong_answer_is_a_failure() -> None:
    traffic = traffic_on(Core(offset=1.0))
    assert traffic.failed >= 9
    assert (traffic.served, traffic.versions) == (0, [])
    assert traffic.failures[0] == "version 2 answered 1.0 to 0.0"


def test_a_lookup_that_raises_is_a_failure_and_few_are_written_down() -> None:
    traffic = traffic_on(Core(error=LookupError("not there")))
    assert traffic.failed >= 9
    assert traffic.failures == ["LookupError: not there"] * 3


def test_one_who_waits_for_more_answers_gets_them_or_is_told_that_none_came() -> None:
    core: Any = Core()
    traffic = Traffic(core, "m", 2, SystemClock())
    assert traffic.wait_for_more(WATCHDOG)
    core.error = LookupError("gone")
    traffic.stop(WATCHDOG)
    assert not traffic.wait_for_more(0)
