"""When to look at which incarnation again. Pure."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_MANY: Final = 1000
"""How many entries are kept without asking whether they still mean anything."""


@final
class Alarm:
    """A heap of instants, each with the incarnation to look at then.

    What an entry was for is not kept: whoever is woken looks at the incarnation, which may have gone.

    Args:
        living: The incarnations that are still there.
    """

    __slots__ = ("_due", "_limit", "_living")

    def __init__(self, living: Container[int]) -> None:
        self._living = living
        self._due: list[tuple[float, int]] = []
        self._limit = _MANY

    def set(self, time: float, incarnation: int) -> None:
        """Have *incarnation* looked at from *time* on."""
        if len(self._due) >= self._limit:
            self._due = [one for one in self._due if one[1] in self._living]
            heapq.heapify(self._due)
            self._limit = max(_MANY, 2 * len(self._due))
        heapq.heappush(self._due, (time, incarnation))

    def next(self) -> float | None:
        """Return the earliest instant that was asked for."""
        return self._due[0][0] if self._due else None

    def ring(self, now: float) -> Iterator[int]:
        """Yield the living incarnations to look at by *now*, each as often as was asked for."""
        while self._due and self._due[0][0] <= now:
            _, incarnation = heapq.heappop(self._due)
            if incarnation in self._living:
                yield incarnation
