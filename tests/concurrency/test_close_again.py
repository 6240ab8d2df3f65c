"""Closing: what was given up before, closing again after it was interrupted, and two deadlines."""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

import pytest

from servman.errors import ResourceExhaustedError
from servman.loader import SimpleLoader
from servman.manager import AspiredVersionsManager, CloseReport
from servman.state import ManagerState
from servman.testing import FakeClock, GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, let_it_hear, outcome
from tests.concurrency.situations import Situation
from tests.unit.manager.live import Live
from tests.unit.manager.rig import entry


def given_up(**options: Any) -> tuple[Situation, GatedLoader]:
    """Return a manager that has given up the load of "m:1", which has not returned."""
    clock, loader = FakeClock(), GatedLoader()
    live = Live(load_timeout=10.0, clock=clock, num_unload_threads=1, **options)
    live.aspire("m", entry("m:1", loader))
    assert loader.load_entered.wait(WATCHDOG)
    clock.advance(10.0)
    live.wait_for("m:1", ManagerState.END)
    return Situation(live, clock, loader.let_load.set), loader


def close_at_deadline(situation: Situation) -> CloseReport:
    closing = Spawned(lambda: situation.live.manager.close(30.0))
    situation.wait_until_closing()
    situation.clock.advance(30.0)
    return closing.result()


def test_closing_names_a_load_that_was_given_up_and_has_not_returned() -> None:
    situation, _ = given_up()
    report = close_at_deadline(situation)
    situation.let_go()
    assert [str(one.id) for one in report.left] == ["m:1"]


def test_closing_unloads_what_a_load_that_was_given_up_brings_meanwhile() -> None:
    situation, loader = given_up()
    closing = Spawned(situation.live.manager.close)
    situation.wait_until_closing()
    situation.let_go()
    assert closing.result()
    assert loader.unloaded == [loader.servable]


def test_closing_does_not_forget_the_unload_of_what_came_late() -> None:
    gate = Gate()

    class Slow:
        def __del__(self) -> None:
            gate()

    situation, late = given_up()
    live = situation.live
    live.bring("slow", entry("slow:1", SimpleLoader(lambda _: Slow())))
    live.aspire("slow")
    gate.wait()  # this unload has returned, but its thread, the only one, has not
    late.let_load.set()
    let_it_hear(live)
    report = close_at_deadline(situation)
    gate.open()
    assert late.unloaded == [late.servable] or not report


def test_closing_does_not_forget_a_load_that_it_cancelled_and_that_is_given_up_meanwhile() -> None:
    clock, loader = FakeClock(), GatedLoader()
    live = Live(load_timeout=10.0, clock=clock)
    live.aspire("m", entry("m:1", loader))
    assert loader.load_entered.wait(WATCHDOG)
    closing = Spawned(lambda: live.manager.close(30.0))
    assert loader.contexts[0].cancelled.wait(WATCHDOG)
    clock.advance(10.0)  # load_timeout
    live.wait_for("m:1", ManagerState.END)
    clock.advance(20.0)
    report = closing.result()
    loader.let_load.set()
    assert [str(one.id) for one in report.left] == ["m:1"]


class Interrupted:
    """Raises KeyboardInterrupt in a call before the given line of the manager's."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.raised = False

    def run(self, call: Any) -> None:
        sys.settrace(self._trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if "/servman/manager/" not in frame.f_code.co_filename:
            return None
        if event == "call":  # where a signal handler would run, too
            if self.line == 0 and not self.raised:
                self.raised = True
                raise KeyboardInterrupt
            self.line -= 1
        return self._trace


def test_a_close_interrupted_anywhere_can_be_repeated() -> None:
    failed = []
    for line in range(1000):
        live = Live()
        live.bring("m", 1)
        interrupted = Interrupted(line)
        Spawned(functools.partial(interrupted.run, live.manager.close)).result()
        if not interrupted.raised:
            break
        report = Spawned(functools.partial(live.manager.close, 0.5)).result()
        if not report or live.ends("m:1") != [None]:
            failed.append(line)
    assert failed == []


def test_a_close_without_a_deadline_can_be_cut_short_by_one_with_a_deadline() -> None:
    live = Live()
    live.bring("m", 1)
    handle = live.handle("m")
    first = Spawned(lambda: live.manager.close(None))  # Ctrl-C here changes nothing
    live.wait_for("m:1", ManagerState.UNLOADING)
    second = live.manager.close(0.05)
    told = live.ends("m:1")
    handle.close()
    first.result()
    assert [str(one.id) for one in second.left] == ["m:1"]
    assert len(told) == 1


def test_a_close_that_got_no_thread_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = AspiredVersionsManager()
    manager.set_aspired_versions("m", [entry("m:1")])

    def refuse(*_: object, **__: object) -> None:
        raise ResourceExhaustedError("no thread")

    with monkeypatch.context() as patch:
        patch.setattr("servman.manager.base.spawn", refuse)
        assert outcome(manager.close) is ResourceExhaustedError
    assert Spawned(lambda: manager.close(0.5)).result()
    assert manager._actor._left is not None, "closed"
