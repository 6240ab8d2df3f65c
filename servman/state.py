"""What outsiders may know of a version: its public state, and what is aspired of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.errors import ServmanError
    from servman.ids import ServableId


class ManagerState(IntEnum):
    """The public states of one incarnation of a version; they only move forward.

    The numbers are those of TensorFlow Serving's `ModelVersionStatus.State`.
    """

    START = 10
    """The manager has taken the version up; it waits for its turn."""
    LOADING = 20
    """A load was started; it stays so through retries and the pauses between them."""
    AVAILABLE = 30
    """Lookups find it. Published after the first lookup would."""
    UNLOADING = 40
    """It is on its way out. Published before lookups stop finding it."""
    END = 50
    """The incarnation is over: unloaded, cancelled, or failed with an error."""


@final
@dataclass(frozen=True, slots=True)
class ServableState:
    """One version came into one public state.

    Attributes:
        id: The version.
        manager_state: The state.
        error: With END, why the incarnation failed or was cancelled; None after a plain unload.
        time: Seconds since the epoch by the clock of the bus that published it, which stamps it; 0.0
            before that.
        cause: What brought it there, in a few words for people: "aspired", "files changed", "no longer
            aspired", "replaced", "closing"; empty where the state follows from the one before it.

    Threads: immutable; any thread.
    """

    id: ServableId
    manager_state: ManagerState
    error: ServmanError | None = None
    time: float = 0.0
    cause: str = field(default="", compare=False)

    def __str__(self) -> str:
        text = f"{self.id} {self.manager_state.name}"
        if self.error is None:
            return text
        return f"{text}: {str(self.error).removeprefix(f'{self.id}: ')}"


@final
@dataclass(frozen=True, slots=True)
class StreamAspiration:
    """A manager has taken up a new list of aspired versions for a stream.

    It is published before any state of the versions that it brings. Every incarnation of a version
    begins with START, so the END of a newly aspired version that comes before its START belongs
    to an earlier incarnation.

    Threads: immutable; any thread.
    """

    name: str
    versions: frozenset[int]


@final
@dataclass(frozen=True, slots=True)
class StreamLabels:
    """The labels of a stream have changed: what is wanted of them, or what they resolve to.

    It is published after lookups find what it says, and before the AVAILABLE of a version that labels
    have moved to.

    Attributes:
        name: The stream.
        wanted: Label to the version that it is to point to.
        targets: Label to the version that a lookup by it finds. A label without one is not among them. In
            a held stream these may be the targets of labels that are no longer wanted.

    Threads: immutable; any thread.
    """

    name: str
    wanted: Mapping[str, int] = field(hash=False)
    targets: Mapping[str, int] = field(hash=False)
