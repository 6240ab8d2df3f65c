"""The fake clock: it stands still, and who waits on it wakes when it is moved."""

from __future__ import annotations

import queue
import threading

import pytest

import servman.testing.clock
from servman.errors import InvalidArgumentError
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG


def new_condition() -> threading.Condition:
    return threading.Condition(threading.Lock())


def wait(clock: FakeClock, condition: threading.Condition, deadline: float | None) -> None:
    with condition:
        clock.wait_until(condition, deadline)


def test_both_times_move_together_and_only_when_told() -> None:
    clock = FakeClock(now=10.0, wall=500.0)
    assert (clock.monotonic(), clock.wall()) == (10.0, 500.0)
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall()) == (12.5, 502.5)


def test_time_never_goes_back() -> None:
    with pytest.raises(InvalidArgumentError, match="never goes back"):
        FakeClock().advance(-1)


def test_a_wait_ends_when_its_deadline_has_come_and_not_before() -> None:
    clock = FakeClock(now=0.0)
    thread = Spawned(lambda: wait(clock, new_condition(), 10.0))
    clock.wait_until_parked(1)
    clock.advance(9.0)
    clock.wait_until_parked(1)
    assert not thread.done
    clock.advance(1.0)
    thread.result()


def test_a_deadline_that_has_come_is_not_waited_for() -> None:
    clock = FakeClock(now=10.0)
    wait(clock, new_condition(), 10.0)


def test_a_notify_ends_a_wait_without_any_time() -> None:
    clock, condition = FakeClock(), new_condition()
    thread = Spawned(lambda: wait(clock, condition, clock.monotonic() + 1))
    clock.wait_until_parked(1)
    with condition:
        condition.notify()
    thread.result()


def test_no_amount_of_time_ends_a_wait_without_a_deadline() -> None:
    clock, condition = FakeClock(), new_condition()
    parked = threading.Event()

    def wait_for_ever() -> None:
        with condition:
            parked.set()
            clock.wait_until(condition, None)

    thread = Spawned(wait_for_ever)
    assert parked.wait(WATCHDOG)
    with condition:  # free only once the thread waits
        pass
    clock.advance(1e9)
    assert len(clock._parked) == 1  # who is woken is taken out before `advance` returns
    with condition:
        condition.notify()
    thread.result()


def test_who_is_woken_by_the_time_no_longer_counts_as_parked() -> None:
    clock = FakeClock(now=0.0)
    counts: list[int] = []
    clock._park(object(), 1.0, lambda: counts.append(clock._timed_locked()))
    clock.advance(1.0)
    assert counts == [0]  # or a test would go on before the woken thread has run


def test_receive_takes_an_item_at_once_or_when_it_comes() -> None:
    clock = FakeClock()
    mailbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    mailbox.put("first")
    assert clock.receive(mailbox, clock.monotonic()) == "first"
    thread = Spawned(lambda: clock.receive(mailbox, clock.monotonic() + 1))
    clock.wait_until_parked(1)
    mailbox.put("second")
    assert thread.result() == "second"


def test_receive_returns_none_when_the_time_has_come() -> None:
    clock = FakeClock()
    mailbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert clock.receive(mailbox, clock.monotonic()) is None
    thread = Spawned(lambda: clock.receive(mailbox, clock.monotonic() + 1))
    clock.wait_until_parked(1)
    clock.advance(1.0)
    assert thread.result() is None


def test_threads_that_do_not_come_are_a_failure_not_a_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servman.testing.clock, "WATCHDOG", 0.001)
    with pytest.raises(AssertionError, match="0 threads wait for the fake clock, not 2"):
        FakeClock().wait_until_parked(2)


def test_one_advance_wakes_all_that_are_due_and_nobody_else() -> None:
    clock = FakeClock(now=0.0)
    due = [Spawned(lambda at=at: wait(clock, new_condition(), at)) for at in (1.0, 2.0)]  # type: ignore[misc] # mypy: lambda default
    later = Spawned(lambda: wait(clock, new_condition(), 3.0))
    clock.wait_until_parked(3)
    clock.advance(2.0)
    for thread in due:
        thread.result()
    clock.wait_until_parked(1)
    assert not later.done
    clock.advance(1.0)
    later.result()
