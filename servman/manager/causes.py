"""What brought a version into a state, in a few words for people; see `ServableState.cause`."""

from __future__ import annotations

from enum import StrEnum
from typing import final


@final
class Cause(StrEnum):
    """Why an incarnation begins, comes in, or goes. Empty where it follows from what was before."""

    # It begins.
    ASPIRED = "aspired"
    COMES_BACK = "comes back"
    FILES_CHANGED = "files changed"
    MEMORY_RETURNED = "memory returned"
    RETRY_REQUESTED = "retry requested"
    MANAGED = "managed"
    LOOKED_UP = "looked up"
    # It comes in.
    COMMITTED = "committed"
    # It begins again, comes in, or goes.
    ROLLED_BACK = "rolled back"
    # It goes.
    NO_LONGER_ASPIRED = "no longer aspired"
    REPLACED = "replaced"
    UNLOAD_REQUESTED = "unload requested"
    NO_LONGER_MANAGED = "no longer managed"
    EVICTED = "evicted"
    FAILED = "failed"
    CLOSING = "closing"
