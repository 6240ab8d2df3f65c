"""Routers: one target in front, several sources behind, chosen by the name of the stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar, final

from servman.adapters.base import Outlet
from servman.errors import InvalidArgumentError
from servman.ids import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.data import ServableData
    from servman.flow import Source

T = TypeVar("T")


@final
class DynamicSourceRouter(Generic[T]):
    """Sends each stream to the port that its routes name, and any other stream to the last port.

    The router keeps no memory of what it has sent: a stream whose route changes is not withdrawn
    from its old port, it takes the new one when it is emitted the next time. So the ports of one
    router have to end in one target, which hears of the stream by its name, whichever the way; and
    they are connected before the routes change, since a port without a target keeps what it was
    given and would deliver it late. So would a `DeferredAdapter` behind a port: have it `forget`.

    Args:
        num_ports: How many ports to have, 1 or more. The last one is the default.
        routes: Port by name of the stream, each from 0 to *num_ports* - 2.

    Threads: any; `set_aspired_versions` by one at a time for one stream.

    Raises:
        InvalidArgumentError: *num_ports* or a route is out of range.
    """

    def __init__(self, num_ports: int, routes: Mapping[str, int]) -> None:
        if not _is_int(num_ports) or num_ports < 1:
            raise InvalidArgumentError(f"a router has 1 port or more, not {num_ports!r}")
        self._outlets: tuple[Outlet[T], ...] = tuple(Outlet() for _ in range(num_ports))
        # Replaced, never changed, so that it is read without a lock.
        self._routes = self._checked(routes)

    @property
    def ports(self) -> tuple[Source[T], ...]:
        """What to connect targets to, in the order of their numbers."""
        return self._outlets

    @property
    def routes(self) -> dict[str, int]:
        """A copy of the routes in force."""
        return dict(self._routes)

    def update_routes(self, routes: Mapping[str, int]) -> None:
        """Replace all routes at once; the next emission of each stream follows them.

        Raises:
            InvalidArgumentError: A route is out of range; nothing was changed.
        """
        self._routes = self._checked(routes)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Hand the list to the port of the stream; see `Target`."""
        self._outlets[self._routes.get(name, -1)].emit(name, versions)

    def _checked(self, routes: Mapping[str, int]) -> dict[str, int]:
        copied = dict(routes)
        last = len(self._outlets) - 1
        for name, port in copied.items():
            check_name(name)
            if not _is_int(port) or not 0 <= port < last:
                raise InvalidArgumentError(
                    f"servable {name!r} cannot be routed to port {port!r}: there are {last + 1} ports,"
                    f" and port {last} is the default, which takes every stream without a route"
                )
        return copied


@final
class StaticSourceRouter(Generic[T]):
    """Sends each stream to the port of the first substring in its name, and any other to the last port.

    Its routes never change, so the ports may end in different targets.

    Args:
        substrings: What the names of the streams contain, one for each port but the last.

    Threads: any; `set_aspired_versions` by one at a time for one stream.

    Raises:
        InvalidArgumentError: *substrings* is no collection of texts, or one of them is empty, which
            every name would contain.
    """

    def __init__(self, substrings: Iterable[str]) -> None:
        self._substrings = _checked_substrings(substrings)
        self._outlets: tuple[Outlet[T], ...] = tuple(
            Outlet() for _ in range(len(self._substrings) + 1)
        )

    @property
    def ports(self) -> tuple[Source[T], ...]:
        """What to connect targets to: in the order of the substrings, then the default."""
        return self._outlets

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Hand the list to the port of the stream; see `Target`."""
        for outlet, substring in zip(self._outlets, self._substrings, strict=False):
            if substring in name:
                outlet.emit(name, versions)
                return
        self._outlets[-1].emit(name, versions)


def _checked_substrings(substrings: Iterable[str]) -> tuple[str, ...]:
    if isinstance(substrings, str) or not isinstance(substrings, Iterable):
        raise InvalidArgumentError(
            f"substrings is a collection of texts, not {substrings!r}; pass [{substrings!r}]"
        )
    checked = tuple(substrings)
    for substring in checked:
        if not isinstance(substring, str) or not substring:
            raise InvalidArgumentError(
                f"not a substring to route by: {substring!r}; pass texts that are not empty, and leave"
                " the last port to the streams that contain none of them"
            )
    return checked


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
