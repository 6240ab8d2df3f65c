"""How a simulated core is set up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

from servman.manager import AspiredVersionPolicy, AvailabilityPreservingPolicy


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CoreOptions:
    """How the simulated core is set up; the fields are named as in `ServerCoreOptions`.

    Attributes:
        memory: How much memory there is; a version takes as much as its number says. None for any.
    """

    policy: AspiredVersionPolicy = AvailabilityPreservingPolicy()  # noqa: RUF009 -- keeps nothing
    poll_interval: float = 1.0
    num_load_threads: int = 2
    max_num_load_retries: int = 1
    strict_version_labels: bool = False
    memory: int | None = None

    def __str__(self) -> str:
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return ", ".join(
            f"{name}={type(value).__name__ if name == 'policy' else value}"
            for name, value in values
        )
