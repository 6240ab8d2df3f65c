"""Tasks of asyncio loops that wait, and how those of one loop are told by one call to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, final

from servman.log import Log
from servman.monitor.waiting import Verdict, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from servman.monitor.answer import Asked
    from servman.monitor.progress import Course

_log = Log(__name__)


@final
class TaskWaiter(Waiter):
    """A task of an asyncio loop that awaits `future`. Made on the loop's own thread."""

    def __init__(
        self, question: Asked, deadline: float | None, course: Course | None = None
    ) -> None:
        super().__init__(question, deadline, course)
        self.loop: Final = asyncio.get_running_loop()
        self.future: Final[asyncio.Future[Verdict]] = self.loop.create_future()

    def end(self, verdict: Verdict) -> None:
        """Complete the future, on the loop's thread."""
        end_tasks(self.loop, [self], verdict)

    def stir(self) -> None:
        """Have the course report on the loop's thread."""
        stir_tasks(self.loop, [self])

    def report(self) -> None:
        """Tell how far the wait has come; called on the loop's thread."""
        if self.course is not None:
            self.course.report()


def by_loop(waiters: Iterable[TaskWaiter]) -> dict[asyncio.AbstractEventLoop, list[TaskWaiter]]:
    """Return *waiters* by their loops."""
    loops: dict[asyncio.AbstractEventLoop, list[TaskWaiter]] = {}
    for waiter in waiters:
        loops.setdefault(waiter.loop, []).append(waiter)
    return loops


def end_tasks(
    loop: asyncio.AbstractEventLoop, waiters: Sequence[TaskWaiter], verdict: Verdict
) -> None:
    """End waiters of one loop with one call to it: each call writes to the loop's socket."""

    def complete() -> None:
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_result(verdict)

    _call(loop, complete, len(waiters))


def stir_tasks(loop: asyncio.AbstractEventLoop, waiters: Sequence[TaskWaiter]) -> None:
    """Have the courses of waiters of one loop report, with one call to it."""

    def report() -> None:
        for waiter in waiters:
            waiter.report()

    _call(loop, report, len(waiters))


def _call(loop: asyncio.AbstractEventLoop, act: Callable[[], None], count: int) -> None:
    try:
        loop.call_soon_threadsafe(act)
    except Exception as error:  # noqa: BLE001 -- a loop closed meanwhile, or a foreign one
        # As text: the frames of the error would pin the waiters to the log record.
        _log.warning("an event loop with %d waits takes no calls: %s", count, str(error))
