"""All the faults that can be planted."""

from __future__ import annotations

from typing import Final

from tests.simulation import (
    caller_faults,
    decision_faults,
    failure_faults,
    hold_faults,
    label_faults,
    serving_faults,
)
from tests.simulation.plants import Fault

FAULTS: Final = tuple(
    one
    for module in (
        decision_faults,
        hold_faults,
        label_faults,
        serving_faults,
        caller_faults,
        failure_faults,
    )
    for one in vars(module).values()
    if isinstance(one, Fault)
)
"""In the order of their modules."""
