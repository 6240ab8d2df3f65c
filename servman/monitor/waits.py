"""How a wait begins and ends, whoever waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.clock import deadline_after
from servman.errors import ClosedError
from servman.forks import watch
from servman.log import Log
from servman.monitor.answer import Answer
from servman.monitor.explanation import explain, explain_unsettled
from servman.monitor.future import FutureWaiter
from servman.monitor.progress import Course
from servman.monitor.result import WaitResult, conclude, unavailable
from servman.monitor.settlement import Settlement
from servman.monitor.tasks import TaskWaiter
from servman.monitor.waiting import ThreadWaiter, Verdict, Waiter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.ids import ServableId, ServableRequest
    from servman.monitor.answer import Asked
    from servman.monitor.dispatcher import Dispatcher
    from servman.monitor.future import Futures, WaitFuture
    from servman.monitor.goals import Question
    from servman.monitor.history import History
    from servman.monitor.progress import WaitProgress
    from servman.reasons import Explainer, Reason

_log = Log(__name__)


@final
class Waits:
    """Begins waits on what a monitor has recorded, and makes their results.

    Args:
        owner: The monitor, for forks.
        history: What it has recorded.
        lock: Held while the history is written.
        dispatcher: Who ends waits.
        clock: Where deadlines come from.

    Threads: any.
    """

    def __init__(
        self,
        owner: object,
        history: History,
        lock: threading.Lock,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
        self._owner = owner
        self._history = history
        self._lock = lock
        self._dispatcher = dispatcher
        self._clock = clock
        self._explainers: tuple[Explainer, ...] = ()  # replaced, never changed

    def add_explainer(self, explainer: Explainer) -> None:
        """Ask *explainer*, after those added before it, why a request is not satisfied."""
        with self._lock:
            self._explainers = (*self._explainers, explainer)

    def wait(
        self,
        question: Asked,
        timeout: float | None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> Answer:
        """Wait on this thread."""
        deadline = deadline_after(self._clock, timeout)
        waiter = ThreadWaiter(question, self._clock, Course.of(question, progress))
        try:
            if self.begin(waiter, lasting=timeout != 0):
                return _concluded(waiter, waiter.answer)
            return _concluded(waiter, self._finish(waiter, waiter.wait(deadline)))
        finally:
            self._leave(waiter)

    async def wait_async(
        self,
        question: Asked,
        timeout: float | None,  # noqa: ASYNC109 -- as the blocking form, on the injected clock
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> Answer:
        """Wait in this task."""
        deadline = deadline_after(self._clock, timeout)
        waiter = TaskWaiter(question, deadline, Course.of(question, progress))
        try:
            if self.begin(waiter, lasting=timeout != 0):
                return _concluded(waiter, waiter.answer)
            waiter.report()
            return _concluded(waiter, self._finish(waiter, await waiter.future))
        finally:
            self._leave(waiter)

    def wait_future(
        self, question: Question, timeout: float | None, futures: Futures
    ) -> WaitFuture:
        """Wait on nobody's thread."""
        deadline = deadline_after(self._clock, timeout)
        watch(self._owner)
        waiter = FutureWaiter(question, deadline, futures, self._result)
        waiter.future.withdraw_by(lambda: self._dispatcher.withdraw(waiter))
        if self.begin(waiter, lasting=timeout != 0):
            waiter.end_here(Verdict.DECIDED)
        return waiter.future

    def begin(self, waiter: Waiter, *, lasting: bool = True) -> bool:
        """Show *waiter* what is recorded; return whether the wait is over, else it goes on."""
        self._dispatcher.check()
        number = self._history.number
        names = waiter.answer.question.names
        if waiter.look(self._history.at_one_moment(names)) or not lasting:
            return True
        watch(self._owner)
        self._dispatcher.register(waiter)
        with self._lock:
            waiter.since = self._history.number
            if waiter.since != number:
                self._dispatcher.post_missed(waiter, self._history.at_one_moment(names))
        return False

    def conclude(self, answer: Answer) -> WaitResult:
        """Make the result of *answer*, with the reasons."""
        settles = isinstance(answer.question, Settlement)
        return conclude(answer, self._explain_unsettled if settles else self.explain)

    def available(self, answer: Answer, timeout: float | None) -> dict[ServableRequest, ServableId]:
        """Return which version each request has come to mean, or raise what says that it has not."""
        result = self.conclude(answer)
        if not result:
            raise unavailable(answer, result, timeout)
        decisions = answer.decisions.items()
        return {request: one.state.id for request, one in decisions if one.reached}

    def explain(self, request: ServableRequest) -> Reason:
        """Return why *request* is not satisfied: what the first explainer says that knows."""
        for explainer in self._explainers:
            try:
                reason = explainer.explain(request)
            except Exception:  # noqa: BLE001 -- foreign code; the next one is asked
                _log.exception("%r could not explain %s", explainer, request)
            else:
                if reason is not None:
                    return reason
        return explain(request, self._history.view(request.name), self._clock.wall())

    def _explain_unsettled(self, request: ServableRequest) -> Reason:
        return explain_unsettled(request, self.explain(request), self._history.view(request.name))

    def _result(self, waiter: Waiter, verdict: Verdict) -> WaitResult:
        return self.conclude(self._finish(waiter, verdict))

    def _finish(self, waiter: Waiter, verdict: Verdict) -> Answer:
        if verdict is Verdict.CLOSED:
            raise ClosedError("the monitor was closed during the wait")
        if verdict is Verdict.DECIDED:
            return waiter.answer
        # The dispatcher may be writing to the waiter's own answer, and may be behind.
        answer = Answer(waiter.answer.question)
        answer.look(self._history.at_one_moment(answer.question.names))
        return answer

    def _leave(self, waiter: Waiter) -> None:
        if waiter.course is not None:
            waiter.course.stop()
        self._dispatcher.withdraw(waiter)


def _concluded(waiter: Waiter, answer: Answer) -> Answer:
    """Return *answer* once its last progress was told."""
    if waiter.course is not None:
        waiter.course.conclude(answer)
    return answer
