"""Closing: everything goes, every version gets its END, and what stays behind is named."""

from __future__ import annotations

import threading

import pytest

from servman.errors import ClosedError, FailedPreconditionError, LoadCancelledError
from servman.events import EventBus
from servman.loader import SimpleLoader
from servman.manager import AspiredVersionsManager, HarnessState
from servman.manager.messages import CloseRequested
from servman.state import ServableState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored, sid


def test_closing_with_nothing_leaves_nothing(rig: Rig) -> None:
    rig.begin_close()
    assert rig.report()
    assert str(rig.report()) == "closed, nothing left"
    assert all(pool.closed for pool in (rig.loads, rig.unloads, rig.revisions))


def test_closing_unloads_what_serves(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    rig.begin_close()
    assert (rig.serving(), rig.aspirations("m")) == ([], [{1, 2}, set()])
    rig.settle()
    assert rig.report()
    assert (rig.ends("m:1"), rig.ends("m:2"), rig.manager.snapshots()) == ([None], [None], ())


def test_closing_waits_for_handles_that_are_closed_in_time(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    rig.begin_close(30.0)
    rig.advance(29.0)
    assert rig.manager._actor._left is None
    assert handle.servable.loaded
    handle.close()
    rig.settle()
    assert rig.report()
    assert rig.ends("m:1") == [None]


def test_closing_names_the_version_whose_handles_stay_open(rig: Rig) -> None:
    rig.bring("m", 1)
    handle, other = rig.handle("m"), rig.handle("m")
    rig.begin_close(30.0)
    rig.advance(30.0)
    report = rig.report()
    assert not report
    (left,) = report.left
    assert (left.id, left.state, left.handles) == (sid("m:1"), HarnessState.QUIESCING, 2)
    assert str(report) == "left: m:1 (quiescing, about 2 handles)"
    assert isinstance(rig.end("m:1"), ClosedError)
    assert "m:1: left behind when the manager was closed" in str(rig.end("m:1"))
    assert handle.servable.loaded
    assert other.servable.loaded


def test_closing_tells_a_running_load_and_unloads_it_when_it_returns(rig: Rig) -> None:
    loader = ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.begin_close()
    rig.load()
    assert loader.contexts[0].cancelled.is_set()
    rig.settle()
    assert rig.report()
    assert (loader.unloads, rig.states("m:1")) == (1, ["START", "LOADING", "END"])
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    assert "the manager was closed" in str(rig.end("m:1"))


def test_a_load_that_returns_after_the_deadline_is_named_and_left(rig: Rig) -> None:
    rig.aspire("m", 1)
    (job,) = rig.loads.jobs
    rig.begin_close(30.0)
    rig.clock.advance(30.0)
    rig.step()
    (left,) = rig.report().left
    assert (left.id, left.state) == (sid("m:1"), HarnessState.LOADING)
    assert "its load has not returned" in str(rig.end("m:1"))
    job()
    rig.settle()
    assert len(rig.ends("m:1")) == 1


def test_an_unload_that_does_not_return_is_named_and_left(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.begin_close(30.0)
    rig.clock.advance(30.0)
    rig.step()
    assert rig.report().left[0].state is HarnessState.UNLOADING
    assert "its unload has not returned" in str(rig.end("m:1"))


def test_closing_ends_pauses_and_queues_at_once() -> None:
    rig = Rig(num_load_threads=1)
    rig.bring("paused", entry("paused:1", ModelLoader(ValueError("slow disk"))))
    rig.aspire("busy", 1)
    rig.aspire("queued", 1)
    rig.begin_close()
    for one in ("paused:1", "queued:1"):
        assert isinstance(rig.end(one), LoadCancelledError)
    rig.settle()
    assert rig.report()
    assert len(rig.ends("busy:1")) == 1


def test_closing_gives_no_second_end_to_what_had_ended() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", errored("m:1"), entry("m:2", ModelLoader(ValueError("corrupt"))))
    rig.begin_close()
    rig.settle()
    assert rig.report()
    assert (len(rig.ends("m:1")), len(rig.ends("m:2"))) == (1, 1)


def test_closing_forgets_versions_that_were_to_come_back(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    rig.bring("m")
    rig.bring("m", 1)
    rig.begin_close()
    handle.close()
    rig.settle()
    assert rig.report()
    assert rig.states("m:1")[-1] == "END"
    assert rig.states("m:1").count("START") == 1


def test_closing_without_waiting_leaves_whatever_has_not_gone(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.begin_close(0.0)
    assert [one.id for one in rig.report().left] == [sid("m:1")]
    assert "waited for its handles" in str(rig.end("m:1"))


def test_after_closing_nothing_is_found_wanted_or_started(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.begin_close()
    rig.settle()
    with pytest.raises(ClosedError, match="m: the manager was closed"):
        rig.handle("m")
    rig.bring("m", 2)
    assert (rig.states("m:2"), rig.serving()) == ([], [])
    assert rig.manager.get_available_handles() == {}
    with pytest.raises(ClosedError, match="make a new one"):
        rig.manager.start()


def test_a_list_that_overtakes_the_closing_call_is_ignored(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    rig.begin_close()
    rig.manager._closing = False  # the list was being handed over when closing began
    rig.bring("m", 1)
    rig.bring("n", 1)
    assert (rig.published("n:1"), rig.aspirations("m")) == ([], [{1}, set()])
    handle.close()
    rig.settle()
    assert rig.report()
    assert rig.states("m:1").count("START") == 1


# ---- with real threads --------------------------------------------------------------------------


def started(**options: object) -> AspiredVersionsManager:
    manager = AspiredVersionsManager(**options)  # type: ignore[arg-type]
    manager.start()
    return manager


class Reached:
    """Is set when a version comes into AVAILABLE."""

    def __init__(self, bus: EventBus) -> None:
        self.available = threading.Event()
        bus.attach(self)

    def record(self, event: object) -> None:
        if isinstance(event, ServableState) and event.manager_state.name == "AVAILABLE":
            self.available.set()

    def wait(self) -> None:
        assert self.available.wait(WATCHDOG)


def test_closing_before_starting_gives_every_version_its_end() -> None:
    bus = EventBus()
    manager = AspiredVersionsManager(event_bus=bus)
    manager.set_aspired_versions("m", [entry("m:1")])
    assert manager.close(WATCHDOG)
    assert manager.snapshots() == ()


def test_closing_twice_reports_the_same() -> None:
    bus = EventBus()
    reached = Reached(bus)
    manager = started(event_bus=bus)
    manager.set_aspired_versions("m", [entry("m:1")])
    reached.wait()
    handle = manager.get_servable_handle("m")
    first = manager.close(0.05)
    second = manager.close(WATCHDOG)
    assert [one.id for one in first.left] == [one.id for one in second.left] == [sid("m:1")]
    handle.close()


def test_closing_from_two_threads_waits_in_both_and_reports_the_same() -> None:
    loader = GatedLoader()
    manager = started()
    manager.set_aspired_versions("m", [entry("m:1", loader)])
    assert loader.load_entered.wait(WATCHDOG)
    closers = [Spawned(manager.close) for _ in range(2)]
    assert loader.contexts[0].cancelled.wait(WATCHDOG)
    assert not any(closer.done for closer in closers)
    loader.let_load.set()
    assert all(closer.result() for closer in closers)
    assert loader.unloaded == [loader.servable]


def test_closing_from_a_loader_or_a_subscriber_is_refused_and_changes_nothing() -> None:
    bus = EventBus()
    reached = Reached(bus)
    manager = started(event_bus=bus)
    refused: list[str] = []
    told = threading.Event()

    def close(_: object) -> str:
        with pytest.raises(FailedPreconditionError, match="servman's own thread"):
            manager.close()
        refused.append(threading.current_thread().name)
        return "servable"

    def subscriber(event: ServableState) -> None:
        if event.manager_state.name == "AVAILABLE":
            close(event)
            told.set()

    with bus.subscribe(subscriber):
        manager.set_aspired_versions("m", [entry("m:1", SimpleLoader(close))])
        reached.wait()
        assert told.wait(WATCHDOG)
    with manager.get_servable_handle("m") as handle:
        assert handle.servable == "servable"
    assert [name.partition("-")[0] for name in refused] == ["load", "bus"]
    assert manager.close(WATCHDOG)


def test_a_load_that_outlives_the_deadline_does_not_hold_closing_up() -> None:
    loader = GatedLoader()
    manager = started()
    manager.set_aspired_versions("m", [entry("m:1", loader)])
    assert loader.load_entered.wait(WATCHDOG)
    report = manager.close(0.01)
    assert [one.state for one in report.left] == [HarnessState.LOADING]
    loader.let_load.set()  # its thread ends now; the suite sees to that


def test_what_was_left_behind_is_shown_as_ended_afterwards(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.begin_close(0.0)
        assert rig.report().left[0].state is HarnessState.QUIESCING
        (snapshot,) = rig.manager.snapshots()
        assert snapshot.state is HarnessState.ERROR
        assert snapshot.error == rig.end("m:1")


def test_a_close_of_many_streams_is_spread_over_turns() -> None:
    """So that what happens meanwhile is heard, and no turn counts as slow."""
    rig = Rig()
    for number in range(1100):
        rig.manager.set_aspired_versions(f"m{number}", [entry(f"m{number}:1")])
    rig.settle()
    rig.manager._closing = True
    rig.manager._actor.post(CloseRequested(rig.clock.monotonic() + 30.0))
    serving = [1100]
    while serving[-1]:
        rig.manager.step()
        serving.append(len(rig.manager._serving.streams))
    assert sorted(set(serving)) == [0, 100, 600, 1100]
    rig.settle()
    assert rig.report()


def test_a_close_without_time_lets_go_of_all_streams_at_once() -> None:
    rig = Rig()
    for number in range(1100):
        rig.manager.set_aspired_versions(f"m{number}", [entry(f"m{number}:1")])
    rig.settle()
    rig.begin_close(0.0)
    assert rig.serving() == []
    assert {one.state for one in rig.report().left} == {HarnessState.QUIESCING}


def test_a_manager_that_cannot_come_to_its_end_does_not_report_success() -> None:
    """What hangs is no version, but foreign code that the manager's own thread runs."""
    gate = threading.Event()

    class Stuck:
        def record(self, _: object) -> None:
            gate.wait(WATCHDOG)

    bus = EventBus()
    bus.attach(Stuck())
    manager = AspiredVersionsManager(event_bus=bus)
    manager.set_aspired_versions("m", [entry("m:1")])
    report = manager.close(0.0)
    assert not report
    assert "by a manager that has not ended" in str(report)
    gate.set()
    assert manager.close().ended
