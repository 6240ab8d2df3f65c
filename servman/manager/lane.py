"""A queue in front of a bounded number of places: who works, and who waits for a place."""

from __future__ import annotations

from typing import final


@final
class Lane:
    """Hands out places in the order of asking. Pure; members are incarnation numbers.

    A member that works for too long is passed over: it keeps its thread, and its place goes to the
    next, on a thread more.

    Args:
        limit: How many may work at once, those passed over not counted.
    """

    __slots__ = ("_in_order", "_passed_over", "_waiting", "_working", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._waiting: dict[int, None] = {}  # in the order of asking, or of `order`
        self._in_order = True  # nobody has asked since
        self._working: dict[int, None] = {}  # in the order of their start
        self._passed_over: dict[int, None] = {}  # likewise

    def enter(self, member: int) -> None:
        """Wait for a place."""
        self._waiting[member] = None
        self._in_order = False

    def leave(self, member: int) -> None:
        """Wait no longer, or give the place back."""
        self._waiting.pop(member, None)
        self._working.pop(member, None)
        self._passed_over.pop(member, None)

    def pass_over(self, member: int) -> None:
        """Give the place of *member*, which works for too long, to the next."""
        if member in self._working:
            del self._working[member]
            self._passed_over[member] = None

    def __len__(self) -> int:
        """How many work or wait."""
        return len(self._waiting) + len(self._working) + len(self._passed_over)

    @property
    def oldest(self) -> int | None:
        """Who has worked for longest."""
        return next(iter(self._passed_over or self._working), None)

    @property
    def threads(self) -> int:
        """How many threads it takes."""
        return self.limit + len(self._passed_over)

    def waits(self, member: int) -> bool:
        """Return whether *member* waits for a place."""
        return member in self._waiting

    @property
    def waiting(self) -> list[int]:
        """Who waits for a place, the next one first."""
        return list(self._waiting)

    @property
    def contended(self) -> bool:
        """Whether several wait for a place."""
        return len(self._waiting) > 1

    @property
    def unordered(self) -> bool:
        """Whether there is a place to give, and several wait for it of whom some have not been ordered."""
        return not self._in_order and self.contended and len(self._working) < self.limit

    def order(self, members: list[int]) -> None:
        """Let those who wait have their places in the order of *members*, which names each of them."""
        self._waiting = dict.fromkeys(members)
        self._in_order = True

    def next(self) -> int | None:
        """Give the first that waits a place and return it; None when there is none to give."""
        if not self._waiting or len(self._working) >= self.limit:
            return None
        member = next(iter(self._waiting))
        del self._waiting[member]
        self._working[member] = None
        return member
