from __future__ import annotations

import asyncio
import gc
import queue
import threading
import weakref
from typing import Any, TypeVar

import pytest

from servman.clock import Clock
from servman.errors import (
    ClosedError,
    InvalidArgumentError,
    LoadFailedError,
    ServableUnavailableError,
    WaitTimeoutError,
)
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.monitor import ServableStateMonitor
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG

T = TypeVar("T")
M1, M2 = ServableId("m", 1), ServableId("m", 2)


def available(bus: EventBus, id: ServableId) -> None:
    bus.publish(ServableState(id, ManagerState.AVAILABLE))


async def one_turn() -> None:
    """Let every task that is ready run."""
    await asyncio.sleep(0)


def test_a_task_waits_without_blocking_its_loop(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    async def main() -> None:
        task = asyncio.create_task(monitor.wait_until_async("m"))
        await one_turn()
        assert not task.done()
        available(bus, M1)
        result = await asyncio.wait_for(task, WATCHDOG)
        assert result
        assert set(result.states) == {M1}

    asyncio.run(main())


def test_a_wait_that_is_decided_already_returns_without_a_turn_of_the_loop(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    available(bus, M1)

    async def main() -> None:
        assert await monitor.wait_until_available_async("m") == {ServableRequest.latest("m"): M1}
        assert (await monitor.wait_until_async("n", timeout=0)).timed_out
        assert await monitor.wait_until_available_async() == {}
        assert monitor._dispatcher._thread is None

    asyncio.run(main())


def test_the_deadline_of_a_task_is_kept_by_the_injected_clock(
    monitor: ServableStateMonitor, clock: FakeClock
) -> None:
    async def main() -> None:
        late = asyncio.create_task(monitor.wait_until_async("m", timeout=9.0))
        soon = asyncio.create_task(monitor.wait_until_async("m", timeout=5.0))
        await one_turn()
        clock.wait_until_parked(1)
        clock.advance(5.0)
        assert (await asyncio.wait_for(soon, WATCHDOG)).timed_out
        assert not late.done()
        clock.wait_until_parked(1)
        clock.advance(4.0)
        with_reasons = await asyncio.wait_for(late, WATCHDOG)
        assert with_reasons.pending == (ServableRequest.latest("m"),)
        assert list(with_reasons.reasons) == [ServableRequest.latest("m")]

    asyncio.run(main())


class ToldClock:
    """A clock that tells until when the dispatcher waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.deadlines: queue.SimpleQueue[float | None] = queue.SimpleQueue()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        self._clock.wait_until(condition, deadline)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        self.deadlines.put(deadline)
        return self._clock.receive(mailbox, deadline)


def test_an_earlier_deadline_reaches_a_dispatcher_that_waits_for_a_later_one(
    bus: EventBus, clock: FakeClock
) -> None:
    told = ToldClock(clock)
    monitor = ServableStateMonitor(bus, clock=told)

    async def main() -> None:
        now = clock.monotonic()
        late = asyncio.create_task(monitor.wait_until_async("m", timeout=9.0))
        await one_turn()
        while told.deadlines.get(timeout=WATCHDOG) != now + 9.0:
            pass
        soon = asyncio.create_task(monitor.wait_until_async("m", timeout=5.0))
        await one_turn()
        while told.deadlines.get(timeout=WATCHDOG) != now + 5.0:
            pass
        clock.advance(5.0)
        assert (await asyncio.wait_for(soon, WATCHDOG)).timed_out
        assert not late.done()
        late.cancel()

    asyncio.run(main())
    monitor.close()


def test_the_errors_are_those_of_the_blocking_form(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    async def main() -> None:
        failing = asyncio.create_task(monitor.wait_until_available_async("m:1", "n"))
        timing_out = asyncio.create_task(monitor.wait_until_available_async("n", timeout=5.0))
        await one_turn()
        bus.publish(StreamAspiration("m", frozenset({1})))
        bus.publish(ServableState(M1, ManagerState.START))
        bus.publish(ServableState(M1, ManagerState.END, LoadFailedError("broken")))
        with pytest.raises(ServableUnavailableError, match="broken"):
            await asyncio.wait_for(failing, WATCHDOG)
        clock.wait_until_parked(1)
        clock.advance(5.0)
        with pytest.raises(WaitTimeoutError, match="nothing is known of 'n'"):
            await asyncio.wait_for(timing_out, WATCHDOG)
        with pytest.raises(InvalidArgumentError):
            await monitor.wait_until_async("m", timeout=-1)

    asyncio.run(main())


def test_cancelling_the_task_withdraws_the_wait(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    async def main() -> None:
        task = asyncio.create_task(monitor.wait_until_async(["m", "n"], timeout=5.0))
        await one_turn()
        (waiter,) = monitor._dispatcher._waiters["m"]
        gone = weakref.ref(waiter)
        del waiter
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert monitor._dispatcher._waiters == {}
        assert len(monitor._dispatcher._deadlines) == 0
        del task
        await one_turn()  # the present turn holds the error that was thrown into it
        gc.collect()
        assert gone() is None

    asyncio.run(main())


def test_a_task_cancelled_while_its_answer_is_on_the_way_is_cancelled(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    async def main() -> None:
        task = asyncio.create_task(monitor.wait_until_async("m"))
        other = asyncio.create_task(monitor.wait_until_async("m"))
        await one_turn()
        task.cancel()
        available(bus, M1)
        assert Spawned(lambda: monitor.wait_until("m")).result()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(other, WATCHDOG)

    asyncio.run(main())


class CountingLoop(asyncio.SelectorEventLoop):
    calls = 0

    def call_soon_threadsafe(  # type: ignore[override] # hands on whatever it is given
        self, *args: Any, **kwargs: Any
    ) -> asyncio.Handle:
        self.calls += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def test_all_tasks_of_a_loop_are_woken_by_one_call_to_it(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    loop = CountingLoop()

    async def main() -> None:
        tasks = [asyncio.create_task(monitor.wait_until_async("m")) for _ in range(50)]
        await one_turn()
        before = loop.calls
        available(bus, M1)
        await asyncio.wait_for(asyncio.gather(*tasks), WATCHDOG)
        assert loop.calls == before + 1

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_tasks_of_two_loops_wait_side_by_side(monitor: ServableStateMonitor, bus: EventBus) -> None:
    async def main() -> bool:
        return (await monitor.wait_until_async(["m", "n"])).reached

    runs = [Spawned(lambda: asyncio.run(main())) for _ in range(2)]
    available(bus, M1)
    available(bus, ServableId("n", 1))
    assert [run.result() for run in runs] == [True, True]


def test_close_ends_the_waits_of_tasks(monitor: ServableStateMonitor) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(monitor.wait_until_async("m", timeout=5)) for _ in range(2)]
        await one_turn()
        monitor.close()
        for task in tasks:
            with pytest.raises(ClosedError):
                await asyncio.wait_for(task, WATCHDOG)
        with pytest.raises(ClosedError):
            await monitor.wait_until_async("m")

    asyncio.run(main())


def abandoned(monitor: ServableStateMonitor) -> asyncio.Task[object]:
    """Return a task that waits in a loop that was closed under it."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it reports the abandoned task
    task: asyncio.Task[object] = loop.create_task(monitor.wait_until_async("m"))
    loop.run_until_complete(one_turn())
    loop.close()
    return task


def test_a_loop_closed_under_a_wait_does_not_harm_the_dispatcher(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    task = abandoned(monitor)
    waiting = Spawned(lambda: monitor.wait_until("m:2"))
    available(bus, M1)
    available(bus, M2)
    assert waiting.result()
    assert "takes no calls" in caplog.text
    assert not task.done()


def test_an_abandoned_wait_may_be_collected_by_a_thread_that_holds_the_lock(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    task = abandoned(monitor)
    gone = weakref.ref(task)
    available(bus, M1)
    later = monitor.wait_future("n")
    available(bus, ServableId("n", 1))
    assert later.result(WATCHDOG)  # by now the dispatcher has let go of what it ended before
    del task

    def collect() -> None:
        with monitor._lock:
            gc.collect()

    Spawned(collect).result()
    assert gone() is None
