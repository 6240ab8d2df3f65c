"""A simulated cache: clients that ask and wait, and what must not be taken out to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import ClosedError, ServmanError
from servman.ids import ServableId
from servman.manager import CachingManager, HarnessState
from servman.manager.messages import Obtain
from servman.state import ManagerState, ServableState
from tests.simulation.calling import CallingInvariants
from tests.simulation.ledger import Ledger, Model, Rule
from tests.simulation.loaders import Wish, make
from tests.simulation.world import AnyWorld, World
from tests.unit.manager.rig import kept as kept_by

if TYPE_CHECKING:
    from servman.data import ServableData
    from servman.events import Event as BusEvent
    from servman.ids import ServableRequest
    from servman.loader import Loader
    from servman.manager.messages import Event

_GOING: Final = (HarnessState.QUIESCING, HarnessState.QUIESCED, HarnessState.UNLOADING)
_STARTED: Final[Any] = object()
"""Stands for the thread that a manager must have before it is asked; the simulation steps."""


@final
class CachingInvariants(CallingInvariants):
    """Also follows what is used, and what is taken out to make room.

    Attributes:
        uses: Each version that was used since it came, in the order of its last use.
    """

    def __init__(self, world: AnyWorld, ledger: Ledger) -> None:
        super().__init__(world, ledger)
        self.uses: dict[ServableId, None] = {}

    def taking(self, event: Event | None) -> None:
        """Follow *event*, which the manager is about to take up."""
        if isinstance(event, Obtain) and not self.closing:
            self._obtain(event.data)
        super().taking(event)

    def _obtain(self, data: ServableData[Loader]) -> None:
        """What is there, or on its way in, or to come back, keeps its loader."""
        known = [one for one in self._world.manager.snapshots(data.id.name) if one.id == data.id]
        if not any((one.aspired and one.state not in _GOING) or one.wanted_again for one in known):
            self.expect(data)

    def record(self, event: BusEvent) -> None:
        """Check *event* as it is published."""
        super().record(event)
        if not isinstance(event, ServableState):
            return
        unloading = event.manager_state is ManagerState.UNLOADING
        if unloading and not self.closing and event.id not in self.failures.leaving:
            self._let_go.add(event.id)
            limited = self._world.reserved is not None
            self._ledger.require(limited, Rule.STAYS_SERVED, f"{event} without a limit")
            self._check_use(event.id)
        elif event.manager_state is ManagerState.END:
            self.uses.pop(event.id, None)

    def _check_use(self, id: ServableId) -> None:
        if self._world.finalising:  # the collector has cleared what told of its use
            return
        holders = [str(holder) for holder, held in self._ledger.held.items() if held.id == id]
        self._ledger.require(not holders, Rule.IN_USE, f"{id} goes, and is held by {holders}")

    def check_service(self, served: set[ServableId]) -> None:
        """Check that what went was used less recently than what nobody holds and stays."""
        super().check_service(served)
        held = {model.id for model in self._ledger.held.values()}
        order = list(self.uses)
        gone = [order.index(one) for one in self._let_go if one in self.uses]
        idle = [order.index(one) for one in served - held if one in self.uses]
        if self._world.options.limit is None:
            return  # it may take several, and not the first ones
        text = f"{self._let_go} went, of {order}"
        self._ledger.require(len(self._let_go) <= 1, Rule.LEAST_RECENT, text)
        if gone and idle:
            self._ledger.require(max(gone) < min(idle), Rule.LEAST_RECENT, text)

    def after_step(self, *, idle: bool) -> None:
        """Check all that can be seen."""
        super().after_step(idle=idle)
        limit = self._world.options.limit
        if limit is not None and not self._world.closed:
            count = sum(map(len, self._ledger.in_memory.values())) + len(self._ledger.late)
            text = f"{count} in memory, {limit} may be"
            self._ledger.require(count <= limit, Rule.WITHIN_LIMIT, text)


@final
class _Client:
    """Waits for a version, and takes a handle on it when it is there."""

    def __init__(self, world: CachingWorld, number: int, id: ServableId) -> None:
        self._world = world
        self._number = number
        self._id = id

    def answer(self, error: ServmanError | None) -> None:
        if error is None:
            self._world.obtain(self._number, self._id)


@final
class CachingWorld(World[CachingManager, CachingInvariants]):
    """A manager that loads what it is asked for."""

    def _make(self) -> None:
        self._wish = Wish(1)
        self.manager = CachingManager(
            self._loader_for, max_servables=self.options.limit, **self._common()
        )
        self.manager._thread = _STARTED
        self.invariants = CachingInvariants(self, self.ledger)

    def _loader_for(self, request: ServableRequest) -> ServableData[Loader]:
        return make(request.name, self._wish, self.ledger, self.options)

    def finds(self, id: ServableId) -> bool:
        """Whether a lookup of *id* finds a model that may be used; it shall not be loaded for that."""
        entry = self.manager._serving.entries(id.name).get(id.version)
        return entry is not None and entry.servable.loaded and entry.servable.id == id  # type: ignore[attr-defined]

    def ask(self, number: int, name: str, wish: Wish, *, waits: bool) -> None:
        """Ask for a version: to have it or not, or to wait until it has come."""
        if number in self.handles or number in self.ledger.held:
            return
        self._wish = wish
        which = ServableId(name, wish.version)
        if waits and not self.closing and not self.finds(which):
            data = self.manager._in_a_place(make(name, wish, self.ledger, self.options))
            self.manager._actor.post(Obtain(data, _Client(self, number, which)))
        else:
            self.obtain(number, which)

    def obtain(self, number: int, id: ServableId) -> None:
        """Take a handle if it is to be had at once."""
        if number in self.handles or number in self.ledger.held:
            return
        found = self.finds(id)
        try:
            handle = self.manager.get_servable_handle(id, Model, timeout=0)
        except ClosedError:
            self.ledger.require(self.closing, Rule.CLOSES, f"{id}: closed, says a lookup")
        except ServmanError as error:
            self.ledger.require(not found, Rule.FINDS_RIGHT, f"{id}: {error}")
        else:
            self.ledger.require(handle.id == id, Rule.FINDS_RIGHT, f"{id}: {handle.id} found")
            self.handles[number] = handle
            self.ledger.held[number] = handle.servable
            self.ledger.used(handle.servable, f"new handle {number}")
            self.invariants.uses.pop(id, None)
            self.invariants.uses[id] = None

    def report(self) -> tuple[Any, ...]:
        """Return what the manager, which has closed, says to have left."""
        self.invariants.check_answers()
        self.manager._thread = None
        return super().report()

    def check_rest(self) -> None:
        """What is there is ready, what failed is forgotten, and everybody was answered."""
        for one in self.manager.snapshots():
            ready = one.state is HarnessState.READY
            self.ledger.require(ready, Rule.SETTLES_RIGHT, f"{one} at rest")
        self.invariants.check_answers()
        self.ledger.raise_first()

    def let_all_go(self) -> None:
        """A cache has no way to be told so."""

    def check_nothing_kept(self) -> None:
        """What is not in the cache has left nothing behind."""
        ready = {one.incarnation for one in self.manager.snapshots()}
        reconciler = self.manager._actor._reconciler
        names = ("_incarnations", "_given_up", "_wanting", "_replies", "_lookups")
        records = {name: set(getattr(reconciler, name)) for name in names}
        for name, found in {**records, "the actor": kept_by(self.manager)}.items():
            kept = found - ready
            self.ledger.require(not kept, Rule.NOTHING_KEPT, f"{kept} in {name}")
        self.ledger.raise_first()
