from __future__ import annotations

import asyncio
import gc
import queue
import weakref

import pytest

from servman.errors import (
    ClosedError,
    InvalidArgumentError,
    LoadFailedError,
    ServableUnavailableError,
    ServmanError,
    WaitTimeoutError,
)
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.result import WaitResult
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
M1, M2 = ServableId("m", 1), ServableId("m", 2)
M = ServableRequest.latest("m")
FAILURE = LoadFailedError("broken")


def publish(bus: EventBus, id: ServableId, *states: ManagerState) -> None:
    for state in states:
        bus.publish(ServableState(id, state))


def fail(bus: EventBus, id: ServableId, error: ServmanError | None = FAILURE) -> None:
    publish(bus, id, START, LOADING)
    bus.publish(ServableState(id, END, error))


def aspire(bus: EventBus, name: str, *versions: int) -> None:
    bus.publish(StreamAspiration(name, frozenset(versions)))


class Explainer:
    def __init__(self, answer: Reason | Exception | None) -> None:
        self.answer = answer

    def explain(self, request: ServableRequest) -> Reason | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_wait_ends_when_the_version_becomes_available(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until("m:1", timeout=5.0))
    clock.wait_until_parked(1)
    aspire(bus, "m", 1)
    publish(bus, M1, START, LOADING, AVAILABLE)
    result = waiting.result()
    assert result
    assert result.reached
    assert not result.timed_out
    assert result.states == {M1: ServableState(M1, AVAILABLE, time=5_000.0)}
    assert result.pending == ()
    assert result.reasons == {}


