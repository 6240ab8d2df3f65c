"""`StaticManager`: serves a fixed set of servables that exist already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final

from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.ids import check_id
from servman.loader import SimpleLoader
from servman.manager.base import Manager
from servman.manager.messages import Aspire
from servman.threads import CallingThread

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.events import EventBus
    from servman.ids import ServableId


@final
class StaticManager(Manager):
    """Serves what it is given, from its construction until it is closed.

    For tests, and for servables that a program makes itself. It need not be started, and takes no thread
    until it is closed, unless it is started all the same (as `with` does).

    Args:
        servables: Id to servable. They are dropped when the manager is closed, and nothing else is done to
            them.
        event_bus: Is told that they are available, so that a monitor can wait for them.
        clock: The time.

    Raises:
        InvalidArgumentError: There is no mapping, a key is no `ServableId`, or a servable is None.

    Threads: any.
    """

    _unknown: ClassVar[str] = "nothing of it was put in"
    _remedy: ClassVar[str] = "it was not put in"

    def __init__(
        self,
        servables: Mapping[ServableId, object],
        *,
        event_bus: EventBus | None = None,
        clock: Clock | None = None,
    ) -> None:
        streams = _streams(servables)
        super().__init__(
            event_bus=event_bus,
            clock=clock,
            _pools=(CallingThread(), CallingThread(), CallingThread()),
        )
        for name, entries in sorted(streams.items()):
            self._actor.aspire(Aspire(name, tuple(entries)))
        while self._actor.step():  # all of it happens here, on the caller's thread
            pass


def _streams(
    servables: Mapping[ServableId, object],
) -> Mapping[str, list[ServableData[SimpleLoader[object]]]]:
    if not isinstance(servables, Mapping):
        raise InvalidArgumentError(f"servables are given as a dict by their ids, not {servables!r}")
    streams = defaultdict(list)
    for entry in map(_entry, servables.keys(), servables.values()):
        streams[entry.id.name].append(entry)
    return streams


def _entry(id: ServableId, servable: object) -> ServableData[SimpleLoader[object]]:
    if servable is None:
        raise InvalidArgumentError(f"{id}: None is no servable")
    return ServableData(check_id(id), SimpleLoader(lambda _: servable))
