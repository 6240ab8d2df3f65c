"""Waits against their events, their deadlines and the monitor's close, in every order."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar, final

import pytest

from servman.errors import ClosedError, ServmanError, WaitTimeoutError
from servman.events import EventBus
from servman.ids import ServableId
from servman.monitor.future import WaitFuture
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.notification import Notification
from servman.monitor.progress import WaitProgress
from servman.monitor.result import WaitResult
from servman.monitor.waiting import ThreadWaiter
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from tests.concurrency.gates import Gate, halts, outcome, together

AVAILABLE = ManagerState.AVAILABLE
M1 = ServableId("m", 1)

T = TypeVar("T")


@final
class HastyClock:
    """A clock on which whoever waits for a condition with a deadline has waited for long enough."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        if deadline is None:
            condition.wait()
        else:
            self._now = max(self._now, deadline)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        assert deadline is None, "nobody here waits in a task"
        return mailbox.get()


def is_held(lock: threading.Lock | threading.Condition) -> bool:
    """Return whether somebody holds *lock*."""
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


class Watched:
    """A monitor, and a bus on which "m:1" may become available."""

    def __init__(self, clock: FakeClock | HastyClock | None = None) -> None:
        self.clock = clock or HastyClock()
        self.bus = EventBus(clock=self.clock)
        self.monitor = ServableStateMonitor(self.bus, clock=self.clock)
        self.told: queue.SimpleQueue[WaitResult] = queue.SimpleQueue()
        self.monitor.notify_when(
            "nobody", AVAILABLE, self.told.put
        )  # its dispatcher runs from now on

    def publish(self) -> None:
        """Publish that "m:1" is available."""
        self.bus.publish(StreamAspiration("m", frozenset({1})))
        self.bus.publish(ServableState(M1, AVAILABLE))

    def wait(self) -> WaitResult:
        """Wait for it; the deadline comes when nothing else is left but to wait."""
        return self.monitor.wait_until("m:1", timeout=5.0)

    def notify(self) -> Notification:
        """Ask to be told."""
        return self.monitor.notify_when("m:1", AVAILABLE, self.told.put)

    def future(self) -> WaitFuture:
        """Ask for a future of it."""
        return self.monitor.wait_future("m:1")

    def meanwhile(self, call: Callable[[], object]) -> Spawned[object]:
        """Make *call*, to its end unless the thread that is halted holds a lock that it needs."""
        dispatcher = self.monitor._dispatcher
        waiters = [one for one in dispatcher._waiters.get("m", ()) if isinstance(one, ThreadWaiter)]
        locks: list[threading.Lock | threading.Condition] = [one._changed for one in waiters]
        held = any(is_held(lock) for lock in [*locks, self.monitor._lock, dispatcher._lock])
        made = Spawned(call)
        if not held:
            made.result()
        return made

    def close(self) -> int:
        """Close the monitor, which must have forgotten everybody; return how often it told."""
        self.monitor.close()
        assert self.monitor._dispatcher._waiters == {}
        return self.told.qsize()


@pytest.fixture
def every() -> Iterator[list[Watched]]:
    """Return a list of monitors, to be filled; each is closed."""
    every: list[Watched] = []
    yield every
    for watched in every:
        watched.close()


def fresh(every: list[Watched]) -> Watched:
    every.append(Watched())
    return every[-1]


# ---- a wait ----------------------------------------------------------------------------------------


def test_a_wait_halted_anywhere_is_reached_by_what_comes_before_its_deadline(
    every: list[Watched],
) -> None:
    moments = set()
    for _, halted in halts(lambda _: fresh(every).wait, "monitor"):
        watched = every[-1]
        publishing = watched.meanwhile(watched.publish)
        in_time = publishing.done and watched.clock.monotonic() < 5.0
        result = halted.resume()
        publishing.result()
        assert result.reached is not result.timed_out
        assert set(result.states) == ({M1} if result else set())
        assert result.reached or not in_time
        assert "m" not in watched.monitor._dispatcher._waiters
        moments.add(in_time)
    assert moments == {True, False}


