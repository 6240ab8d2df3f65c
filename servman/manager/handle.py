"""Handles: what a request holds while it uses a servable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar, final

from servman.errors import FailedPreconditionError

if TYPE_CHECKING:
    from servman.ids import ServableId

T = TypeVar("T")

new_handle: Final = object.__new__
"""Makes a handle without the constructor that refuses; the maker then stores its entry."""


@final
class Entry:
    """One version in the serving map. Whoever holds it keeps the version from being unloaded.

    Attributes:
        id: The version.
        servable: What requests use.
        pin: A plain object that the actor holds as well. Where handles sit in a reference cycle, the
            collector clears weak references to this entry *before* it runs finalisers that may still
            use the servable; only when the pin is gone too is nobody left.
    """

    __slots__ = ("__weakref__", "id", "pin", "servable")

    def __init__(self, id: ServableId, servable: object, pin: object) -> None:
        self.id = id
        self.servable = servable
        self.pin = pin


@final
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
        if self._entry is None:
            _raise_closed()
        return self._entry.id

    @property
    def servable(self) -> T:
        """The servable: what the loader returned. Do not keep it beyond the handle.

        Raises:
            FailedPreconditionError: The handle was closed.
        """
        if self._entry is None:
            _raise_closed()
        return self._entry.servable  # type: ignore[return-value] # checked when it was handed out

    def close(self) -> None:
        """Let go of the version. Idempotent, never blocks, runs nothing of the servable's."""
        self._entry = None

    def __enter__(self) -> ServableHandle[T]:
        return self

    def __exit__(self, exc_type: object, exc: object, trace: object) -> None:
        self._entry = None

    def __repr__(self) -> str:
        entry = self._entry
        return f"ServableHandle({entry.id if entry is not None else 'closed'})"


def _raise_closed() -> NoReturn:
    raise FailedPreconditionError(
        "the handle was closed; take a new one with get_servable_handle() for each use"
    )
