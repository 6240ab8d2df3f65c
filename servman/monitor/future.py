"""Waits whose result is a future."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, final

from servman.errors import ResourceExhaustedError, ServmanError, WaitTimeoutError, settled
from servman.forks import watch
from servman.monitor.result import WaitResult
from servman.monitor.waiting import Verdict, Waiter
from servman.threads import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.monitor.goals import Question

_CALLBACK_THREADS: Final = 4


@final
class WaitFuture(Future[WaitResult]):
    """The result of a wait, once it is over. Cancelling it withdraws the wait.

    Its callbacks run on threads of the monitor's, so that none of them can hold up another wait. Each
    call of `result` or `exception` has an error of its own, since one that is raised collects frames.

    Threads: any.
    """

    def __init__(self, run: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._run = run
        self._withdraw: Callable[[], None] | None = None
        self._ending = threading.Lock()  # taken by who ends it, and never released
        watch(self)  # in a forked child nobody would ever end it

    def withdraw_by(self, withdraw: Callable[[], None]) -> None:
        """Have *withdraw* called when it is cancelled; called by the monitor."""
        self._withdraw = withdraw

    def end(self, outcome: WaitResult | ServmanError) -> None:
        """Be told how it has ended; called by the monitor. Whoever has cancelled it came first."""
        self._withdraw = None  # it need not be kept for what is over
        if not self._ending.acquire(blocking=False) or not self.set_running_or_notify_cancel():
            return
        if isinstance(outcome, WaitResult):
            self.set_result(outcome)
        else:
            self.set_exception(outcome)

    def cancel(self) -> bool:
        """Withdraw the wait, unless it is over; return whether it was withdrawn."""
        if not super().cancel():
            return False
        if self._ending.acquire(blocking=False):
            self.set_running_or_notify_cancel()  # for those who wait for several futures
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None:
            withdraw()
        return True

    def result(self, timeout: float | None = None) -> WaitResult:
        """Wait until the wait is over, and return its result; see `Future`. The timeout is real time.

        Raises:
            ClosedError: The monitor was closed during the wait.
            WaitTimeoutError: The wait is not over yet, which is a `TimeoutError`.
            CancelledError: It was cancelled.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return super().result()

    def exception(self, timeout: float | None = None) -> ServmanError | None:
        """Wait until the wait is over, and return what has ended it instead of a result, if anything."""
        try:
            error = super().exception(timeout)
        except TimeoutError:
            raise WaitTimeoutError(f"the wait is not over after {timeout:g} s") from None
        return None if error is None else settled(error)

    def add_done_callback(self, fn: Callable[[Future[WaitResult]], object]) -> None:
        """Have *fn* called with this future once it is done, on a thread of the monitor's.

        Four may run at once. Where the monitor was closed it is called at once, on the thread that calls
        this.
        """
        super().add_done_callback(lambda _: self._run(functools.partial(_call, fn, self)))


def _call(fn: Callable[[Future[WaitResult]], object], future: WaitFuture) -> None:
    fn(future)


@final
class FutureWaiter(Waiter):
    """Ends a future when the wait is over."""

    def __init__(
        self,
        question: Question,
        deadline: float | None,
        futures: Futures,
        result: Callable[[Waiter, Verdict], WaitResult],
    ) -> None:
        super().__init__(question, deadline)
        self.future: Final = WaitFuture(futures.call_back)
        self._futures = futures
        self._result = result

    def end(self, verdict: Verdict) -> None:
        """Have the result made and told: not here, for it asks explainers, which are foreign."""
        self._futures.finish_one(functools.partial(self._end_there, verdict))

    def end_here(self, verdict: Verdict) -> None:
        """Make the result and tell it, on this thread."""
        self.future.end(self._result(self, verdict))

    def _end_there(self, verdict: Verdict) -> None:
        try:
            self.end_here(verdict)
        except BaseException as error:  # noqa: BLE001 -- whoever waits for the future must not do so for ever
            self.future.end(settled(error))


@final
class Futures:
    """The threads that end futures, and those that call back.

    They are not the same: what a callback waits for may be another future.

    Threads: any.
    """

    def __init__(self, clock: Clock) -> None:
        self._results = WorkerPool("monitor-results", 1, clock)
        self._callbacks = WorkerPool("monitor-futures", _CALLBACK_THREADS, clock)

    def finish_one(self, job: Callable[[], None]) -> None:
        """Run *job*, which ends a future."""
        _run(self._results, job)

    def call_back(self, job: Callable[[], None]) -> None:
        """Run *job*, which is foreign."""
        _run(self._callbacks, job)

    def finish(self) -> None:
        """End the futures that are to end, then have the last callbacks called. Never blocks."""
        _run(self._results, self._callbacks.finish)
        self._results.finish()

    def join(self, deadline: float | None) -> bool:
        """Wait until all that is done, or for *deadline*; return whether it is."""
        return self._results.join(deadline) and self._callbacks.join(deadline)


def _run(pool: WorkerPool, job: Callable[[], None]) -> None:
    """Run *job* on *pool*, or here where the pool has ended or there is no thread for it: never not."""
    try:
        accepted = pool.submit(job)
    except ResourceExhaustedError:
        accepted = False
    if not accepted:
        job()
