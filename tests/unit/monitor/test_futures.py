from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import queue
import threading
import weakref

import pytest

from servman.errors import (
    ClosedError,
    InvalidArgumentError,
    LoadFailedError,
    ResourceExhaustedError,
    WaitTimeoutError,
)
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.future import WaitFuture
from servman.monitor.monitor import ServableStateMonitor
from servman.reasons import Reason
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Thread
from tests.unit.monitor.feed import LOADING, START, bring, fail, publish, requests


class Explainer:
    def __init__(self, answer: BaseException | None = None) -> None:
        self.answer = answer
        self.threads: list[str] = []

    def explain(self, request: ServableRequest) -> Reason | None:
        self.threads.append(threading.current_thread().name)
        if self.answer is not None:
            raise self.answer
        return None


def test_a_future_has_the_result_of_the_wait(monitor: ServableStateMonitor, bus: EventBus) -> None:
    future = monitor.wait_future(["m", "n:1"])
    assert not future.done()
    bring(bus, "m", 2)
    fail(bus, "n")
    result = future.result(WATCHDOG)
    assert not result
    assert set(result.states) == {ServableId("m", 2), ServableId("n", 1)}
    assert set(result.reasons) == set(requests("n:1"))
    assert future.exception() is None
    assert monitor._dispatcher._waiters == {}


