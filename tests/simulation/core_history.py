"""Histories of a core: what happens to it, drawn from a seed, run to its end and judged."""

from __future__ import annotations

import contextlib
import gc
import logging
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, final

from servman.core import ModelConfig
from tests.simulation.core_decisions import CoreDecision
from tests.simulation.core_draws import draw_decisions, draw_options
from tests.simulation.core_options import CoreOptions
from tests.simulation.core_reloads import Order
from tests.simulation.core_rules import CoreRule
from tests.simulation.core_world import CoreWorld
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.shrinking import lines, shortest

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH: Final = 60
"""Decisions of a history."""


@final
@dataclass(frozen=True, slots=True)
class CoreHistory:
    """What happens, and to what core."""

    seed: int
    options: CoreOptions
    decisions: tuple[CoreDecision, ...]

    @classmethod
    def of(cls, seed: int, length: int = LENGTH) -> CoreHistory:
        """Draw the history of *seed*."""
        random = Random(seed)  # noqa: S311 -- a history, not a secret
        return cls(seed, draw_options(random), draw_decisions(random, length))


@final
@dataclass(frozen=True, slots=True)
class CoreFailure:
    """A history that broke a rule.

    Attributes:
        history: What happened.
        violation: What was wrong.
        trace: Decisions, events and what reloads came to, one line each.
    """

    history: CoreHistory
    violation: Violation
    trace: tuple[str, ...]

    def __str__(self) -> str:
        first = f"seed {self.history.seed} of the core: {self.violation}"
        return "\n".join((first, f"with {self.history.options}", *self.trace))


def run(history: CoreHistory) -> CoreFailure | None:
    """Run *history* to its end; return what went wrong, if anything did."""
    with CoreWorld.built(history.options) as world:
        try:
            with _alone(world.ledger):
                for decision in history.decisions:
                    world.trace.append(decision)
                    decision(world)
                    world.ledger.raise_first()
                _end(world)
        except Violation as violation:
            found = violation.with_traceback(None)
        except Exception as error:  # noqa: BLE001 -- whatever the core raises is its fault
            found = Violation(CoreRule.NO_FAULT, f"{type(error).__name__}: {error}")
        else:
            return None
        return CoreFailure(history, found, tuple(lines(world.trace)))


def minimised(failure: CoreFailure, seconds: float = 10.0) -> CoreFailure:
    """Return the failure of a shortest history, found within *seconds*, that breaks the same rule."""
    return shortest(failure, run, seconds)


def _end(world: CoreWorld) -> None:
    world.trace.append("inputs stop; what hung returns")
    world.calm()
    world.invariants.check_rest()
    world.ledger.raise_first()
    world.trace.append("nothing is wanted any more")
    world.reload(Order(()))
    world.calm()
    world.invariants.check_nothing_kept()
    world.ledger.raise_first()
    world.trace.append("it is closed under somebody who waits")
    world.reload(Order((ModelConfig("a", "/nowhere", "bench"),), timeout=None))
    world.settle()
    world.shut_down()
    world.ledger.raise_first()


@contextlib.contextmanager
def _alone(ledger: Ledger) -> Iterator[None]:
    """Keep the collector from running by itself, and take what the core logs as its fault."""
    house, watch = logging.getLogger("servman"), _FaultLog(ledger)
    level, propagate = house.level, house.propagate
    house.addHandler(watch)
    house.propagate = False
    house.setLevel(logging.ERROR)
    gc.disable()
    gc.freeze()  # what is older than the history is no business of its collections
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
        house.setLevel(level)
        house.propagate = propagate
        house.removeHandler(watch)


@final
class _FaultLog(logging.Handler):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.ERROR)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._ledger.blame(CoreRule.NO_FAULT, f"{record.getMessage()}: {cause!r}")


def seeds_to_find(most: int) -> tuple[int, CoreFailure] | None:
    """Return how many seeds it takes to find what is planted, at *most*, and how it showed."""
    for seed in range(most):
        failure = run(CoreHistory.of(seed))
        if failure is not None:
            return seed + 1, failure
    return None
