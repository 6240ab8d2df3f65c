"""The demand that a servable has versions before anything is done with it."""

from __future__ import annotations

import functools
import queue
from typing import TYPE_CHECKING, Final, final

from servman.errors import FailedPreconditionError, NotFoundError
from servman.ids import ServableRequest
from servman.sources.look import PATIENCE, Lister, Look
from servman.sources.status import Findings
from servman.sources.versions import select
from servman.threads import CallingThread, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.clock import Clock
    from servman.sources.config import ServableToMonitor
    from servman.threads import Pool

_MOST_WORKERS: Final = 8
"""Looks at once, those of earlier checks included that hang."""


@final
class StartupCheck:
    """Looks at servables once, for whoever may not go on without their versions.

    Threads: any.
    """

    def __init__(self, lister: Lister, clock: Clock) -> None:
        self._lister = lister
        self._clock = clock
        self._hanging: list[Look] = []  # replaced, never changed

    def require_versions(self, servables: Sequence[ServableToMonitor], *, on_threads: bool) -> None:
        """Raise unless each of *servables* has versions that its policy chooses, complete or not.

        Blocks: until all have been looked at. With *on_threads*, which are gone or left behind when it returns,
            no longer than until none has answered for `PATIENCE`.

        Raises:
            NotFoundError: One has no versions, or no base path.
            FailedPreconditionError: The base path of one cannot be read, or hangs.
        """
        looks = {Look((one.name, one.base_path)): one for one in servables}
        if looks:
            self._look(list(looks), on_threads=on_threads)
        for look, servable in looks.items():
            _judge(look, servable)

    def _look(self, looks: list[Look], *, on_threads: bool) -> None:
        answered: queue.SimpleQueue[Look] = queue.SimpleQueue()
        pool = self._pool() if on_threads else CallingThread()
        try:
            for look in looks:
                pool.submit(functools.partial(self._answer, look, answered))
            self._wait(set(looks), answered)
        finally:
            pool.close()
            self._hanging = [look for look in (*self._hanging, *looks) if look.is_running]
        pool.join(None)  # all have answered, so its threads are at their end

    def _pool(self) -> Pool:
        hanging = [look for look in self._hanging if look.is_running]
        if len(hanging) >= _MOST_WORKERS:
            raise _hanging(hanging[0])
        return WorkerPool("source-startup", _MOST_WORKERS - len(hanging), self._clock)

    def _answer(self, look: Look, answered: queue.SimpleQueue[Look]) -> None:
        look.run(self._lister, self._clock)
        answered.put(look)

    def _wait(self, waiting: set[Look], answered: queue.SimpleQueue[Look]) -> None:
        deadline = self._clock.monotonic() + PATIENCE
        while waiting:
            look = self._clock.receive(answered, deadline)
            if look is not None:
                waiting.discard(look)
                deadline = self._clock.monotonic() + PATIENCE
            elif self._clock.monotonic() >= deadline:
                raise _hanging(min(waiting, key=lambda one: one.place))


def _hanging(look: Look) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"servable {look.name!r}: a look at base path {look.path} has not returned for {PATIENCE:g} s, so"
        " nobody knows whether versions are there, as fail_if_zero_versions_at_startup demands; check the"
        " storage that it is on"
    )


def _judge(look: Look, servable: ServableToMonitor) -> None:
    if look.failure is not None and look.failure.error is not None:
        raise look.failure.error
    selection = select(look.entries or (), servable.version_policy)
    if not selection.aspired:
        request = ServableRequest.latest(servable.name)
        reason = Findings(servable).explain_selection(request, selection)
        raise NotFoundError(str(reason), reason=reason)
