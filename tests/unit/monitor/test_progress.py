from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

from servman.errors import InvalidArgumentError
from servman.events import EventBus
from servman.ids import ServableRequest
from servman.monitor.answer import Answer
from servman.monitor.goals import Question
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.progress import Course, WaitProgress
from servman.monitor.result import WaitResult
from servman.monitor.waiting import ThreadWaiter, Verdict
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.monitor.feed import (
    AVAILABLE,
    END,
    FAILURE,
    LOADING,
    START,
    UNLOADING,
    bring,
    publish,
    requests,
    view_of,
)


class Teller:
    """A progress callback that keeps what it is told, and waits at a gate when the test has closed it."""

    def __init__(self) -> None:
        self.texts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, progress: WaitProgress) -> None:
        self.threads.add(threading.get_ident())
        self.texts.put(str(progress))
        assert self.gate.wait(WATCHDOG)

    def next(self) -> str:
        return self.texts.get(timeout=WATCHDOG)

    async def has_been_called(self, times: int) -> None:
        while self.texts.qsize() < times:  # noqa: ASYNC110 -- it is called on the loop, which has to turn
            await asyncio.sleep(0)


@pytest.fixture
def tell() -> Teller:
    return Teller()


def test_progress_is_told_at_the_beginning_at_each_change_and_at_the_end(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    def wait() -> tuple[int, WaitResult]:
        return threading.get_ident(), monitor.wait_until(["m:1", "n"], timeout=5.0, progress=tell)

    waiting = Spawned(wait)
    assert tell.next() == "0 of 2 decided; pending: m:1 (nothing known), n (nothing known)"
    publish(bus, {1}, (1, START))
    assert tell.next() == "0 of 2 decided; pending: m:1 (m:1 START), n (nothing known)"
    publish(bus, (1, LOADING))
    assert tell.next() == "0 of 2 decided; pending: m:1 (m:1 LOADING), n (nothing known)"
    publish(bus, (1, AVAILABLE))
    assert tell.next() == "1 of 2 decided; pending: n (nothing known)"
    bring(bus, "n", 3)
    thread, result = waiting.result()
    assert result
    *_, last = [tell.next() for _ in range(tell.texts.qsize())]
    assert last == "2 of 2 decided"
    assert tell.threads == {thread}


def test_what_does_not_change_what_is_awaited_is_not_told(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until("m:1", timeout=5.0, progress=tell))
    assert tell.next() == "0 of 1 decided; pending: m:1 (nothing known)"
    publish(bus, (2, START), (2, LOADING))
    bring(bus, "other", 1)
    publish(bus, (1, START))
    assert tell.next() == "0 of 1 decided; pending: m:1 (m:1 START)"
    clock.wait_until_parked(1)
    clock.advance(5.0)
    assert waiting.result().timed_out
    assert tell.texts.empty()


def test_a_wait_that_is_decided_or_does_not_last_tells_once(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    bring(bus, "m", 1)
    assert monitor.wait_until("m", timeout=5.0, progress=tell)
    assert monitor.wait_until(["m", "n"], timeout=0, progress=tell).timed_out
    assert monitor.wait_until([], progress=tell)
    assert [tell.next() for _ in range(3)] == [
        "1 of 1 decided",
        "1 of 2 decided; pending: n (nothing known)",
        "0 of 0 decided",
    ]
    assert tell.texts.empty()


def test_what_happens_while_the_callback_runs_is_told_by_one_more_call(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    tell.gate.clear()
    waiting = Spawned(lambda: monitor.wait_until(["m:1", "n:1"], timeout=5.0, progress=tell))
    assert tell.next()
    publish(bus, {1}, (1, START), (1, LOADING), (1, END, FAILURE))
    publish(bus, {1}, (1, START), name="n")
    assert monitor.wait_until("m", END, timeout=WATCHDOG)  # nobody else is held up
    (waiter,) = monitor._dispatcher._waiters["n"]
    assert waiter.course is not None
    while set(waiter.course._news) != {"m", "n"}:
        assert monitor.wait_until("other", timeout=0).timed_out
    tell.gate.set()
    assert tell.next() == "1 of 2 decided; pending: n:1 (n:1 START)"
    assert tell.texts.empty()
    publish(bus, (1, AVAILABLE), name="n")
    assert waiting.result().states


def test_what_the_callback_raises_is_logged_and_the_wait_goes_on(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    calls: queue.SimpleQueue[WaitProgress] = queue.SimpleQueue()

    def explode(progress: WaitProgress) -> None:
        calls.put(progress)
        raise ValueError("boom")

    waiting = Spawned(lambda: monitor.wait_until("m", timeout=5.0, progress=explode))
    calls.get(timeout=WATCHDOG)
    clock.wait_until_parked(1)
    bring(bus, "m", 1)
    assert waiting.result()
    assert "boom" in caplog.text
    assert calls.qsize() >= 1


def test_a_callback_that_is_to_end_its_thread_ends_the_wait(monitor: ServableStateMonitor) -> None:
    def leave(progress: WaitProgress) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        monitor.wait_until("m", timeout=5.0, progress=leave)
    assert monitor._dispatcher._waiters == {}


def test_a_callback_may_wait_publish_and_close_what_it_likes(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    results: list[WaitResult] = []

    def act(progress: WaitProgress) -> None:
        if not results:
            bring(bus, "m", 1)
            results.append(monitor.wait_until("m", timeout=WATCHDOG))

    assert monitor.wait_until("m", timeout=WATCHDOG, progress=act)
    assert results[0]


def test_the_deadline_counts_although_there_is_always_news(clock: FakeClock) -> None:
    question = Question.of("m", AVAILABLE)
    calls: list[WaitProgress] = []

    def more(progress: WaitProgress) -> None:
        calls.append(progress)
        assert len(calls) < 5, "it goes on for ever"
        course.put({"m": view_of((len(calls), START))})
        waiter.stir()
        clock.advance(2.0)

    course = Course(question, more)
    waiter = ThreadWaiter(question, clock, course)
    assert waiter.wait(clock.monotonic() + 3.0) is Verdict.EXPIRED
    assert len(calls) == 2


def test_closing_the_monitor_ends_a_wait_that_tells_of_its_progress(
    monitor: ServableStateMonitor, tell: Teller, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until_available("m", timeout=5.0, progress=tell))
    clock.wait_until_parked(1)
    monitor.close()
    with pytest.raises(Exception, match="closed during the wait"):
        waiting.result()
    assert tell.texts.qsize() == 1


def test_a_task_is_told_on_its_loop_and_no_more_once_it_is_cancelled(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    async def main() -> None:
        wait = monitor.wait_until_async(["m:1", "n"], progress=tell)
        task = asyncio.create_task(wait)
        await asyncio.sleep(0)
        assert tell.next().startswith("0 of 2 decided")
        publish(bus, {1}, (1, START))
        await tell.has_been_called(1)
        assert tell.next() == "0 of 2 decided; pending: m:1 (m:1 START), n (nothing known)"
        assert tell.threads == {threading.get_ident()}
        publish(bus, (1, LOADING))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert Spawned(lambda: monitor.wait_until("m:1", LOADING)).result()
        await asyncio.sleep(0)
        assert tell.texts.empty()

    asyncio.run(main())


def test_a_task_is_told_how_it_ended_and_coalesced_before(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    async def main() -> None:
        settled = asyncio.create_task(monitor.wait_until_settled_async("m", progress=tell))
        got = asyncio.create_task(monitor.wait_until_available_async("m", progress=lambda _: None))
        await asyncio.sleep(0)
        assert tell.next() == "0 of 1 decided; pending: m (nothing known)"
        for _ in range(50):  # the loop does not run meanwhile
            publish(bus, {1}, (1, START), (1, LOADING))
        after_all = monitor.wait_future("n")
        publish(bus, (1, AVAILABLE))
        bring(bus, "n", 1)
        assert after_all.result(WATCHDOG)  # the dispatcher has looked at all of it
        assert await asyncio.wait_for(settled, WATCHDOG)
        assert await asyncio.wait_for(got, WATCHDOG)
        *some, last = [tell.next() for _ in range(tell.texts.qsize())]
        assert last == "1 of 1 decided"
        assert len(some) == 1

    asyncio.run(main())


class CountingLoop(asyncio.SelectorEventLoop):
    calls = 0

    def call_soon_threadsafe(  # type: ignore[override] # hands on whatever it is given
        self, *args: Any, **kwargs: Any
    ) -> asyncio.Handle:
        self.calls += 1
        return super().call_soon_threadsafe(*args, **kwargs)


def test_all_tasks_of_a_loop_are_told_by_one_call_to_it(
    monitor: ServableStateMonitor, bus: EventBus, tell: Teller
) -> None:
    loop = CountingLoop()

    async def main() -> None:
        waits = [monitor.wait_until_async("m:1", progress=tell) for _ in range(50)]
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(0)
        before = loop.calls
        publish(bus, (1, START))
        await tell.has_been_called(100)
        assert loop.calls == before + 1
        publish(bus, (1, AVAILABLE))
        await asyncio.wait_for(asyncio.gather(*tasks), WATCHDOG)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_what_comes_between_the_look_and_the_registration_is_told(
    monitor: ServableStateMonitor,
    bus: EventBus,
    tell: Teller,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register = monitor._dispatcher.register

    def publish_first(waiter: Any) -> None:
        publish(bus, {1}, (1, START))
        register(waiter)

    monkeypatch.setattr(monitor._dispatcher, "register", publish_first)
    waiting = Spawned(lambda: monitor.wait_until(["m:1", "n"], timeout=5.0, progress=tell))
    texts = [tell.next()]
    while texts[-1] != "0 of 2 decided; pending: m:1 (m:1 START), n (nothing known)":
        texts.append(tell.next())
    clock.wait_until_parked(1)
    clock.advance(5.0)
    assert waiting.result().timed_out


def test_a_state_that_is_passed_through_is_told_if_it_decides() -> None:
    told: list[WaitProgress] = []
    question = Question.of("m:1", LOADING)
    course, answer = Course(question, told.append), Answer(question)
    course.put({"m": view_of((1, END))})
    assert answer.see(view_of((1, LOADING)))
    course.conclude(answer)
    course.stop()
    course.report()
    (request,) = requests("m:1")
    assert [str(one.decided[request]) for one in told] == ["m:1 LOADING"]


def test_a_label_is_told_by_the_version_that_it_is_to_mean() -> None:
    told: list[WaitProgress] = []
    course = Course(Question.of("m@stable", AVAILABLE, labels=True), told.append)
    course.look({"m": view_of({1}, (1, UNLOADING), (2, LOADING), ({"stable": 1}, {}))})
    course.report()
    assert str(told[0]) == "0 of 1 decided; pending: m@stable (m:1 UNLOADING)"


def test_the_text_of_a_progress_names_ten_at_most() -> None:
    pending = dict.fromkeys(ServableRequest.latest(f"m{number}") for number in range(12))
    text = str(WaitProgress({}, pending))
    assert text.endswith("m9 (nothing known), and 2 more")


@pytest.mark.parametrize("progress", [5, "print", True])
def test_what_cannot_be_called_is_refused(monitor: ServableStateMonitor, progress: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="something to call"):
        monitor.wait_until("m", timeout=0, progress=progress)
    with pytest.raises(InvalidArgumentError, match="something to call"):
        monitor.wait_until_settled(timeout=0, progress=progress)
