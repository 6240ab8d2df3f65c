"""Handles: what a request holds while it uses a servable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar, final

from servman.errors import FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    import weakref

    from servman.ids import ServableId

T = TypeVar("T")

new_handle: Final = object.__new__
"""Makes a handle without the constructor that refuses; the maker then stores its entry."""


@final
@dataclass(frozen=True, slots=True)
class HandleSite:
    """Where a handle was taken; see `set_debug`.

    Attributes:
        where: The file, line and function that asked for it.
        since: When, on the scale of the manager's clock.

    Threads: immutable; any thread.
    """

    where: str
    since: float


@final
class Entry:
    """One version in the serving map. Whoever holds it keeps the version from being unloaded.

    Attributes:
        id: The version.
        servable: What requests use.
        pin: A plain object that the actor holds as well. Where handles sit in a reference cycle, the
            collector clears weak references to this entry *before* it runs finalisers that may still
            use the servable; only when the pin is gone too is nobody left.
        sites: Where the handles were taken, by the identity of each; only those taken with
            `set_debug(True)`.
        leases: What the handles hold in its place, where that is kept; see `lease`.
        used: Which lookup was the last to ask for it, likewise: a number that grows.
    """

    __slots__ = ("__weakref__", "id", "leases", "pin", "servable", "sites", "used")

    def __init__(self, id: ServableId, servable: object, pin: object) -> None:
        self.id = id
        self.servable = servable
        self.pin = pin
        self.sites: dict[int, HandleSite] = {}
        self.leases: set[weakref.ref[Entry]] = set()
        self.used = -1


class ServableHandle(Generic[T]):
    """Holds one version of a servable in memory until it is closed.

    A context manager that yields itself. A version that should go stays loaded until its last handle
    is closed; no other version is held up by it. Closing twice does nothing. A handle that is dropped
    without `close` lets go when the interpreter frees it.

    Managers make handles; they cannot be constructed.

    Threads: any; closing from one thread while another uses the servable is the caller's race.
    """

    # One slot, and no finaliser: the interpreter's own reference count is the pin.
    __slots__ = ("_entry",)

    _entry: Entry | None

    def __init__(self) -> None:
        raise TypeError("handles come from get_servable_handle(), they are not constructed")

    @property
    def id(self) -> ServableId:
        """The version.

        Raises:
            FailedPreconditionError: The handle was closed.
        """
        entry = self._entry  # once: another thread may close the handle in between
        if entry is None:
            _raise_closed()
        return entry.id

    @property
    def servable(self) -> T:
        """The servable: what the loader returned. Do not keep it beyond the handle.

        Raises:
            FailedPreconditionError: The handle was closed.
        """
        entry = self._entry  # as in `id`
        if entry is None:
            _raise_closed()
        return entry.servable  # type: ignore[return-value] # checked when it was handed out

    def close(self) -> None:
        """Let go of the version. Idempotent, never blocks, runs nothing of the servable's."""
        self._entry = None

    def __enter__(self) -> ServableHandle[T]:
        return self

    def __exit__(self, exc_type: object, exc: object, trace: object) -> None:
        self._entry = None

    def __copy__(self) -> ServableHandle[T]:
        copied: ServableHandle[T] = new_handle(type(self))
        copied._entry = self._entry
        return copied

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__reduce_ex__(0)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a handle cannot be pickled or copied deeply, for the copy would hold nothing; take another one"
            " with get_servable_handle()"
        )

    def __repr__(self) -> str:
        entry = self._entry
        return f"ServableHandle({entry.id if entry is not None else 'closed'})"


def check_type(handle: ServableHandle[object], wanted: type[object]) -> None:
    """Close *handle* and raise unless its servable is a *wanted*: the traceback keeps the handle."""
    which, found = handle.id, type(handle.servable).__qualname__
    try:
        fits = isinstance(handle.servable, wanted)
    except BaseException:
        handle.close()
        raise
    if not fits:
        handle.close()
        raise InvalidArgumentError(
            f"{which} is a {found}, not the {wanted.__qualname__} that was asked for"
        )


def _raise_closed() -> NoReturn:
    raise FailedPreconditionError(
        "the handle was closed; take a new one with get_servable_handle() for each use"
    )
