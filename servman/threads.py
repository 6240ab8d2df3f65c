"""The one file that starts threads: named, daemonic loops and pools.

`concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits, so a loader that
hangs would hold the host process; these threads are daemonic, and whoever closes what they belong
to decides how long to wait for them.
"""

from __future__ import annotations

import collections
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, final

from servman.errors import FailedPreconditionError, ResourceExhaustedError
from servman.forks import watch
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock

P = ParamSpec("P")
T = TypeVar("T")

_log = Log(__name__)

Thread = threading.Thread
"""The type of what `spawn` returns, for annotations elsewhere."""


class _OwnThread(threading.Thread):
    """A thread of servman's own, so that a call that would wait for itself can be refused."""


def spawn(name: str, run: Callable[[], None], *, owner: object) -> Thread:
    """Start a daemonic thread that runs *run* once.

    Args:
        name: What the thread is for, the telling part first (Linux shows 15 bytes of it).
        run: The loop; what it raises goes to `threading.excepthook`.
        owner: Of no use without the thread, and so refused in a child that is forked from now on.

    Raises:
        ResourceExhaustedError: The system has no thread left to give.
    """
    watch(owner)
    thread = _OwnThread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ResourceExhaustedError(
            f"the thread {name!r} cannot be started ({error}); end other threads of this process, or"
            " raise the limit of the system or the container"
        ) from error
    return thread


def refuse_own_thread(what: str) -> None:
    """Raise if the caller runs on a thread of servman's own, where *what* would wait for itself.

    Raises:
        FailedPreconditionError: It does; nothing was changed.
    """
    thread = threading.current_thread()
    if isinstance(thread, _OwnThread):
        raise FailedPreconditionError(
            f"{what} must not be called from servman's own thread {thread.name!r}, which it would"
            " wait for; call it from a thread of yours"
        )


