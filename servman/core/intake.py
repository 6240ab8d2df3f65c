"""The last stage before the manager: what each model was given, and by what it is estimated."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, final

from servman.adapters import SourceAdapter
from servman.data import ServableData
from servman.loader import Loader, RevisedLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from servman.loader import LoadContext


@final
class Intake(SourceAdapter[Loader, Loader]):
    """Remembers the last list of each model, and gives the loaders of some of them another estimate.

    Threads: any; the lists of one stream by one at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._estimates: Mapping[str, int] = {}  # replaced, never changed
        self._passed: dict[str, Mapping[int, str | None]] = {}

    def estimate(self, estimates: Mapping[str, int]) -> None:
        """Let each of these models take so many bytes of main memory, and no others, from their next loads on."""
        self._estimates = estimates

    def estimate_of(self, name: str) -> int | None:
        """Return how many bytes of main memory *name* is said to take, if that is said."""
        return self._estimates.get(name)

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
        """Return the entry, its loader's estimate replaced while its model has one."""
        loader, estimate = data.payload, functools.partial(self.estimate_of, data.id.name)
        made: Loader = _EstimatedLoader(loader, estimate)
        if isinstance(loader, RevisedLoader):
            made = _EstimatedRevisedLoader(loader, loader, estimate)
        return ServableData(data.id, made, data.origin)


class _EstimatedLoader:
    """A loader with another estimate, whenever there is one."""

    def __init__(self, loader: Loader, estimate: Callable[[], int | None]) -> None:
        self._loader = loader
        self._estimate = estimate

    def estimate_resources(self) -> ResourceAllocation:
        """Return what the configuration says; else what the loader does."""
        estimate = self._estimate()
        if estimate is None:
            return self._loader.estimate_resources()
        return ResourceAllocation({MAIN_MEMORY: estimate})

    def load(self, context: LoadContext) -> object:
        """Load as the loader does."""
        return self._loader.load(context)

    def unload(self, servable: object) -> None:
        """Unload as the loader does."""
        self._loader.unload(servable)


@final
class _EstimatedRevisedLoader(_EstimatedLoader):
    """The same for one that can tell what its files look like."""

    def __init__(
        self, loader: Loader, revised: RevisedLoader, estimate: Callable[[], int | None]
    ) -> None:
        super().__init__(loader, estimate)
        self._revised = revised

    def revision(self) -> Hashable:
        """Return what the loader says."""
        return self._revised.revision()
