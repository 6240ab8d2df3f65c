"""When a servable is looked at though nothing is known to have happened."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, final

from servman.sources.look import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servman.clock import Clock
    from servman.sources.look import Look
    from servman.sources.stream import MonitoredStream

CALM: Final = 0.1
"""Seconds between looks at what changes within an incomplete version: a copy is thousands of changes."""

SAFETY: Final = 10
"""In every so many rounds a servable is looked at whose file events are followed."""


@final
class Rounds:
    """Rounds of looks, one in each poll interval, and looks at what may have become complete.

    A servable is looked at in each round. One of which file events tell everything is looked at in every tenth,
    in case an event was lost; these are spread evenly over the rounds.

    Threads: the actor's.

    Args:
        clock: The time.
        interval: Seconds from one round to the next; 0 for one round, negative for none.

    Attributes:
        cause: What made the streams due that `due` returned last: "start", "poll" or "settled".
    """

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self.cause = ""
        self._next = clock.monotonic() if interval >= 0 else None
        self._count = 0
        self._added = itertools.count()
        self._turns: dict[str, int] = {}
        self._rechecks: dict[str, float] = {}
        self._restless: set[str] = set()  # nothing need happen in the base path before they change
        self._calm: dict[str, float] = {}  # until when changes within their versions can wait
        self._stirred: dict[str, float] = {}

    def add(self, name: str) -> None:
        """Let the servable *name* take part, as one of which nothing is known."""
        self._turns[name] = self._turns.get(name, next(self._added))
        self._clear(name)
        self._stirred.pop(name, None)

    def remove(self, name: str) -> None:
        """Let it take part no longer."""
        del self._turns[name]
        self._clear(name)
        self._stirred.pop(name, None)

    def note(self, name: str, look: Look, recheck: float | None, *, is_told: bool) -> None:
        """Note what comes of a look.

        Args:
            name: The servable.
            look: The look.
            recheck: When a version may have become complete by itself, by what is known; None for never.
            is_told: Whether the target knows all that is to be known.
        """
        if self._rechecks or self._restless:
            self._clear(name)
        if recheck is not None:
            # What could not be read may be well again, though no event or round will say so.
            failed = look.failure is not None
            self._rechecks[name] = self._clock.monotonic() + PATIENCE if failed else recheck
        is_incomplete = look.selection is not None and bool(look.selection.incomplete)
        if is_incomplete:
            self._calm[name] = self._clock.monotonic() + CALM
        if is_incomplete or not is_told:
            self._restless.add(name)

    def stir(self, name: str) -> None:
        """Note that something has changed within an incomplete version of the servable *name*."""
        self._stirred.setdefault(name, self._calm.get(name, self._clock.monotonic()))

    def stirred(self) -> list[str]:
        """Return the servables that are due now because something has changed within their versions."""
        if not self._stirred:
            return []
        now = self._clock.monotonic()
        names = [name for name, instant in self._stirred.items() if instant <= now]
        for name in names:
            del self._stirred[name]
        return names

    def _clear(self, name: str) -> None:
        self._rechecks.pop(name, None)
        self._calm.pop(name, None)
        self._restless.discard(name)

    @property
    def next_instant(self) -> float | None:
        """When something is due next; None for never."""
        instants = [*self._rechecks.values(), *self._stirred.values()]
        if self._next is not None:
            instants.append(self._next)
        return min(instants, default=None)

    def put_off(self) -> None:
        """Begin a round now: the next comes an interval later."""
        self._next = self._clock.monotonic() + self._interval if self._interval > 0 else None

    def due(
        self, streams: Iterable[MonitoredStream], tells_all: Callable[[str], bool]
    ) -> list[MonitoredStream]:
        """Return those of *streams* that are due now, and begin a round if one is.

        Args:
            streams: All that take part.
            tells_all: Returns whether file events tell everything of a base path.
        """
        now = self._clock.monotonic()
        if self._next is not None and self._next <= now:
            self.put_off()
            self._count += 1
            self.cause = "start" if self._count == 1 else "poll"
            return [stream for stream in streams if self._has_turn(stream, tells_all)]
        self.cause = "settled"
        names = {name for name, instant in self._rechecks.items() if instant <= now}
        for name in names:
            del self._rechecks[name]
        return [stream for stream in streams if stream.servable.name in names] if names else []

    def _has_turn(self, stream: MonitoredStream, tells_all: Callable[[str], bool]) -> bool:
        name = stream.servable.name
        if (self._turns[name] + self._count) % SAFETY == 0 or name in self._restless:
            return True
        return not tells_all(stream.servable.base_path)
