"""The one file that knows the time: reading it, and waiting for it."""

from __future__ import annotations

import math
import queue
import time
from typing import TYPE_CHECKING, Protocol, TypeVar, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    import threading

T = TypeVar("T")


class Clock(Protocol):
    """Reads the time and waits for it, through one object, so that a fake can move both.

    Waits take a *deadline* on the scale of `monotonic`, never a duration: time that passes between
    reading the clock and starting to wait would be lost.

    Threads: any.
    """

    def monotonic(self) -> float:
        """Return seconds on a scale that never goes back: for deadlines and durations."""
        ...

    def wall(self) -> float:
        """Return seconds since the epoch: for people, never for decisions."""
        ...

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait for a notify of *condition*, which the caller holds, or for *deadline*.

        May return early; the caller loops on its predicate. `None` waits for a notify alone.
        """
        ...

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        """Take the next item of *mailbox*, or return None when *deadline* has come.

        May return None early; the caller looks at the time and comes back.
        """
        ...


@final
class SystemClock:
    """The machine's own time.

    Threads: any.
    """

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def wall(self) -> float:
        """Return `time.time()`."""
        return time.time()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait for a notify or for *deadline*; see `Clock`."""
        if deadline is None:
            condition.wait()
        else:
            condition.wait(max(0.0, min(deadline - time.monotonic(), _LONGEST_WAIT)))

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        """Take the next item, or None at *deadline*; see `Clock`."""
        if deadline is None:
            return mailbox.get()
        try:
            return mailbox.get(timeout=max(0.0, min(deadline - time.monotonic(), _LONGEST_WAIT)))
        except queue.Empty:
            return None


_LONGEST_WAIT = 86_400.0
"""Seconds of one wait of the operating system; longer ones overflow it. Callers come back."""


def utc(wall: float) -> str:
    """Return *wall*, seconds since the epoch, as people read it: "2026-11-22 05:31:30Z"."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(wall))


def deadline_after(clock: Clock, timeout: float | None) -> float | None:
    """Return the instant *timeout* seconds from now; None, which waits for ever, for None.

    Raises:
        InvalidArgumentError: It is neither None nor a number of seconds, or negative, or NaN.
    """
    if timeout is None:
        return None
    seconds = _seconds(timeout)
    if not seconds >= 0:
        raise InvalidArgumentError(
            f"a timeout is None or a number of seconds that is not negative, not {timeout!r}"
        )
    return clock.monotonic() + seconds


def _seconds(timeout: object) -> float:
    """Return *timeout* as a float; NaN where it is no number, or an int that is too large for one."""
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        return math.nan
    try:
        return float(timeout)
    except OverflowError:
        return math.nan
