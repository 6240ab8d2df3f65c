"""The line of calls that wait for a slot. Not locked: the dispatcher calls all of it with its own lock held."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, final

from servman.workers.bell import Bell

if TYPE_CHECKING:
    from servman.workers.fleet import Slot


@final
class Waiter:
    """A call that waits.

    Attributes:
        number: Its place; lower ones came first.
        python: Whether it needs no device.
        suspect: Whether a process died over it.
        bell: Rings when it has a slot, or has to look at what has changed.
        slot: What it was given.
    """

    __slots__ = ("bell", "number", "python", "slot", "suspect")

    def __init__(self, number: int, *, python: bool, suspect: bool) -> None:
        self.number = number
        self.python = python
        self.suspect = suspect
        self.bell = Bell()
        self.slot: Slot | None = None


@final
class WaitingLine:
    """Calls in the order in which they came, those with the same wants in a row of their own.

    What the first of a row cannot use, nobody behind it can: so only the heads of rows have to be looked at.

    Attributes:
        length: How many wait.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[bool, bool], OrderedDict[Waiter, None]] = {}
        self._came = 0
        self.length = 0

    def join(self, *, python: bool, suspect: bool) -> Waiter:
        """Return a waiter at the end of the line."""
        waiter = Waiter(self._came, python=python, suspect=suspect)
        self._came += 1
        self._rows.setdefault((python, suspect), OrderedDict())[waiter] = None
        self.length += 1
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Let *waiter* go, if it is still there."""
        row = self._rows[waiter.python, waiter.suspect]
        if waiter in row:
            del row[waiter]
            self.length -= 1

    def heads(self) -> list[Waiter]:
        """Return the first of each row, in the order in which they came."""
        return sorted((next(iter(row)) for row in self._rows.values() if row), key=_number)

    def ring_all(self) -> None:
        """Have everybody look at what has changed."""
        for row in self._rows.values():
            for waiter in row:
                waiter.bell.ring()


def _number(waiter: Waiter) -> int:
    return waiter.number
