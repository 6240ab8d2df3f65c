"""A clock that stands still until it is told to move."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WATCHDOG = 10.0
"""Real seconds after which the kit takes a wait of a test for a hang, and says so."""


@final
class FakeClock:
    """A `Clock` whose time moves only with `advance`. Waits for it end as real ones would.

    Threads: any; `advance` by the test, which holds no lock that a waiting thread needs.
    """

    def __init__(self, now: float = 1_000.0, wall: float = 1_700_000_000.0) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards everything below
        self._now = now
        self._wall_offset = wall - now
        self._parked: dict[object, tuple[float | None, Callable[[], None]]] = {}

    def monotonic(self) -> float:
        """Return the fake time."""
        with self._changed:
            return self._now

    def wall(self) -> float:
        """Return the fake time as seconds since the epoch."""
        with self._changed:
            return self._now + self._wall_offset

    def advance(self, seconds: float) -> None:
        """Move the time on and wake whoever has waited for it.

        Raises:
            InvalidArgumentError: *seconds* is negative; time never goes back.
        """
        if seconds < 0:
            raise InvalidArgumentError(f"time never goes back: advance({seconds})")
        with self._changed:
            self._now += seconds
            due = [
                key
                for key, (deadline, _) in self._parked.items()
                if deadline is not None and deadline <= self._now
            ]
            # Taken out now: who is awake does not count as parked, even before it has run.
            wakes = [self._parked.pop(key)[1] for key in due]
        for wake in wakes:
            wake()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait for a notify or for the fake time to come to *deadline*; see `Clock`."""

        def wake() -> None:
            with condition:
                condition.notify_all()

        key = object()
        if not self._park(key, deadline, wake):
            return
        try:
            condition.wait()
        finally:
            self._unpark(key)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        """Take the next item, or None when the fake time has come to *deadline*; see `Clock`."""
        try:
            return mailbox.get_nowait()
        except queue.Empty:
            pass
        key = object()
        # A None in the mailbox means "look at the time"; a reader takes it for an early return.
        if not self._park(key, deadline, lambda: mailbox.put(None)):  # type: ignore[arg-type] # as said
            return None
        try:
            return mailbox.get()
        finally:
            self._unpark(key)

    def wait_until_parked(self, count: int) -> None:
        """Wait until at least *count* threads wait on this clock with a deadline.

        Raises:
            AssertionError: They did not come within `WATCHDOG` real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._timed_locked() >= count, WATCHDOG):
                raise AssertionError(
                    f"{self._timed_locked()} threads wait for the fake clock, not {count}"
                )

    def _timed_locked(self) -> int:
        return sum(deadline is not None for deadline, _ in self._parked.values())

    def _park(self, key: object, deadline: float | None, wake: Callable[[], None]) -> bool:
        with self._changed:
            if deadline is not None and deadline <= self._now:
                return False
            self._parked[key] = (deadline, wake)
            self._changed.notify_all()
            return True

    def _unpark(self, key: object) -> None:
        with self._changed:
            self._parked.pop(key, None)  # `advance` may have taken it out
