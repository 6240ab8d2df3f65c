"""A whole manager on one thread: what the decisions of a simulation act on, whichever manager it is."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from abc import ABC, abstractmethod
from random import Random
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from servman.events import EventBus
from servman.manager import ResourceTracker
from servman.manager.messages import CloseRequested
from servman.testing import FakeClock, ManualPool
from tests.simulation.bench import Bench, Knot
from tests.simulation.ledger import Ledger, Model, Rule
from tests.simulation.loaders import FileLoader, memory_of, retriable
from tests.unit.manager.rig import kept as kept_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.events import Event as BusEvent
    from servman.ids import ServableId
    from servman.manager import ServableHandle
    from servman.manager.base import Manager
    from servman.manager.effects import Effect
    from servman.manager.messages import Event
    from servman.manager.options import ManagerOptions
    from tests.simulation.invariants import Invariants
    from tests.simulation.options import Options

M = TypeVar("M", bound="Manager")
R = TypeVar("R", bound="Invariants")

_MOST_STEPS: Final = 500
"""Steps and jobs after which a manager without inputs counts as one that does not settle."""

_ROUNDS: Final = 7
"""Turns of the clock that bring a manager without inputs to rest: all its retries, and then some."""


class World(ABC, Generic[M, R]):
    """A manager, its clients and its loaders.

    Attributes:
        trace: What happened: decisions and events, oldest first.
        events: What was published, oldest first.
        finalising: Whether a finaliser runs. Weak references to what it uses are dead already.
    """

    manager: M
    invariants: R

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ledger = Ledger()
        self.trace: list[object] = []
        self.clock = FakeClock()
        self.bus = EventBus(clock=self.clock)
        self.events: list[BusEvent] = []
        self.loads, self.unloads = (
            Bench(ManualPool(options.num_load_threads)),
            Bench(ManualPool(options.num_unload_threads)),
        )
        self.revisions = Bench(ManualPool())
        self.benches = (self.loads, self.unloads, self.revisions)
        needs = options.memory
        self.tracker = ResourceTracker(memory_of(needs)) if needs is not None else None
        self.handles: dict[int, ServableHandle[Model]] = {}
        self.deadline: float | None = None
        self.finalising = False
        self._make()
        self._follow()

    @abstractmethod
    def _make(self) -> None:
        """Make the manager, and the invariants that are to hold of it."""

    def _common(self) -> ManagerOptions:
        """Return the options that every manager takes."""
        options = self.options
        return {
            "clock": self.clock,
            "event_bus": self.bus,
            "num_load_threads": options.num_load_threads,
            "num_unload_threads": options.num_unload_threads,
            "max_num_load_retries": options.max_num_load_retries,
            "load_retry_interval": options.load_retry_interval,
            "should_retry": retriable,
            "load_timeout": options.load_timeout,
            "resource_tracker": self.tracker,
            "_pools": (self.loads.pool, self.unloads.pool, self.revisions.pool),
        }

    def _follow(self) -> None:
        """Listen to what the manager takes up and what it publishes."""
        reconciler = self.manager._actor._reconciler
        chance = Random(self.options.chance).random  # noqa: S311 -- a history, not a secret
        reconciler._options = dataclasses.replace(reconciler._options, chance=chance)
        take = reconciler.take

        def spy(event: Event | None, now: float) -> Sequence[Effect]:
            self.invariants.taking(event)
            return take(event, now)

        reconciler.take = spy  # type: ignore[method-assign, assignment] # a spy on this one manager
        self.bus.attach(self)

    def record(self, event: BusEvent) -> None:
        """Follow what is published."""
        self.events.append(event)
        self.trace.append(event)
        self.invariants.record(event)

    # ---- looking -------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the manager has closed for good."""
        return self.manager._actor._left is not None

    @property
    def closing(self) -> bool:
        """Whether a close was asked for."""
        return self.manager._closing

    @property
    def reserved(self) -> ResourceTracker | None:
        """What sets aside what loads need, whoever made it."""
        return self.manager._actor._reconciler._tracker

    def finds(self, id: ServableId) -> bool:
        """Whether a lookup of *id* finds a model that may be used."""
        try:
            with self.manager.get_servable_handle(id, Model) as handle:
                return handle.servable.loaded and handle.servable.id == id == handle.id
        except (NotFoundError, ClosedError):
            return False

    # ---- the manager's own thread --------------------------------------------------------------

    def step(self) -> bool:
        """Let the manager do one turn; return whether it did anything."""
        before = self.closed
        self.invariants.before_step()
        stepped = self.manager._actor.step()
        self.invariants.after_step(idle=not stepped)
        if self.closed and not before:
            self._check_close()
        return stepped

    def _check_close(self) -> None:
        left = self.report()
        early = self.deadline is None or self.clock.monotonic() < self.deadline
        self.ledger.require(not (early and left), Rule.CLOSES, f"{left} left before the deadline")
        models = {one.id for each in self.ledger.in_memory.values() for one in each}
        named = {one.id for one in left}
        self.ledger.require(models <= named, Rule.CLOSES, f"{models} left, {named} reported")

    def report(self) -> tuple[Any, ...]:
        """Return what the manager, which has closed, says to have left."""
        return self.manager.close(0).left

    def settle(self) -> None:
        """Step and run jobs until nothing is left to do at this time; what hangs goes on hanging."""
        for _ in range(_MOST_STEPS):
            if not (self.step() or any(one.pool.jobs for one in self.benches)):
                return
            for bench in self.benches:
                bench.finish(0)
        self.ledger.blame(Rule.SETTLES, f"{_MOST_STEPS} steps did not settle it")

    # ---- clients -------------------------------------------------------------------------------

    def take(self, number: int, request: str) -> None:
        """Take a handle, unless one of that number is open or nothing is found."""
        if number in self.handles or number in self.ledger.held:
            return
        right = self.invariants.found_by(request)
        try:
            handle = self.manager.get_servable_handle(request, Model)
        except InvalidArgumentError:
            refuses = self.invariants.refuses(request)
            self.ledger.require(refuses, Rule.FINDS_RIGHT, f"{request} is refused")
        except NotFoundError:
            self.ledger.require(right is None, Rule.FINDS_RIGHT, f"{request} should find {right}")
            refuses = self.invariants.refuses(request)
            self.ledger.require(not refuses, Rule.FINDS_RIGHT, f"{request} is not refused")
            self.ledger.require(not self.closed, Rule.CLOSES, f"{request} is said to be not found")
        except ClosedError:
            self.ledger.require(self.closing, Rule.CLOSES, f"{request}: closed, says a lookup")
        else:
            text = f"{request} finds {handle.id}, not {right}"
            self.ledger.require(handle.id == right, Rule.FINDS_RIGHT, text)
            self.handles[number] = handle
            self.ledger.held[number] = handle.servable
            self.ledger.used(handle.servable, f"new handle {number}")

    def close(self, number: int) -> None:
        """Close a handle, twice."""
        handle = self.handles.pop(number, None)
        if handle is None:
            return
        self.ledger.used(handle.servable, f"handle {number}")
        del self.ledger.held[number]
        handle.close()
        handle.close()
        with contextlib.suppress(FailedPreconditionError):
            self.ledger.blame(Rule.HANDLES_PIN, f"closed handle {number} gives {handle.servable}")

    def drop(self, number: int) -> None:
        """Forget a handle without closing it."""
        if self.handles.pop(number, None) is not None:
            del self.ledger.held[number]

    def knot(self, number: int) -> None:
        """Leave a handle in a reference cycle; the collector finds it some day."""
        handle = self.handles.pop(number, None)
        if handle is not None:
            Knot(number, handle, self)

    def finalise(self, number: int, handle: ServableHandle[Model]) -> None:
        """Be the finaliser of a knot. The manager's own thread is not held up by it, and goes on."""
        self.finalising = True
        try:
            self.settle()
        except Exception as error:  # noqa: BLE001 -- it would be lost in a finaliser
            self.ledger.blame(Rule.NO_FAULT, f"{type(error).__name__}: {error}")
        self.finalising = False
        self.ledger.used(handle.servable, f"the finaliser of handle {number}")
        self.ledger.held.pop(number, None)

    def check_handles(self) -> None:
        """Every open handle sees a servable that is loaded."""
        for number, handle in self.handles.items():
            self.ledger.used(handle.servable, f"handle {number}")

    def shut_down(self, timeout: float | None) -> None:
        """Do what `close` does before it waits."""
        if self.closing:
            return
        self.deadline = None if timeout is None else self.clock.monotonic() + timeout
        self.manager._closing = True
        self.manager._actor.post(CloseRequested(self.deadline))

    def attempt(self, call: Callable[[ServableId], None], id: ServableId) -> None:
        """Call a method of the manager's that may refuse."""
        try:
            call(id)
        except (NotFoundError, FailedPreconditionError, ClosedError) as error:
            self.trace.append(f"refused: {error}")

    def change_files(self, name: str) -> None:
        """Repair the files of the versions of *name*, where their loaders have any."""
        for entry in self.ledger.expected.values():
            ours = entry.id.name == name and entry.error is None
            if ours and isinstance(entry.payload, FileLoader):
                entry.payload.files += 1

    def report_failure(self, before: int, *, serves: bool) -> None:
        """Have a loader report a failure of the last load, or of one so many loads *before*.

        Args:
            before: How many; beyond the first one it begins again with the last.
            serves: Whether only loads count that have made what serves now: those last in whose streams, because
                they are held, a failure is rare and the rest has to stand.
        """
        found = set(self.manager.list_available_ids()) if serves else set()
        serving = [one for which in found for one in self.ledger.in_memory[which]]
        attempts = [one for one in self.ledger.attempts if not serves or one.model in serving]
        if serves:
            held = self.manager._actor._reconciler._held
            attempts.sort(key=lambda one: one.context.id.name in held)
        if attempts:
            self.ledger.report(attempts[-1 - before % len(attempts)])

    def release(self) -> int:
        """Let go of all that holds the manager up: handles, knots and what hangs; return how much."""
        count = len(self.ledger.held)
        for number in list(self.handles):
            self.close(number)
        gc.collect()
        return count + sum(one.thaw() for one in self.benches)

    # ---- how it ends ---------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Let go of what holds the manager up, and let it and the time go on until nothing moves."""
        for _ in range(_ROUNDS):
            self.release()
            self.settle()
            self.clock.advance(5.0)
        self.settle()
        self.ledger.raise_first()

    @abstractmethod
    def check_rest(self) -> None:
        """What is wanted serves, or has failed for a planted reason; nothing is on its way."""

    @abstractmethod
    def let_all_go(self) -> None:
        """Want nothing any more, as far as this manager can be told so."""

    def check_nothing_kept(self) -> None:
        """What is no longer wanted has left nothing behind."""
        reconciler = self.manager._actor._reconciler
        kept = (
            *self.manager.snapshots(),
            *self.manager.list_available_ids(),
            *kept_by(self.manager),
            *reconciler._streams,
            *reconciler._incarnations,
            *reconciler._given_up,
            *reconciler._wanting,
            *reconciler._replies,
            *reconciler._held,
            *reconciler._labels,
            *self.manager._actor.labels,
            *self.ledger.late,
            *(self.reserved.used.quantities if self.reserved is not None else ()),
        )
        self.ledger.require(not kept, Rule.NOTHING_KEPT, f"{kept} kept")
        in_memory = [one.id for models in self.ledger.in_memory.values() for one in models]
        self.ledger.require(not in_memory, Rule.UNLOADED_ONCE, f"{in_memory} never unloaded")
        self.ledger.raise_first()


AnyWorld = World[Any, Any]
