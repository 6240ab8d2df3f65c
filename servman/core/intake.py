"""The last stage before the manager: what each model was given, and how its loaders are configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from servman.adapters import SourceAdapter
from servman.data import ServableData
from servman.loader import Loader, RevisedLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.workers.loader import IsolatedLoader
from servman.workers.servable import WorkerServable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from servman.clock import Clock
    from servman.ids import ServableId
    from servman.loader import LoadContext
    from servman.worker_state import WorkerSnapshot
    from servman.workers.options import Workers


@final
class Intake(SourceAdapter[Loader, Loader]):
    """Remembers the last list of each model, and has the loaders of some of them do as their model says.

    That is asked for at each load, so a configuration changes what is loaded from then on.

    Args:
        clock: The time.

    Threads: any; the lists of one stream by one at a time.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._estimates: Mapping[str, int] = {}  # replaced, never changed, as the next one
        self._workers: Mapping[str, Workers | Mapping[int, Workers]] = {}
        self._passed: dict[str, Mapping[int, str | None]] = {}

    def estimate(self, estimates: Mapping[str, int]) -> None:
        """Let each of these models take so many bytes of main memory, and no others, from their next loads on."""
        self._estimates = estimates

    def estimate_of(self, name: str) -> int | None:
        """Return how many bytes of main memory *name* is said to take, if that is said."""
        return self._estimates.get(name)

    def isolate(self, workers: Mapping[str, Workers | Mapping[int, Workers]]) -> None:
        """Put each of these models into processes of its own, and no others, from their next loads on."""
        self._workers = workers

    def workers_of(self, id: ServableId) -> Workers | None:
        """Return how the version is put into processes of its own, if it is."""
        workers = self._workers.get(id.name)
        return workers.get(id.version) if isinstance(workers, Mapping) else workers

    def passed(self, name: str) -> Mapping[int, str | None]:
        """Return the versions in the last list of *name*, each with where it comes from."""
        return self._passed.get(name, {})

    def forget(self, names: Iterable[str]) -> None:
        """Forget the last lists of *names*, which the manager does not go by any more."""
        for name in names:
            self._passed.pop(name, None)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        """Hand the list on, and remember it; see `Target`."""
        super().set_aspired_versions(name, versions)
        if versions:
            self._passed[name] = {one.id.version: one.origin for one in versions}
        else:
            self._passed.pop(name, None)

    def convert(self, data: ServableData[Loader]) -> ServableData[Loader]:
        """Return the entry with a loader that does as its model says."""
        loader = _ConfiguredLoader(data.id, data.payload, self, self._clock)
        return ServableData(data.id, loader, data.origin)


@final
class _ConfiguredLoader:
    """A loader that does as its model says, whatever that is when it loads."""

    def __init__(self, id: ServableId, loader: Loader, intake: Intake, clock: Clock) -> None:
        self._id = id
        self._loader = loader
        self._intake = intake
        self._clock = clock
        self._isolated: IsolatedLoader | None = None
        # By what each has loaded: a load that was given up may return when the next one has begun.
        self._homes: dict[WorkerServable, IsolatedLoader] = {}
        if isinstance(loader, RevisedLoader):
            self.revision = loader.revision

    def estimate_resources(self) -> ResourceAllocation:
        """Return what the configuration says; else what the loader does."""
        estimate = self._intake.estimate_of(self._id.name)
        if estimate is None:
            return (self._isolating() or self._loader).estimate_resources()
        return ResourceAllocation({MAIN_MEMORY: estimate})

    def load(self, context: LoadContext) -> object:
        """Load as the loader does, in this process or in others."""
        isolated = self._isolated = self._isolating()
        if isolated is None:
            return self._loader.load(context)
        servable = isolated.load(context)
        self._homes[servable] = isolated
        return servable

    def unload(self, servable: object) -> None:
        """Unload where it was loaded."""
        isolated = self._homes.pop(servable, None) if isinstance(servable, WorkerServable) else None
        (isolated or self._loader).unload(servable)

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how the processes are that the version is in; none, where it is in this one."""
        # A platform may isolate by itself. Asked by its name: `isinstance` of a protocol costs much more.
        look: Any = getattr(self._isolated or self._loader, "workers", None)
        return look() if callable(look) else ()

    def abandon(self) -> None:
        """Have the processes end that the version is in."""
        for loader in (*self._homes.values(), self._loader):
            abandon: Any = getattr(loader, "abandon", None)
            if callable(abandon):
                abandon()

    def _isolating(self) -> IsolatedLoader | None:
        workers = self._intake.workers_of(self._id)
        if workers is None:
            return None
        return IsolatedLoader(self._id, self._loader, workers, clock=self._clock)
