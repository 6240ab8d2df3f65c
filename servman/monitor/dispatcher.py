"""The thread that ends waits, so that a publisher never does."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, NamedTuple, final

from servman.errors import ClosedError, FailedPreconditionError
from servman.log import Log
from servman.monitor.deadlines import Deadlines
from servman.monitor.stream import StreamView
from servman.monitor.tasks import TaskWaiter, by_loop, end_tasks, stir_tasks
from servman.monitor.waiting import Verdict, Waiter
from servman.threads import Thread, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from servman.clock import Clock

_log = Log(__name__)


@final
class _Seen(NamedTuple):
    """The event of this number left its stream like this."""

    number: int
    view: StreamView


@final
class _Missed(NamedTuple):
    """Something happened before the waiter was registered; then the streams stood like this."""

    waiter: Waiter
    streams: Mapping[str, StreamView]


class _Look:
    """There is an earlier deadline than the one that the dispatcher waits for."""


class _Stop:
    """The monitor is being closed."""


@final
class Dispatcher:
    """Knows who waits for which stream, and ends their waits on a thread of its own.

    1. A waiter is shown the view of every event on its streams after its `since`, in order: a
       state that is only passed through is not missed.
    2. Publishing costs the publisher one item in a queue, however many wait, and nothing where nobody
       waits for the stream.
    3. No publisher is held up, however many streams a waiter is for.
    4. A waiter that was ended or withdrawn is not referred to any more.

    Args:
        clock: Where deadlines come from.
        finish: Called on the thread at its end, when every wait was ended.

    Threads: any. The thread starts with the first waiter and ends with `close`.
    """

    def __init__(self, clock: Clock, finish: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._finish = finish
        self._mailbox: queue.SimpleQueue[_Seen | _Missed | _Look | _Stop] = queue.SimpleQueue()
        # Guards changing everything below. No publisher takes it: somebody who waits for ten thousand
        # streams holds it for that long.
        self._lock = threading.Lock()
        self._waiters: dict[str, dict[Waiter, None]] = {}  # dicts as ordered sets
        self._everywhere: dict[Waiter, None] = {}  # those who wait for whatever streams there are
        self._deadlines: Deadlines[Waiter] = Deadlines()
        self._thread: Thread | None = None
        self._closed = False

    def post(self, number: int, view: StreamView) -> None:
        """Have those who wait for the stream of *view* look at what event *number* made of it.

        Takes no lock; called in the order of the events.
        """
        if view.name in self._waiters or self._everywhere:
            self._mailbox.put(_Seen(number, view))

    def post_missed(self, waiter: Waiter, streams: Mapping[str, StreamView]) -> None:
        """Have *waiter* look again; called as `post` is, and before it is shown anything else."""
        self._mailbox.put(_Missed(waiter, streams))

    def check(self) -> None:
        """Raise if nobody may wait here any more. Takes no lock.

        Raises:
            ClosedError: The monitor was closed.
        """
        if self._closed:
            raise ClosedError("the monitor was closed; wait before closing it")

    def register(self, waiter: Waiter) -> None:
        """Have the events of its streams posted for *waiter*, which is shown those after its `since`.

        It is ended when it is decided or due.

        Raises:
            ClosedError: The monitor was closed.
            FailedPreconditionError: The caller runs on the dispatcher's own thread.
            ResourceExhaustedError: There is no thread for the dispatcher.
        """
        if threading.current_thread() is self._thread:
            raise FailedPreconditionError(
                f"a wait on the thread {self._thread.name!r}, which ends waits, would never end;"
                " wait on a thread of yours"
            )
        with self._lock:
            self.check()
            if self._thread is None:
                # Started under the lock so that `close` never misses a thread in the making.
                self._thread = spawn("monitor-waits", self._run, owner=self)
            waiter.registered = True
            names = waiter.answer.question.names
            if names is None:
                self._everywhere[waiter] = None
            for name in names or ():
                self._waiters.setdefault(name, {})[waiter] = None
            if waiter.deadline is not None and self._deadlines.add(waiter, waiter.deadline):
                self._mailbox.put(_Look())

    def withdraw(self, waiter: Waiter) -> None:
        """Forget *waiter* without a word to it. Those unknown are ignored."""
        if waiter.registered:
            with self._lock:
                self._remove_locked(waiter)

    def close(self) -> Thread | None:
        """Admit no one, and end every wait; return the thread that does it, if there is one."""
        with self._lock:
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
                if isinstance(item, (_Seen, _Missed)):
                    self._end(self._decided(item), Verdict.DECIDED)
                if deadline is not None:
                    self._end(self._due(), Verdict.EXPIRED)
            except BaseException:  # noqa: BLE001 -- others still wait for their events
                _log.exception("the dispatcher could not handle %s", item)
            del item  # a frame pins what it names; see docs/concurrency.md
        self._end(self._all_waiters(), Verdict.CLOSED)
        self._finish()

    def _next_deadline(self) -> float | None:
        with self._lock:
            return self._deadlines.next()

    def _decided(self, item: _Seen | _Missed) -> list[Waiter]:
        """Show *item* to those whom it concerns; return whose waits are over, and stir the others."""
        if isinstance(item, _Missed):
            return self._decided_meanwhile(item)
        with self._lock:
            waiters = (*self._waiters.get(item.view.name, ()), *self._everywhere)
        decided: list[Waiter] = []
        told: list[Waiter] = []
        for one in waiters:
            if one.since >= item.number:
                continue
            if one.answer.see(item.view):
                decided.append(one)
            elif one.course is not None:
                told.append(one)
        self._stir(told, {item.view.name: item.view})
        return decided

    def _decided_meanwhile(self, item: _Missed) -> list[Waiter]:
        waiter, streams = item
        if not waiter.registered:
            return []
        if waiter.answer.look(streams):
            return [waiter]
        names = waiter.answer.question.names
        known = streams if names is None else names
        self._stir([waiter], {name: streams.get(name) or StreamView(name) for name in known})
        return []

    def _due(self) -> list[Waiter]:
        now = self._clock.monotonic()
        with self._lock:
            return self._deadlines.take_due(now)

    def _all_waiters(self) -> list[Waiter]:
        with self._lock:
            several = (self._everywhere, *self._waiters.values())
            return list(dict.fromkeys(waiter for some in several for waiter in some))

    def _end(self, waiters: Iterable[Waiter], verdict: Verdict) -> None:
        tasks: list[TaskWaiter] = []
        for waiter in waiters:
            self.withdraw(waiter)
            if isinstance(waiter, TaskWaiter):
                tasks.append(waiter)
            else:
                _end_one(waiter, verdict)
        for loop, some in by_loop(tasks).items():
            end_tasks(loop, some, verdict)

    def _stir(self, waiters: Iterable[Waiter], views: Mapping[str, StreamView]) -> None:
        """Have those who tell of their progress tell of *views*; who is about to tell needs no stir."""
        stirred = [one for one in waiters if one.course is not None and one.course.put(views)]
        for waiter in stirred:
            if not isinstance(waiter, TaskWaiter):
                waiter.stir()
        for loop, some in by_loop(one for one in stirred if isinstance(one, TaskWaiter)).items():
            stir_tasks(loop, some)

    def _remove_locked(self, waiter: Waiter) -> None:
        self._everywhere.pop(waiter, None)
        for name in waiter.answer.question.names or ():
            waiters = self._waiters.get(name, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiters.pop(name, None)
        self._deadlines.discard(waiter)
        waiter.registered = False


def _end_one(waiter: Waiter, verdict: Verdict) -> None:
    try:
        waiter.end(verdict)
    except BaseException:  # noqa: BLE001 -- no thread for a callback, say; the others end all the same
        _log.exception("a wait could not be ended: %s", waiter)
