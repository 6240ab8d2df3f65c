"""What a monitor has seen: the present view of every stream, and a log of the last states."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, final

from servman.errors import InvalidArgumentError
from servman.monitor.stream import StreamView
from servman.state import ManagerState, ServableState, StreamAspiration

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from servman.events import Event


@final
class History:
    """The tables of a monitor.

    Nothing in it grows for ever: the log, the ended versions of a stream, and the streams with no
    others have a bound.

    Threads: one writer at a time, which the owner sees to; any thread may read. Readers take no lock, so
    that a signal handler or a finaliser may read as well: they see a slot of the table, which is
    replaced whole, or a copy of it made in one step.

    Attributes:
        number: How many events were recorded; goes up after an event shows in the tables.
    """

    def __init__(self, log_capacity: int, ended_capacity: int, ended_streams_capacity: int) -> None:
        self._ended_capacity = _at_least(1, "ended_capacity", ended_capacity)
        self._ended_streams_capacity = _at_least(
            1, "ended_streams_capacity", ended_streams_capacity
        )
        self.number = 0
        self._streams: dict[str, StreamView] = {}
        self._ended: collections.OrderedDict[str, None] = collections.OrderedDict()  # oldest first
        self._log: collections.deque[ServableState] = collections.deque(
            maxlen=_at_least(0, "log_capacity", log_capacity)
        )

    def record(self, event: Event) -> StreamView:
        """Write *event* down; return its stream as it stands now."""
        if isinstance(event, ServableState):
            self._log.append(event)
            view = self.view(event.id.name).with_state(event, self._ended_capacity)
        elif isinstance(event, StreamAspiration):
            view = self.view(event.name).with_aspiration(event, self._ended_capacity)
        else:
            view = self.view(event.name).with_labels(event)
        self._replace(view)
        self.number += 1
        return view

    def view(self, name: str) -> StreamView:
        """Return the stream as it stands now; an empty view of an unknown one."""
        return self._streams.get(name) or StreamView(name)

    def at_one_moment(self, names: Collection[str] | None) -> Mapping[str, StreamView]:
        """Return a table in which the streams *names*, if known, stand as they did at one moment.

        None means all that are known.
        """
        if names is None or len(names) > 1:
            return self._streams.copy()
        return {name: self.view(name) for name in names}

    def names(self) -> tuple[str, ...]:
        """Return the streams of which anything is known."""
        return tuple(self._streams.copy())

    def forget_ended(self, name: str) -> None:
        """Drop the versions of *name* that ended and are not aspired, and the stream if no more is left."""
        view = self.view(name)
        self._replace(StreamView(name) if view.ended else view.without_ended())

    def states(self, name: str) -> dict[int, ServableState]:
        """Return the last state of each version of *name*, highest version first."""
        return _newest_first(self.view(name).states)

    def all_states(self) -> dict[str, dict[int, ServableState]]:
        """Return the last states of every stream that has any."""
        return {
            view.name: _newest_first(view.states)
            for view in self._streams.copy().values()
            if view.states
        }

    def log(self) -> list[ServableState]:
        """Return the last states, oldest first."""
        return list(self._log.copy())

    def _replace(self, view: StreamView) -> None:
        self._ended.pop(view.name, None)
        if view.empty:
            self._streams.pop(view.name, None)
            return
        self._streams[view.name] = view
        if view.ended:
            self._ended[view.name] = None
            if len(self._ended) > self._ended_streams_capacity:
                oldest, _ = self._ended.popitem(last=False)
                del self._streams[oldest]


def live(states: Mapping[int, ServableState]) -> dict[int, ServableState]:
    """Return what of *states* has not ended."""
    return {
        version: state
        for version, state in states.items()
        if state.manager_state is not ManagerState.END
    }


def _newest_first(states: Mapping[int, ServableState]) -> dict[int, ServableState]:
    return {version: states[version] for version in sorted(states, reverse=True)}


def _at_least(least: int, option: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(f"{option} is an int of at least {least}, not {value!r}")
    return value
