"""What has happened to each model, and why: bounded, and read without waiting."""

from __future__ import annotations

import collections
import operator
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from servman.core.transition import Transition, labels_in_words
from servman.errors import InvalidArgumentError
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servman.clock import Clock
    from servman.core.journal import Journal
    from servman.events import Event

_EVERYONE: Final = ""
"""The name under which stands what concerns all models."""

_FORGOTTEN_AT_ONCE: Final = 2
"""How many models that have gone a record forgets at most: more than the one that it may add."""


@final
class History:
    """Remembers what the event bus carries, and the configurations.

    1. When `EventBus.publish` returns, the history has the event: whoever was told that a version is
       available finds that here. Writing it down costs the publisher one small object; what is
       said of it is put together by who reads.
    2. The order is that of the bus.
    3. Of each model the last *capacity* transitions are kept, and none for longer than *max_age*, but for the
       last one of a model that is wanted or loaded. A model that has gone is forgotten by age.
    4. Reading takes no lock, waits for nothing, and finds all that was recorded until it began, and
       nothing later: no transition without those before it.

    Args:
        capacity: How many transitions of each model, and how many configurations, are kept.
        max_age: For how many seconds they are kept.
        clock: The time. Ages and durations are those of its monotonic scale: nobody sets it back.
        cause_of: Returns, for a model, why the list was sent that is wanted of it now. Takes no lock.
        journal: Writes everything down.

    Threads: any.
    """

    def __init__(
        self,
        *,
        capacity: int,
        max_age: float,
        clock: Clock,
        cause_of: Callable[[str], str],
        journal: Journal,
    ) -> None:
        self._capacity = capacity
        self._max_age = max_age
        self._clock = clock
        self._cause_of = cause_of
        self._journal = journal
        self._lock = threading.Lock()  # guards writing everything below
        self._number = 0  # of the last entry; goes up after the entry shows
        self._generation = 0
        self._streams: dict[str, _Stream] = {_EVERYONE: _Stream(capacity, lasting=True)}
        # Those of which nothing is wanted or loaded; the one that was quiet for longest is first.
        self._gone: collections.OrderedDict[str, None] = collections.OrderedDict()

    def record(self, event: Event) -> None:
        """Write *event* down; called by the bus."""
        if isinstance(event, ServableState):
            self._add(event.id.name, event.time, event.cause, event)
            return
        cause = self._cause_of(event.name) if isinstance(event, StreamAspiration) else ""
        self._add(event.name, self._clock.wall(), cause, event)

    def note_config(self, generation: int, origin: str, text: str, error: str = "") -> None:
        """Write down that a configuration came into force, or, with *error*, that one did not.

        Args:
            generation: Its number. With an error, that of the one that stays in force.
            origin: Who asked for it.
            text: What is said of it, for people.
            error: Why it did not come into force.
        """
        self._add(_EVERYONE, self._clock.wall(), origin, _ConfigNote(generation, text, error))

    def transitions(
        self, name: str | None = None, limit: int | None = None
    ) -> tuple[Transition, ...]:
        """Return what has happened to *name* (None: to all, and to the configuration), oldest first.

        Args:
            name: A model; one that nothing is known of has no transitions.
            limit: How many of them at most, the last ones; None for all.

        Raises:
            InvalidArgumentError: *limit* is no such number, or *name* no text.
        """
        if not isinstance(name, str | None):
            raise InvalidArgumentError(f"the name of a model is a text, not {name!r}")
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidArgumentError(f"a limit is None or a number of transitions, not {limit!r}")
        last = self._number  # first: what is recorded from now on is left out
        horizon = self._clock.monotonic() - self._max_age
        if name is None:
            entries = _merged(
                stream.recent(last, horizon) for stream in self._streams.copy().values()
            )
        else:
            stream = self._streams.get(name)
            entries = [] if stream is None else list(stream.recent(last, horizon))
        chosen = entries if limit is None else entries[max(0, len(entries) - limit) :]
        return tuple(entry.transition() for entry in chosen)

    def _add(self, name: str, time: float, cause: str, event: _Happening) -> None:
        now = self._clock.monotonic()
        with self._lock:
            stream = self._streams.get(name)
            if stream is None:
                stream = self._streams[name] = _Stream(self._capacity)
            if isinstance(event, _ConfigNote):
                self._generation = event.generation
            number = self._number + 1
            duration = stream.follow(event, now)
            entry = _Entry(number, now, time, duration, cause, self._generation, event)
            stream.entries.append(entry)
            self._number = number
            self._journal.post(entry.transition)
            stream.forget(now - self._max_age)
            self._forget_gone_locked(name, stream, now - self._max_age)

    def _forget_gone_locked(self, name: str, stream: _Stream, horizon: float) -> None:
        self._gone.pop(name, None)
        if not stream.lasts:
            self._gone[name] = None
        for _ in range(min(len(self._gone), _FORGOTTEN_AT_ONCE)):
            quietest = next(iter(self._gone))
            if self._streams[quietest].last_at >= horizon:
                break
            del self._gone[quietest], self._streams[quietest]


