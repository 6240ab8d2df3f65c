"""Closing from a thread of servman's own, which would wait for itself; and subscribers meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from servman.errors import FailedPreconditionError, ServmanError
from servman.loader import LoadContext, Loader, SimpleLoader
from servman.manager import (
    AvailabilityPreservingPolicy,
    CloseReport,
    ServableAction,
    ServableStateSnapshot,
)
from servman.manager.tracker import ResourceTracker
from servman.resources import ResourceAllocation
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, outcome, together
from tests.unit.manager.live import Live
from tests.unit.manager.rig import FileLoader, Model, ModelLoader, entry, sid


class Closer:
    """Closes a manager wherever it is called, and notes what came of it."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self.told: list[type[ServmanError] | None] = []
        self.done = threading.Event()

    def __call__(self, *_: object) -> bool:
        if self.live is not None and not self.done.is_set():
            self.told.append(outcome(self.live.manager.close))
            self.done.set()
        return True


class ClosingLoader(FileLoader):
    """A loader that closes its manager in one of its methods, or when it is destroyed."""

    def __init__(self, method: str, close: Closer, *errors: Exception) -> None:
        super().__init__(*errors)
        self._method = method
        self._close = close

    def _at(self, method: str) -> None:
        if method == self._method:
            self._close()

    def estimate_resources(self) -> ResourceAllocation:
        self._at("estimate_resources")
        return super().estimate_resources()

    def load(self, context: LoadContext) -> Model:
        self._at("load")
        return super().load(context)

    def unload(self, servable: object) -> None:
        self._at("unload")
        super().unload(servable)

    def revision(self) -> object:
        self._at("revision")
        return super().revision()

    def __del__(self) -> None:
        self._at("__del__")


class ClosingPolicy:
    """A policy that closes its manager."""

    def __init__(self, close: Closer) -> None:
        self._close = close

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        self._close()
        return AvailabilityPreservingPolicy().next_action(snapshots)


def run_through(close: Closer, loader: Loader | None, **options: Any) -> Live:
    """Bring a version that closes its manager somewhere on its way in and out."""
    tracker = ResourceTracker(ResourceAllocation())
    live = Live(resource_tracker=tracker, load_retry_interval=0.0, **options)
    close.live = live
    live.bring("m", entry("m:1", loader))
    return live


@pytest.mark.parametrize("method", ["estimate_resources", "load", "unload", "revision", "__del__"])
def test_a_loader_that_closes_its_manager_is_refused_and_changes_nothing(method: str) -> None:
    close = Closer()
    live = run_through(close, ClosingLoader(method, close))
    live.bring("m", 2)
    assert close.done.wait(WATCHDOG)
    assert (close.told, live.serving()) == ([FailedPreconditionError], ["m:2"])
    live.close()


@pytest.mark.parametrize("option", ["should_retry", "pre_load_hook", "policy"])
def test_an_option_that_closes_its_manager_is_refused_and_changes_nothing(option: str) -> None:
    close = Closer()
    called = ClosingPolicy(close) if option == "policy" else close
    live = run_through(close, ModelLoader(ValueError("torn")), **{option: called})
    live.bring("m", 2)
    assert (close.told, live.serving()) == ([FailedPreconditionError], ["m:2"])
    live.close()


@pytest.mark.parametrize("state", list(ManagerState))
def test_a_subscriber_that_closes_the_manager_is_refused_whenever_it_is_told(
    live: Live, state: ManagerState
) -> None:
    told: queue.SimpleQueue[object] = queue.SimpleQueue()

    def close(event: ServableState) -> None:
        if event.manager_state is state:
            told.put(outcome(live.manager.close))

    with live.bus.subscribe(close):
        live.bring("m", 1)
        live.bring("m")
        assert told.get(timeout=WATCHDOG) is FailedPreconditionError
    live.bring("m", 2)
    assert live.serving() == ["m:2"]


class ClosingServable:
    """A servable that closes the manager when it dies."""

    def __init__(self, close: Closer) -> None:
        self._close = close

    def __del__(self) -> None:
        self._close()


def test_a_servable_that_closes_the_manager_as_it_dies_is_refused_on_the_unload_pool() -> None:
    close = Closer()
    live = run_through(close, SimpleLoader(lambda _: ClosingServable(close)))
    live.bring("m")
    assert close.done.wait(WATCHDOG)
    assert close.told == [FailedPreconditionError]
    live.close()


def test_a_servable_that_closes_the_manager_as_it_dies_in_its_user_s_hands_closes_it() -> None:
    close = Closer()
    live = run_through(close, SimpleLoader(lambda _: ClosingServable(close)))
    with live.manager.get_servable_handle("m") as handle:
        kept = [handle.servable]  # beyond the handle, which is the user's own fault
    live.bring("m", entry("m:2", None))
    kept.clear()
    assert (close.told, live.ends("m:2")) == ([None], [None])


def test_a_load_that_waits_for_its_own_manager_to_close_costs_the_deadline_and_no_more() -> None:
    clock = FakeClock()
    closing: queue.SimpleQueue[Spawned[CloseReport]] = queue.SimpleQueue()

    def close_elsewhere(_: LoadContext) -> str:
        thread = Spawned(lambda: live.manager.close(30.0))
        closing.put(thread)
        thread.result()
        return "servable"

    live = Live(clock=clock)
    live.aspire("m", entry("m:1", SimpleLoader(close_elsewhere)))
    thread = closing.get(timeout=WATCHDOG)
    clock.wait_until_parked(2)  # it, and the manager for its deadline
    clock.advance(30.0)
    assert [str(one.id) for one in thread.result().left] == ["m:1"]


# ---- subscribers ---------------------------------------------------------------------------------


def test_a_subscriber_that_never_returns_does_not_hold_the_manager_up() -> None:
    live, gate = Live(), Gate()
    with live.bus.subscribe(gate):
        live.bring("m", 1)
        gate.wait()
        live.close()
        assert live.ends("m:1") == [None]
        gate.open()


def test_a_subscriber_may_call_anything_of_the_bus_and_the_manager_while_it_closes() -> None:
    live = Live()
    heard: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    mine = ServableState(sid("mine:1"), ManagerState.AVAILABLE)

    def meddle(event: ServableState) -> None:
        if event.manager_state is ManagerState.UNLOADING:
            live.bus.subscribe(heard.put)
            live.bus.publish(mine)
            live.aspire("m", 1, 2)
            live.manager.snapshots()
            live.manager.explain("m")
            outcome(lambda: live.handle("m").close())
            first.close()
            told.set()

    told = threading.Event()
    first = live.bus.subscribe(meddle)
    live.bring("m", 1)
    live.close()
    assert told.wait(WATCHDOG)
    live.bus.close()
    assert mine.id in {heard.get_nowait().id for _ in range(heard.qsize())}
    assert live.states("m:2") == []


def test_the_bus_closed_before_and_during_the_manager_s_close_keeps_nobody_waiting() -> None:
    for _ in range(10):
        live = Live()
        live.bring("m", 1)
        subscription = live.bus.subscribe(lambda _: None)
        for one in together(live.manager.close, live.bus.close, subscription.close):
            one.result()
        assert live.manager.snapshots() == ()
