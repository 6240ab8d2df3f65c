"""The loader of a servable that lives in processes of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, final

from servman.clock import SystemClock
from servman.errors import InvalidArgumentError
from servman.loader import RevisedLoader
from servman.workers.devices import plan
from servman.workers.group import WorkerGroup
from servman.workers.options import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.clock import Clock
    from servman.ids import ServableId
    from servman.loader import LoadContext, Loader
    from servman.resources import ResourceAllocation
    from servman.worker_state import WorkerSnapshot
    from servman.workers.options import Workers
    from servman.workers.servable import WorkerServable

_CLOCK: Final = SystemClock()


@final
class IsolatedLoader:
    """Loads a version in processes of its own, with a loader that would load it in this one.

    Args:
        id: The version.
        inner: The loader; it is pickled, and every process loads with a copy of its own. Here it is only asked
            what it needs, and for its revision if it has one.
        workers: How many processes, where, and how they are supervised.
        clock: The time.

    Attributes:
        revision: The inner loader's own; there is none where that has none.

    Threads: any.

    Raises:
        InvalidArgumentError: Something is wrong with *workers*; `faults` are all of it.
    """

    revision: Callable[[], Hashable]

    def __init__(
        self, id: ServableId, inner: Loader, workers: Workers, *, clock: Clock = _CLOCK
    ) -> None:
        wrong = faults(workers)
        if wrong:
            raise InvalidArgumentError(f"{id}: Workers: {'; '.join(wrong)}", faults=wrong)
        self._inner = inner
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()  # guards changes of `_loaded`
        self._loaded: list[tuple[WorkerServable, WorkerGroup]] = []
        self._latest: WorkerGroup | None = None
        if isinstance(inner, RevisedLoader):
            self.revision = inner.revision

    def estimate_resources(self) -> ResourceAllocation:
        """Return what the inner loader estimates, times the number of processes."""
        return self._inner.estimate_resources() * len(plan(self._workers))

    def load(self, context: LoadContext) -> WorkerServable:
        """Start the processes and return what stands here for the servable in them.

        Whatever it raises, no process is left.

        Blocks: until `min_replicas` replicas have loaded it, one has failed that is needed, or
        `context.cancelled` is set.

        Raises:
            ServmanError: As `WorkerGroup.start` does.
        """
        group = self._latest = WorkerGroup(self._inner, context, self._workers, clock=self._clock)
        servable = group.start()
        with self._lock:
            self._loaded.append((servable, group))
        return servable

    def unload(self, servable: object) -> None:
        """Unload *servable* in every process, and end them all.

        Blocks: `stop_timeout` for running calls, as long again for the unloads, and a second for SIGTERM.

        Raises:
            ServmanError: As `WorkerGroup.close` does; no process is left all the same.
        """
        group = self._taken_out(servable)
        if group is not None:
            group.close(self._clock.monotonic() + self._workers.stop_timeout)

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how each worker of the latest load is or was; none before the first. Takes no lock."""
        group = self._latest
        return () if group is None else group.snapshots()

    def abandon(self) -> None:
        """Have every process end although what was loaded may be in use, as `WorkerGroup.abandon` does. Never blocks."""
        with self._lock:
            groups = [group for _, group in self._loaded]
        for group in groups:
            group.abandon()

    def _taken_out(self, servable: object) -> WorkerGroup | None:
        with self._lock:
            for index, (loaded, group) in enumerate(self._loaded):
                if loaded is servable:
                    del self._loaded[index]
                    return group
        return None
