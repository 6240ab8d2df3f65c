"""How far each of several models has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.core.standing import Stand, not_taken_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servman.core.standing import Standing


@final
class Progress:
    """How models stand, as far as they have been looked at.

    Args:
        standing: Says how one stands; None for one that is of no interest.
        counts: Whether one is waited for.

    Attributes:
        standings: How each stood when it was last looked at.
        pending: Those that are on their way, and waited for.
        failed: Those that have failed.

    Threads: one.
    """

    def __init__(
        self, standing: Callable[[str], Standing | None], counts: Callable[[str], bool]
    ) -> None:
        self._standing = standing
        self._counts = counts
        self.standings: dict[str, Standing] = {}
        self.pending: set[str] = set()
        self.failed: set[str] = set()

    def doubt(self, names: Iterable[str]) -> None:
        """Take those of *names* that have not failed for pending."""
        for name in names:
            if name in self.standings and name not in self.failed:
                self.standings[name] = not_taken_up(name)
                if self._counts(name):
                    self.pending.add(name)

    def look_at(self, names: Iterable[str]) -> None:
        """Look at *names* again."""
        for name in names:
            found = self._standing(name)
            if found is None:
                continue
            self.standings[name] = found
            self.pending.discard(name)
            self.failed.discard(name)
            if found.stand is Stand.FAILED:
                self.failed.add(name)
            elif found.stand is Stand.PENDING and self._counts(name):
                self.pending.add(name)
