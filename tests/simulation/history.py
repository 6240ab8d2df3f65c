"""Histories: a manager and what happens to it, drawn from a seed, run to its end and judged."""

from __future__ import annotations

import contextlib
import gc
import logging
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final, final

from servman.errors import ClosedError, ResourceExhaustedError, ServmanError
from servman.ids import ServableId
from servman.manager import AvailabilityPreservingPolicy, HarnessState
from servman.state import ManagerState
from tests.simulation.decisions import Decision, draw_decisions, draw_options
from tests.simulation.ledger import Ledger, Rule, Violation
from tests.simulation.loaders import FileLoader, FinalError, Kind, PlantedLoader
from tests.simulation.shrinking import shrink
from tests.simulation.world import Options, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servman.manager import ServableStateSnapshot

LENGTH: Final = 80
"""Decisions of a history."""

_ROUNDS: Final = 7
"""Turns of the clock that bring a manager without inputs to rest: all its retries, and then some."""


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
        return cls(seed, draw_options(random), draw_decisions(random, length))


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
    world = World(history.options)
    try:
        with _alone(world.ledger):
            for decision in history.decisions:
                world.trace.append(decision)
                decision(world)
                world.check_handles()
                world.ledger.raise_first()
            _end(world)
    except Violation as violation:
        return Failure(history, violation.with_traceback(None), tuple(_lines(world.trace)))
    except Exception as error:  # noqa: BLE001 -- whatever the manager raises is its fault
        raised = Violation(Rule.NO_FAULT, f"{type(error).__name__}: {error}")
        return Failure(history, raised, tuple(_lines(world.trace)))
    return None


def minimised(failure: Failure, seconds: float = 10.0) -> Failure:
    """Return the failure of a shortest history, found within *seconds*, that breaks the same rule."""
    found = failure

    def fails(decisions: Sequence[Decision]) -> bool:
        nonlocal found
        shorter = run(replace(failure.history, decisions=tuple(decisions)))
        if shorter is None or shorter.violation.rule is not failure.violation.rule:
            return False
        found = shorter
        return True

    shrink(failure.history.decisions, fails, seconds)
    return found


def _lines(trace: Sequence[object]) -> Iterator[str]:
    number = 0
    for one in trace:
        if type(one).__module__ == Decision.__module__:
            number += 1
            yield f"{number:4}. {one}"
        else:
            yield f"          {one}".splitlines()[0]


@contextlib.contextmanager
def _alone(ledger: Ledger) -> Iterator[None]:
    """Keep the collector from running by itself, and take what the manager logs as its fault."""
    actor, jobs = (logging.getLogger(f"servman.manager.{one}") for one in ("actor", "jobs"))
    watch = _FaultLog(ledger)
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


@final
class _FaultLog(logging.Handler):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.ERROR)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self._ledger.blame(Rule.NO_FAULT, f"{record.getMessage()}: {cause!r}")


# ---- how it ends -----------------------------------------------------------------------------------


def _end(world: World) -> None:
    if not world.closing:
        world.trace.append("inputs stop; handles are closed, and what hung returns")
        _come_to_rest(world)
        _check_rest(world)
        world.trace.append("nothing is wanted any more")
        for name in list(world.invariants.wanted):
            world.aspire(name, ())
        _come_to_rest(world)
        _check_nothing_kept(world)
    world.trace.append("it is closed, if it was not before")
    world.shut_down(5.0)
    _close(world)


def _come_to_rest(world: World) -> None:
    for _ in range(_ROUNDS):
        world.release()
        world.settle()
        world.rig.clock.advance(5.0)
    world.settle()
    world.ledger.raise_first()


def _check_rest(world: World) -> None:
    """What is wanted serves, or has failed for a planted reason; nothing is on its way."""
    snapshots = world.manager.snapshots()
    wanted = {
        ServableId(name, version)
        for name, versions in world.invariants.wanted.items()
        for version in versions
    }
    aspired = {one.id for one in snapshots if one.aspired}
    world.ledger.require(aspired == wanted, Rule.SETTLES_RIGHT, f"{aspired} aspired, not {wanted}")
    for one in snapshots:
        right = _right_if_wanted(world, one) if one.aspired else _right_if_unwanted(world, one)
        world.ledger.require(right, Rule.SETTLES_RIGHT, f"{one} at rest")
    world.ledger.raise_first()


