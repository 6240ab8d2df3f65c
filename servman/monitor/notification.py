"""Callbacks that are called when a wait is over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.clock import deadline_after
from servman.log import Log
from servman.monitor.waiting import Verdict, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.monitor.answer import Answer
    from servman.monitor.goals import Question
    from servman.monitor.result import WaitResult
    from servman.threads import Pool

_log = Log(__name__)


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
        self._requests = question.requests
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
        requests = ", ".join(map(str, self._requests))
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
