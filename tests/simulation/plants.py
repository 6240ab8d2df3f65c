"""How a fault is planted in a manager, and how many seeds the simulation needs to find it.

They are planted in the running process, by replacing a method, and never in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from tests.simulation.history import History, run

if TYPE_CHECKING:
    import pytest

    from tests.simulation.history import Failure

Plant = Callable[["pytest.MonkeyPatch"], None]


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong, how to plant it, and where."""

    part: str
    text: str
    plant: Plant


def fault(part: str, text: str) -> Callable[[Plant], Fault]:
    """Make the decorated function a fault."""
    return lambda plant: Fault(part, text, plant)


def seeds_to_find(most: int) -> tuple[int, Failure] | None:
    """Return how many seeds it takes to find what is planted, at *most*, and how it showed."""
    for seed in range(most):
        failure = run(History.of(seed))
        if failure is not None:
            return seed + 1, failure
    return None
