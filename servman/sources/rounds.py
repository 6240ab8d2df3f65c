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
    """

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._next = clock.monotonic() if interval >= 0 else None
        self._count = 0
        self._added = itertools.count()
        self._turns: dict[str, int] = {}
        self._rechecks: dict[str, float] = {}
        self._restless: set[str] = set()  # nothing need happen in the base path before they change

    def add(self, name: str) -> None:
        """Let the servable *name* take part, as one of which nothing is known."""
        self._turns[name] = self._turns.get(name, next(self._added))
        self._clear(name)

    def remove(self, name: str) -> None:
        """Let it take part no longer."""
        del self._turns[name]
        self._clear(name)

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
        if not is_told or (look.selection is not None and look.selection.incomplete):
            self._restless.add(name)

    def _clear(self, name: str) -> None:
        self._rechecks.pop(name, None)
        self._restless.discard(name)

    @property
    def next_instant(self) -> float | None:
        """When something is due next; None for never."""
        instants = list(self._rechecks.values())
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
            return [stream for stream in streams if self._has_turn(stream, tells_all)]
        names = {name for name, instant in self._rechecks.items() if instant <= now}
        for name in names:
            del self._rechecks[name]
        return [stream for stream in streams if stream.servable.name in names] if names else []

    def _has_turn(self, stream: MonitoredStream, tells_all: Callable[[str], bool]) -> bool:
        name = stream.servable.name
        if (self._turns[name] + self._count) % SAFETY == 0 or name in self._restless:
            return True
        return not tells_all(stream.servable.base_path)