def test_a_wait_halted_anywhere_is_reached_or_told_when_the_monitor_closes(
    every: list[Watched],
) -> None:
    def begin(_: str) -> Callable[[], type[ServmanError] | None]:
        return functools.partial(outcome, fresh(every).wait)

    told = set()
    for _, halted in halts(begin, "monitor"):
        closing = every[-1].meanwhile(every[-1].monitor.close)
        told.add(halted.resume())
        closing.result()
    assert told == {None, ClosedError}


def test_a_wait_for_all_or_an_error_halted_anywhere_is_never_of_two_minds(
    every: list[Watched],
) -> None:
    def begin(_: str) -> Callable[[], type[ServmanError] | None]:
        wait = functools.partial(fresh(every).monitor.wait_until_available, "m:1", timeout=5.0)
        return functools.partial(outcome, wait)

    told = set()
    for _, halted in halts(begin, "monitor"):
        publishing = every[-1].meanwhile(every[-1].publish)
        told.add(halted.resume())
        publishing.result()
        assert every[-1].wait(), "it is there, whatever the wait has told"
    assert told == {None, WaitTimeoutError}


@pytest.mark.parametrize("published_first", [True, False])
def test_a_state_that_comes_at_the_deadline_counts_if_it_came_before_the_waiter_looked(
    published_first: bool,
) -> None:
    clock = FakeClock()
    watched = Watched(clock)
    waiting = Spawned(watched.wait)
    clock.wait_until_parked(1)
    if published_first:
        watched.publish()
        clock.advance(5.0)
    else:
        clock.advance(5.0)
        assert not waiting.result()
        watched.publish()
    result = waiting.result()
    assert (result.reached, result.timed_out) == (published_first, not published_first)
    watched.close()


def test_waits_events_and_a_close_at_one_moment_leave_nobody_waiting() -> None:
    for _ in range(20):
        watched = Watched(FakeClock())
        waits = [lambda: watched.monitor.wait_until(["m:1", "n:1"])] * 4  # noqa: B023 -- ended below
        calls: list[Callable[[], Any]] = [*waits, watched.publish, watched.monitor.close]
        told = [outcome(one.result) for one in together(*calls)]
        assert told == [ClosedError] * 4 + [None] * 2
        watched.close()


# ---- a callback ------------------------------------------------------------------------------------


def test_who_asks_to_be_told_halted_anywhere_is_told_once(every: list[Watched]) -> None:
    for _, halted in halts(lambda _: fresh(every).notify, "monitor"):
        watched = every[-1]
        publishing = watched.meanwhile(watched.publish)
        with halted.resume():
            publishing.result()
            assert watched.told.get(timeout=5.0)
        watched.publish()
        assert watched.close() == 0, "once"


def test_who_asks_to_be_told_halted_anywhere_is_not_told_by_a_monitor_that_closes(
    every: list[Watched],
) -> None:
    def begin(_: str) -> Callable[[], type[ServmanError] | None]:
        return functools.partial(outcome, fresh(every).notify)

    for _, halted in halts(begin, "monitor"):
        closing = every[-1].meanwhile(every[-1].monitor.close)
        assert halted.resume() in (None, ClosedError)
        closing.result()
        every[-1].publish()
        assert every[-1].close() == 0


def test_a_call_off_halted_anywhere_is_told_before_its_end_or_never(every: list[Watched]) -> None:
    counts = set()

    def begin(_: str) -> Callable[[], int]:
        watched = fresh(every)
        notification = watched.notify()

        def call_off() -> int:
            notification.close()
            return watched.told.qsize()

        return call_off

    for _, halted in halts(begin, "monitor"):
        publishing = every[-1].meanwhile(every[-1].publish)
        # The pool that tells is one behind the dispatcher: another notification comes after it.
        last = threading.Event()
        every[-1].meanwhile(
            lambda: every[-1].monitor.notify_when("m:1", AVAILABLE, lambda _: last.set())  # noqa: B023 -- called off below
        )
        told_by_then = halted.resume()
        publishing.result()
        assert last.wait(5.0)
        assert every[-1].close() == told_by_then <= 1
        counts.add(told_by_then)
    assert counts == {0, 1}


