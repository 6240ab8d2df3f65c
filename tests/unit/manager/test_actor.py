from __future__ import annotations

import logging
import queue
import types
from typing import TYPE_CHECKING, NoReturn

import pytest

from servman.errors import ResourceExhaustedError
from servman.manager import AspiredVersionsManager, HarnessState
from servman.manager.reconciler import Reconciler
from servman.manager.serving import ServingMap, StreamEntry
from tests.unit.manager.rig import FileLoader, ModelLoader, Rig, entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.manager.effects import Effect
    from servman.manager.messages import Event


def test_an_effect_that_cannot_be_carried_out_does_not_keep_the_others_from_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit, faults = rig.loads.submit, [RuntimeError("can't start new thread")]

    def submit_later(job: Callable[[], None]) -> None:
        if faults:
            raise faults.pop()
        submit(job)

    monkeypatch.setattr(rig.loads, "submit", submit_later)
    rig.manager.set_aspired_versions("m", [entry("m:1"), entry("m:2")])
    rig.settle()
    assert rig.state("m:2") is HarnessState.LOADING
    assert rig.state("m:1") is HarnessState.READY
    assert "could not carry out" in caplog.text


def test_a_fault_of_one_step_does_not_end_the_managers_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take, faults = Reconciler.take, [KeyError("a fault of servman's")]

    def faulty(self: Reconciler, event: Event | None, now: float) -> list[Effect]:
        if faults:
            raise faults.pop()
        return take(self, event, now)

    monkeypatch.setattr(Reconciler, "take", faulty)
    manager = AspiredVersionsManager()
    manager.start()
    with caplog.at_level(logging.ERROR):
        manager.set_aspired_versions("lost", [entry("lost:1")])
        assert manager.close(timeout=10)
    assert "please report this" in caplog.text


def test_a_version_is_not_shown_as_ready_before_lookups_find_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a lookup could fail with the reason that the version is available."""
    replace, shown = ServingMap.replace, []

    def watched(self: ServingMap, entries: Mapping[str, StreamEntry | None]) -> None:
        if entries["m"] is not None:
            shown.append(rig.state("m:1"))
        replace(self, entries)

    monkeypatch.setattr(ServingMap, "replace", watched)
    rig.bring("m", 1)
    assert shown == [HarnessState.LOADING]


class Untellable(Exception):  # noqa: N818 -- its name is what is told
    def __str__(self) -> str:
        raise SystemExit


def test_a_version_ends_even_if_its_error_cannot_be_told(rig: Rig) -> None:
    rig.bring("m", entry("m:1", ModelLoader(*[Untellable() for _ in range(6)])))
    rig.clock.advance(600.0)
    for _ in range(6):
        rig.clock.advance(60.0)
        rig.settle()
    assert len(rig.ends("m:1")) == 1


def test_a_version_ends_even_if_logging_its_error_raises(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(
        "servman.manager.jobs._log", types.SimpleNamespace(warning=refuse, exception=refuse)
    )
    rig.bring("bad", entry("bad:1", ModelLoader(ValueError("corrupt"))))
    assert "bad:1: its loader failed" in str(rig.end("bad:1"))
    rig.bring("m", entry("m:1", ModelLoader(unload_error=ValueError("stuck"))))
    rig.bring("m")
    assert len(rig.ends("m:1")) == 1


def test_of_lists_that_were_not_taken_up_only_the_newest_is(rig: Rig) -> None:
    old, new = ModelLoader(), ModelLoader()
    rig.manager.set_aspired_versions("m", [entry("m:1", old)])
    rig.manager.set_aspired_versions("n", [entry("n:1")])
    rig.manager.set_aspired_versions("m", [entry("m:2", new)])
    rig.settle()
    assert rig.serving() == ["m:2", "n:1"]
    assert old.contexts == []


@pytest.mark.parametrize(("interval", "wakes"), [(0.05, True), (None, False)])
def test_without_the_gil_a_drain_is_looked_after_by_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, *, interval: float | None, wakes: bool
) -> None:
    """There the last reference may be handed to the actor's thread, which drops it when it runs."""
    waits: list[float | None] = []
    receive = rig.clock.receive

    def watched(mailbox: queue.SimpleQueue[object], deadline: float | None) -> object:
        waits.append(deadline)
        return receive(mailbox, rig.clock.monotonic())

    monkeypatch.setattr(rig.manager._actor.drains, "interval", interval)
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.aspire("m")
        monkeypatch.setattr(rig.clock, "receive", watched)
        rig.manager._actor.step(block=True)
    (deadline,) = waits
    assert (deadline is not None and deadline < rig.clock.monotonic() + 1) is wakes
    monkeypatch.undo()
    rig.settle()
    assert rig.ends("m:1") == [None]


def test_a_load_for_which_no_thread_is_to_be_had_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> bool:
        raise ResourceExhaustedError("no thread")

    with monkeypatch.context() as patch:
        patch.setattr(rig.loads, "submit", refuse)
        rig.bring("m", 1)
    assert "attempt 1 of 6 failed: no thread" in str(rig.why("m"))
    rig.advance(60.0)
    assert rig.serving() == ["m:1"]


def test_a_look_at_files_that_cannot_even_be_logged_is_not_the_last(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError("the log is full")

    loader = FileLoader(ValueError("torn"))
    rig.bring("m", entry("m:1", loader))
    with monkeypatch.context() as patch:
        patch.setattr("servman.manager.jobs.read_revision", fail)
        rig.advance(1.0)
    loader.files = 1
    rig.advance(1.0)
    assert rig.serving() == ["m:1"]
