"""Which version of a stream goes in or out next: pure functions of the stream's snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, final

from servman.manager.harness import ENDED, HarnessState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.ids import ServableId
    from servman.manager.harness import ServableStateSnapshot


class ActionKind(Enum):
    """What a policy can ask for."""

    LOAD = "load"
    UNLOAD = "unload"


@final
@dataclass(frozen=True, slots=True)
class ServableAction:
    """Load or unload this version.

    Threads: immutable; any thread.
    """

    kind: ActionKind
    id: ServableId


class AspiredVersionPolicy(Protocol):
    """Decides the transitions of a stream, one at a time.

    The manager asks after every change of the stream, applies the answer and asks again, until
    the answer is None. Implementations are pure: they keep nothing, wait for nothing and may be called
    for any stream.
    """

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        """Return what to do next.

        Args:
            snapshots: Every version of one stream, in ascending order. Versions on their way out are
                among them; one that is aspired anew meanwhile is `wanted_again`.

        Returns:
            The load of an aspired version that is NEW, the unload of one that is READY, or None
            when nothing is to be done now.
        """
        ...


@final
@dataclass(frozen=True, slots=True)
class AvailabilityPreservingPolicy:
    """Keeps something serving: an old version goes only once a new one is ready.

    1. If nothing is wanted, or an aspired version is ready, or more than one unwanted version is:
       unload the lowest unwanted version that is ready.
    2. Otherwise load the highest aspired version that is new.

    So the last ready version of a stream stays until an aspired one is ready, for ever if none
    succeeds. For a while two versions are in memory.

    Threads: keeps nothing; any thread.
    """

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        """Return the next transition; see `AspiredVersionPolicy`."""
        unwanted = [one.id for one in snapshots if not one.aspired and _ready(one)]
        aspired = [one for one in snapshots if one.aspired]
        nothing_wanted = not aspired and not any(one.wanted_again for one in snapshots)
        if unwanted and (nothing_wanted or any(map(_ready, aspired)) or len(unwanted) > 1):
            return ServableAction(ActionKind.UNLOAD, min(unwanted))
        return _load_highest(aspired)


@final
@dataclass(frozen=True, slots=True)
class ResourcePreservingPolicy:
    """Keeps memory free: a new version is loaded only once every unwanted one is gone.

    Between the two the stream has no version to serve, and it stays so if the new one fails.

    Threads: keeps nothing; any thread.
    """

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        """Return the next transition; see `AspiredVersionPolicy`."""
        unwanted = [one for one in snapshots if not one.aspired]
        for one in unwanted:
            if _ready(one):
                return ServableAction(ActionKind.UNLOAD, one.id)
        if any(one.state not in ENDED for one in unwanted):
            return None
        return _load_highest([one for one in snapshots if one.aspired])


def _ready(snapshot: ServableStateSnapshot) -> bool:
    return snapshot.state is HarnessState.READY


def _load_highest(aspired: Sequence[ServableStateSnapshot]) -> ServableAction | None:
    new = [one.id for one in aspired if one.state is HarnessState.NEW]
    return ServableAction(ActionKind.LOAD, max(new)) if new else None
