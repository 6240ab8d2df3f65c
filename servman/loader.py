"""How one version is brought into memory and out of it again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, final, runtime_checkable

from servman.log import Log
from servman.resources import ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from servman.ids import ServableId
    from servman.worker_state import WorkerSnapshot

T = TypeVar("T")

_log = Log(__name__)


class CancelEvent(threading.Event):
    """An event that also calls back, for those who wait for something else than an event.

    Threads: any.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # guards `_callbacks`
        self._callbacks: list[Callable[[], object]] = []

    def call_when_set(self, callback: Callable[[], object]) -> None:
        """Call *callback* once the event is set: on the thread that sets it, or at once where it is set.

        What it raises where `set` calls it is logged, so that neither the others nor who sets it suffer.
        """
        with self._lock:
            waits = not self.is_set()
            if waits:
                self._callbacks.append(callback)
        if not waits:
            callback()

    def set(self) -> None:
        """Set the event, wake who waits, and call who asked for it."""
        super().set()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 -- foreign code; the others are called
                _log.exception("a callback of a cancelled load raised")


def _heard_by_nobody(error: BaseException) -> None:
    del error


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
        report_failure: To be called when the servable that this load makes, or has made, serves no more: its
            process has died for good, say. The version then leaves the serving map, whatever its policy
            says, is unloaded once its last handle is closed, and ENDs with the error. Any thread may call it; it
            never blocks. Only the first report counts.

    Threads: immutable; any thread.
    """

    id: ServableId
    path: str | None = None
    attempt: int = 1
    cancelled: CancelEvent = field(default_factory=CancelEvent)
    report_failure: Callable[[BaseException], None] = _heard_by_nobody


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


@runtime_checkable
class SupervisedLoader(Protocol):
    """A loader whose servables live in processes of their own: it can tell how these are, and end them."""

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how each worker of the latest load is, in the order of `index`; none where there are none.

        Called while the version loads, serves and goes, by whoever reads a snapshot of it: any thread, with no
        lock held. It must not block, and what it returns must not keep the servable alive. Where it raises,
        nothing is known of the workers.
        """
        ...

    def abandon(self) -> None:
        """Have the processes end although the servable is still in use.

        Called for what a manager has to leave behind when it is closed: nobody will call `unload` for it.
        On the manager's own thread, so it must not block.
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
