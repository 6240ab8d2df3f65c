"""A queue in front of a bounded number of places: who works, and who waits for a place."""

from __future__ import annotations

from typing import final


@final
class Lane:
    """Hands out places in the order of asking. Pure; members are incarnation numbers.

    Args:
        limit: How many may work at once.
    """

    __slots__ = ("_waiting", "_working", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: dict[int, None] = {}  # in the order of asking
        self._working: set[int] = set()

    def enter(self, member: int) -> None:
        """Wait for a place."""
        self._waiting[member] = None

    def leave(self, member: int) -> None:
        """Wait no longer, or give the place back."""
        self._waiting.pop(member, None)
        self._working.discard(member)

    def waits(self, member: int) -> bool:
        """Return whether *member* waits for a place."""
        return member in self._waiting

    def next(self) -> int | None:
        """Give the first that waits a place and return it; None when there is none to give."""
        if not self._waiting or len(self._working) >= self.limit:
            return None
        member = next(iter(self._waiting))
        del self._waiting[member]
        self._working.add(member)
        return member