def test_what_is_decided_is_done_at_once_and_takes_no_thread(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    bring(bus, "m", 1)
    before = threading.active_count()
    assert monitor.wait_future("m").result(0)
    assert monitor.wait_future([]).result(0)
    late = monitor.wait_future("n", timeout=0)
    assert late.result(0).timed_out
    assert threading.active_count() == before


def test_any_goal_may_be_waited_for(monitor: ServableStateMonitor, bus: EventBus) -> None:
    future = monitor.wait_future("m:1", LOADING)
    publish(bus, (1, START), (1, LOADING))
    assert future.result(WATCHDOG)


def test_the_time_of_the_wait_is_that_of_the_clock(
    monitor: ServableStateMonitor, clock: FakeClock
) -> None:
    late, soon = (monitor.wait_future("m", timeout=timeout) for timeout in (9.0, 5.0))
    clock.wait_until_parked(1)
    clock.advance(5.0)
    result = soon.result(WATCHDOG)
    assert result.timed_out
    assert result.pending == requests("m")
    assert len(result.reasons) == 1
    assert not late.done()


def test_a_future_that_is_not_done_says_so_after_the_time_of_its_caller(
    monitor: ServableStateMonitor,
) -> None:
    future = monitor.wait_future("m")
    with pytest.raises(WaitTimeoutError, match="the wait is not over after 0 s"):
        future.result(0)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    assert not future.done()


def test_cancelling_withdraws_the_wait_and_leaves_nothing_behind(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    future = monitor.wait_future(["m", "n"], timeout=5.0)
    (waiter,) = monitor._dispatcher._waiters["m"]
    gone = weakref.ref(waiter)
    del waiter
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert monitor._dispatcher._waiters == {}
    assert len(monitor._dispatcher._deadlines) == 0
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert future in concurrent.futures.wait([future], timeout=WATCHDOG).done
    gc.collect()
    assert gone() is None


def test_a_future_that_is_done_keeps_nothing_of_its_wait(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    future = monitor.wait_future("m")
    (waiter,) = monitor._dispatcher._waiters["m"]
    gone = weakref.ref(waiter)
    del waiter
    bring(bus, "m", 1)
    assert future.result(WATCHDOG)
    later = monitor.wait_future("n")
    bring(bus, "n", 1)
    assert later.result(WATCHDOG)  # by now the threads have let go of what they ended before
    gc.collect()
    assert gone() is None


def test_what_is_done_cannot_be_cancelled(monitor: ServableStateMonitor, bus: EventBus) -> None:
    bring(bus, "m", 1)
    future = monitor.wait_future("m")
    assert not future.cancel()
    assert future.result(0)


def test_a_wait_that_ends_while_it_is_cancelled_stays_cancelled(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    future = monitor.wait_future("m")
    (waiter,) = monitor._dispatcher._waiters["m"]
    assert future.cancel()
    bring(bus, "m", 1)
    waiter.look(monitor._history.at_one_moment(["m"]))
    future.end(monitor._waits.conclude(waiter.answer))
    assert future.cancelled()


def test_futures_are_waited_for_as_others_are(monitor: ServableStateMonitor, bus: EventBus) -> None:
    futures = [monitor.wait_future(f"m{number}") for number in range(3)]
    bring(bus, "m1", 1)
    done, rest = concurrent.futures.wait(
        futures, timeout=WATCHDOG, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert done == {futures[1]}
    for future in rest:
        future.cancel()
    assert set(concurrent.futures.as_completed(futures, timeout=WATCHDOG)) == set(futures)


def test_a_task_may_await_a_future_and_cancel_it(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    async def main() -> None:
        one, other = monitor.wait_future("m"), monitor.wait_future("n")
        task = asyncio.ensure_future(asyncio.wrap_future(other))
        bring(bus, "m", 1)
        assert await asyncio.wait_for(asyncio.wrap_future(one), WATCHDOG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)  # the loop passes it on by then
        assert other.cancelled()

    asyncio.run(main())


def test_callbacks_run_on_threads_of_the_monitors_and_may_wait_for_other_futures(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    futures = [monitor.wait_future(f"m{number}") for number in range(6)]

    def wait_for_all(_: object) -> None:
        for future in futures:
            assert future.result(WATCHDOG)
        assert monitor.wait_until("m5", timeout=WATCHDOG)
        names.put(threading.current_thread().name)

    for future in futures:
        future.add_done_callback(wait_for_all)
    for number in range(6):  # after the fourth all threads that call back are busy
        bring(bus, f"m{number}", 1)
    assert {names.get(timeout=WATCHDOG)[:15] for _ in range(6)} == {"monitor-futures"}


def test_a_callback_that_raises_is_logged_and_harms_no_other(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()

    def explode(_: object) -> None:
        raise ValueError("boom")

    bring(bus, "m", 1)
    future = monitor.wait_future("m")
    for _ in range(5):
        future.add_done_callback(explode)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(WATCHDOG)
    monitor.close()
    assert "boom" in caplog.text


def test_closing_the_monitor_ends_futures_and_has_their_callbacks_called(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    called: queue.SimpleQueue[bool] = queue.SimpleQueue()
    futures = [monitor.wait_future("m", timeout=5.0) for _ in range(3)]
    futures[0].add_done_callback(lambda one: called.put(one.done()))
    bring(bus, "n", 1)
    done = monitor.wait_future("n")
    monitor.close()
    assert called.get(timeout=0)
    for future in futures:
        errors = [future.exception(0), future.exception(0)]
        assert all(isinstance(error, ClosedError) for error in errors)
        assert errors[0] is not errors[1]  # one that is raised collects frames
        with pytest.raises(ClosedError, match="during the wait"):
            future.result(0)
    done.add_done_callback(lambda one: called.put(one.done()))
    assert called.get(timeout=0)
    with pytest.raises(ClosedError):
        monitor.wait_future("m")


def test_a_callback_that_blocks_holds_up_no_wait_when_the_monitor_closes(
    monitor: ServableStateMonitor, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    blocking = monitor.wait_future("m")
    blocking.add_done_callback(lambda _: gate.wait(WATCHDOG))
    waiting = Spawned(lambda: monitor.wait_until("m", timeout=50.0))
    clock.wait_until_parked(1)
    later = monitor.wait_future("m")
    monitor.close(timeout=0)
    with pytest.raises(ClosedError):
        waiting.result()
    with pytest.raises(ClosedError):
        later.result(WATCHDOG)
    gate.set()


def test_explainers_are_asked_on_no_thread_that_others_need(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    explainer = Explainer()
    monitor.add_explainer(explainer)
    future = monitor.wait_future("m:1")
    fail(bus, "m")
    assert not future.result(WATCHDOG)
    assert explainer.threads == ["monitor-results-1"]


def test_an_explainer_that_breaks_its_thread_leaves_nobody_waiting(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    monitor.add_explainer(Explainer(SystemExit("boom")))
    future = monitor.wait_future("m:1")
    fail(bus, "m")
    with pytest.raises(LoadFailedError, match="boom"):
        future.result(WATCHDOG)


def test_a_future_ends_and_calls_back_even_if_there_is_no_thread_for_it(
    monitor: ServableStateMonitor, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()
    future = monitor.wait_future("m")
    future.add_done_callback(lambda _: called.set())

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    bring(bus, "m", 1)
    assert future.result(WATCHDOG)
    assert called.wait(WATCHDOG)


def test_what_cannot_be_registered_raises_and_leaves_nothing_behind(
    monitor: ServableStateMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    with pytest.raises(ResourceExhaustedError):
        monitor.wait_future("m")
    assert monitor._dispatcher._waiters == {}


def test_a_future_refuses_what_a_wait_refuses(monitor: ServableStateMonitor) -> None:
    with pytest.raises(InvalidArgumentError):
        monitor.wait_future("m", timeout=-1)
    with pytest.raises(InvalidArgumentError):
        monitor.wait_future("")


def test_a_future_that_is_dropped_is_ended_all_the_same(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    called = threading.Event()
    future: WaitFuture | None = monitor.wait_future("m")
    assert future is not None
    future.add_done_callback(lambda _: called.set())
    gone = weakref.ref(future)
    future = None
    bring(bus, "m", 1)
    assert called.wait(WATCHDOG)
    monitor.close()
    gc.collect()
    assert gone() is None
