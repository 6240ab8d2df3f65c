"""Who waits for what a manager was asked: a future, or the thread that asked."""

from __future__ import annotations

import contextlib
import queue
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from servman.errors import ResourceExhaustedError, WaitTimeoutError, settled
from servman.forks import watch
from servman.log import Log
from servman.threads import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.errors import ServmanError
    from servman.threads import Pool

T = TypeVar("T")

_log = Log(__name__)

_CALLBACK_THREADS: Final = 4


@final
class FutureReply(Future[None]):
    """A future whose callbacks run on a pool, so that none of them can hold up the manager.

    It cannot be cancelled: what it waits for goes on all the same. Each call of `result` or `exception` has
    an error of its own, since one that is raised collects frames, and with them whatever these name.

    Threads: any.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        watch(self)  # in a forked child nobody would ever answer
        self.set_running_or_notify_cancel()

    def answer(self, error: ServmanError | None) -> None:
        """Be told how it has ended; see `Reply`."""
        with contextlib.suppress(InvalidStateError):
            if error is None:
                self.set_result(None)
            else:
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> None:
        """Wait until it is done; see `Future`. The timeout is real time.

        Raises:
            ServmanError: What was asked for has failed with this.
            WaitTimeoutError: It was not done in time, which is a `TimeoutError`.
        """
        error = self._outcome(timeout)
        if error is not None:
            raise settled(error)

    def exception(self, timeout: float | None = None) -> ServmanError | None:
        """Wait until it is done, and return what it has failed with, if it has; see `result`."""
        error = self._outcome(timeout)
        return None if error is None else settled(error)

    def _outcome(self, timeout: float | None) -> BaseException | None:
        try:
            return super().exception(timeout)
        except TimeoutError:
            raise WaitTimeoutError(
                f"it is not done after {timeout:g} s; snapshots tell how far it is, if the manager was started"
            ) from None

    def add_done_callback(self, fn: Callable[[Future[None]], object]) -> None:
        """Have *fn* called with this future once it is done, on a thread of the manager's.

        It is called at once, on the thread that calls this, where the manager was closed; and on the one that
        brings the answer, where the system has no thread to give.
        """

        def call() -> None:
            fn(self)

        def hand_over(_: Future[None]) -> None:
            try:
                accepted = self._pool.submit(call)
            except ResourceExhaustedError:
                _call_here(call)  # lost, it would be awaited for ever
                return
            if not accepted:
                call()  # the manager's thread has ended, so this is the thread of whoever adds it

        super().add_done_callback(hand_over)


def _call_here(call: Callable[[], None]) -> None:
    try:
        call()
    except (Exception, SystemExit):  # noqa: BLE001 -- foreign code; this may be the manager's thread
        _log.exception("a callback of a future raised")


@final
class Callbacks:
    """Makes the futures of a manager, and runs their callbacks on four threads, started when there are some.

    Threads: any.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = WorkerPool("callback", _CALLBACK_THREADS, clock)

    def reply(self) -> FutureReply:
        """Return a future that is yet to be answered."""
        return FutureReply(self._pool)

    def close(self, patience: float) -> None:
        """Let the callbacks that are due run, and end the threads, once every future is answered.

        Blocks: until then, or for *patience* seconds; a callback that has not returned by then is left behind.
        """
        self._pool.finish()
        if not self._pool.join(self._clock.monotonic() + patience):
            _log.warning("a callback of a future has not returned, and is left behind")


@final
class Rendezvous(Generic[T]):
    """Lets the thread that asked wait for the answer, by the clock of the manager.

    It has no lock: a signal handler that comes in the middle of a wait holds up nobody who answers.

    Args:
        take: Takes hold of what was asked for; called when it is there, on the thread that answers. So
            whoever waits gets it, even if it is found no more when that thread comes to run.

    Threads: any; `wait` by one, and once.
    """

    def __init__(self, take: Callable[[], T | None]) -> None:
        self._take = take
        self._answers: queue.SimpleQueue[tuple[ServmanError | None, T | None]] = queue.SimpleQueue()
        self._over = False

    def answer(self, error: ServmanError | None) -> None:
        """Be told how it has ended; see `Reply`."""
        self._answers.put((error, self._take() if error is None else None))
        if self._over:
            self._let_go()

    def wait(self, clock: Clock, deadline: float | None) -> T | None:
        """Wait for the answer or for *deadline* (None: for ever); return what was taken, or None.

        Raises:
            ServmanError: What was asked for has failed with this.
        """
        try:
            while (answer := clock.receive(self._answers, deadline)) is None:
                if deadline is not None and clock.monotonic() >= deadline:
                    return None
        finally:
            self._over = True
            self._let_go()
        error, taken = answer
        if error is not None:
            raise settled(error)  # a fresh copy for each thread: a raised exception collects frames
        return taken

    def _let_go(self) -> None:
        """Drop what nobody waits for: a traceback may keep this object, which then shall pin nothing."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._answers.get_nowait()