def test_a_wait_without_a_timeout_ends_by_the_event_alone(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    aspire(bus, "m", 1)
    waiting = Spawned(lambda: monitor.wait_until_available("m"))
    publish(bus, M1, START, LOADING, AVAILABLE)
    assert waiting.result() == {M: M1}


def test_a_wait_that_times_out_tells_what_was_reached_and_what_is_missing_and_why(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    aspire(bus, "a", 1)
    publish(bus, ServableId("a", 1), START, AVAILABLE)
    aspire(bus, "m", 1, 2)
    publish(bus, M1, START, LOADING)
    waiting = Spawned(lambda: monitor.wait_until(["a", "m:1", "nobody"], timeout=5.0))
    clock.wait_until_parked(1)
    clock.advance(5.0)
    result = waiting.result()
    assert not result
    assert result.timed_out
    assert list(result.states) == [ServableId("a", 1)]
    m1, nobody = ServableRequest.specific("m", 1), ServableRequest.latest("nobody")
    assert result.pending == (m1, nobody)
    assert result.reasons[m1].code is ReasonCode.LOADING
    assert str(result.reasons[m1]) == "m:1 has been loading for 5.0 s"
    assert result.reasons[nobody].code is ReasonCode.NOT_CONFIGURED


def test_a_wait_does_not_end_before_its_deadline(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until("m", timeout=5.0))
    clock.wait_until_parked(1)
    clock.advance(4.9)
    assert not waiting.done
    clock.wait_until_parked(1)
    publish(bus, M1, AVAILABLE)
    assert waiting.result()


def test_a_timeout_of_zero_looks_once(monitor: ServableStateMonitor, bus: EventBus) -> None:
    assert monitor.wait_until("m", timeout=0).timed_out
    publish(bus, M1, AVAILABLE)
    assert monitor.wait_until("m", timeout=0)


def test_a_wait_that_does_not_last_or_is_decided_takes_no_lock(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, M1, AVAILABLE)

    async def ask() -> WaitResult:
        return await monitor.wait_until_async(["m", "n"], timeout=0)

    with monitor._lock:  # as when a signal handler interrupts the thread that holds it
        assert Spawned(lambda: monitor.wait_until(["m", "n"], timeout=0)).result().timed_out
        assert Spawned(lambda: asyncio.run(ask())).result().timed_out
        assert Spawned(lambda: monitor.wait_until_available("m", timeout=5.0)).result() == {M: M1}


@pytest.mark.parametrize("requests", [None, 5, [None]])
def test_what_is_no_request_is_refused(monitor: ServableStateMonitor, requests: str) -> None:
    with pytest.raises(InvalidArgumentError, match="request"):
        monitor.wait_until(requests, timeout=0)


@pytest.mark.parametrize("timeout", [-0.1, float("nan"), "5", True, [1], 10**400])
def test_what_is_no_timeout_is_refused(monitor: ServableStateMonitor, timeout: object) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        monitor.wait_until("m", timeout=timeout)  # type: ignore[arg-type] # the point
    with pytest.raises(InvalidArgumentError, match="timeout"):
        monitor.wait_until_available(timeout=timeout)  # type: ignore[arg-type] # the point


def test_a_wait_that_timed_out_leaves_nothing_behind(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until(["m", "n"], timeout=5.0))
    clock.wait_until_parked(1)
    (waiter,) = monitor._dispatcher._waiters["m"]
    gone = weakref.ref(waiter)
    del waiter
    clock.advance(5.0)
    waiting.result()
    assert monitor._dispatcher._waiters == {}
    gc.collect()
    assert gone() is None


def test_no_wait_for_everything_at_once_is_lost_in_between(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until(["m:1", "m:2"], timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, M1, AVAILABLE, UNLOADING)
    publish(bus, M2, AVAILABLE)
    publish(bus, M1, AVAILABLE)
    result = waiting.result()
    assert result
    assert set(result.states) == {M1, M2}


def test_a_wait_for_several_ends_when_each_is_decided(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    aspire(bus, "m", 1, 2)
    waiting = Spawned(lambda: monitor.wait_until(["m:1", "m:2"], timeout=5.0))
    clock.wait_until_parked(1)
    fail(bus, M1)
    publish(bus, M2, AVAILABLE)
    result = waiting.result()
    assert not result
    assert not result.timed_out
    assert {one: state.manager_state for one, state in result.states.items()} == {
        M1: END,
        M2: AVAILABLE,
    }
    (reason,) = result.reasons.values()
    assert reason.code is ReasonCode.FAILED
    assert reason.error is FAILURE


def test_a_stale_failure_does_not_end_a_wait_that_begins_after_aspiring_again(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    aspire(bus, "m", 1)
    fail(bus, M1)
    with pytest.raises(ServableUnavailableError):
        monitor.wait_until_available("m:1", timeout=0)
    aspire(bus, "m")
    aspire(bus, "m", 1)
    waiting = Spawned(lambda: monitor.wait_until_available("m:1", timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, M1, START, LOADING, AVAILABLE)
    assert waiting.result() == {ServableRequest.specific("m", 1): M1}


def test_waiting_for_nothing_returns_at_once(monitor: ServableStateMonitor) -> None:
    assert monitor.wait_until_available() == {}
    assert monitor.wait_until([])


def test_waiting_until_available_returns_the_version_that_each_request_came_to_mean(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    aspire(bus, "m", 1, 2)
    publish(bus, M1, START, AVAILABLE)
    publish(bus, M2, START, AVAILABLE)
    assert monitor.wait_until_available("m", M1, "m:newest", "m:earliest", timeout=0) == {
        M: M2,
        ServableRequest.specific("m", 1): M1,
        ServableRequest.newest("m"): M2,
        ServableRequest.earliest("m"): M1,
    }


def test_waiting_until_available_ends_at_the_first_failure(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    aspire(bus, "m", 1)
    waiting = Spawned(lambda: monitor.wait_until_available("m:1", "other", timeout=5.0))
    clock.wait_until_parked(1)
    fail(bus, M1)
    with pytest.raises(ServableUnavailableError) as raised:
        waiting.result()
    error = raised.value
    assert str(error) == (
        "m:1 failed, which ended the wait; missing:\n"
        "  m:1 failed 0.0 s ago: broken\n"
        "  other: nothing is known of 'other': no source has asked for it yet; check the name and"
        " the configuration"
    )
    assert error.states[M1].error is FAILURE
    assert [reason.code for reason in error.reasons.values()] == [
        ReasonCode.FAILED,
        ReasonCode.NOT_CONFIGURED,
    ]


def test_a_timeout_error_tells_each_missing_request_with_its_reason(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    aspire(bus, "a", 1)
    publish(bus, ServableId("a", 1), START, AVAILABLE)
    aspire(bus, "m", 1)
    waiting = Spawned(lambda: monitor.wait_until_available("a", "m:1", "m:3", timeout=60))
    clock.wait_until_parked(1)
    clock.advance(60)
    with pytest.raises(TimeoutError) as raised:
        waiting.result()
    error = raised.value
    assert isinstance(error, WaitTimeoutError)
    assert str(error) == (
        "not everything was available within 60 s; missing:\n"
        "  m:1 is aspired, and the manager has not started on it yet\n"
        "  m:3 is not aspired; aspired of 'm': 1"
    )
    assert list(error.states) == [ServableId("a", 1)]
    assert len(error.reasons) == 2


def test_explainers_are_asked_in_order_and_one_that_raises_is_passed_over(
    monitor: ServableStateMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    reason = Reason(ReasonCode.BASE_PATH_MISSING, "no such directory: /models/m")
    monitor.add_explainer(Explainer(ValueError("oops")))
    monitor.add_explainer(Explainer(None))
    monitor.add_explainer(Explainer(reason))
    monitor.add_explainer(Explainer(Reason(ReasonCode.UNKNOWN, "too late")))
    assert monitor.wait_until("m", timeout=0).reasons == {M: reason}
    assert "oops" in caplog.text


def test_explainers_are_asked_with_no_lock_held(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    class Nosy:
        def explain(self, request: ServableRequest) -> Reason | None:
            publish(bus, M1, LOADING)
            return None

    monitor.add_explainer(Nosy())
    result = monitor.wait_until("m", timeout=0)
    assert result.reasons[M].code is ReasonCode.LOADING


def test_an_explainer_that_hides_the_failure_does_not_keep_it_out_of_the_error(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    aspire(bus, "m", 1)
    fail(bus, M1)
    monitor.add_explainer(Explainer(Reason(ReasonCode.LOADING, "loading again")))
    with pytest.raises(ServableUnavailableError, match=r"loading again \(it ended with: broken\)"):
        monitor.wait_until_available("m", timeout=0)


def test_close_ends_running_and_later_waits(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waits = [Spawned(lambda: monitor.wait_until(["m", "n"], timeout=5.0)) for _ in range(3)]
    clock.wait_until_parked(3)
    monitor.close()
    for wait in waits:
        with pytest.raises(ClosedError, match="during the wait"):
            wait.result()
    with pytest.raises(ClosedError, match="was closed"):
        monitor.wait_until_available("m", timeout=5.0)


def test_a_subscriber_of_the_bus_may_wait(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    reached: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def callback(state: ServableState) -> None:
        if state.id == M1:
            reached.put(monitor.wait_until("m:2", timeout=5.0).reached)

    with bus.subscribe(callback):
        publish(bus, M1, AVAILABLE)
        clock.wait_until_parked(1)
        publish(bus, M2, AVAILABLE)
        assert reached.get(timeout=WATCHDOG)
