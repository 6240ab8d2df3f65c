"""A whole manager on one thread: what the decisions of a simulation act on."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, final

from servman.errors import ClosedError, FailedPreconditionError, NotFoundError
from servman.ids import ServableId
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourceTracker,
)
from servman.manager.messages import CloseRequested
from tests.simulation.invariants import Invariants
from tests.simulation.ledger import Ledger, Model, Rule
from tests.simulation.loaders import FileLoader, Wish, make, memory_of, retriable
from tests.unit.manager.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.events import Event as BusEvent
    from servman.manager import ServableHandle
    from servman.manager.messages import Effect, Event
    from servman.testing import ManualPool

_MOST_STEPS: Final = 500
"""Steps and jobs after which a manager without inputs counts as one that does not settle."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the simulated manager is set up. A further option of the manager's is a field more."""

    policy: AspiredVersionPolicy = AvailabilityPreservingPolicy()  # noqa: RUF009 -- keeps nothing
    num_load_threads: int = 2
    num_unload_threads: int = 1
    max_num_load_retries: int = 1
    load_retry_interval: float = 5.0
    load_timeout: float | None = None
    memory: int | None = None

    def __str__(self) -> str:
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return ", ".join(
            f"{name}={type(value).__name__ if name == 'policy' else value}"
            for name, value in values
        )


@final
class Bench:
    """One of the manager's pools, whose jobs finish when told to.

    Attributes:
        hung: Jobs that have begun and do not return until they are thawed.
    """

    def __init__(self, pool: ManualPool) -> None:
        self.pool = pool
        self.hung: list[Callable[[], None]] = []

    @property
    def outstanding(self) -> int:
        """How many jobs were begun and have not returned."""
        return len(self.pool.jobs) + len(self.hung)

    def finish(self, index: int) -> None:
        """Let one of the jobs return, if there is one."""
        if self.pool.jobs:
            self.pool.run(index % len(self.pool.jobs))

    def hang(self, index: int) -> None:
        """Let one of the jobs hang, if there is one."""
        if self.pool.jobs:
            self.hung.append(self.pool.jobs.pop(index % len(self.pool.jobs)))

    def thaw(self) -> int:
        """Let what hangs return at last; return how many jobs that were."""
        hung, self.hung = self.hung, []
        for job in hung:
            job()
        return len(hung)


@final
class Knot:
    """A handle in a reference cycle, whose finaliser uses the servable."""

    def __init__(self, number: int, handle: ServableHandle[Model], world: World) -> None:
        self._knot = self
        self._number = number
        self._handle = handle
        self._world = world

    def __del__(self) -> None:
        self._world.finalise(self._number, self._handle)


@final
class World:
    """The manager, its clients and its loaders.

    Attributes:
        trace: What happened: decisions and events, oldest first.
        finalising: Whether a finaliser runs. Weak references to what it uses are dead already.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ledger = Ledger()
        self.trace: list[object] = []
        needs = options.memory
        self.tracker = ResourceTracker(memory_of(needs)) if needs is not None else None
        self.rig = Rig(
            policy=options.policy,
            num_load_threads=options.num_load_threads,
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval,
            should_retry=retriable,
            load_timeout=options.load_timeout,
            resource_tracker=self.tracker,
        )
        self.manager = self.rig.manager
        self.loads, self.unloads = Bench(self.rig.loads), Bench(self.rig.unloads)
        self.revisions = Bench(self.rig.revisions)
        self.rig.loads.size = options.num_load_threads
        self.rig.unloads.size = options.num_unload_threads
        self.benches = (self.loads, self.unloads, self.revisions)
        self.invariants = Invariants(self, self.ledger)
        self.handles: dict[int, ServableHandle[Model]] = {}
        self.deadline: float | None = None
        self.finalising = False
        self._follow()

    def _follow(self) -> None:
        """Listen to what the manager takes up and what it publishes."""
        reconciler = self.manager._actor._reconciler
        take = reconciler.take

        def spy(event: Event | None, now: float) -> Sequence[Effect]:
            self.invariants.taking(event)
            return take(event, now)

        reconciler.take = spy  # type: ignore[method-assign, assignment] # a spy on this one manager
        self.rig.bus.attach(self)

    def record(self, event: BusEvent) -> None:
        """Follow what is published."""
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
        stepped = self.manager.step()
        self.invariants.after_step(idle=not stepped)
        if self.closed and not before:
            self._check_close()
        return stepped

    def _check_close(self) -> None:
        left = self.rig.report().left
        early = self.deadline is None or self.rig.clock.monotonic() < self.deadline
        self.ledger.require(not (early and left), Rule.CLOSES, f"{left} left before the deadline")
        models = {one.id for each in self.ledger.in_memory.values() for one in each}
        named = {one.id for one in left}
        self.ledger.require(models <= named, Rule.CLOSES, f"{models} left, {named} reported")

    def settle(self) -> None:
        """Step and run jobs until nothing is left to do at this time; what hangs goes on hanging."""
        for _ in range(_MOST_STEPS):
            if not (self.step() or any(one.pool.jobs for one in self.benches)):
                return
            for bench in self.benches:
                bench.finish(0)
        self.ledger.blame(Rule.SETTLES, f"{_MOST_STEPS} steps did not settle it")

    # ---- clients -------------------------------------------------------------------------------

    def aspire(self, name: str, wishes: Sequence[Wish]) -> None:
        """Aspire exactly *wishes*."""
        entries = [make(name, wish, self.ledger, self.options) for wish in wishes]
        self.manager.set_aspired_versions(name, entries)

    def take(self, number: int, request: str) -> None:
        """Take a handle, unless one of that number is open or nothing is found."""
        if number in self.handles or number in self.ledger.held:
            return
        right = self.invariants.found_by(request)
        try:
            handle = self.manager.get_servable_handle(request, Model)
        except NotFoundError:
            self.ledger.require(right is None, Rule.FINDS_RIGHT, f"{request} should find {right}")
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
        self.deadline = None if timeout is None else self.rig.clock.monotonic() + timeout
        self.manager._closing = True
        self.manager._actor.post(CloseRequested(self.deadline))

    def attempt(self, call: Callable[[ServableId], None], id: ServableId) -> None:
        """Call a method of the manager's that may refuse."""
        try:
            call(id)
        except (NotFoundError, FailedPreconditionError) as error:
            self.trace.append(f"refused: {error}")

    def change_files(self, name: str) -> None:
        """Repair the files of the versions of *name*, where their loaders have any."""
        for entry in self.ledger.expected.values():
            ours = entry.id.name == name and entry.error is None
            if ours and isinstance(entry.payload, FileLoader):
                entry.payload.files += 1

    def release(self) -> int:
        """Let go of all that holds the manager up: handles, knots and what hangs; return how much."""
        count = len(self.ledger.held)
        for number in list(self.handles):
            self.close(number)
        gc.collect()
        return count + sum(one.thaw() for one in self.benches)
