"""The thread that ends waits, so that a publisher never does."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple, final

from servman.errors import ClosedError, FailedPreconditionError
from servman.monitor.deadlines import Deadlines
from servman.monitor.waiting import TaskWaiter, Verdict, Waiter, end_tasks
from servman.threads import Thread, spawn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from servman.clock import Clock
    from servman.monitor.stream import StreamView

_log = logging.getLogger(__name__)


@final
class _Seen(NamedTuple):
    """The event of this number left its stream like this."""

    number: int
    view: StreamView


class _Look:
    """There is an earlier deadline than the one that the dispatcher waits for."""


class _Stop:
    """The monitor is being closed."""


@final
class Dispatcher:
    """Knows who waits for which stream, and ends their waits on a thread of its own.

    1. A waiter is shown the view of every event on its streams since it was registered, in order: a
       state that is only passed through is not missed.
    2. Publishing costs the publisher one item in a queue, however many wait, and nothing where nobody
       waits for the stream.
    3. A waiter that was ended or withdrawn is not referred to any more.

    Threads: any. The thread starts with the first waiter and ends with `close_locked`.
    """

    def __init__(self, lock: threading.Lock, clock: Clock) -> None:
        self._clock = clock
        self._mailbox: queue.SimpleQueue[_Seen | _Look | _Stop] = queue.SimpleQueue()
        self._lock = lock  # the monitor's; here it guards everything below
        self._waiters: dict[str, dict[Waiter, None]] = {}  # dicts as ordered sets
        self._deadlines: Deadlines[Waiter] = Deadlines()
        self._last_number = 0
        self._thread: Thread | None = None
        self._closed = False

    def post_locked(self, view: StreamView) -> None:
        """Have those who wait for the stream of *view* look at it, as the caller has recorded it."""
        self._last_number += 1
        if view.name in self._waiters:
            self._mailbox.put(_Seen(self._last_number, view))

    def check_locked(self) -> None:
        """Raise if nobody may wait here any more, or not on this thread.

        Raises:
            ClosedError: The monitor was closed.
            FailedPreconditionError: The caller runs on the dispatcher's own thread.
        """
        if self._closed:
            raise ClosedError("the monitor was closed; wait before closing it")
        if threading.current_thread() is self._thread:
            raise FailedPreconditionError(
                f"a wait on the thread {self._thread.name!r}, which ends waits, would never end;"
                " wait on a thread of yours"
            )

    def register_locked(self, waiter: Waiter) -> None:
        """Show *waiter* every event from now on, and end it when it is decided or due."""
        if self._thread is None:
            # Started under the lock so that `close_locked` never misses a thread in the making.
            self._thread = spawn("monitor-waits", self._run)
        waiter.registered = True
        waiter.since = self._last_number
        for name in waiter.answer.question.streams:
            self._waiters.setdefault(name, {})[waiter] = None
        if waiter.deadline is not None and self._deadlines.add(waiter, waiter.deadline):
            self._mailbox.put(_Look())

    def withdraw(self, waiter: Waiter) -> None:
        """Forget *waiter* without a word to it. Those unknown are ignored."""
        if waiter.registered:
            with self._lock:
                self._remove_locked(waiter)

    def close_locked(self) -> Thread | None:
        """Admit no one, and end every wait; return the thread that does it, if there is one."""
        if not self._closed:
            self._closed = True
            self._mailbox.put(_Stop())
        return self._thread

    def _run(self) -> None:
        while True:
            deadline = self._next_deadline()
            item = self._clock.receive(self._mailbox, deadline)
            if isinstance(item, _Stop):
                break
            try:
                if isinstance(item, _Seen):
                    self._end(self._decided(item), Verdict.DECIDED)
                if deadline is not None:
                    self._end(self._due(), Verdict.EXPIRED)
            except Exception:  # noqa: BLE001 -- others still wait for their events
                _log.exception("the dispatcher could not handle %s", item)
            del item  # a frame pins what it names; see docs/concurrency.md
        self._end(self._all_waiters(), Verdict.CLOSED)

    def _next_deadline(self) -> float | None:
        with self._lock:
            return self._deadlines.next()

    def _decided(self, seen: _Seen) -> list[Waiter]:
        with self._lock:
            waiters = tuple(self._waiters.get(seen.view.name, ()))
        return [
            waiter
            for waiter in waiters
            if waiter.since < seen.number and waiter.answer.see(seen.view)
        ]

    def _due(self) -> list[Waiter]:
        now = self._clock.monotonic()
        with self._lock:
            return self._deadlines.take_due(now)

    def _all_waiters(self) -> list[Waiter]:
        with self._lock:
            return list(dict.fromkeys(waiter for some in self._waiters.values() for waiter in some))

    def _end(self, waiters: Iterable[Waiter], verdict: Verdict) -> None:
        tasks: dict[asyncio.AbstractEventLoop, list[TaskWaiter]] = {}
        for waiter in waiters:
            self.withdraw(waiter)  # one at a time: a publisher may need the lock
            if isinstance(waiter, TaskWaiter):
                tasks.setdefault(waiter.loop, []).append(waiter)
            else:
                waiter.end(verdict)
        for loop, some in tasks.items():
            end_tasks(loop, some, verdict)

    def _remove_locked(self, waiter: Waiter) -> None:
        for name in waiter.answer.question.streams:
            waiters = self._waiters.get(name, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiters.pop(name, None)
        self._deadlines.discard(waiter)
        waiter.registered = False
