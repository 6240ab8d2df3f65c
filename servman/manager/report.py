"""How a manager closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from servman.manager.harness import ServableStateSnapshot


_NAMED: Final = 3
"""How many handles on one version the text names; the snapshots have them all."""


@final
@dataclass(frozen=True, slots=True)
class CloseReport:
    """How a manager closed; true when it has ended and nothing was left.

    Attributes:
        left: The versions that had not gone by the deadline, each in the state in which it was left:
            QUIESCING while handles are open, LOADING or UNLOADING while its loader has not returned.
        ended: Whether the manager has come to its end. Where it has not, some foreign code that it runs
            itself (a policy, a recorder on the bus) has not returned, and not even every END is published.

    Threads: immutable; any thread.
    """

    left: tuple[ServableStateSnapshot, ...] = ()
    ended: bool = True

    def __bool__(self) -> bool:
        return self.ended and not self.left

    def __str__(self) -> str:
        if self:
            return "closed, nothing left"
        names = ", ".join(map(_told, self.left)) or "nothing"
        return f"left: {names}" if self.ended else f"left, by a manager that has not ended: {names}"


def _told(left: ServableStateSnapshot) -> str:
    handles = f", {left.handles_in_words}" if left.handles else ""
    taken = "".join(f", taken at {site.where}" for site in left.sites[:_NAMED])
    return f"{left.id} ({left.state.value}{handles}{taken})"
