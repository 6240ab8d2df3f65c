"""Who waits, and how it is told that the wait is over; here, a thread that blocks."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Final, final

from servman.monitor.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.clock import Clock
    from servman.monitor.answer import Asked
    from servman.monitor.progress import Course
    from servman.monitor.stream import StreamView


class Verdict(Enum):
    """Why a wait is over."""

    DECIDED = "decided"
    EXPIRED = "expired"
    CLOSED = "closed"


class Waiter(ABC):
    """One wait, while it lasts.

    Attributes:
        answer: How far it has come. It belongs to the thread that asks until `since` is set, then
            to the dispatcher, and after `end` to whoever was told.
        course: What tells of its progress, if somebody wants to be told.
        deadline: When the dispatcher ends the wait; None where it never does.
        registered: Whether the dispatcher knows it; set under its lock. Whoever leaves a wait reads
            it without the lock: what collects an abandoned coroutine may hold it.
        since: The number of the last event that it need not be shown; all of them at first.
    """

    def __init__(
        self, question: Asked, deadline: float | None = None, course: Course | None = None
    ) -> None:
        self.answer: Final = Answer(question)
        self.course: Final = course
        self.deadline: Final = deadline
        self.registered = False
        self.since: float = math.inf

    def look(self, streams: Mapping[str, StreamView]) -> bool:
        """See how all streams stand when the wait begins; return whether it is over."""
        if self.course is not None:
            self.course.look(streams)
        return self.answer.look(streams)

    @abstractmethod
    def end(self, verdict: Verdict) -> None:
        """Tell whoever waits that the wait is over. Called once, with no lock held. Never blocks."""

    def stir(self) -> None:  # noqa: B027 -- most waiters have no course
        """Have the course report on the thread that waits. Called as `end` is, and before it."""


@final
class ThreadWaiter(Waiter):
    """A thread that blocks."""

    def __init__(self, question: Asked, clock: Clock, course: Course | None = None) -> None:
        super().__init__(question, course=course)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._verdict: Verdict | None = None
        self._stirred = False

    def end(self, verdict: Verdict) -> None:
        """Wake the thread."""
        with self._changed:
            self._verdict = verdict
            self._changed.notify()

    def stir(self) -> None:
        """Wake the thread for a moment."""
        with self._changed:
            self._stirred = True
            self._changed.notify()

    def wait(self, deadline: float | None) -> Verdict:
        """Return why the wait is over; report its course while it lasts.

        Blocks: until `end` or *deadline*, and while the course is reported.
        """
        if self.course is not None:
            self.course.report()
        while (verdict := self._next(deadline)) is None:
            if self.course is not None:
                self.course.report()
        return verdict

    def _next(self, deadline: float | None) -> Verdict | None:
        """Wait for the end, and return why it has come, or for news, and return None."""
        with self._changed:
            while self._verdict is None:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return Verdict.EXPIRED
                if self._stirred:
                    self._stirred = False
                    return None
                self._clock.wait_until(self._changed, deadline)
            return self._verdict
