"""Who waits, and how each is told that the wait is over: a thread, an asyncio task, a callback."""

from __future__ import annotations

import asyncio
import math
import threading
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Final, final

from servman.clock import deadline_after
from servman.log import Log
from servman.monitor.goals import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock
    from servman.monitor.goals import Question
    from servman.monitor.result import WaitResult
    from servman.threads import Pool

_log = Log(__name__)


class Verdict(Enum):
    """Why a wait is over."""

    DECIDED = "decided"
    EXPIRED = "expired"
    CLOSED = "closed"


class Waiter(ABC):
    """One wait, while it lasts.

    Attributes:
        answer: How far it has come. It belongs to the thread that asks until `since` is set, then
            to the dispatcher, and after `end` to whoever was told.
        deadline: When the dispatcher ends the wait; None where it never does.
        registered: Whether the dispatcher knows it; set under its lock. Whoever leaves a wait reads
            it without the lock: what collects an abandoned coroutine may hold it.
        since: The number of the last event that it need not be shown; all of them at first.
    """

    def __init__(self, question: Question, deadline: float | None = None) -> None:
        self.answer: Final = Answer(question)
        self.deadline: Final = deadline
        self.registered = False
        self.since: float = math.inf

    @abstractmethod
    def end(self, verdict: Verdict) -> None:
        """Tell whoever waits that the wait is over. Called once, with no lock held. Never blocks."""


@final
class ThreadWaiter(Waiter):
    """A thread that blocks."""

    def __init__(self, question: Question, clock: Clock) -> None:
        super().__init__(question)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards `_verdict`
        self._verdict: Verdict | None = None

    def end(self, verdict: Verdict) -> None:
        """Wake the thread."""
        with self._changed:
            self._verdict = verdict
            self._changed.notify()

    def wait(self, deadline: float | None) -> Verdict:
        """Return why the wait is over.

        Blocks: until `end` or *deadline*.
        """
        with self._changed:
            while self._verdict is None:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return Verdict.EXPIRED
                self._clock.wait_until(self._changed, deadline)
            return self._verdict


@final
class TaskWaiter(Waiter):
    """A task of an asyncio loop that awaits `future`. Made on the loop's own thread."""

    def __init__(self, question: Question, deadline: float | None) -> None:
        super().__init__(question, deadline)
        self.loop: Final = asyncio.get_running_loop()
        self.future: Final[asyncio.Future[Verdict]] = self.loop.create_future()

    def end(self, verdict: Verdict) -> None:
        """Complete the future, on the loop's thread."""
        end_tasks(self.loop, [self], verdict)


def end_tasks(
    loop: asyncio.AbstractEventLoop, waiters: Sequence[TaskWaiter], verdict: Verdict
) -> None:
    """End waiters of one loop with one call to it: each call writes to the loop's socket."""

    def complete() -> None:
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_result(verdict)

    try:
        loop.call_soon_threadsafe(complete)
    except Exception as error:  # noqa: BLE001 -- a loop closed meanwhile, or a foreign one
        # As text: the frames of the error would pin the waiters to the log record.
        _log.warning("an event loop with %d waits takes no calls: %s", len(waiters), str(error))


@final
class Notification(Waiter):
    """A callback that is called once, when what was asked for is decided. `close` calls it off.

    Threads: any.
    """

    def __init__(
        self,
        question: Question,
        callback: Callable[[WaitResult], None],
        *,
        pool: Pool,
        clock: Clock,
        conclude: Callable[[Answer], WaitResult],
        withdraw: Callable[[Waiter], None],
    ) -> None:
        super().__init__(question)
        self._callback = callback
        self._pool = pool
        self._clock = clock
        self._conclude = conclude
        self._withdraw = withdraw
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._closed = False
        self._running_on: int | None = None

    def end(self, verdict: Verdict) -> None:
        """Have the callback called; not when the monitor is being closed."""
        if verdict is Verdict.DECIDED:
            self._pool.submit(self._run)

    def close(self, timeout: float | None = 30.0) -> None:
        """Do not call back any more. Idempotent. Not for signal handlers and finalisers.

        Blocks: until a running callback has returned, unless called from it, for *timeout* seconds at
            most (None: for ever). One that has not returned by then is named in the log.

        Raises:
            InvalidArgumentError: *timeout* is not one; nothing was closed.
        """
        deadline = deadline_after(self._clock, timeout)
        self._withdraw(self)
        if not self._returned(deadline):
            _log.warning("a callback did not return within %s s: %s", timeout, self)

    def __enter__(self) -> Notification:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        requests = ", ".join(map(str, self.answer.question.requests))
        return f"Notification({requests}, {self._callback!r})"

    def _returned(self, deadline: float | None) -> bool:
        """Keep the callback from beginning; return whether it has ended, or never began."""
        with self._changed:
            self._closed = True
            while self._running_on not in (None, threading.get_ident()):
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return False
                self._clock.wait_until(self._changed, deadline)
            return True

    def _run(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._running_on = threading.get_ident()
        try:
            self._callback(self._conclude(self.answer))
        except BaseException:  # noqa: BLE001 -- foreign code; the pool survives
            _log.exception("a callback raised: %s", self)
        finally:
            with self._changed:
                self._running_on = None
                self._changed.notify_all()
