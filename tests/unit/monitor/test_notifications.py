from __future__ import annotations

import queue
import threading

import pytest

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from servman.events import EventBus
from servman.ids import ServableId
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.notification import Notification
from servman.monitor.result import WaitResult
from servman.state import ManagerState, ServableState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG

AVAILABLE = ManagerState.AVAILABLE
M1, M2 = ServableId("m", 1), ServableId("m", 2)


def available(bus: EventBus, id: ServableId) -> None:
    bus.publish(ServableState(id, AVAILABLE))


@pytest.fixture
def results() -> queue.SimpleQueue[WaitResult]:
    return queue.SimpleQueue()


class Gate:
    """A callback that says when it was entered and returns when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.returned = threading.Event()

    def __call__(self, result: WaitResult) -> None:
        self.entered.set()
        assert self.let_go.wait(WATCHDOG)
        self.returned.set()


def test_the_callback_is_called_once_with_the_result(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    monitor.notify_when("m", AVAILABLE, results.put)
    available(bus, M1)
    available(bus, M1)
    assert set(results.get(timeout=WATCHDOG).states) == {M1}
    monitor.notify_when("m:2", AVAILABLE, results.put)
    available(bus, M2)
    assert set(results.get(timeout=WATCHDOG).states) == {M2}
    assert results.empty()


def test_the_callback_runs_neither_on_the_publisher_nor_on_the_dispatcher(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    monitor.notify_when("m", AVAILABLE, lambda _: names.put(threading.current_thread().name))
    available(bus, M1)
    assert names.get(timeout=WATCHDOG).startswith("monitor-notify-")
    monitor.notify_when("m", AVAILABLE, lambda _: names.put(threading.current_thread().name))
    assert names.get(timeout=WATCHDOG).startswith("monitor-notify-")


def test_a_callback_may_wait_publish_and_ask_for_more(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    def callback(_: WaitResult) -> None:
        monitor.notify_when("m:2", AVAILABLE, results.put)
        available(bus, M2)
        results.put(monitor.wait_until("m:2"))

    monitor.notify_when("m:1", AVAILABLE, callback)
    available(bus, M1)
    for _ in range(2):
        assert set(results.get(timeout=WATCHDOG).states) == {M2}


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit("oops")])
def test_a_callback_that_raises_is_logged_and_harms_no_other(
    monitor: ServableStateMonitor,
    bus: EventBus,
    results: queue.SimpleQueue[WaitResult],
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def callback(_: WaitResult) -> None:
        raise error

    with monitor.notify_when("m", AVAILABLE, callback):
        available(bus, M1)
        for _ in range(5):
            monitor.notify_when("m", AVAILABLE, callback)
        monitor.notify_when("m", AVAILABLE, results.put)
        assert results.get(timeout=WATCHDOG)
    monitor.close()
    assert "oops" in caplog.text
    assert "Notification(m," in caplog.text


def test_a_closed_notification_is_withdrawn_and_does_not_fire(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    with monitor.notify_when(["m", "n"], AVAILABLE, results.put) as notification:
        assert monitor._dispatcher._waiters
    assert monitor._dispatcher._waiters == {}
    notification.close()
    available(bus, M1)
    available(bus, ServableId("n", 1))
    monitor.close()
    assert results.empty()


def test_a_notification_closed_while_its_callback_is_queued_does_not_fire(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    gates = [Gate() for _ in range(4)]
    available(bus, M1)
    for gate in gates:
        monitor.notify_when("m", AVAILABLE, gate)
        assert gate.entered.wait(WATCHDOG)
    queued = monitor.notify_when("m", AVAILABLE, results.put)
    queued.close()
    monitor.notify_when("m:1", AVAILABLE, results.put)
    for gate in gates:
        gate.let_go.set()
    assert results.get(timeout=WATCHDOG)
    monitor.close()
    assert results.empty()


def test_closing_a_notification_waits_for_its_running_callback(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    gate = Gate()
    notification = monitor.notify_when("m", AVAILABLE, gate)
    available(bus, M1)
    assert gate.entered.wait(WATCHDOG)

    def close() -> bool:
        notification.close()
        return gate.returned.is_set()

    closing = Spawned(close)
    gate.let_go.set()
    assert closing.result()


def test_a_notification_can_be_closed_from_its_own_callback(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    notifications: list[Notification] = []

    def callback(result: WaitResult) -> None:
        notifications[0].close()
        results.put(result)

    notifications.append(monitor.notify_when("m", AVAILABLE, callback))
    available(bus, M1)
    assert results.get(timeout=WATCHDOG)


def test_closing_the_monitor_drops_what_has_not_fired(
    monitor: ServableStateMonitor, bus: EventBus, results: queue.SimpleQueue[WaitResult]
) -> None:
    notification = monitor.notify_when("m", AVAILABLE, results.put)
    monitor.close()
    available(bus, M1)
    notification.close()
    assert results.empty()
    with pytest.raises(ClosedError):
        monitor.notify_when("m", AVAILABLE, results.put)


def test_closing_the_monitor_names_a_callback_that_does_not_return(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    monitor.notify_when("m", AVAILABLE, gate)
    available(bus, M1)
    assert gate.entered.wait(WATCHDOG)
    monitor.close(timeout=0)
    assert "did not return within 0 s" in caplog.text
    gate.let_go.set()


def test_a_callback_cannot_close_the_monitor_that_runs_it(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def callback(_: WaitResult) -> None:
        try:
            monitor.close()
        except FailedPreconditionError as error:
            errors.put(error)

    monitor.notify_when("m", AVAILABLE, callback)
    available(bus, M1)
    assert "ServableStateMonitor.close()" in str(errors.get(timeout=WATCHDOG))


def test_what_is_no_request_is_refused(monitor: ServableStateMonitor) -> None:
    with pytest.raises(InvalidArgumentError):
        monitor.notify_when("m:x", AVAILABLE, print)


def test_what_cannot_be_called_is_refused(monitor: ServableStateMonitor) -> None:
    with pytest.raises(InvalidArgumentError, match="something to call"):
        monitor.notify_when("m", AVAILABLE, "print")  # type: ignore[arg-type] # the point


def test_closing_a_notification_leaves_a_callback_that_does_not_return_and_names_it(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    notification = monitor.notify_when("m", AVAILABLE, gate)
    available(bus, M1)
    assert gate.entered.wait(WATCHDOG)
    Spawned(lambda: notification.close(timeout=0)).result()
    assert "did not return within 0 s" in caplog.text
    assert repr(gate) in caplog.text
    with pytest.raises(InvalidArgumentError, match="timeout"):
        notification.close(timeout=-1)
    gate.let_go.set()
    notification.close(timeout=None)
    assert gate.returned.is_set()


def test_a_callback_for_which_there_is_no_thread_is_logged_and_the_other_waits_end(
    monitor: ServableStateMonitor,
    bus: EventBus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(job: object) -> None:
        raise ResourceExhaustedError("no thread")

    monkeypatch.setattr(monitor._pool, "submit", refuse)
    waits = []
    for _ in range(2):
        monitor.notify_when("m", AVAILABLE, print)
        waits.append(Spawned(lambda: monitor.wait_until("m")))
        while len(monitor._dispatcher._waiters["m"]) < 2 * len(waits):
            Spawned(lambda: None).result()
    available(bus, M1)
    for wait in waits:
        assert wait.result()
    assert caplog.text.count("a wait could not be ended: Notification(m,") == 2
    assert monitor._dispatcher._waiters == {}
