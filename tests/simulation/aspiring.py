"""A simulated manager of aspired versions: what its clients aspire, hold and commit, and what must hold."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import ResourceExhaustedError
from servman.ids import ServableId
from servman.manager import (
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    HarnessState,
)
from servman.manager.messages import Aspire, CloseRequested, Commit, Hold
from tests.simulation.invariants import Invariants
from tests.simulation.ledger import Ledger, Rule
from tests.simulation.loaders import FileLoader, FinalError, Kind, PlantedLoader, Wish, make
from tests.simulation.whims import MoodyOrder, MoodyPolicy
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from servman.data import ServableData
    from servman.loader import Loader
    from servman.manager import ServableStateSnapshot
    from servman.manager.messages import Effect, Event
    from servman.state import StreamAspiration

_SELECTORS: Final = ("", ":1", ":2", ":3", ":earliest", ":newest")


@final
class AspiringInvariants(Invariants):
    """Also follows what is aspired.

    Attributes:
        wanted: Name to the versions that are aspired, as the manager has been told so far.
        held: Name of each stream that is held, to what lookups found when it was.
    """

    def __init__(self, world: AspiringWorld, ledger: Ledger) -> None:
        super().__init__(world, ledger)
        self.wanted: dict[str, set[int]] = {}
        self.held: dict[str, tuple[object, ...]] = {}
        self._newest: dict[str, int | None] = {}
        self._announced: dict[str, frozenset[int]] = {}
        self._replaced: set[ServableId] = set()
        # What serves on in a held stream although its version is wanted from another origin.
        self._standing: dict[ServableId, ServableData[Loader]] = {}

    # ---- what the manager takes up -------------------------------------------------------------

    def taking(self, event: Event | None) -> None:
        """Follow *event*, which the manager is about to take up."""
        super().taking(event)
        match event:
            case Aspire() if not self.closing:
                for data in event.versions:
                    self._want(data)
                self.wanted[event.name] = {data.id.version for data in event.versions}
            case Hold() if not self.closing:
                for name in event.names - self.held.keys():
                    self.held[name] = self._found_in(name)
                    self._newest[name] = max(self.wanted.get(name, ()), default=None)
            case Commit():
                self._commit(event.names)
            case CloseRequested():
                self.wanted.clear()
                self.held.clear()
                self._standing.clear()
            case _:
                pass

    def _want(self, data: ServableData[Loader]) -> None:
        which, standing = data.id, self._standing.get(data.id)
        if standing is not None:
            taken_back = _compatible(standing, data)
            self._ledger.expected[which] = standing if taken_back else data
            if taken_back:
                del self._standing[which]
                self._begun.add(which)
            return
        kept = self._ledger.expected.get(which)
        # What has begun, or still serves though nobody wanted it, stays as it is.
        stays = which in (self._begun if self._wants(which) else self._served)
        if kept is not None and stays and _compatible(kept, data):
            return
        if kept is not None and which.name in self.held and which in self._served:
            self._standing[which] = kept
        elif stays:
            self._replaced.add(which)
        self._begun.discard(which)
        self._ledger.expected[which] = data

    def _commit(self, names: Iterable[str]) -> None:
        for name in names:
            self.held.pop(name, None)
        for which in [one for one in self._standing if one.name in names]:
            standing = self._standing.pop(which)
            if self._wants(which):
                self._replaced.add(which)
            else:
                self._ledger.expected[which] = standing
                self._begun.add(which)

    def newest(self, name: str) -> int | None:
        """Return which version of *name* a lookup of the newest is to find."""
        if name in self.held:
            return self._newest[name]
        return max(self.wanted.get(name, ()), default=None)

    def _wants(self, id: ServableId) -> bool:
        return id.version in self.wanted.get(id.name, ())

    def wanted_ids(self) -> set[ServableId]:
        """Return what is aspired."""
        return {
            ServableId(name, version)
            for name, versions in self.wanted.items()
            for version in versions
        }

    # ---- what it publishes and serves ----------------------------------------------------------

    def announced(self, event: StreamAspiration) -> None:
        """Follow what is published as aspired."""
        self._announced[event.name] = event.versions

    def started(self, id: ServableId) -> None:
        """Check that *id* was announced."""
        announced = id.version in self._announced.get(id.name, ())
        self._ledger.require(announced, Rule.ASPIRED_FIRST, f"{id} began unannounced")

    def before_step(self) -> None:
        """Note what the step starts from."""
        super().before_step()
        self._replaced.clear()

    def after_step(self, *, idle: bool) -> None:
        """Check all that can be seen."""
        super().after_step(idle=idle)
        for name, before in self.held.items():
            found = self._found_in(name)
            text = f"{name}: {found} found, {before} when it was held"
            self._ledger.require(found == before, Rule.HELD_STANDS, text)

    def _found_in(self, name: str) -> tuple[object, ...]:
        entries = (self._world.manager._serving.find(name + one) for one in _SELECTORS)
        return tuple(one and (str(one.id), id(one.servable)) for one in entries)

    def check_service(self, served: set[ServableId]) -> None:
        """Check that what a step took out was wanted no more, and that its stream still serves."""
        for which in self._served - served - self._replaced:
            text = f"{which} is wanted and was taken out"
            self._ledger.require(not self._wants(which), Rule.STAYS_SERVED, text)
            if isinstance(self._world.options.policy, AvailabilityPreservingPolicy):
                excused = not self.wanted.get(which.name) or any(
                    one.name == which.name for one in (*served, *self._replaced)
                )
                text = f"{which} was taken out, and its stream serves nothing now"
                self._ledger.require(excused, Rule.SOMETHING_SERVES, text)


def _compatible(kept: ServableData[Loader], data: ServableData[Loader]) -> bool:
    if None not in (kept.origin, data.origin) and kept.origin != data.origin:
        return False
    return kept.error is None or data.error is not None


@final
class AspiringWorld(World[AspiredVersionsManager, AspiringInvariants]):
    """A manager of aspired versions."""

    def _make(self) -> None:
        options = self.options
        moods, order = options.moods, options.order
        self._moody = None if moods is None else MoodyPolicy(options.policy, moods)
        self.manager = AspiredVersionsManager(
            policy=self._moody or options.policy,
            sort_actions=None if order is None else MoodyOrder(order),
            **self._common(),
        )
        self.invariants = AspiringInvariants(self, self.ledger)
        self._committing: frozenset[str] = frozenset()
        self._follow_commits()

    def _follow_commits(self) -> None:
        """Know when a commit is carried out: after it was taken up, and before policies are asked."""
        reconciler = self.manager._actor._reconciler
        take, settle = reconciler.take, reconciler.settle

        def taking(event: Event | None, now: float) -> list[Effect]:
            effects = take(event, now)
            self._committing = event.names if isinstance(event, Commit) else frozenset()
            return effects

        def settling() -> list[Effect]:
            self._committing = frozenset()
            return settle()

        reconciler.take = taking  # type: ignore[method-assign] # spies on this one manager
        reconciler.settle = settling  # type: ignore[method-assign] # likewise

    # ---- clients -------------------------------------------------------------------------------

    def aspire(self, name: str, wishes: Sequence[Wish]) -> None:
        """Aspire exactly *wishes*."""
        entries = [make(name, wish, self.ledger, self.options) for wish in wishes]
        self.manager.set_aspired_versions(name, entries)

    def hold(self, names: Sequence[str]) -> None:
        """Hold *names*."""
        if not self.closing:
            self.manager.hold(names)

    def commit(self, names: Sequence[str]) -> None:
        """Commit *names*, and look at them between any two lines until that is carried out."""
        if self.closing:
            return
        self.settle_mailbox()
        self.manager.commit(names)
        seen: list[tuple[object, ...]] = []

        def look(frame: FrameType, event: str, _: object) -> Any:
            if not frame.f_globals.get("__name__", "").startswith("servman."):
                return None
            if event == "line" and self._committing:
                streams = self.manager._serving.streams
                now = tuple(tuple(streams[one].versions) if one in streams else () for one in names)
                if seen[-1:] != [now]:
                    seen.append(now)
            return look

        before = sys.gettrace()
        sys.settrace(look)
        try:
            self.step()
        finally:
            sys.settrace(before)
        self.ledger.require(len(seen) <= 2, Rule.ONE_CHANGE, f"{names}: {seen}")

    def settle_mailbox(self) -> None:
        """Let the manager take up what it was told before."""
        while self.step():
            pass

    # ---- how it ends ---------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Commit what is held, and let policies come to their senses; a policy is asked after a change."""
        self.settle_mailbox()
        if self.invariants.held:
            self.commit(sorted(self.invariants.held))
        if self._moody is not None:
            self._moody.moody = False
            for name, versions in self.invariants.wanted.items():
                again = [self.ledger.expected[ServableId(name, one)] for one in versions]
                self.manager.set_aspired_versions(name, again)
        super().come_to_rest()

    def check_rest(self) -> None:
        """What is wanted serves, or has failed for a planted reason; nothing is on its way."""
        snapshots, wanted = self.manager.snapshots(), self.invariants.wanted_ids()
        aspired = {one.id for one in snapshots if one.aspired}
        self.ledger.require(
            aspired == wanted, Rule.SETTLES_RIGHT, f"{aspired} aspired, not {wanted}"
        )
        for one in snapshots:
            right = self._right_if_wanted(one) if one.aspired else self._right_if_unwanted(one)
            self.ledger.require(right, Rule.SETTLES_RIGHT, f"{one} at rest")
        self.ledger.raise_first()

    def let_all_go(self) -> None:
        """Want nothing any more."""
        for name in list(self.invariants.wanted):
            self.aspire(name, ())

    def _right_if_wanted(self, one: ServableStateSnapshot) -> bool:
        if one.state is HarnessState.ERROR and self._lacks_memory(one):
            return True
        entry = self.ledger.expected[one.id]
        if entry.error is not None:
            return one.state is HarnessState.ERROR and one.error is entry.error
        loader = entry.payload
        assert isinstance(loader, PlantedLoader)
        if one.state is HarnessState.READY:
            (model,) = self.ledger.in_memory[one.id]
            return loader.failure is None and model.loader is loader
        if self.options.load_timeout is not None and "load_timeout" in str(one.error):
            return one.state is HarnessState.ERROR
        repaired = isinstance(loader, FileLoader) and loader.files > 0
        failed = loader.failure is not None or loader.kind is Kind.NOTHING
        exhausted = loader.attempt == self.options.max_num_load_retries + 1
        given_up = one.id in self.invariants.given_up or loader.failure is FinalError
        state = one.state is HarnessState.ERROR
        return state and failed and not repaired and (exhausted or given_up)

    def _lacks_memory(self, one: ServableStateSnapshot) -> bool:
        """Whether it failed for want of memory, and rightly: it would not fit now either."""
        tracker, entry = self.tracker, self.ledger.expected[one.id]
        if tracker is None or not isinstance(one.error, ResourceExhaustedError):
            return False
        return not tracker.fits(entry.payload.estimate_resources())

    def _right_if_unwanted(self, one: ServableStateSnapshot) -> bool:
        """Only availability keeps an unwanted version: the last one, while nothing wanted is ready."""
        siblings = [
            each for each in self.manager.snapshots(one.id.name) if each.state is HarnessState.READY
        ]
        keeps = isinstance(self.options.policy, AvailabilityPreservingPolicy)
        wanted = bool(self.invariants.wanted.get(one.id.name))
        return keeps and wanted and [each.id for each in siblings] == [one.id]
