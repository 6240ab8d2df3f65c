"""What has happened, numbered, for those who watch: they can come back and miss nothing."""

from __future__ import annotations

import queue
import secrets
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from servman.clock import deadline_after
from servman.protos import message_class
from servman.server.messages import write_state
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from servman.threads import Thread, join, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.clock import Clock
    from servman.core import ServerCore
    from servman.events import Event
    from servman.ids import ServableId
    from servman.server.calls import Call

K = TypeVar("K")
V = TypeVar("V")

_WatchResponse = message_class("servman.v1.WatchResponse")

_BATCH: Final = 100
"""How many events one who watches takes at once, so that nobody holds the log for long."""


@final
class EventLog:
    """Keeps the last events of a core, and lets any number of callers follow them, each at its own pace.

    One who reads slowly delays nobody. When so much has happened meanwhile that it cannot be told all of it,
    it is told how things stand, and what happens from then on.

    Args:
        core: What things happen in.
        capacity: How many events are kept.
        clock: The time.

    Attributes:
        life: A word for this life of the server.

    Threads: any.
    """

    def __init__(self, core: ServerCore, capacity: int, clock: Clock) -> None:
        self.life: Final = secrets.token_hex(8)
        self._core = core
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards the four below
        self._events: deque[Event] = deque(maxlen=capacity)
        self._number = 0  # of the last event
        self._standing = _Standing()  # as of the last event
        self._waiting = 0  # how many wait for the next one
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()  # False is the last
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to keep what happens."""
        self._thread = spawn("grpc-watch", self._wake_all, owner=self)
        self._core.event_bus.attach(self)
        with self._changed:
            # What was there before. The monitor is told of everything first, and reading it takes no lock.
            monitor = self._core.monitor
            for versions in monitor.get_live_states().values():
                self._standing.note(*versions.values())
            self._standing.note(*monitor.get_aspirations().values(), *monitor.get_labels().values())

    def record(self, event: Event) -> None:
        """Keep *event*; called by the bus. Whoever waits for it is woken on another thread."""
        with self._changed:
            self._events.append(event)
            self._number += 1
            self._standing.note(event)
            waited_for = self._waiting > 0
        if waited_for and self._news.empty():  # else all are woken later than now anyway
            self._news.put(True)  # noqa: FBT003 -- there is news

    def close(self) -> None:
        """Keep nothing more. Idempotent."""
        self._core.event_bus.detach(self)
        self._news.put(False)  # noqa: FBT003 -- there is no more
        if self._thread is not None:
            join(self._thread, self._clock, None)

    def wake(self) -> None:
        """Have everyone who waits look around."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, number: int, call: Call, timeout: float | None = None) -> int:
        """Wait until more than *number* events have happened, and return how many have.

        Blocks: until then, until the call is over, or for *timeout* seconds (None: for ever).

        Raises:
            ServmanError: The call is over.
        """
        deadline = deadline_after(self._clock, timeout)
        with self._changed:
            while self._number <= number and not call.ended:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    break
                self._waiting += 1
                try:
                    self._clock.wait_until(self._changed, deadline)
                finally:
                    self._waiting -= 1
            found = self._number
        if call.ended:
            raise call.over()
        return found

    def follow(self, names: frozenset[str], life: str, after: int, call: Call) -> Iterator[Any]:
        """Yield a `servman.v1.WatchResponse` for each event of the streams *names* (none: all), as it happens.

        Args:
            names: The streams.
            life: Which life of a server the number *after* is from.
            after: The number of the last event that the caller knows. Where what came after it is not known
                any more, the first answer tells how everything stands.
            call: Whose answers they are.

        Raises:
            ServmanError: The call is over, or may not wait.
        """
        position = after if life == self.life else -1
        with call.waiting(self.wake, streams=True):
            while True:
                found = self._after(position)
                if found is None:
                    position, standing = self._stands()
                    yield self._snapshot(position, standing, names)
                    continue
                for event in found:
                    position += 1
                    if not names or _name(event) in names:
                        yield self._response(position, event)
                if not found:
                    self.wait(position, call)

    def _after(self, position: int) -> list[Event] | None:
        """Return what came next, some of it; None where that is not known any more, or cannot be."""
        with self._changed:
            pending = self._number - position
            if not 0 <= pending <= len(self._events):
                return None
            return [self._events[at - pending] for at in range(min(pending, _BATCH))]

    def _stands(self) -> tuple[int, _Standing]:
        with self._changed:
            return self._number, self._standing.copy()

    def _snapshot(self, number: int, standing: _Standing, names: frozenset[str]) -> Any:
        """Return how everything stood after the event *number*, with what the monitor remembers of what has ended."""
        response = _WatchResponse(server=self.life, number=number)
        response.snapshot.SetInParent()
        ended = {
            state.id: state
            for versions in self._core.monitor.get_all_states().values()
            for state in versions.values()
            if state.manager_state is ManagerState.END
        }
        states = {**ended, **standing.live}
        for one in sorted(states):
            if not names or one.name in names:
                write_state(states[one], response.snapshot.states.add())
        for name in sorted(names or standing.aspirations.keys() | standing.labels.keys()):
            if name in standing.aspirations:
                _write_aspiration(standing.aspirations[name], response.snapshot.aspirations.add())
            if name in standing.labels:
                _write_labels(standing.labels[name], response.snapshot.labels.add())
        return response

    def _response(self, number: int, event: Event) -> Any:
        response = _WatchResponse(server=self.life, number=number)
        match event:
            case ServableState():
                write_state(event, response.state)
            case StreamAspiration():
                _write_aspiration(event, response.aspiration)
            case StreamLabels():
                _write_labels(event, response.labels)
        return response

    def _wake_all(self) -> None:
        while self._clock.receive(self._news, None) is not False:
            self.wake()


@final
@dataclass(frozen=True, slots=True)
class _Standing:
    """How everything stands after one event: what has ended, and what is empty, is not there."""

    live: dict[ServableId, ServableState] = field(default_factory=dict)
    aspirations: dict[str, StreamAspiration] = field(default_factory=dict)
    labels: dict[str, StreamLabels] = field(default_factory=dict)

    def note(self, *events: Event) -> None:
        for event in events:
            match event:
                case ServableState():
                    lasts = event.manager_state is not ManagerState.END
                    _put(self.live, event.id, event, lasts=lasts)
                case StreamAspiration():
                    _put(self.aspirations, event.name, event, lasts=bool(event.versions))
                case StreamLabels():
                    lasts = bool(event.wanted or event.targets)
                    _put(self.labels, event.name, event, lasts=lasts)

    def copy(self) -> _Standing:
        return _Standing(dict(self.live), dict(self.aspirations), dict(self.labels))


def _put(table: dict[K, V], key: K, value: V, *, lasts: bool) -> None:
    if lasts:
        table[key] = value
    else:
        table.pop(key, None)


def _write_aspiration(aspiration: StreamAspiration, message: Any) -> None:
    message.name = aspiration.name
    message.versions.extend(sorted(aspiration.versions))


def _write_labels(labels: StreamLabels, message: Any) -> None:
    message.name = labels.name
    message.wanted.update(labels.wanted)
    message.targets.update(labels.targets)


def _name(event: Event) -> str:
    return event.id.name if isinstance(event, ServableState) else event.name
