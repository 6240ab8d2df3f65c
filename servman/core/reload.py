"""What a reload has come to, and the wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.errors import ServmanError
    from servman.reasons import Reason


class ReloadOutcome(StrEnum):
    """What has become of a model."""

    AVAILABLE = "available"
    """It is new or changed, and serves what is wanted."""
    UNCHANGED = "unchanged"
    """It is configured as it was, and serves what is wanted, unless nobody has waited to see that."""
    REMOVED = "removed"
    """It is no longer configured, and all its versions have gone."""
    FAILED = "failed"
    """What is wanted of it has failed."""
    PENDING = "pending"
    """It is still on its way."""
    PUT_BACK = "put back"
    """It was ready, but another one was not: it serves what it served before."""


@final
class Cancellation:
    """Ends the wait of a reload early. What is in force stays so; what an atomic one has not let in is put back.

    Attributes:
        cancelled: Whether it was asked for.

    Threads: any; for one reload.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._wake: Callable[[], None] | None = None

    def cancel(self) -> None:
        """End the wait, also one that has yet to begin. Never blocks."""
        self.cancelled = True
        wake = self._wake
        if wake is not None:
            wake()

    def wakes(self, wake: Callable[[], None]) -> None:
        """Have *wake* called when it is cancelled; called by whoever waits, who then looks at `cancelled`."""
        self._wake = wake


@final
@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """What has become of one model.

    Attributes:
        outcome: How far it has come.
        reason: Why it is not further; None where it is as wanted.
        required: Whether it counts for the whole.

    Threads: immutable; any thread.
    """

    outcome: ReloadOutcome
    reason: Reason | None = None
    required: bool = True

    def __bool__(self) -> bool:
        """Whether it is as wanted."""
        return self.outcome in (
            ReloadOutcome.AVAILABLE,
            ReloadOutcome.UNCHANGED,
            ReloadOutcome.REMOVED,
        )

    def __str__(self) -> str:
        return self.outcome.value if self.reason is None else f"{self.outcome.value}: {self.reason}"


@final
@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload has come to. `bool()` says whether all is well, `str()` is for people.

    Attributes:
        generation: The number of the configuration that was asked for; of the one in force, where that was
            taken back and no newer one took its place.
        models: What has become of each model, those included that are no longer configured.
        superseded_by: The generation of a newer configuration that ended the wait; None where none did.
        timed_out: Whether the time was up, or the wait was cancelled, before all was decided.
        rolled_back: Whether an atomic reload was taken back: everything is as it was before.
        error: Why it was taken back, where that is not a model's reason.

    Threads: immutable; any thread.
    """

    generation: int
    models: Mapping[str, ModelOutcome] = field(default_factory=dict)
    superseded_by: int | None = None
    timed_out: bool = False
    rolled_back: bool = False
    error: ServmanError | None = None

    def __bool__(self) -> bool:
        """Whether this configuration is in force, and every required model is as wanted.

        Where nothing was waited for, what has not changed counts as that.
        """
        if self.rolled_back or self.superseded_by is not None:
            return False
        return all(one or not one.required for one in self.models.values())

    @property
    def failed(self) -> dict[str, ModelOutcome]:
        """The models that are not as wanted."""
        return {name: one for name, one in self.models.items() if not one}

    def __str__(self) -> str:
        lines = [f"generation {self.generation}: {self._in_words()}"]
        lines += [f"  {name}: {one}" for name, one in self.models.items()]
        return "\n".join(lines)

    def _in_words(self) -> str:
        if self.superseded_by is not None:
            return f"superseded by generation {self.superseded_by}"
        if self.rolled_back:
            why = "" if self.error is None else f": {self.error}"
            return f"taken back, all is as it was before{why}"
        if self:
            return "all is well"
        if self.timed_out:
            return "the time was up"
        if any(one.outcome is ReloadOutcome.FAILED for one in self.models.values()):
            return "not all is well"
        return "in force, and not all of it is there yet"
