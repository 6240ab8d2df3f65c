"""Calls that block, in a world of one thread: each runs only while whoever lets it go on waits for it."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from servman.testing import Spawned
from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class AbandonedError(BaseException):
    """Ends a call of a world that has failed."""


@final
class Caller:
    """A call that may block. Of all callers and the world itself, one runs at a time.

    Attributes:
        name: What it does, for the trace.
        deadline: When it goes on at the latest, while it waits; None: only when it is told.
        done: Whether it has returned or raised.
    """

    _of_thread: Final = threading.local()

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self.deadline: float | None = None
        self.done = False
        self._run = run
        self._told: Callable[[], bool] = lambda: True
        self._abandoned = False
        self._thread: Spawned[None] | None = None
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()

    @classmethod
    def current(cls) -> Caller | None:
        """Return the one that is running; None where it is the world itself."""
        return getattr(cls._of_thread, "caller", None)

    def ready(self, now: float) -> bool:
        """Whether there is anything that it would go on for."""
        if self.done:
            return False
        return self._told() or (self.deadline is not None and self.deadline <= now)

    def resume(self) -> None:
        """Let it go on until it waits again, or has ended."""
        if self._thread is None:
            self._thread = Spawned(self._call)
        else:
            self._go.release()
        if not self._back.acquire(timeout=WATCHDOG):
            raise AssertionError(f"{self.name} blocks on something that is not the clock")
        if self.done:
            self._thread.result()

    def park(self, deadline: float | None, told: Callable[[], bool]) -> None:
        """Wait until the world lets it go on, which it does once it is *told*, or at *deadline*."""
        self.deadline, self._told = deadline, told
        self._back.release()
        self._go.acquire()
        self.deadline = None
        if self._abandoned:
            raise AbandonedError

    def abandon(self) -> None:
        """End it, whatever it waits for."""
        self._abandoned = True
        with contextlib.suppress(AbandonedError, Exception):
            while not self.done:
                self.resume()

    def _call(self) -> None:
        self._of_thread.caller = self
        try:
            self._run()
        finally:
            self.done = True
            self._back.release()


@final
class SteppingClock:
    """A clock whose time the world moves; whoever waits for it is a `Caller`."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + 1_700_000_000.0

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        if deadline is not None and deadline <= self._now:
            return
        caller = _caller()
        # What `notify` takes out and releases: so it is known whether a wait was told, or looks at the time.
        waiting: Any = condition
        told = threading.Lock()
        told.acquire()
        waiting._waiters.append(told)
        condition.release()
        try:
            caller.park(deadline, lambda: not told.locked())
        finally:
            condition.acquire()
            with contextlib.suppress(ValueError):
                waiting._waiters.remove(told)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        if mailbox.empty() and (deadline is None or deadline > self._now):
            _caller().park(deadline, lambda: not mailbox.empty())
        try:
            return mailbox.get_nowait()
        except queue.Empty:
            return None


@final
class SteppingCondition(threading.Condition):
    """A condition that is waited for without a clock, as one of such a world."""

    def __init__(self, clock: SteppingClock) -> None:
        super().__init__(threading.Lock())
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is None, "real time is waited for"
        self._clock.wait_until(self, None)
        return True


def _caller() -> Caller:
    caller = Caller.current()
    if caller is None:
        raise AssertionError("the world itself waits for its own clock, which would be for ever")
    return caller
