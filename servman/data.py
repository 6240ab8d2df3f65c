"""`ServableData`: an id with a payload, or with the error that took its place."""

from __future__ import annotations

from typing import Generic, TypeVar, final

from servman.errors import InvalidArgumentError, ServmanError, settled
from servman.ids import ServableId

T_co = TypeVar("T_co", covariant=True)


@final
class ServableData(Generic[T_co]):
    """One aspired version on its way through servman: its id, and a payload or an error.

    A stage that cannot convert a payload puts its error in the payload's place, so that the failure
    of one version travels with that version and harms no other.

    Args:
        id: The version.
        payload: What the stage before made for it: a path, a loader.
        origin: Where the payload came from, such as the path of the version directory. When an
            aspired version arrives with another origin it is replaced; stages that convert the
            payload pass the origin on.

    Threads: immutable; any thread.
    """

    __slots__ = ("_error", "_payload", "id", "origin")

    def __init__(self, id: ServableId, payload: T_co, origin: str | None = None) -> None:
        self.id = _checked(id)
        self.origin = _checked_origin(id, origin)
        self._payload: T_co | None = payload
        self._error: ServmanError | None = None

    @classmethod
    def from_error(
        cls, id: ServableId, error: BaseException, origin: str | None = None
    ) -> ServableData[T_co]:
        """Make an entry whose payload could not be made, with what went wrong in its place.

        Raises:
            InvalidArgumentError: *id* is no `ServableId`, or *error* no exception.
        """
        if not isinstance(error, BaseException):
            raise InvalidArgumentError(f"{id}: an error is an exception, not {error!r}")
        data: ServableData[T_co] = cls.__new__(cls)
        data.id = _checked(id)
        data.origin = _checked_origin(id, origin)
        data._payload = None
        data._error = settled(error)
        return data

    @property
    def error(self) -> ServmanError | None:
        """What took the payload's place, or None."""
        return self._error

    @property
    def payload(self) -> T_co:
        """The payload.

        Raises:
            ServmanError: The error that took its place.
        """
        if self._error is not None:
            raise settled(self._error)  # a fresh copy: a raised exception collects frames
        payload: T_co = self._payload  # type: ignore[assignment] # absent only beside an error
        return payload

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServableData):
            return NotImplemented
        return (self.id, self._payload, self.origin, _told(self._error)) == (
            other.id,
            other._payload,
            other.origin,
            _told(other._error),
        )

    def __hash__(self) -> int:
        return hash((self.id, self.origin))

    def __repr__(self) -> str:
        what = repr(self._payload) if self._error is None else f"error={self._error!r}"
        return f"ServableData({self.id}, {what})"


def _checked(id: ServableId) -> ServableId:
    if not isinstance(id, ServableId):
        raise InvalidArgumentError(f"ServableData takes a ServableId first, not {id!r}")
    return id


def _checked_origin(id: ServableId, origin: str | None) -> str | None:
    if origin is not None and not isinstance(origin, str):
        raise InvalidArgumentError(f"{id}: an origin is a text or None, not {origin!r}")
    return origin


def _told(error: ServmanError | None) -> tuple[type[ServmanError], str] | None:
    """Return what two errors have in common that say the same; exceptions compare by identity."""
    return None if error is None else (type(error), str(error))
