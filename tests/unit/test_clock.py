"""The system clock: it reads the time, and its waits end when they should."""

from __future__ import annotations

import queue
import threading

import pytest

from servman.clock import SystemClock, deadline_after
from servman.errors import InvalidArgumentError
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG

FAR = 1e12
"""Seconds; a wait of this length overflows the operating system's."""


def test_the_monotonic_time_does_not_go_back() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()


def test_the_wall_time_is_after_this_test_was_written() -> None:
    assert SystemClock().wall() > 1_750_000_000


def test_a_deadline_that_has_passed_ends_a_wait_at_once() -> None:
    clock = SystemClock()
    condition = threading.Condition(threading.Lock())
    with condition:
        clock.wait_until(condition, clock.monotonic() - 1)


def test_a_notify_ends_a_wait_with_any_deadline() -> None:
    for deadline in (None, SystemClock().monotonic() + FAR):
        condition = threading.Condition(threading.Lock())
        waiting = threading.Event()

        def wait(
            condition: threading.Condition = condition,
            waiting: threading.Event = waiting,
            deadline: float | None = deadline,
        ) -> None:
            with condition:
                waiting.set()
                SystemClock().wait_until(condition, deadline)

        thread = Spawned(wait)
        assert waiting.wait(WATCHDOG)
        with condition:  # free only once the thread waits
            condition.notify()
        thread.result()


def test_receive_takes_what_is_there_even_after_the_deadline() -> None:
    mailbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    mailbox.put("a")
    mailbox.put("b")
    clock = SystemClock()
    assert clock.receive(mailbox, clock.monotonic() - 1) == "a"
    assert clock.receive(mailbox, None) == "b"


def test_receive_returns_none_once_the_deadline_has_come() -> None:
    mailbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    clock = SystemClock()
    assert clock.receive(mailbox, clock.monotonic() - 1) is None


def test_receive_bears_a_deadline_that_is_years_away() -> None:
    mailbox: queue.SimpleQueue[str] = queue.SimpleQueue()
    thread = Spawned(lambda: SystemClock().receive(mailbox, SystemClock().monotonic() + FAR))
    mailbox.put("came")
    assert thread.result() == "came"


def test_a_timeout_counts_from_now_and_none_waits_for_ever() -> None:
    clock = FakeClock(now=50.0)
    assert deadline_after(clock, 2.5) == 52.5
    assert deadline_after(clock, 0) == 50.0
    assert deadline_after(clock, None) is None


@pytest.mark.parametrize("timeout", [-0.1, float("nan"), "5", True, [1], 10**400])
def test_what_is_no_timeout_has_no_deadline(timeout: float) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        deadline_after(FakeClock(), timeout)