def test_a_callback_and_another_thread_that_call_it_off_at_once_do_not_wait_for_each_other() -> (
    None
):
    watched, gate = Watched(FakeClock()), Gate()
    made: queue.SimpleQueue[Notification] = queue.SimpleQueue()

    def callback(_: WaitResult) -> None:
        gate()
        made.get().close()

    notification = watched.monitor.notify_when("m:1", AVAILABLE, callback)
    watched.publish()
    gate.wait()
    closing = Spawned(lambda: notification.close(None))
    made.put(notification)
    gate.open()
    closing.result()
    watched.close()


# ---- a future --------------------------------------------------------------------------------------


def ended(future: WaitFuture) -> bool | type[BaseException]:
    """Return whether *future* was reached, or what it raises; it must have ended, or end soon."""
    try:
        return future.result(5.0).reached
    except (ClosedError, CancelledError) as error:
        return type(error)


def test_a_future_asked_for_halted_anywhere_is_reached_by_what_comes(every: list[Watched]) -> None:
    for _, halted in halts(lambda _: fresh(every).future, "monitor"):
        publishing = every[-1].meanwhile(every[-1].publish)
        future = halted.resume()
        publishing.result()
        assert ended(future) is True


def test_a_future_asked_for_halted_anywhere_ends_when_the_monitor_closes(
    every: list[Watched],
) -> None:
    def begin(_: str) -> Callable[[], WaitFuture | None]:
        watched = fresh(every)

        def ask() -> WaitFuture | None:
            try:
                return watched.future()
            except ClosedError:
                return None

        return ask

    told = set()
    for _, halted in halts(begin, "monitor"):
        closing = every[-1].meanwhile(every[-1].monitor.close)
        future = halted.resume()
        closing.result()
        told.add(None if future is None else ended(future))
    assert told == {ClosedError, None}


def test_a_cancellation_halted_anywhere_and_the_end_of_the_wait_agree(every: list[Watched]) -> None:
    told = set()
    futures = []

    def begin(_: str) -> Callable[[], bool]:
        watched = fresh(every)
        futures.append(watched.future())
        called: queue.SimpleQueue[object] = queue.SimpleQueue()
        futures[-1].add_done_callback(called.put)

        def cancel() -> bool:
            cancelled = futures[-1].cancel()
            assert called.get(timeout=5.0) is futures[-1]
            assert called.empty()
            return cancelled

        return cancel

    for _, halted in halts(begin, "monitor"):
        publishing = every[-1].meanwhile(every[-1].publish)
        cancelled = halted.resume()
        publishing.result()
        assert ended(futures[-1]) is (CancelledError if cancelled else True)
        told.add(cancelled)
    assert True in told


def test_futures_events_cancellations_and_a_close_at_one_moment_leave_nobody_waiting() -> None:
    for _ in range(20):
        watched = Watched(FakeClock())
        futures = [watched.future() for _ in range(4)]
        together(watched.publish, futures[0].cancel, futures[1].cancel, watched.monitor.close)
        for future in futures:
            assert ended(future) in (True, CancelledError, ClosedError)
        watched.close()


# ---- progress --------------------------------------------------------------------------------------


def test_a_wait_that_tells_of_its_progress_halted_anywhere_has_told_its_end(
    every: list[Watched],
) -> None:
    def begin(_: str) -> Callable[[], tuple[WaitResult, list[WaitProgress]]]:
        watched, told = fresh(every), list[WaitProgress]()

        def wait() -> tuple[WaitResult, list[WaitProgress]]:
            result = watched.monitor.wait_until("m:1", timeout=5.0, progress=told.append)
            return result, told

        return wait

    for _, halted in halts(begin, "monitor"):
        publishing = every[-1].meanwhile(every[-1].publish)
        result, told = halted.resume()
        publishing.result()
        assert told
        assert len(told[-1].decided) == result.reached
