"""A simulated manager of aspired versions: what its clients aspire, hold and commit, and what must hold."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, final

from servman.errors import ResourceExhaustedError
from servman.ids import ServableId
from servman.manager import (
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    HarnessState,
    StreamOptions,
)
from servman.manager.messages import Commit, Rollback
from tests.simulation.aspirations import AspiringInvariants
from tests.simulation.ledger import Rule
from tests.simulation.loaders import FileLoader, FinalError, Kind, PlantedLoader, Wish, make
from tests.simulation.whims import MoodyOrder, MoodyPolicy
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.manager import ServableStateSnapshot
    from servman.manager.effects import Effect
    from servman.manager.messages import Event


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
        self._switching: frozenset[str] = frozenset()
        self._follow_switches()

    def _follow_switches(self) -> None:
        """Know when a commit or a rollback is carried out: after it was taken up, before policies are asked."""
        reconciler = self.manager._actor._reconciler
        take, settle = reconciler.take, reconciler.settle

        def taking(event: Event | None, now: float) -> list[Effect]:
            effects = take(event, now)
            self._switching = event.names if isinstance(event, Commit | Rollback) else frozenset()
            return effects

        def settling() -> list[Effect]:
            self._switching = frozenset()
            self.invariants.carried_out()
            return settle()

        reconciler.take = taking  # type: ignore[method-assign] # spies on this one manager
        reconciler.settle = settling  # type: ignore[method-assign] # likewise

    # ---- clients -------------------------------------------------------------------------------

    def aspire(self, name: str, wishes: Sequence[Wish]) -> None:
        """Aspire exactly *wishes*."""
        entries = [make(name, wish, self.ledger, self.options) for wish in wishes]
        self.invariants.turns.update({id(one): (one, self.invariants.asked) for one in entries})
        self.manager.set_aspired_versions(name, entries)

    def hold(self, names: Sequence[str]) -> None:
        """Hold *names*."""
        if not self.closing:
            self.manager.hold(names)
            self.invariants.asked += 1

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """Want exactly these labels."""
        if not self.closing:
            self.manager.set_labels(labels)
            self.invariants.asked += 1

    def configure(self, streams: Mapping[str, StreamOptions]) -> None:
        """Give exactly these streams options of their own."""
        if not self.closing:
            self.manager.configure(streams)
            self.invariants.asked += 1

    def commit(
        self,
        names: Sequence[str],
        expects: bool | None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """Commit *names*, and look at them between any two lines until that is carried out.

        Args:
            names: What to commit.
            expects: Whether what is aspired is expected, or something else; None: nothing is.
            labels: What is wanted of labels from then on.
        """
        if self.closing:
            return
        self.settle_mailbox()
        if expects is None:
            self.manager.commit(names, labels=labels)
            self.invariants.asked += 1
        else:
            wanted = {name: set(self.invariants.wanted.get(name, ())) for name in names}
            if not expects:
                wanted[names[0]] ^= {2}
            self.manager.commit(names, expected=wanted, labels=labels)
            self.invariants.asked += 1
        self._watch(names)

    def rollback(self, names: Sequence[str]) -> None:
        """Roll *names* back, and look at them likewise."""
        if self.closing:
            return
        self.settle_mailbox()
        self.manager.rollback(names)
        self.invariants.asked += 1
        self._watch(names)

    def _watch(self, names: Sequence[str]) -> None:
        seen: list[tuple[object, ...]] = []

        def look(frame: FrameType, event: str, _: object) -> Any:
            if not frame.f_globals.get("__name__", "").startswith("servman."):
                return None
            if event == "line" and self._switching:
                now = tuple(map(self._found_now, names))
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

    def _found_now(self, name: str) -> tuple[object, ...]:
        entry = self.manager._serving.streams.get(name)
        if entry is None:
            return ()
        labels = {label: one.id.version for label, one in entry.labels.items()}
        return (*entry.versions, *sorted(labels.items()))

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
        self.manager.set_labels({})
        self.invariants.asked += 1
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
            return loader.failure is None and not model.failed and model.loader is loader
        if one.id in self.invariants.failures.ended:
            changed = isinstance(loader, FileLoader) and loader.files != loader.tried
            return one.state is HarnessState.ERROR and not changed
        if self.options.load_timeout is not None and "load_timeout" in str(one.error):
            return one.state is HarnessState.ERROR
        repaired = isinstance(loader, FileLoader) and loader.files > 0
        failed = loader.failure is not None or loader.kind is Kind.NOTHING
        limits = {self.options.max_num_load_retries, *self.ledger.limits[one.id.name]}
        exhausted = min(limits) < loader.attempt <= max(limits) + 1
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
        keeps = isinstance(self.invariants.policy_of(one.id.name), AvailabilityPreservingPolicy)
        wanted = bool(self.invariants.wanted.get(one.id.name))
        return keeps and wanted and [each.id for each in siblings] == [one.id]