def _right_if_wanted(world: World, one: ServableStateSnapshot) -> bool:
    if one.state is HarnessState.ERROR and _lacks_memory(world, one):
        return True
    entry = world.ledger.expected[one.id]
    if entry.error is not None:
        return one.state is HarnessState.ERROR and one.error is entry.error
    loader = entry.payload
    assert isinstance(loader, PlantedLoader)
    if one.state is HarnessState.READY:
        (model,) = world.ledger.in_memory[one.id]
        return loader.failure is None and model.loader is loader
    if world.options.load_timeout is not None and "load_timeout" in str(one.error):
        return one.state is HarnessState.ERROR
    repaired = isinstance(loader, FileLoader) and loader.files > 0
    failed = loader.failure is not None or loader.kind is Kind.NOTHING
    exhausted = loader.attempt == world.options.max_num_load_retries + 1
    given_up = one.id in world.invariants.given_up or loader.failure is FinalError
    state = one.state is HarnessState.ERROR
    return state and failed and not repaired and (exhausted or given_up)


def _lacks_memory(world: World, one: ServableStateSnapshot) -> bool:
    """Whether it failed for want of memory, and rightly: it would not fit now either."""
    tracker, entry = world.tracker, world.ledger.expected[one.id]
    if tracker is None or not isinstance(one.error, ResourceExhaustedError):
        return False
    return not tracker.fits(entry.payload.estimate_resources())


def _right_if_unwanted(world: World, one: ServableStateSnapshot) -> bool:
    """Only availability keeps an unwanted version: the last one, while nothing wanted is ready."""
    siblings = [
        each for each in world.manager.snapshots(one.id.name) if each.state is HarnessState.READY
    ]
    keeps = isinstance(world.options.policy, AvailabilityPreservingPolicy)
    wanted = bool(world.invariants.wanted.get(one.id.name))
    return keeps and wanted and [each.id for each in siblings] == [one.id]


def _check_nothing_kept(world: World) -> None:
    actor = world.manager._actor
    reconciler = actor._reconciler
    kept = (
        *world.manager.snapshots(),
        *world.manager.list_available_ids(),
        *actor._kept,
        *reconciler._streams,
        *reconciler._incarnations,
        *reconciler._given_up,
        *reconciler._wanting,
        *world.ledger.late,
        *(world.tracker.used.quantities if world.tracker is not None else ()),
    )
    world.ledger.require(not kept, Rule.NOTHING_KEPT, f"{kept} kept")
    in_memory = [one.id for models in world.ledger.in_memory.values() for one in models]
    world.ledger.require(not in_memory, Rule.UNLOADED_ONCE, f"{in_memory} never unloaded")
    world.ledger.raise_first()


def _close(world: World) -> None:
    """Bring the close to its end, by its deadline; what comes late changes nothing any more."""
    world.settle()
    if world.deadline is None:
        world.release()
        world.settle()
    else:
        now = world.rig.clock.monotonic()
        world.rig.clock.advance(max(0.0, world.deadline - now))
        world.settle()
    world.ledger.require(world.closed, Rule.CLOSES, "it has not closed")
    ends = {state is ManagerState.END for state in world.invariants.state.values()}
    world.ledger.require(ends <= {True}, Rule.CLOSES, f"{world.invariants.state} after the end")
    told = len(world.rig.events)
    world.release()
    world.settle()
    world.ledger.require(len(world.rig.events) == told, Rule.CLOSES, "events after the end")
    _check_refusal(world)
    world.ledger.raise_first()


def _check_refusal(world: World) -> None:
    for name in world.invariants.wanted or ("a",):
        try:
            world.manager.get_servable_handle(name)
        except ClosedError:
            continue
        except ServmanError as error:
            world.ledger.blame(Rule.CLOSES, f"{name}: {error!r} instead of ClosedError")
        else:
            world.ledger.blame(Rule.CLOSES, f"{name} is found")
