"""Why a wanted version is not available: a code and the facts, and who can tell.

Lookups that fail, waits, `explain` and the command line all speak from the same reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.errors import ServmanError
    from servman.ids import ServableRequest


class ReasonCode(StrEnum):
    """What keeps a version from being available, in the order of its way through servman."""

    NOT_CONFIGURED = "not configured"
    BASE_PATH_MISSING = "base path missing"
    BASE_PATH_NOT_A_DIRECTORY = "base path is not a directory"
    BASE_PATH_UNREADABLE = "base path unreadable"
    NOT_LOOKED_YET = "not looked yet"
    NO_VERSIONS = "no versions found"
    NOT_ON_DISK = "version not on disk"
    STILL_CHANGING = "directory still changing"
    NOT_CHOSEN = "not chosen by the policy"
    NOT_ASPIRED = "not aspired"
    NO_LABEL = "no such label"
    PLATFORM_UNAVAILABLE = "platform not enabled or not importable"
    QUEUED = "queued"
    WAITING = "waiting for another version"
    WAITING_FOR_MEMORY = "waiting for memory"
    LOADING = "loading"
    HELD = "held until others are ready"
    RETRYING = "retry pending"
    FAILED = "failed"
    AVAILABLE = "available"
    WAITING_FOR_HANDLES = "waiting for handles"
    UNLOADING = "unloading"
    UNLOADED = "unloaded"
    CLOSED = "server closed"
    UNKNOWN = "unknown"


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is not satisfied.

    Attributes:
        code: What kind of reason, for programs.
        text: One sentence for people, naming the servable and, where known, the remedy.
        facts: The numbers, paths and names in the text, for programs.
        error: The error behind it, if one is.

    Threads: immutable; any thread.
    """

    code: ReasonCode
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
    error: ServmanError | None = None

    def __str__(self) -> str:
        return self.text


class Explainer(Protocol):
    """Something that knows why a request is not satisfied yet.

    Implementations answer from published snapshots: they wait for nothing, and any thread may ask.
    """

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return the reason, or None where this explainer knows nothing about the request."""
        ...


def first_reason(explainers: Iterable[Explainer], request: ServableRequest) -> Reason | None:
    """Return the answer of the first explainer that has one; ask those nearest to serving first."""
    for explainer in explainers:
        reason = explainer.explain(request)
        if reason is not None:
            return reason
    return None