@final
class _Stream:
    """What is kept of one model.

    Attributes:
        entries: Oldest first.
        last_at: When the last one was added.

    Threads: `lasts` and `recent` any; the rest one at a time.
    """

    __slots__ = ("_aspired", "_lasting", "_since", "entries", "last_at")

    def __init__(self, capacity: int, *, lasting: bool = False) -> None:
        self.entries: collections.deque[_Entry] = collections.deque(maxlen=capacity)
        self.last_at = 0.0
        self._lasting = lasting
        self._aspired: frozenset[int] = frozenset()
        self._since: dict[int, float] = {}  # when a version that has not ended came into its state

    @property
    def lasts(self) -> bool:
        """Whether something of it is wanted or loaded."""
        return self._lasting or bool(self._aspired or self._since)

    def follow(self, event: _Happening, now: float) -> float | None:
        """Take in *event*; return for how many seconds its version was in the state before."""
        self.last_at = now
        if isinstance(event, StreamAspiration):
            self._aspired = event.versions
        if not isinstance(event, ServableState):
            return None
        since = self._since.pop(event.id.version, None)
        if event.manager_state is not ManagerState.END:
            self._since[event.id.version] = now
        if since is None or event.manager_state is ManagerState.START:
            return None
        return now - since

    def forget(self, horizon: float) -> None:
        """Drop what is older than *horizon*, but for the last entry."""
        while len(self.entries) > 1 and self.entries[0].at < horizon:
            self.entries.popleft()

    def recent(self, last: int, horizon: float) -> collections.deque[_Entry]:
        """Return the entries up to number *last* that are not older than *horizon*, oldest first.

        Of a stream that lasts, the last one is among them whatever its age.
        """
        entries = self.entries.copy()
        while entries and entries[-1].number > last:
            entries.pop()
        kept = 1 if self.lasts else 0
        while len(entries) > kept and entries[0].at < horizon:
            entries.popleft()
        return entries


@final
@dataclass(frozen=True, slots=True)
class _ConfigNote:
    """What became of a configuration; see `History.note_config`."""

    generation: int
    text: str
    error: str


_Happening = ServableState | StreamAspiration | StreamLabels | _ConfigNote


@final
class _Entry(NamedTuple):
    """What is kept of one happening: all that it takes to tell of it.

    Attributes:
        number: Its place in the order of all.
        at: When it was, on the monotonic clock.
        time: The same, since the epoch.
        duration, cause, generation: As of `Transition`.
        event: What has happened.
    """

    number: int
    at: float
    time: float
    duration: float | None
    cause: str
    generation: int
    event: _Happening

    def transition(self) -> Transition:
        """Return it in words."""
        event = self.event
        if isinstance(event, ServableState):
            which = event.id
            error = "" if event.error is None else str(event.error).removeprefix(f"{which}: ")
            state = event.manager_state.name
            return self._told(state, which.name, version=which.version, error=error)
        if isinstance(event, StreamAspiration):
            versions = sorted(event.versions)
            text = ", ".join(map(str, versions)) or "no version"
            return self._told("ASPIRED", event.name, text=text, facts={"versions": versions})
        if isinstance(event, StreamLabels):
            facts = {"wanted": dict(event.wanted), "targets": dict(event.targets)}
            return self._told("LABELS", event.name, text=labels_in_words(**facts), facts=facts)
        what = "CONFIG_REFUSED" if event.error else "CONFIG"
        return self._told(what, text=event.text, error=event.error)

    def _told(self, what: str, name: str = "", **known: Any) -> Transition:
        return Transition(
            self.time,
            what,
            name,
            duration=self.duration,
            cause=self.cause,
            generation=self.generation,
            **known,
        )


def _merged(streams: Iterable[Iterable[_Entry]]) -> list[_Entry]:
    entries = [entry for entries in streams for entry in entries]
    entries.sort(key=operator.attrgetter("number"))
    return entries
