"""How often a worker may be started again: so many times while the servable has served for so long.

Pure. The window is one of *serving* time, which stands still while nothing serves. So a servable whose
workers all die again and again spends the budget however long a start takes and however long the pauses
are; and one that serves has its budget back after a while by the clock.
"""

from __future__ import annotations

import collections
import math
from typing import Final, final

_CLOSE_ENOUGH: Final = 1e-6  # seconds; sums of floats do not come out even


@final
class ServingTime:
    """A watch that runs while at least one worker serves.

    Threads: one.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._since: float | None = None

    def run(self, serving: bool, now: float) -> None:
        """Let the watch run from *now* on, or stop it."""
        if self._since is not None:
            self._sum += now - self._since
        self._since = now if serving else None

    def at(self, now: float) -> float:
        """Return the seconds that it shows at *now*."""
        return self._sum + (0.0 if self._since is None else now - self._since)

    def when(self, reading: float, now: float) -> float:
        """Return when it will show *reading* if nothing changes: *now* if it does, infinity if it stands."""
        missing = reading - self.at(now)
        if missing <= _CLOSE_ENOUGH:
            return now
        return math.inf if self._since is None else now + missing


@final
class Budget:
    """At most *most* starts in any *window* seconds of serving time.

    Threads: one.
    """

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._spent: collections.deque[float] = collections.deque(maxlen=max(most, 1))

    def spend(self, reading: float) -> None:
        """Take one, when the watch of serving time shows *reading*."""
        self._spent.append(reading)

    def free_at(self) -> float:
        """Return what the watch has to show for another one: infinity where none is allowed at all."""
        if self._most == 0:
            return math.inf
        return self._spent[0] + self._window if len(self._spent) == self._most else -math.inf
