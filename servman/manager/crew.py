"""The crew: a manager's pools, and what is ordered of loaders there. Each order comes back as one event."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, final

from servman.errors import ResourceExhaustedError, settled
from servman.loader import CancelEvent
from servman.log import Log
from servman.manager import jobs
from servman.manager.harness import NO_REVISION
from servman.manager.messages import (
    EstimateReturned,
    LoadReturned,
    RevisionRead,
    ServableFailed,
    UnloadReturned,
)
from servman.worker_state import WorkerSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.effects import (
        ReadRevision,
        ResizePools,
        StartEstimate,
        StartLoad,
        StartUnload,
    )
    from servman.manager.messages import Event
    from servman.resources import ResourceAllocation
    from servman.threads import Pool

    Normalised = Callable[[ResourceAllocation], ResourceAllocation]
    # Makes the event of an order that has failed: with which error, and whether another attempt may do better.
    Failed = Callable[[ServmanError, bool], Event]

_log = Log(__name__)


@final
class _Attempt:
    """What is kept of the attempts of one incarnation: the threads that run them read and write it."""

    __slots__ = ("cancelled", "loader", "revision")

    def __init__(self) -> None:
        self.cancelled = CancelEvent()
        self.revision: Hashable = NO_REVISION  # when the last one began
        self.loader: Loader | None = None  # once a load was ordered


@final
class Crew:
    """Has a manager's pools do what is ordered.

    Each order has its event, whatever happens: also where there is no thread for it, and where what a loader
    raised cannot even be told.

    Args:
        pools: Run loads, unloads, and looks whether the files of failed versions have changed: each kind in
            a pool of its own, so that storage that hangs holds up neither loads nor unloads.
        post: Takes the events, from any thread.
        should_retry: See `AspiredVersionsManager`.
        pre_load_hook: See `AspiredVersionsManager`.
        normalised: Spells what a loader needs as the resource tracker does; None where none is tracked.

    Threads: `workers` from any; all else from the actor's only.
    """

    def __init__(
        self,
        pools: tuple[Pool, Pool, Pool],
        post: Callable[[Event], None],
        *,
        should_retry: Callable[[BaseException], bool] | None,
        pre_load_hook: Callable[[ServableId], None] | None,
        normalised: Normalised | None,
    ) -> None:
        self._pools = pools
        self._load_pool, self._unload_pool, self._revision_pool = pools
        self._post = post
        self._should_retry = should_retry
        self._pre_load_hook = pre_load_hook
        self._normalised = normalised
        self._attempts: dict[int, _Attempt] = {}

    # ---- orders --------------------------------------------------------------------------------

    def estimate(self, order: StartEstimate) -> None:
        """Ask what is needed; where resources are tracked, that begins the attempt."""
        attempt, normalised = self._attempt(order.incarnation), self._normalised
        if normalised is not None:
            self._submit(
                self._load_pool,
                order.data.id,
                functools.partial(self._estimate, order, attempt, normalised),
                lambda error, retriable: EstimateReturned(
                    order.incarnation, None, error, attempt.revision, retriable
                ),
            )

    def load(self, order: StartLoad) -> None:
        """Run one attempt."""
        attempt = self._attempt(order.incarnation)
        attempt.loader = order.data.payload
        self._submit(
            self._load_pool,
            order.data.id,
            functools.partial(self._load, order, attempt),
            lambda error, retriable: LoadReturned(
                order.incarnation, None, error, retriable, attempt.revision
            ),
        )

    def cancel(self, incarnation: int) -> None:
        """Tell the attempt of *incarnation* that runs, if one does, that nobody wants it any more."""
        if incarnation in self._attempts:
            self._attempts[incarnation].cancelled.set()

    def unload(self, order: StartUnload, servable: object) -> None:
        """Take *servable* apart; where there is no thread it is dropped, which is all that can be done for it."""
        self._submit(
            self._unload_pool,
            order.data.id,
            functools.partial(jobs.unload, order, servable),
            lambda error, _: UnloadReturned(order.incarnation, error),
        )

    def look(self, order: ReadRevision) -> None:
        """Look whether files have changed; if that fails, there is another look to come."""
        known = order.known
        if known is NO_REVISION and order.incarnation in self._attempts:
            known = self._attempts[order.incarnation].revision
        self._submit(
            self._revision_pool,
            order.data.id,
            functools.partial(jobs.read_revision, order, known),
            lambda *_: RevisionRead(order.incarnation, order.known, changed=False),
        )

    # ---- pools ---------------------------------------------------------------------------------

    def resize(self, order: ResizePools) -> None:
        """Let as many run at once as *order* says."""
        self._load_pool.resize(order.load_threads)
        self._unload_pool.resize(order.unload_threads)
        self._revision_pool.resize(order.look_threads)

    def forget(self, incarnation: int) -> None:
        """Drop what is kept for *incarnation*."""
        self._attempts.pop(incarnation, None)

    def close(self) -> None:
        """Begin nothing more, and have the processes end of what is left behind. Never blocks."""
        for pool in self._pools:
            pool.close()
        for attempt in self._attempts.values():
            try:
                # Asked by its name, as for its revision.
                abandon = getattr(attempt.loader, "abandon", None)
                if callable(abandon):
                    abandon()
            except Exception:  # noqa: BLE001 -- foreign code; the others' processes end all the same
                _log.exception("a loader cannot end its workers")

    def workers(self, incarnation: int) -> tuple[WorkerSnapshot, ...]:
        """Return how each process is that *incarnation* loads or lives in; none where that cannot be told."""
        attempt = self._attempts.get(incarnation)
        if attempt is None:
            return ()
        try:
            # Asked by its name, as for its revision.
            look = getattr(attempt.loader, "workers", None)
            found = look() if callable(look) else ()
            return tuple(one for one in found if isinstance(one, WorkerSnapshot))
        except Exception:  # noqa: BLE001 -- foreign code, on the thread of whoever looks
            _log.exception("a loader cannot tell how its workers are")
            return ()

    # ---- behind the curtain --------------------------------------------------------------------

    def _attempt(self, incarnation: int) -> _Attempt:
        attempt = self._attempts.get(incarnation)
        if attempt is None:
            attempt = self._attempts[incarnation] = _Attempt()
        return attempt

    def _submit(self, pool: Pool, id: ServableId, job: Callable[[], Event], failed: Failed) -> None:
        try:
            pool.submit(functools.partial(self._run, id, job, failed))
        except ResourceExhaustedError as error:  # no thread to be had now; perhaps after a pause
            self._post(failed(settled(error), True))  # noqa: FBT003 -- see `Failed`

    def _run(self, id: ServableId, job: Callable[[], Event], failed: Failed) -> None:
        try:
            event = job()
        except BaseException as error:  # noqa: BLE001 -- its error may be one that cannot be told; the END must come
            event = failed(jobs.unforeseen(id, error), False)  # noqa: FBT003 -- see `Failed`
        self._post(event)

    def _estimate(
        self, order: StartEstimate, attempt: _Attempt, normalised: Normalised
    ) -> EstimateReturned:
        attempt.revision = jobs.revision(order.data.payload)
        return jobs.estimate(order, attempt.revision, normalised, self._should_retry)

    def _load(self, order: StartLoad, attempt: _Attempt) -> LoadReturned:
        if self._normalised is None:  # else the estimate has begun the attempt
            attempt.revision = jobs.revision(order.data.payload)
        return jobs.load(
            order,
            attempt.revision,
            attempt.cancelled,
            functools.partial(self._report, order.incarnation, order.load, str(order.data.id)),
            should_retry=self._should_retry,
            pre_load_hook=self._pre_load_hook,
            normalised=self._normalised,
        )

    def _report(self, incarnation: int, load: int, name: str, error: BaseException) -> None:
        """Take what a loader reports of its servable, on any thread."""
        failure = settled(error)
        if not str(failure).startswith(f"{name}: "):
            failure.args = (f"{name}: {failure}",)
        self._post(ServableFailed(incarnation, load, failure))
