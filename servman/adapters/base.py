"""What every adapter is built on: an outlet that waits for its target, and one conversion each."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast, final

from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InternalError,
    LoadFailedError,
    ServmanError,
    settled,
)
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.flow import Target

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_log = Log(__name__)


@final
class Outlet(Generic[T]):
    """The way out of a stage: a `Source` that keeps what is emitted before it has a target.

    1. Of each stream the newest list is kept; connecting delivers what is kept, in the order in which
       it was emitted, on the connecting thread. Nothing waits for a target.
    2. Lists of one stream reach the target in the order of emission and one at a time, also while
       the target is being connected.

    Threads: any; `emit` by one at a time for one stream.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the change from keeping to delivering
        self._taken = False
        self._kept: dict[str, tuple[ServableData[T], ...]] = {}
        # Set once, when nothing is kept any more; `emit` then reads it without the lock.
        self._target: Target[T] | None = None

    def set_target(self, target: Target[T]) -> None:
        """Emit to *target* from now on, beginning with what was kept.

        What *target* raises on a kept list is logged, so that one stream costs no other its list.

        Raises:
            FailedPreconditionError: There is a target already; nothing was changed.
        """
        with self._lock:
            if self._taken:
                raise FailedPreconditionError(
                    "this source has a target already; a source feeds one target, and a router"
                    " splits what one source emits"
                )
            self._taken = True
        while (kept := self._next_kept(target)) is not None:
            try:
                target.set_aspired_versions(*kept)
            except Exception:  # noqa: BLE001 -- foreign code; the other streams get theirs
                _log.exception("servable %r: the target refused the kept aspirations", kept[0])

    def emit(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Hand the list to the target, or keep it until there is one."""
        target = self._target
        if target is None:
            target = self._keep(name, versions)
        if target is not None:
            target.set_aspired_versions(name, versions)

    def _keep(self, name: str, versions: Sequence[ServableData[T]]) -> Target[T] | None:
        kept, dropped = tuple(versions), None
        with self._lock:
            target = self._target
            if target is None:
                # Taken out first, so that it comes back at the end: the order of emission.
                dropped = self._kept.pop(name, None)
                self._kept[name] = kept
        del dropped  # after the lock: destructors of payloads are foreign code
        return target

    def _next_kept(self, target: Target[T]) -> tuple[str, tuple[ServableData[T], ...]] | None:
        with self._lock:
            if not self._kept:
                self._target = target
                return None
            name = next(iter(self._kept))
            return name, self._kept.pop(name)

    def keeps(self, name: str) -> bool:
        """Return whether versions of the stream *name* wait here for a target."""
        return bool(self._kept.get(name))

    def forget(self, name: str) -> None:
        """Drop what is kept of the stream *name*, which goes another way from now on."""
        with self._lock:
            dropped = self._kept.pop(name, None)
        del dropped  # after the lock, as in `_keep`


class SourceAdapter(ABC, Generic[T_contra, T_co]):
    """A target in front and a source behind, which changes the payload of every entry on its way.

    Write `convert`; the base sees to the rest:

    1. An entry that has an error passes unchanged.
    2. What `convert` raises, `BaseException` included, becomes the error of that entry alone; but a
       Ctrl-C on the main thread goes to whoever called, and nothing is handed on.
    3. An `origin` that `convert` leaves out is passed on.
    4. What comes before a target is connected is kept, the newest list of each stream.

    Threads: any; one at a time for one stream.
    """

    _outlet: Outlet[T_co]

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make an adapter without a target. Here, as a subclass may forget to call `__init__`."""
        adapter = super().__new__(cls)
        adapter._outlet = Outlet()
        return adapter

    @abstractmethod
    def convert(self, data: ServableData[T_contra]) -> ServableData[T_co]:
        """Return the entry with the payload that the next stage takes, and with the same id.

        Called each time the entry is aspired, for versions that are loaded too: it must be quick and
        must not touch files. Called by several threads at once, each with another stream.
        """
        ...

    def set_target(self, target: Target[T_co]) -> None:
        """Emit to *target* from now on; see `Outlet.set_target`."""
        self._outlet.set_target(target)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T_contra]]) -> None:
        """Convert the entries one by one and hand the list on; see `Target`."""
        self._outlet.emit(name, [self.adapt_one(data) for data in versions])

    def adapt_one(self, data: ServableData[T_contra]) -> ServableData[T_co]:
        """Return what *data* would become on its way; nothing is handed on.

        For whoever has one version and no list, such as the loader factory of a `CachingManager`. What
        is promised of the way above holds here, too: nothing is raised but a Ctrl-C.
        """
        if data.error is not None:
            return cast("ServableData[T_co]", data)  # an error has no payload type
        try:
            return self._checked(data, self.convert(data))
        except BaseException as error:  # noqa: BLE001 -- foreign code; the error is the entry's own
            failure = failure_of(f"{data.id}: {type(self).__qualname__}", error)
            return ServableData.from_error(data.id, failure, data.origin)

    def _checked(
        self, data: ServableData[T_contra], converted: ServableData[T_co]
    ) -> ServableData[T_co]:
        if not isinstance(converted, ServableData) or converted.id != data.id:
            raise InternalError(
                f"{data.id}: {type(self).__qualname__}.convert returned {converted!r}; it has to"
                " return a ServableData with the id that it was given"
            )
        if converted.error is None and converted.payload is None:
            raise InternalError(
                f"{data.id}: {type(self).__qualname__}.convert returned no payload; it has to raise, or to"
                " return ServableData.from_error(), for what cannot be converted"
            )
        if converted.origin is not None or data.origin is None:
            return converted
        if converted.error is not None:
            return ServableData.from_error(data.id, converted.error, data.origin)
        return ServableData(data.id, converted.payload, data.origin)


def failure_of(who: str, error: BaseException, remedy: str = "") -> ServmanError:
    """Return what foreign code raised as a typed error without frames.

    A `ServmanError` says what it has to say; of anything else it is told that *who*, which names the
    servable, raised it, and what the *remedy* is.

    Raises:
        KeyboardInterrupt: It is what was raised, on the main thread: there it is a Ctrl-C, which is
            meant for the host, and no fault of the code that it met.
    """
    if isinstance(error, KeyboardInterrupt) and _on_main_thread():
        raise error
    plain = settled(error)
    if isinstance(error, ServmanError):
        return plain
    failure = LoadFailedError(f"{who} raised {plain}" + (f"; {remedy}" if remedy else ""))
    failure.traceback = plain.traceback
    return failure


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
