"""Whose deadline comes next."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar, final

T = TypeVar("T", bound=Hashable)


@final
class Deadlines(Generic[T]):
    """Owners and their deadlines, earliest first. Whoever leaves early leaves nothing behind.

    Threads: one at a time, which the owner sees to.
    """

    def __init__(self) -> None:
        # Who leaves stays in the heap as a bare number until it is rebuilt, which happens before such
        # numbers are in the majority: so leaving costs a constant time on average, and holds nothing.
        self._heap: list[tuple[float, int]] = []
        self._owners: dict[int, T] = {}
        self._numbers: dict[T, int] = {}
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, owner: T, deadline: float) -> bool:
        """Keep the deadline of *owner*, which has none yet; return whether it is the earliest."""
        self._last_number += 1
        self._owners[self._last_number] = owner
        self._numbers[owner] = self._last_number
        heapq.heappush(self._heap, (deadline, self._last_number))
        return self.next() == deadline

    def discard(self, owner: T) -> None:
        """Forget the deadline of *owner*, if it has one."""
        number = self._numbers.pop(owner, None)
        if number is None:
            return
        del self._owners[number]
        if len(self._heap) > 2 * len(self._owners) + 16:
            self._heap = [entry for entry in self._heap if entry[1] in self._owners]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """Return the earliest deadline, or None without any."""
        while self._heap and self._heap[0][1] not in self._owners:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[T]:
        """Forget and return whose deadline has come, earliest first."""
        due = []
        while (deadline := self.next()) is not None and deadline <= now:
            _, number = heapq.heappop(self._heap)
            owner = self._owners.pop(number)
            del self._numbers[owner]
            due.append(owner)
        return due