def join(thread: Thread, clock: Clock, deadline: float | None) -> bool:
    """Wait until *thread* has ended or *deadline* has come; return whether it has ended.

    Blocks: as said. The thread is expected to be at its end, so the wait is real time.
    """
    timeout = None if deadline is None else max(0.0, deadline - clock.monotonic())
    thread.join(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
    return not thread.is_alive()


class Pool(Protocol):
    """Runs jobs, some time, in some thread."""

    def submit(self, job: Callable[[], None]) -> bool:
        """Run *job* soon; return whether it will be: not after `close`. Never blocks.

        Raises:
            ResourceExhaustedError: There is no thread to run it, and none to be had; it is not kept.
        """
        ...

    def resize(self, size: int) -> None:
        """Change how many jobs may run at once. A running job is never interrupted."""
        ...

    def close(self) -> None:
        """Let the running jobs finish, drop the queued ones, and start no more. Never blocks."""
        ...

    def join(self, deadline: float | None) -> bool:
        """Wait until every thread has ended, or for *deadline*; return whether they have."""
        ...


@final
class WorkerPool:
    """A pool of daemonic threads, started when there is work for them.

    A worker survives whatever a job raises (it is logged): report what matters from inside the job.

    Threads: any.
    """

    def __init__(self, name: str, size: int, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards everything below
        self._size = size
        self._closed = False
        self._jobs: collections.deque[Callable[[], None]] = collections.deque()
        self._idle = 0
        self._workers = 0
        self._started = 0
        self._threads: list[Thread] = []  # alive, or at their end and not yet joined

    def submit(self, job: Callable[[], None]) -> bool:
        """Run *job* soon, in a thread of the pool; see `Pool`."""
        with self._changed:
            if self._closed:
                return False
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            else:
                self._grow_for_locked(job)
        return True

    @property
    def size(self) -> int:
        """How many jobs may run at once."""
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether another job would have to wait, as far as can be told without a lock."""
        return self._workers >= self._size and self._idle <= len(self._jobs)

    def resize(self, size: int) -> None:
        """Let up to *size* jobs run at once from now on; surplus workers end after their job.

        With 0, jobs wait until there is room again. After `close` nothing happens.
        """
        with self._changed:
            if self._closed:
                return
            self._size = size
            for _ in self._jobs:
                self._grow_locked()
            # As many as are to end; to wake all of a thousand for one would take the machine for itself.
            self._changed.notify(max(0, self._workers - size))

    def finish(self) -> None:
        """Take no more jobs, and let the workers end when none is left. Never blocks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is queued and let the workers end; see `Pool`."""
        with self._changed:
            self._closed = True
            self._size = 0
            # Let go of after the lock: destructors of what the jobs hold are foreign code.
            dropped, self._jobs = self._jobs, collections.deque()
            self._changed.notify_all()
        del dropped

    def join(self, deadline: float | None) -> bool:
        """Wait for the workers to end; see `Pool`."""
        with self._changed:
            while self._workers:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return False
                self._clock.wait_until(self._changed, deadline)
            threads = list(self._threads)
        return all(join(thread, self._clock, None) for thread in threads)  # all at their end

    def _grow_for_locked(self, job: Callable[[], None]) -> None:
        try:
            self._grow_locked()
        except ResourceExhaustedError:
            if self._workers == 0:  # else one that is busy now takes the job up
                self._jobs.remove(job)
                raise

    def _grow_locked(self) -> None:
        if self._workers < self._size:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            # Started under the lock so that `join` never meets a thread that has not begun, and
            # counted afterwards because the system may have no thread left to give.
            name = f"{self._name}-{self._started + 1}"
            self._threads.append(spawn(name, self._work, owner=self))
            self._started += 1
            self._workers += 1

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                job()
            except BaseException:  # noqa: BLE001 -- foreign code; the worker survives
                _log.exception("a job of pool %s raised", self._name)
            del job  # a frame pins what it names; see docs/concurrency.md

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            while not self._jobs and not self._closed and self._workers <= self._size:
                self._changed.wait()
            self._idle -= 1
            if self._workers > self._size or not self._jobs:
                self._workers -= 1
                if not self._workers:
                    self._changed.notify_all()  # who joins waits for the last one
                return None
            return self._jobs.popleft()


@final
class WorkerExecutor(ThreadPoolExecutor):
    """Runs calls on a pool of ours, for those who ask for an executor, and, as grpc, for this very class.

    `submit` never raises, for what would raise there is the one thread that takes calls in: the first thread of
    the pool is started here, and where the system has no other left the calls wait for it.

    Args:
        pool: Where the calls run; whoever made it closes it.
        comes: Is told the arguments of each call that comes; what it returns is called before that, on its thread.
            None, from either: nothing.

    Threads: any.

    Raises:
        ResourceExhaustedError: The system has no thread for it.
    """

    def __init__(
        self, pool: Pool, comes: Callable[..., Callable[[], None] | None] | None = None
    ) -> None:
        super().__init__(max_workers=1)  # of which none is ever started
        self._pool = pool
        self._comes = comes
        pool.submit(lambda: None)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call *fn* soon, and return a future of what it returns; cancelled where the pool was closed."""
        future: Future[T] = Future()
        job = functools.partial(_fulfil, future, fn, args, kwargs)
        begins = None if self._comes is None else self._comes(*args)
        if begins is not None:
            job = functools.partial(_begin, begins, job)
        if not self._pool.submit(job):
            future.cancel()
        return future


def _begin(begins: Callable[[], None], job: Callable[[], None]) -> None:
    begins()
    job()


def _fulfil(future: Future[Any], call: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 -- whoever has the future is told
        future.set_exception(error)


@final
class CallingThread:
    """A pool that runs each job at once, on the thread that submits it.

    Threads: any.
    """

    def submit(self, job: Callable[[], None]) -> bool:
        """Run *job*; see `Pool`."""
        job()
        return True

    def resize(self, size: int) -> None:
        """Do nothing: there is one thread, the caller's."""

    def close(self) -> None:
        """Do nothing: nothing is queued."""

    def join(self, deadline: float | None) -> bool:
        """Return True: nothing runs."""
        del deadline
        return True
