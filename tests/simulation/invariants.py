"""What must hold at every event and after every step of a simulated manager, whichever it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from servman.errors import ClosedError, LoadCancelledError
from servman.ids import ServableId
from servman.manager import HarnessState
from servman.manager.messages import CloseRequested, RetryCancelled
from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration
from tests.simulation.ledger import REACHABLE, Ledger, Rule
from tests.simulation.loaders import memory_in
from tests.simulation.reports import Failures

if TYPE_CHECKING:
    from servman.events import Event as BusEvent
    from servman.manager import ServableStateSnapshot
    from servman.manager.messages import Event
    from tests.simulation.bench import Bench
    from tests.simulation.world import AnyWorld

_S = HarnessState
_ENDED = (_S.DISABLED, _S.ERROR)
_KNOWN = (_S.READY, _S.QUIESCING, _S.QUIESCED)
"""States in which the manager has heard how much memory a model takes after all."""


class Invariants:
    """Follows what a manager takes up, publishes and shows, and writes every breach into the ledger.

    Attributes:
        state: The latest public state of each id.
        given_up: Versions whose retries were cancelled in their current incarnation, and the number
            of the attempt that was to be the last.
        closing: Whether the manager has been told to close.
        failures: Follows what loaders report.
    """

    def __init__(self, world: AnyWorld, ledger: Ledger) -> None:
        self.state: dict[ServableId, ManagerState] = {}
        self.given_up: dict[ServableId, int] = {}
        self.closing = False
        self.failures = Failures(world, ledger)
        self._world = world
        self._ledger = ledger
        self._begun: set[ServableId] = set()
        self._seen: dict[ServableId, tuple[int, HarnessState]] = {}
        self._attempts: dict[ServableId, int] = {}
        self._served: set[ServableId] = set()
        # How much more than they said those models need whose memory has not come back yet.
        self._hidden: dict[ServableId, int] = {}
        self._outstanding = 0

    # ---- what the manager takes up -------------------------------------------------------------

    def taking(self, event: Event | None) -> None:
        """Follow *event*, which the manager is about to take up."""
        self.failures.taking(event, self.count_asked())
        match event:
            case RetryCancelled():
                self.given_up.setdefault(event.id, max(1, self._attempts.get(event.id, 0)))
            case CloseRequested():
                self.closing = True
            case _:
                pass

    def count_asked(self) -> int:
        """Return how much has been asked for by callers who are answered."""
        return 0

    def found_by(self, request: str) -> ServableId | None:
        """Return what a lookup of *request* is to find, by the public states alone."""
        name, _, selector = request.partition(":")
        found = sorted(
            which.version
            for which, state in self.state.items()
            if which.name == name and state is ManagerState.AVAILABLE
        )
        match selector:
            case "":
                right = max(found, default=None)
            case "earliest":
                right = min(found, default=None)
            case "newest":
                right = self.newest(name)
            case _:
                right = int(selector)
        return ServableId(name, right) if right is not None and right in found else None

    def refuses(self, request: str) -> bool:
        """Whether *request* can never be right, as it stands."""
        del request
        return False

    def newest(self, name: str) -> int | None:
        """Return which version of *name* a lookup of the newest is to find."""
        raise NotImplementedError(name)

    # ---- what it publishes ---------------------------------------------------------------------

    def record(self, event: BusEvent) -> None:
        """Check *event* as it is published; the bus shows it to a recorder first."""
        self._follow_harnesses()
        if isinstance(event, StreamAspiration):
            self.announced(event)
        if not isinstance(event, ServableState):
            return
        self._check_order(event)
        if event.manager_state in (ManagerState.AVAILABLE, ManagerState.UNLOADING):
            found = self._world.finds(event.id)
            self._ledger.require(found, Rule.FOUND_WHEN_TOLD, f"{event} but no lookup finds it")
        gave_up = self._world.options.load_timeout is not None and _gave_up(event)
        self.failures.record(event, gave_up=gave_up)
        if event.manager_state is ManagerState.END and not isinstance(event.error, ClosedError):
            if gave_up:
                self._ledger.give_up(event.id)
            gone = not self._ledger.in_memory[event.id]
            self._ledger.require(gone, Rule.ENDED_IS_GONE, f"{event} but it is in memory")

    def announced(self, event: StreamAspiration) -> None:
        """Follow what is published as aspired; most managers publish nothing of the kind."""
        self._ledger.blame(Rule.ASPIRED_FIRST, f"{event} of a manager without aspirations")

    def started(self, id: ServableId) -> None:
        """Check that *id* may begin."""

    def _check_order(self, event: ServableState) -> None:
        state, before = event.manager_state, self.state.get(event.id, ManagerState.END)
        starts = state is ManagerState.START
        forward = before is ManagerState.END if starts else state > before
        self._ledger.require(forward, Rule.MONOTONE, f"{event} after {before.name}")
        self.state[event.id] = state
        if state is ManagerState.END:
            self._hidden.pop(event.id, None)
        if starts:
            self.started(event.id)
            self._begun.add(event.id)
            self.given_up.pop(event.id, None)
            self._attempts.pop(event.id, None)

    def _follow_harnesses(self) -> tuple[ServableStateSnapshot, ...]:
        snapshots: tuple[ServableStateSnapshot, ...] = self._world.manager.snapshots()
        for one in snapshots:
            before, state = self._seen.get(one.id, (0, _S.NEW))
            grows = one.incarnation >= before
            self._ledger.require(grows, Rule.INCARNATIONS_GROW, f"{one} after {before}")
            if one.incarnation == before:
                legal = one.state in REACHABLE[state]
                self._ledger.require(legal, Rule.TRANSITIONS, f"{one.id}: {state} to {one.state}")
            self._seen[one.id] = (one.incarnation, one.state)
            self._attempts[one.id] = one.attempts
            last = self.given_up.get(one.id, one.attempts)
            text = f"{one.id}: attempt {one.attempts}, though {last} was to be the last"
            self._ledger.require(one.attempts <= last, Rule.GIVEN_UP, text)
        return snapshots

    # ---- what holds after every step -----------------------------------------------------------

    def before_step(self) -> None:
        """Note what the step starts from."""
        self.failures.before_step()
        self._served = set(self._world.manager.list_available_ids())
        self._outstanding = self._world.loads.outstanding

    def after_step(self, *, idle: bool) -> None:
        """Check all that can be seen; where the manager is *idle*, also that it may be."""
        snapshots = self._follow_harnesses()
        served = set(self._world.manager.list_available_ids())
        self._check_agreement(snapshots, served)
        self.failures.check(served)
        if not self.closing:
            self.check_service(served)
        if not self._world.closing:  # else there is one reason for everything
            self._check_reasons(served)
        self._check_places(snapshots, idle=idle)
        self._check_memory(snapshots)
        if not self._world.finalising:  # a collection frees what it has finalised at its end only
            self._check_counts(snapshots)
            if idle and not self._world.closed:
                self._check_drains(snapshots)

    def _check_agreement(
        self, snapshots: tuple[ServableStateSnapshot, ...], served: set[ServableId]
    ) -> None:
        ready = {one.id for one in snapshots if one.state is _S.READY}
        self._ledger.require(served == ready, Rule.READY_IS_FOUND, f"{served} found, {ready} ready")
        available = {
            which for which, state in self.state.items() if state is ManagerState.AVAILABLE
        }
        text = f"{available} told to be available, {ready} ready"
        self._ledger.require(available == ready, Rule.SNAPSHOTS_AGREE, text)
        begun = {which for which, state in self.state.items() if state is not ManagerState.END}
        live = {one.id for one in snapshots if one.state not in _ENDED}
        self._ledger.require(begun == live, Rule.SNAPSHOTS_AGREE, f"{begun} begun, {live} live")

    def check_service(self, served: set[ServableId]) -> None:
        """Check that what a step took out was to go."""
        raise NotImplementedError(served)

    def wanted_ids(self) -> set[ServableId]:
        """Return what there must be a reason for, where it is not ready."""
        raise NotImplementedError

    def _check_reasons(self, served: set[ServableId]) -> None:
        for which in self.wanted_ids():
            reason = self._world.manager.explain(which)
            is_ready = reason is not None and reason.code is ReasonCode.AVAILABLE
            fits = reason is not None and is_ready == (which in served) and bool(reason.text)
            self._ledger.require(fits, Rule.EXPLAINED, f"{which}: {reason}")

    def _check_places(self, snapshots: tuple[ServableStateSnapshot, ...], *, idle: bool) -> None:
        loads, unloads = self._world.loads, self._world.unloads
        text = f"{loads.outstanding} loads at once, {loads.pool.size} may"
        # Between an estimate and its load a place is held and no job is out.
        held = self._world.reserved is not None
        given = held or loads.outstanding <= max(loads.pool.size, self._outstanding)
        self._ledger.require(given, Rule.PLACES, text)
        if self._world.closed or self._world.options.load_timeout is not None:
            return  # what was given up holds a thread, and is not seen in a snapshot
        given = unloads.outstanding <= unloads.pool.size
        self._ledger.require(given, Rule.PLACES, f"{unloads.outstanding} unloads at once")
        if idle:
            states = Counter(
                one.state
                for one in snapshots
                if one.retry_at is None and one.shortage is None and not one.held
            )
            self._check_lane(loads, states[_S.LOAD_REQUESTED] + states[_S.LOADING])
            self._check_lane(unloads, states[_S.QUIESCED] + states[_S.UNLOADING])

    def _check_lane(self, bench: Bench, count: int) -> None:
        """Of *count* versions that have or want a place none waits while there are places."""
        waiting = count - bench.outstanding
        full = bench.outstanding >= bench.pool.size
        text = f"{waiting} wait, {bench.outstanding} have a place, {bench.pool.size} may"
        self._ledger.require(waiting == 0 or full, Rule.PLACES, text)

    def _check_memory(self, snapshots: tuple[ServableStateSnapshot, ...]) -> None:
        """What is set aside covers what is in memory; it is more than there is only by what loads hid."""
        tracker = self._world.tracker
        if tracker is None or self._world.closed:
            return
        known = {one.id for one in snapshots if one.held or one.state in _KNOWN}
        models = [one for each in self._ledger.in_memory.values() for one in each]
        needs = sum(model.needs for model in (*models, *self._ledger.late))
        needs += sum(model.more if model.id in known else min(0, model.more) for model in models)
        self._hidden.update({one.id: one.more for one in models if one.more > 0})
        hidden = sum(self._hidden.values())
        used, total = memory_in(tracker.used), memory_in(tracker.total)
        text = f"{needs} in memory, {used} set aside, {total} in all, and {hidden} that was hidden"
        self._ledger.require(needs <= used <= total + hidden, Rule.MEMORY, text)

    def _check_counts(self, snapshots: tuple[ServableStateSnapshot, ...]) -> None:
        for one in snapshots:
            if one.state in (_S.READY, _S.QUIESCING):
                held = sum(model.id == one.id for model in self._ledger.held.values())
                text = f"{one.id} is held by {held}, not {one.handles}"
                self._ledger.require(one.handles == held, Rule.HANDLES_COUNTED, text)

    def _check_drains(self, snapshots: tuple[ServableStateSnapshot, ...]) -> None:
        for one in snapshots:
            if one.state is _S.QUIESCING:
                held = any(model.id == one.id for model in self._ledger.held.values())
                self._ledger.require(held, Rule.DRAINED_AT_ONCE, f"{one.id} is held by nothing")


def _gave_up(event: ServableState) -> bool:
    """Whether an END came although the load may have returned in the very same moment."""
    return isinstance(event.error, LoadCancelledError) or "load_timeout" in str(event.error)
