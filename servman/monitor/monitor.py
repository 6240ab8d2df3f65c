"""`ServableStateMonitor`: which version is in which state, and waiting until it is in another."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import InvalidArgumentError
from servman.forks import tie, watch
from servman.ids import AnyRequest, ServableId, check_id
from servman.log import Log
from servman.monitor.dispatcher import Dispatcher
from servman.monitor.future import Futures, WaitFuture
from servman.monitor.goals import Question, Requests
from servman.monitor.history import History, live
from servman.monitor.notification import Notification
from servman.monitor.settlement import Settlement
from servman.monitor.waiting import Verdict
from servman.monitor.waits import Waits
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from servman.threads import WorkerPool, join, refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servman.events import Event, EventBus
    from servman.ids import ServableRequest
    from servman.monitor.progress import WaitProgress
    from servman.monitor.result import WaitResult
    from servman.reasons import Explainer

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
            such versions, or were aspired empty; those that ended first are forgotten first.
        labels: Whether requests by label ("m@stable") are understood: what publishes on the bus tells of
            labels, as the manager of a `ServerCore` does. Otherwise they are refused.
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
        labels: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._bus = bus
        self._clock: Clock = clock or SystemClock()
        self._pool = WorkerPool("monitor-notify", _CALLBACK_THREADS, self._clock)
        self._lock = threading.Lock()  # guards writing the history, and who explains
        self._history = History(log_capacity, ended_capacity, ended_streams_capacity)
        self._futures = Futures(self._clock)
        self._dispatcher = Dispatcher(self._clock, self._futures.finish)
        self._waits = Waits(self, self._history, self._lock, self._dispatcher, self._clock)
        self._labels = labels
        bus.attach(self)
        tie(self, bus)

    def record(self, event: Event) -> None:
        """Write *event* down and have those who wait for its stream look; called by the bus."""
        with self._lock:
            view = self._history.record(event)
            self._dispatcher.post(self._history.number, view)

    def close(self, timeout: float | None = 30.0) -> None:
        """Record no more, and end every running and later wait with `ClosedError`.

        Callbacks of `notify_when` that have not begun are dropped; those of futures are called. Getters keep
        answering. Idempotent. Not for signal handlers and finalisers.

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
        else:
            self._futures.finish()
        if not (self._pool.join(deadline) and self._futures.join(deadline)):
            _log.warning("a callback of a wait did not return within %s s", timeout)

    def get_state(self, id: ServableId) -> ServableState | None:
        """Return the last state of *id*, or None where none is remembered.

        Raises:
            InvalidArgumentError: It is no `ServableId`.
        """
        check_id(id)
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

    def get_aspirations(self) -> dict[str, StreamAspiration]:
        """Return what is aspired of every stream for which anything was aspired last."""
        return {
            name: StreamAspiration(name, view.aspired)
            for name, view in self._history.at_one_moment(None).items()
            if view.aspired
        }

    def get_labels(self) -> dict[str, StreamLabels]:
        """Return the labels of every stream that has any."""
        return {
            name: StreamLabels(name, view.labels, view.targets)
            for name, view in self._history.at_one_moment(None).items()
            if view.labels or view.targets
        }

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
        self._waits.add_explainer(explainer)

    def wait_until(
        self,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait until every request is decided: it came to *goal*, or it will not.

        Args:
            requests: One request or several; without any, the wait is over and reached at once.
            goal: The state to wait for.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.
            count: How many have to come to the goal, 1 for any of them: the wait ends when they have, or
                when so many no longer can, for too many have failed. None: all, and the wait goes on until
                each is decided.
            progress: Called when the wait begins, and when what is decided or the state of what is pending
                has changed, on this thread and with no lock held. While it runs nothing is queued up: it
                is called once for what has changed meanwhile. What it raises is logged. A slow one
                delays this wait, also beyond its deadline, and no other.

        Blocks: until decided or timed out.
        Threads: any but the monitor's dispatcher; callbacks and subscribers may.
            Signal handlers and finalisers may with a timeout of 0 only.

        Raises:
            InvalidArgumentError: A request, the goal, the timeout, the count or the callback is not one.
            ClosedError: The monitor was closed, before or during the wait.
        """
        question = Question.of(requests, goal, count=count, labels=self._labels)
        return self._waits.conclude(self._waits.wait(question, timeout, progress))

    def wait_until_available(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Wait until every request is AVAILABLE; return which version each came to mean.

        Args:
            requests: What to wait for; without any, returns at once.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.
            count: How many have to be available, 1 for any of them; None for all. Only those that are
                will be in what is returned.
            progress: As with `wait_until`.

        Blocks: until as many are available or no longer can be (of all: the first has failed), or the time
            is up.
        Threads: any but the monitor's dispatcher; callbacks and subscribers may.
            Signal handlers and finalisers may with a timeout of 0 only.

        Raises:
            ServableUnavailableError: A version that is wanted has failed.
            WaitTimeoutError: The time was up. Both tell what is missing and why.
            InvalidArgumentError: A request, the timeout, the count or the callback is not one.
            ClosedError: The monitor was closed, before or during the wait.
        """
        question = self._all_available(requests, count)
        return self._waits.available(self._waits.wait(question, timeout, progress), timeout)

    def wait_until_settled(
        self,
        names: str | Iterable[str] = (),
        *,
        timeout: float | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait until nothing is on its way in these streams.

        Every version that is aspired is AVAILABLE or has failed, and every other one has ended. What is
        held back, waits for a retry, or is only kept by open handles has not settled.

        Args:
            names: The streams; a name that nobody has ever aspired is pending until the deadline. Without
                any: all that are known at each moment, which is none before the first is aspired.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.
            progress: As with `wait_until`.

        Blocks: until settled or timed out.
        Threads: as `wait_until`.

        Returns:
            What is true where nothing has failed; `timed_out` tells that it has not settled. Its requests
            are versions, or the latest of a stream by name of which nothing is known.

        Raises:
            InvalidArgumentError: A name, the timeout or the callback is not one.
            ClosedError: The monitor was closed, before or during the wait.
        """
        return self._waits.conclude(self._waits.wait(Settlement.of(names), timeout, progress))

    async def wait_until_async(
        self,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait as `wait_until` does, without blocking the loop. Cancelling the task ends the wait.

        *progress* is called on the loop's thread, which it must not block.
        """
        question = Question.of(requests, goal, count=count, labels=self._labels)
        return self._waits.conclude(await self._waits.wait_async(question, timeout, progress))

    async def wait_until_available_async(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Wait as `wait_until_available` does, without blocking the loop."""
        question = self._all_available(requests, count)
        answer = await self._waits.wait_async(question, timeout, progress)
        return self._waits.available(answer, timeout)

    async def wait_until_settled_async(
        self,
        names: str | Iterable[str] = (),
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait as `wait_until_settled` does, without blocking the loop."""
        answer = await self._waits.wait_async(Settlement.of(names), timeout, progress)
        return self._waits.conclude(answer)

    def wait_future(
        self,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
        count: int | None = None,
    ) -> WaitFuture:
        """Begin to wait as `wait_until` does; return a future of its result. Never blocks.

        It takes no thread, so that ten thousand at once are no burden. Cancelling it withdraws the wait;
        one that is dropped waits on until it is decided, or its time is up. Its callbacks run on threads
        of the monitor's, four at once, and may call anything of servman's but `close` of what runs them.

        Args:
            requests: One request or several.
            goal: The state to wait for.
            timeout: Seconds until the result says that the time was up; None: never, 0: at once.
            count: As with `wait_until`.

        Threads: any; not signal handlers and finalisers.

        Raises:
            InvalidArgumentError: A request, the goal, the timeout or the count is not one.
            ClosedError: The monitor was closed. If that happens later, the future raises it.
        """
        question = Question.of(requests, goal, count=count, labels=self._labels)
        return self._waits.wait_future(question, timeout, self._futures)

    def notify_when(
        self,
        requests: Requests,
        goal: ManagerState,
        callback: Callable[[WaitResult], None],
        *,
        count: int | None = None,
    ) -> Notification:
        """Call *callback* once, when every request is decided, or now if it is.

        Args:
            requests: One request or several.
            goal: The state to wait for.
            callback: Called with the result, on a thread of the monitor's; four may run at once. What it
                raises is logged. It may call anything of servman's but `close` of what runs it.
            count: As with `wait_until`.

        Threads: any; not signal handlers and finalisers.

        Returns:
            What calls it off: close it, or use it as a context manager. It may be dropped.

        Raises:
            InvalidArgumentError: A request, the goal or the count is not one, or *callback* cannot be
                called.
            ClosedError: The monitor was closed.
        """
        if not callable(callback):
            raise InvalidArgumentError(f"a callback is something to call, not {callback!r}")
        notification = Notification(
            Question.of(requests, goal, count=count, labels=self._labels),
            callback,
            pool=self._pool,
            clock=self._clock,
            conclude=self._waits.conclude,
            withdraw=self._dispatcher.withdraw,
        )
        watch(self)
        watch(notification)
        if self._waits.begin(notification):
            notification.end(Verdict.DECIDED)
        return notification

    def _all_available(self, requests: Requests, count: int | None) -> Question:
        available = ManagerState.AVAILABLE
        return Question.of(requests, available, count=count, fail_fast=True, labels=self._labels)
