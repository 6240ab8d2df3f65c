"""How a simulated manager is set up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ExponentialBackoff,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the simulated manager is set up. A further option of the manager's is a field more.

    Attributes:
        manager: Which one it is: "aspired", "basic" or "caching".
        moods: Seeds the whims of the policy; None for a policy without any.
        order: Seeds those of `sort_actions`; None for the default order.
        chance: Seeds the jitter of pauses.
        limit: How many servables a cache holds; None for any number.
    """

    manager: str = "aspired"
    policy: AspiredVersionPolicy = AvailabilityPreservingPolicy()  # noqa: RUF009 -- keeps nothing
    moods: int | None = None
    order: int | None = None
    num_load_threads: int = 2
    num_unload_threads: int = 1
    max_num_load_retries: int = 1
    load_retry_interval: float | ExponentialBackoff = 5.0
    chance: int = 0
    load_timeout: float | None = None
    memory: int | None = None
    limit: int | None = None

    def __str__(self) -> str:
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return ", ".join(
            f"{name}={type(value).__name__ if name == 'policy' else value}"
            for name, value in values
        )
