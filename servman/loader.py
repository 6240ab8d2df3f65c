"""How one version is brought into memory and out of it again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, final, runtime_checkable

from servman.resources import ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.ids import ServableId

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a loader is told about the load.

    Attributes:
        id: The version to load.
        path: Where its files are (the origin of its `ServableData`), or None.
        attempt: 1 for the first attempt, 2 for the first retry, and so on.
        cancelled: Set as soon as the version is no longer wanted, or its load is given up
            (`load_timeout`); a long load that looks at it can
            give up early by raising `LoadCancelledError`, and one that does not is unloaded afterwards.

    Threads: immutable; any thread.
    """

    id: ServableId
    path: str | None = None
    attempt: int = 1
    cancelled: threading.Event = field(default_factory=threading.Event)


class Loader(Protocol):
    """Estimates, loads and unloads one version of a servable.

    The manager calls `load` and `unload` on its pools, with no lock held, and never two of them at once for
    one version (but beside a load that was given up at `load_timeout` and still has not returned). What they
    raise, `BaseException` included, becomes the error of that version.
    """

    def estimate_resources(self) -> ResourceAllocation:
        """Return what the servable will need. Called before the load, on the load pool."""
        ...

    def load(self, context: LoadContext) -> object:
        """Load and return the servable. May block as long as it takes."""
        ...

    def unload(self, servable: object) -> None:
        """Give back what *servable* holds. Called once, after the last handle on it is closed."""
        ...


@runtime_checkable
class RevisedLoader(Protocol):
    """A loader that can tell whether its files have changed since a failed load."""

    def revision(self) -> Hashable:
        """Return a value that differs when the files differ: a hash of names, sizes and times.

        Called on a pool, for failed and pausing versions only. What it raises counts as a revision of
        its own.
        """
        ...


@final
class SimpleLoader(Generic[T]):
    """A loader made of functions.

    Args:
        create: Makes the servable.
        destroy: Takes it apart again; nothing to do when None.
        estimate: What it needs; nothing when None. Asked once, the answer is kept.

    Threads: any, one at a time; the functions run on the pools of the manager.
    """

    def __init__(
        self,
        create: Callable[[LoadContext], T],
        *,
        destroy: Callable[[T], None] | None = None,
        estimate: Callable[[], ResourceAllocation] | None = None,
    ) -> None:
        self._create = create
        self._destroy = destroy
        self._estimate = estimate
        self._estimated: ResourceAllocation | None = None

    def estimate_resources(self) -> ResourceAllocation:
        """Return what *estimate* said when it was first asked."""
        if self._estimated is None:
            self._estimated = self._estimate() if self._estimate else ResourceAllocation()
        return self._estimated

    def load(self, context: LoadContext) -> T:
        """Return what *create* makes."""
        return self._create(context)

    def unload(self, servable: object) -> None:
        """Hand *servable* to *destroy*."""
        if self._destroy is not None:
            self._destroy(servable)  # type: ignore[arg-type] # it is what `create` made
