"""The lines that workers write, on their way to whoever wants them."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Final, final

from servman.forks import watch
from servman.log import Log
from servman.threads import join, spawn

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.ids import ServableId
    from servman.threads import Thread
    from servman.workers.options import LogCallback

_log = Log("servman.workers")

MOST: Final = 10_000
"""Lines that wait for a slow receiver; later ones are lost, and it is told how many."""


@final
class LineDelivery:
    """Hands lines to a callback, or to the logger "servman.workers", on a thread of its own.

    Whoever is slow or raises keeps no worker from writing: it loses lines, and is told so by one more.

    Args:
        id: The version.
        receive: The callback; the logger when None.
        clock: The time.

    Threads: any; the thread starts with the first line.
    """

    def __init__(self, id: ServableId, receive: LogCallback | None, clock: Clock) -> None:
        self._id = id
        self._receive = receive or _write
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards everything below
        self._lines: collections.deque[tuple[int, str]] = collections.deque()
        self._lost: collections.Counter[int] = collections.Counter()
        self._thread: Thread | None = None
        self._closed = False

    def put(self, index: int, line: str) -> None:
        """Deliver a line of the worker *index* soon. Never blocks.

        Raises:
            ResourceExhaustedError: There is no thread for it; the line is kept for when there is.
        """
        if self._thread is None:
            watch(self)  # before its lock is taken on the way to a thread; see `forks`
        with self._changed:
            if len(self._lines) < MOST:
                self._lines.append((index, line))
            else:
                self._lost[index] += 1
            if self._thread is None and not self._closed:
                self._thread = spawn(f"log-{self._id}", self._run, owner=self)
            self._changed.notify()

    def close(self, deadline: float | None) -> bool:
        """Deliver what is there and end; return whether it has, by *deadline*. Idempotent.

        Blocks: until then, but not where the callback itself calls it.
        """
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify()
        if thread is None or thread is threading.current_thread():
            return True
        return join(thread, self._clock, deadline)

    def _run(self) -> None:
        while (line := self._next()) is not None:
            try:
                self._receive(str(self._id), *line)
            except BaseException:  # noqa: BLE001 -- foreign code; the next lines are delivered
                _log.exception("%s: the log callback raised", self._id)

    def _next(self) -> tuple[int, str] | None:
        with self._changed:
            while not self._lines and not self._lost and not self._closed:
                self._changed.wait()
            if self._lines:
                return self._lines.popleft()
            if self._lost:
                index, count = self._lost.popitem()
                return index, f"({count} lines were lost: the log callback is too slow)"
            return None


def _write(id: str, index: int, line: str) -> None:
    _log.info("%s: worker %d: %s", id, index, line)
