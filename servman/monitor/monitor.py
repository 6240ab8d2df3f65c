"""`ServableStateMonitor`: which version is in which state, and waiting until it is in another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import ClosedError, InvalidArgumentError
from servman.forks import tie, watch
from servman.ids import AnyRequest, ServableId
from servman.log import Log
from servman.monitor.dispatcher import Dispatcher
from servman.monitor.explanation import explain
from servman.monitor.goals import Answer, Question, Requests
from servman.monitor.history import History, live
from servman.monitor.result import WaitResult, conclude, unavailable
from servman.monitor.waiting import (
    Notification,
    TaskWaiter,
    ThreadWaiter,
    Verdict,
    Waiter,
)
from servman.state import ManagerState, ServableState
from servman.threads import WorkerPool, join, refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.events import Event, EventBus
    from servman.ids import ServableRequest
    from servman.reasons import Explainer, Reason

_log = Log(__name__)

_CALLBACK_THREADS = 4


@final
class ServableStateMonitor:
    """Records what the event bus carries, answers from it, and lets callers wait for it.

    1. When `EventBus.publish` returns, every getter and every wait that begins knows the event.
    2. A wait for AVAILABLE is decided by what is aspired now: a failure of an earlier time, a cancelled
       load or an unloaded version does not end it. It may begin before the model is configured.
    3. A state that is only passed through while a wait lasts is not missed, unless the deadline comes
       before the monitor's thread has looked at it.
    4. A wait that timed out, failed or was cancelled leaves nothing behind. It holds no lock that a
       publisher, a loader or a source needs, and no foreign code runs under a lock.
    5. What has ended does not accumulate: of each stream the ended versions that are still aspired are
       kept, and the last few others, and of the streams that hold no more than such others the last
       thousand.

    It knows nothing of what was published before it was made: make it before the manager starts.

    Args:
        bus: Where the events come from.
        log_capacity: How many of the last states `get_log` returns; 0 keeps none.
        ended_capacity: How many versions of a stream that ended and are not aspired are remembered,
            1 at least: a wait for END has to see it.
        ended_streams_capacity: How many streams are remembered, 1 at least, that hold nothing but
            such versions; those that ended first are forgotten first.
        clock: Where deadlines come from.

    Threads: any. Getters and waits with a timeout of 0 take no lock, so that signal handlers and
        finalisers may call them, but nothing else here: the thread that they interrupt may hold it.

    Raises:
        InvalidArgumentError: A capacity is no int, or too small.
    """

    def __init__(
        self,
        bus: EventBus,
        *,
        log_capacity: int = 1000,
        ended_capacity: int = 10,
        ended_streams_capacity: int = 1000,
        clock: Clock | None = None,
    ) -> None:
        self._bus = bus
        self._clock: Clock = clock or SystemClock()
        self._pool = WorkerPool("monitor-notify", _CALLBACK_THREADS, self._clock)
        self._lock = threading.Lock()  # guards writing the history, and replacing the tuple below
        self._history = History(log_capacity, ended_capacity, ended_streams_capacity)
        self._dispatcher = Dispatcher(self._clock)
        self._explainers: tuple[Explainer, ...] = ()  # replaced, never changed
        bus.attach(self)
        tie(self, bus)

    def record(self, event: Event) -> None:
        """Write *event* down and have those who wait for its stream look; called by the bus."""
        with self._lock:
            view = self._history.record(event)
            self._dispatcher.post(self._history.number, view)

    def close(self, timeout: float | None = 30.0) -> None:
        """Record no more, and end every running and later wait with `ClosedError`.

        Callbacks that have not begun are dropped. Getters keep answering. Idempotent. Not for signal
        handlers and finalisers.

        Blocks: until running callbacks have returned, for *timeout* seconds at most (None: for ever).

        Raises:
            InvalidArgumentError: *timeout* is not one; nothing was closed.
            FailedPreconditionError: The caller is one of servman's own threads, a callback say.
        """
        refuse_own_thread("ServableStateMonitor.close()")
        deadline = deadline_after(self._clock, timeout)
        self._bus.detach(self)
        dispatcher = self._dispatcher.close()
        self._pool.close()
        if dispatcher is not None:
            join(dispatcher, self._clock, deadline)
        if not self._pool.join(deadline):
            _log.warning("a callback of notify_when did not return within %s s", timeout)

    def get_state(self, id: ServableId) -> ServableState | None:
        """Return the last state of *id*, or None where none is remembered.

        Raises:
            InvalidArgumentError: It is no `ServableId`.
        """
        if not isinstance(id, ServableId):
            raise InvalidArgumentError(
                f"a version is named by a ServableId(name, version), not {id!r}"
            )
        return self._history.view(id.name).states.get(id.version)

    def get_version_states(self, name: str) -> dict[int, ServableState]:
        """Return the last state of each version of *name*, highest version first."""
        return self._history.states(name)

    def get_all_states(self) -> dict[str, dict[int, ServableState]]:
        """Return the last states of every stream that has any, highest version first."""
        return self._history.all_states()

    def get_live_states(self) -> dict[str, dict[int, ServableState]]:
        """Return the states of the versions that have not ended, highest version first."""
        states = {name: live(versions) for name, versions in self.get_all_states().items()}
        return {name: versions for name, versions in states.items() if versions}

    def get_available_names(self) -> frozenset[str]:
        """Return the streams of which at least one version is AVAILABLE."""
        return frozenset(
            name
            for name, versions in self.get_all_states().items()
            if any(one.manager_state is ManagerState.AVAILABLE for one in versions.values())
        )

    def get_log(self) -> list[ServableState]:
        """Return the last states that were published, oldest first, at most `log_capacity`."""
        return self._history.log()

    def forget_ended(self) -> None:
        """Drop the versions that ended and are not aspired."""
        for name in self._history.names():
            with self._lock:  # anew for each stream, so that no publisher waits for all of them
                self._history.forget_ended(name)

    def add_explainer(self, explainer: Explainer) -> None:
        """Ask *explainer*, after those added before it, why a request is not satisfied.

        It is called on threads that wait or call back, with no lock held. One that raises is logged
        and passed over.
        """
        with self._lock:
            self._explainers = (*self._explainers, explainer)

    def wait_until(
        self,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
    ) -> WaitResult:
        """Wait until every request is decided: it came to *goal*, or it will not.

        Args:
            requests: One request or several; without any, the wait is over and reached at once.
            goal: The state to wait for.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.

        Blocks: until decided or timed out.
        Threads: any but the monitor's dispatcher; callbacks and subscribers may.
            Signal handlers and finalisers may with a timeout of 0 only.

        Raises:
            InvalidArgumentError: A request, the goal or the timeout is not one.
            ClosedError: The monitor was closed, before or during the wait.
        """
        return self._conclude(self._wait(Question.of(requests, goal), timeout))

    def wait_until_available(
        self, *requests: AnyRequest, timeout: float | None = None
    ) -> dict[ServableRequest, ServableId]:
        """Wait until every request is AVAILABLE; return which version each came to mean.

        Args:
            requests: What to wait for; without any, returns at once.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.

        Blocks: until all are available, the first has failed, or the time is up.
        Threads: any but the monitor's dispatcher; callbacks and subscribers may.
            Signal handlers and finalisers may with a timeout of 0 only.

        Raises:
            ServableUnavailableError: A version that is wanted has failed.
            WaitTimeoutError: The time was up. Both tell what is missing and why.
            InvalidArgumentError: A request or the timeout is not one.
            ClosedError: The monitor was closed, before or during the wait.
        """
        question = Question.of(requests, ManagerState.AVAILABLE, fail_fast=True)
        return self._available(self._wait(question, timeout), timeout)

    async def wait_until_async(
        self,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
    ) -> WaitResult:
        """Wait as `wait_until` does, without blocking the loop. Cancelling the task ends the wait."""
        return self._conclude(await self._wait_async(Question.of(requests, goal), timeout))

    async def wait_until_available_async(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
    ) -> dict[ServableRequest, ServableId]:
        """Wait as `wait_until_available` does, without blocking the loop."""
        question = Question.of(requests, ManagerState.AVAILABLE, fail_fast=True)
        return self._available(await self._wait_async(question, timeout), timeout)

    def notify_when(
        self, requests: Requests, goal: ManagerState, callback: Callable[[WaitResult], None]
    ) -> Notification:
        """Call *callback* once, when every request is decided, or now if it is.

        Args:
            requests: One request or several.
            goal: The state to wait for.
            callback: Called with the result, on a thread of the monitor's; four may run at once. What it
                raises is logged. It may call anything of servman's but `close` of what runs it.

        Threads: any; not signal handlers and finalisers.

        Returns:
            What calls it off: close it, or use it as a context manager. It may be dropped.

        Raises:
            InvalidArgumentError: A request or the goal is not one, or *callback* cannot be called.
            ClosedError: The monitor was closed.
        """
        if not callable(callback):
            raise InvalidArgumentError(f"a callback is something to call, not {callback!r}")
        notification = Notification(
            Question.of(requests, goal),
            callback,
            pool=self._pool,
            clock=self._clock,
            conclude=self._conclude,
            withdraw=self._dispatcher.withdraw,
        )
        watch(self)
        watch(notification)
        if self._begin(notification):
            notification.end(Verdict.DECIDED)
        return notification

    def _wait(self, question: Question, timeout: float | None) -> Answer:
        deadline = deadline_after(self._clock, timeout)
        waiter = ThreadWaiter(question, self._clock)
        try:
            if self._begin(waiter, lasting=timeout != 0):
                return waiter.answer
            return self._finish(waiter, waiter.wait(deadline))
        finally:
            self._dispatcher.withdraw(waiter)

    async def _wait_async(self, question: Question, timeout: float | None) -> Answer:  # noqa: ASYNC109 -- see above
        waiter = TaskWaiter(question, deadline_after(self._clock, timeout))
        try:
            if self._begin(waiter, lasting=timeout != 0):
                return waiter.answer
            return self._finish(waiter, await waiter.future)
        finally:
            self._dispatcher.withdraw(waiter)

    def _begin(self, waiter: Waiter, *, lasting: bool = True) -> bool:
        """Show *waiter* what is recorded; return whether the wait is over, else it goes on."""
        self._dispatcher.check()
        number = self._history.number
        if self._look(waiter.answer) or not lasting:
            return True
        watch(self)
        self._dispatcher.register(waiter)
        with self._lock:
            waiter.since = self._history.number
            if waiter.since != number:
                streams = self._history.at_one_moment(waiter.answer.question.streams)
                self._dispatcher.post_missed(waiter, streams)
        return False

    def _finish(self, waiter: Waiter, verdict: Verdict) -> Answer:
        if verdict is Verdict.CLOSED:
            raise ClosedError("the monitor was closed during the wait")
        if verdict is Verdict.DECIDED:
            return waiter.answer
        # The dispatcher may be writing to the waiter's own answer, and may be behind.
        answer = Answer(waiter.answer.question)
        self._look(answer)
        return answer

    def _look(self, answer: Answer) -> bool:
        return answer.look(self._history.at_one_moment(answer.question.streams))

    def _available(
        self, answer: Answer, timeout: float | None
    ) -> dict[ServableRequest, ServableId]:
        result = self._conclude(answer)
        if not result:
            raise unavailable(answer, result, timeout)
        return {request: answer.decisions[request].state.id for request in answer.question.requests}

    def _conclude(self, answer: Answer) -> WaitResult:
        return conclude(answer, self._explain)

    def _explain(self, request: ServableRequest) -> Reason:
        for explainer in self._explainers:
            try:
                reason = explainer.explain(request)
            except Exception:  # noqa: BLE001 -- foreign code; the next one is asked
                _log.exception("%r could not explain %s", explainer, request)
            else:
                if reason is not None:
                    return reason
        return explain(request, self._history.view(request.name), self._clock.wall())
