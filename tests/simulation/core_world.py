"""A whole core on one thread at a time: what the decisions of a simulation act on."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, final

import pytest

from servman.adapters import platforms
from servman.core import ServerConfig, ServerCore, ServerCoreOptions, pipeline, preview, stages
from servman.errors import NotFoundError
from servman.manager import AspiredVersionsManager
from servman.sources import FileSystemStoragePathSource
from servman.testing import ManualPool
from servman.threads import CallingThread
from tests.simulation.bench import Bench
from tests.simulation.core_callers import Caller, SteppingClock, SteppingCondition
from tests.simulation.core_invariants import CoreInvariants
from tests.simulation.core_plans import Rehearsal
from tests.simulation.core_reloads import Order, Reload
from tests.simulation.core_rules import CoreRule
from tests.simulation.core_storage import LookPool, Storage, StoredAdapter
from tests.simulation.ledger import Ledger, Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.core import Plan
    from servman.manager import ServableHandle
    from servman.sources import ServableToMonitor
    from servman.sources.look import Lister
    from tests.simulation.core_options import CoreOptions

PLATFORMS: Final = ("bench", "other")

_MOST_TURNS: Final = 300
"""Turns of all stages after which a core without inputs counts as one that does not settle."""

_ROUNDS: Final = 8
"""Turns of the clock that bring a core without inputs to rest: all deadlines and retries, and then some."""


@final
class CoreWorld:
    """A core that counts as started and has no threads, its storage, and those who reload it.

    Attributes:
        trace: What happened: decisions, events and what reloads came to, oldest first.
        reloads: Those that have begun, oldest first.
    """

    core: ServerCore
    source: FileSystemStoragePathSource
    invariants: CoreInvariants

    def __init__(self, options: CoreOptions) -> None:
        self.options = options
        self.trace: list[object] = []
        self.ledger = Ledger()
        self.storage = Storage()
        self.clock = SteppingClock()
        self.loads = Bench(ManualPool(options.num_load_threads))
        self.unloads, self.revisions = Bench(ManualPool()), Bench(ManualPool())
        self.benches = (self.loads, self.unloads, self.revisions)
        self.looks = LookPool(self.storage, at_once=False)
        self.glances: list[LookPool] = []  # the looks of plans
        self.reloads: list[Reload] = []
        self.handles: dict[int, ServableHandle[Model]] = {}

    # ---- how it is built -----------------------------------------------------------------------

    @classmethod
    @contextlib.contextmanager
    def built(cls, options: CoreOptions) -> Iterator[CoreWorld]:
        """Yield a world; what it puts in the place of threads and disks stays there for the block."""
        with pytest.MonkeyPatch.context() as patch:
            world = cls(options)
            _without_threads(patch, world)
            world.core = world._make()
            world.source = world.core._pipeline.source
            world.invariants = CoreInvariants(world)
            try:
                yield world
            finally:
                world.abandon()

    def _make(self) -> ServerCore:
        options = self.options
        core = ServerCore(
            options=ServerCoreOptions(
                platforms=PLATFORMS,
                clock=self.clock,
                watch=False,
                aspired_version_policy=options.policy,
                poll_interval=options.poll_interval,
                num_load_threads=options.num_load_threads,
                num_unload_threads=1,
                max_num_load_retries=options.max_num_load_retries,
                load_retry_interval=5.0,
                strict_version_labels=options.strict_version_labels,
                total_model_memory_limit_bytes=options.memory,
            )
        )
        core._started = core._pipeline._started = True
        core._manager._callbacks._pool = CallingThread()  # type: ignore[assignment] # a Pool, too
        core._stages.configuration._changed = SteppingCondition(self.clock)
        return core

    def make_manager(self, **options: Any) -> AspiredVersionsManager:
        """Make the manager of the core."""
        pools = (self.loads.pool, self.unloads.pool, self.revisions.pool)
        return AspiredVersionsManager(**options, _pools=pools)

    def make_source(
        self, servables: tuple[ServableToMonitor, ...], **options: Any
    ) -> FileSystemStoragePathSource:
        """Make the source of the core."""
        source = FileSystemStoragePathSource(
            servables, **options, lister=self.storage.list, pool=self.looks
        )
        source._at_work = True  # what is posted waits for a step, as it would for the thread
        source._actor.lookout._mounts = tuple
        return source

    # ---- its threads, step by step -------------------------------------------------------------

    def step_manager(self) -> bool:
        """Let the manager do one turn; return whether it did anything."""
        stepped = self.core._manager._actor.step()
        self.invariants.follow_configuration()
        return stepped

    def step_source(self) -> bool:
        """Let the source do one turn; return whether it did anything."""
        return self.source.step()

    def go_on(self, index: int) -> bool:
        """Let one of the calls go on that may; return whether there was one."""
        ready = [one for one in self.reloads if one.caller.ready(self.clock.monotonic())]
        if ready:
            ready[index % len(ready)].go_on()
        return bool(ready)

    def settle(self) -> None:
        """Let all go on until nothing is left to do at this time; what hangs goes on hanging."""
        for _ in range(_MOST_TURNS):
            if not (self.go_on(0) | self._turn()):
                return
        self.ledger.blame(CoreRule.SETTLES, f"{_MOST_TURNS} turns did not settle it")

    def drift(self) -> None:
        """Let source and manager go on, and neither loads nor those who wait for them."""
        for _ in range(_MOST_TURNS):
            if not (self.step_source() | self.step_manager() | bool(self.looks.jobs)):
                return
            self.looks.run(0)
        self.ledger.blame(CoreRule.SETTLES, f"{_MOST_TURNS} turns did not settle the stages")

    def _turn(self) -> bool:
        moved = self.step_source() | self.step_manager() | self.looks.go_on()
        moved |= bool(self.looks.jobs) or any(one.pool.jobs for one in self.benches)
        self.looks.run(0)
        for bench in self.benches:
            bench.finish(0)
        return moved

    # ---- those who use it ----------------------------------------------------------------------

    def reload(self, order: Order) -> Reload:
        """Begin what *order* says, and let it go on until it waits."""
        reload = Reload(self, order, len(self.reloads) + 1)
        self.reloads.append(reload)
        reload.go_on()
        return reload

    def rehearse(self, order: Order) -> None:
        """When nothing is on its way, have *order* planned, do it, and compare."""
        if not self.calm() or self.options.memory is not None:
            return
        plans: list[Plan] = []
        config = ServerConfig(order.models)
        planning = Caller("a plan", lambda: plans.append(self.core.plan(config)))
        planning.resume()
        rehearsal = Rehearsal(self, plans[0])
        reload = self.reload(order)
        self.calm()
        rehearsal.compare(reload)
        reload.check_stays()

    def waver(self, order: Order) -> None:
        """When nothing is on its way, ask for *order*, and at once for what is in force; see what comes of it."""
        if (
            not self.calm() or self.options.memory is not None
        ):  # what waits for memory may take it then
            return
        before = self.core.config.models
        self.reload(replace(order, wait=False, atomic=False))
        reload = self.reload(Order(tuple(before)))
        while self.step_source() or self.looks.jobs:  # the manager is slow
            self.looks.run(0)
        self.calm()
        reload.check_stays()

    def take(self, number: int, request: str) -> None:
        """Take a handle, unless one of that number is open or nothing is found."""
        if number not in self.handles:
            with contextlib.suppress(NotFoundError):
                self.handles[number] = handle = self.core.get_servable_handle(request, Model)
                self.ledger.held[number] = handle.servable

    def close(self, number: int) -> None:
        """Close a handle."""
        handle = self.handles.pop(number, None)
        if handle is not None:
            del self.ledger.held[number]
            handle.close()

    # ---- how it ends ---------------------------------------------------------------------------

    def calm(self) -> bool:
        """Let go of all that holds it up; return whether nothing is on its way then."""
        for number in list(self.handles):
            self.close(number)
        self.storage.heal()
        for reload in self.reloads:
            reload.pauses = frozenset()
        self.source.poll()
        for _ in range(_ROUNDS):
            for bench in self.benches:
                bench.thaw()
            self.settle()
            self.clock.advance(10.0)
        self.settle()
        self.ledger.raise_first()
        return all(one.caller.done for one in self.reloads)

    def shut_down(self) -> None:
        """Do what `close` does before it closes the stages, and see every wait end."""
        self.core._closed = True
        self.core._stages.configuration.close()
        self.core._stages.noticeboard.wake()
        while self.go_on(0):
            pass
        waiting = [str(one) for one in self.reloads if not one.caller.done]
        self.ledger.require(not waiting, CoreRule.CLOSES, f"{waiting} wait on")

    def abandon(self) -> None:
        """End whatever waits."""
        looks = [look for pool in (self.looks, *self.glances) for look in pool.hung]
        for caller in (*(one.caller for one in self.reloads), *looks):
            caller.abandon()


def _without_threads(patch: pytest.MonkeyPatch, world: CoreWorld) -> None:
    """Have cores made whose stages *world* drives."""

    def adapter() -> StoredAdapter:
        return StoredAdapter(world.storage, world.ledger)

    factories = platforms._factories | dict.fromkeys(PLATFORMS, adapter)
    patch.setattr(platforms, "_factories", factories)
    # Else found anew for each world: the packages that are installed are no part of it.
    patch.setattr(platforms, "_offered", dict)
    patch.setattr(stages, "AspiredVersionsManager", world.make_manager)
    patch.setattr(pipeline, "FileSystemStoragePathSource", world.make_source)

    def glance(servables: Any, **options: Any) -> Glance:
        world.glances.append(LookPool(world.storage, at_once=True))
        return Glance(world.storage.list, world.glances[-1], servables, options)

    patch.setattr(preview, "FileSystemStoragePathSource", glance)
    patch.setattr(preview, "WorkerPool", lambda *_: CallingThread())


@final
class Glance:
    """The source of a plan: it looks on the thread of whoever plans."""

    def __init__(
        self, lister: Lister, pool: LookPool, servables: Any, options: dict[str, Any]
    ) -> None:
        self._source = FileSystemStoragePathSource(servables, **options, lister=lister, pool=pool)
        self._source._actor.lookout._mounts = tuple

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def start(self) -> None:
        self._source.poll()

    def end(self, timeout: float | None) -> None:
        """Leave what hangs behind."""
