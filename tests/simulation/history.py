"""Histories: a manager and what happens to it, drawn from a seed, run to its end and judged."""

from __future__ import annotations

import contextlib
import gc
import logging
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, final

from servman.errors import ClosedError, ServmanError
from servman.state import ManagerState
from tests.simulation.aspiring import AspiringWorld
from tests.simulation.caching import CachingWorld
from tests.simulation.calling import BasicWorld
from tests.simulation.decisions import Decision
from tests.simulation.draws import STREAMS, draw_decisions, draw_options
from tests.simulation.ledger import Ledger, Rule, Violation
from tests.simulation.options import Options
from tests.simulation.shrinking import lines, shortest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.simulation.world import AnyWorld

LENGTH: Final = 80
"""Decisions of a history."""

_WORLDS: Final[Mapping[str, type[AnyWorld]]] = {
    "aspired": AspiringWorld,
    "basic": BasicWorld,
    "caching": CachingWorld,
}


@final
@dataclass(frozen=True, slots=True)
class History:
    """What happens, and to what manager."""

    seed: int
    options: Options
    decisions: tuple[Decision, ...]

    @classmethod
    def of(cls, seed: int, length: int = LENGTH) -> History:
        """Draw the history of *seed*."""
        random = Random(seed)  # noqa: S311 -- a history, not a secret
        options = draw_options(random)
        return cls(seed, options, draw_decisions(random, options.manager, length))


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """A history that broke a rule.

    Attributes:
        history: What happened.
        violation: What was wrong.
        trace: Decisions and events, one line each.
    """

    history: History
    violation: Violation
    trace: tuple[str, ...]

    def __str__(self) -> str:
        lines = (
            f"seed {self.history.seed}: {self.violation}",
            f"with {self.history.options}",
            *self.trace,
        )
        return "\n".join(lines)


def run(history: History) -> Failure | None:
    """Run *history* to its end; return what went wrong, if anything did."""
    world = _WORLDS[history.options.manager](history.options)
    try:
        with _alone(world):
            for decision in history.decisions:
                world.trace.append(decision)
                decision(world)
                world.check_handles()
                world.ledger.raise_first()
            _end(world)
    except Violation as violation:
        return Failure(history, violation.with_traceback(None), tuple(lines(world.trace)))
    except Exception as error:  # noqa: BLE001 -- whatever the manager raises is its fault
        raised = Violation(Rule.NO_FAULT, f"{type(error).__name__}: {error}")
        return Failure(history, raised, tuple(lines(world.trace)))
    return None


def minimised(failure: Failure, seconds: float = 10.0) -> Failure:
    """Return the failure of a shortest history, found within *seconds*, that breaks the same rule."""
    return shortest(failure, run, seconds)


@contextlib.contextmanager
def _alone(world: AnyWorld) -> Iterator[None]:
    """Keep the collector from running by itself, and take what the manager logs as its fault."""
    actor, jobs = (logging.getLogger(f"servman.manager.{one}") for one in ("actor", "jobs"))
    watch = _FaultLog(world.ledger)
    actor.addHandler(watch)
    propagate, disabled = actor.propagate, jobs.disabled
    actor.propagate, jobs.disabled = False, True
    gc.disable()
    gc.freeze()  # what is older than the history is no business of its collections
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
        actor.propagate, jobs.disabled = propagate, disabled
        actor.removeHandler(watch)


_PLANTED: Final = ("stream %s stands still", "sort_actions failed")
"""What is logged of the whims of policies and orders."""


@final
class _FaultLog(logging.Handler):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.ERROR)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(_PLANTED):
            return
        cause = record.exc_info[1] if record.exc_info else None
        self._ledger.blame(Rule.NO_FAULT, f"{record.getMessage()}: {cause!r}")


# ---- how it ends -----------------------------------------------------------------------------------


def _end(world: AnyWorld) -> None:
    if not world.closing:
        world.trace.append("inputs stop; handles are closed, and what hung returns")
        world.come_to_rest()
        world.check_rest()
        world.trace.append("nothing is wanted any more")
        world.let_all_go()
        world.come_to_rest()
        world.check_nothing_kept()
    world.trace.append("it is closed, if it was not before")
    world.shut_down(5.0)
    _close(world)


def _close(world: AnyWorld) -> None:
    """Bring the close to its end, by its deadline; what comes late changes nothing any more."""
    world.settle()
    if world.deadline is None:
        world.release()
        world.settle()
    else:
        now = world.clock.monotonic()
        world.clock.advance(max(0.0, world.deadline - now))
        world.settle()
    world.ledger.require(world.closed, Rule.CLOSES, "it has not closed")
    ends = {state is ManagerState.END for state in world.invariants.state.values()}
    world.ledger.require(ends <= {True}, Rule.CLOSES, f"{world.invariants.state} after the end")
    told = len(world.events)
    world.release()
    world.settle()
    world.ledger.require(len(world.events) == told, Rule.CLOSES, "events after the end")
    _check_refusal(world)
    world.ledger.raise_first()


def _check_refusal(world: AnyWorld) -> None:
    for name in STREAMS:
        try:
            world.manager.get_servable_handle(name)
        except ClosedError:
            continue
        except ServmanError as error:
            world.ledger.blame(Rule.CLOSES, f"{name}: {error!r} instead of ClosedError")
        else:
            world.ledger.blame(Rule.CLOSES, f"{name} is found")
