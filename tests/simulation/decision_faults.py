"""Faults in what decides: reconciler, policy, harness, lane and resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.ids import ServableId
from servman.manager.effects import PublishState, Serve
from servman.manager.harness import HarnessState, LoaderHarness
from servman.manager.lane import Lane
from servman.manager.messages import LoadReturned
from servman.manager.policy import (
    ActionKind,
    AvailabilityPreservingPolicy,
    ServableAction,
)
from servman.manager.reconciler import Reconciler
from servman.manager.tracker import ResourceTracker, _Holding
from tests.simulation.plants import fault

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pytest


# ---- reconciler ------------------------------------------------------------------------------------


@fault("reconciler", "an unload does not wait for the handles")
def _no_drain(patch: pytest.MonkeyPatch) -> None:
    quiesce, drained = Reconciler._quiesce, Reconciler._drained

    def hasty(self: Reconciler, harness: LoaderHarness) -> None:
        quiesce(self, harness)
        drained(self, harness.incarnation)

    def ignored(self: Reconciler, incarnation: int) -> None:
        if incarnation in self._incarnations and not self._unloads.waits(incarnation):
            self._touch(self._incarnations[incarnation].id.name)

    patch.setattr(Reconciler, "_quiesce", hasty)
    patch.setattr(Reconciler, "_drained", ignored)


@fault("reconciler", "a version wanted again while it goes is forgotten")
def _no_successor(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Reconciler, harness: LoaderHarness) -> None:
        self._drop(harness)
        self._streams[harness.id.name].successors.pop(harness.id.version, None)

    patch.setattr(Reconciler, "_forget", forget)


@fault("reconciler", "a version wanted again while it goes keeps its old loader")
def _old_successor(patch: pytest.MonkeyPatch) -> None:
    forget = Reconciler._forget

    def stale(self: Reconciler, harness: LoaderHarness) -> None:
        successors = self._streams[harness.id.name].successors
        if harness.id.version in successors and harness.data.error is None:
            successors[harness.id.version] = harness.data
        forget(self, harness)

    patch.setattr(Reconciler, "_forget", stale)


@fault("reconciler", "a load that comes late resurrects a version that nobody wants")
def _resurrection(patch: pytest.MonkeyPatch) -> None:
    returned = Reconciler._load_returned

    def welcoming(self: Reconciler, event: LoadReturned) -> None:
        self._incarnations[event.incarnation].aspired = True
        returned(self, event)

    patch.setattr(Reconciler, "_load_returned", welcoming)


@fault("reconciler", "a failed load is tried once too often")
def _one_retry_more(patch: pytest.MonkeyPatch) -> None:
    failed = Reconciler._load_failed

    def generous(self: Reconciler, harness: LoaderHarness, *args: Any, **kwargs: Any) -> None:
        true, harness.attempts = harness.attempts, harness.attempts - 1
        failed(self, harness, *args, **kwargs)
        harness.attempts = true

    patch.setattr(Reconciler, "_load_failed", generous)


@fault("reconciler", "cancel_retry is forgotten when the attempt returns")
def _forgotten_cancel(patch: pytest.MonkeyPatch) -> None:
    failed = Reconciler._load_failed

    def forgetful(self: Reconciler, harness: LoaderHarness, *args: Any, **kwargs: Any) -> None:
        harness.may_retry = True
        failed(self, harness, *args, **kwargs)

    patch.setattr(Reconciler, "_load_failed", forgetful)


@fault("reconciler", "nobody looks whether the files of a failed version have changed")
def _no_revision(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "_watch_revision", lambda *_: None)


@fault("reconciler", "another origin is taken for the same")
def _same_origin(patch: pytest.MonkeyPatch) -> None:
    def stays(harness: LoaderHarness, data: object) -> bool:
        return harness.aspired or harness.state is HarnessState.READY

    patch.setattr("servman.manager.stream._can_stay", stays)


@fault("reconciler", "a version that ends is told END twice")
def _two_ends(patch: pytest.MonkeyPatch) -> None:
    end = Reconciler._end

    def again(self: Reconciler, harness: LoaderHarness, error: Any) -> None:
        end(self, harness, error)
        told = [one for one in self._effects if isinstance(one, PublishState)]
        self._effects.extend(told[-1:] if error is not None else [])

    patch.setattr(Reconciler, "_end", again)


@fault("reconciler", "AVAILABLE is told before lookups find the version")
def _told_too_early(patch: pytest.MonkeyPatch) -> None:
    taken = Reconciler._taken_effects

    def reordered(self: Reconciler) -> list[Any]:
        return sorted(taken(self), key=lambda one: isinstance(one, Serve))

    patch.setattr(Reconciler, "_taken_effects", reordered)


@fault("reconciler", "close does not wait for its deadline")
def _impatient_close(patch: pytest.MonkeyPatch) -> None:
    finish = Reconciler._finish_closing

    def impatient(self: Reconciler) -> None:
        self._deadline = self._now
        finish(self)

    patch.setattr(Reconciler, "_finish_closing", impatient)


@fault("reconciler", "close does not end at its deadline")
def _endless_close(patch: pytest.MonkeyPatch) -> None:
    finish = Reconciler._finish_closing

    def patient(self: Reconciler) -> None:
        if not self._incarnations:
            finish(self)

    patch.setattr(Reconciler, "_finish_closing", patient)


@fault("policy", "the last version that serves goes before the new one is there")
def _gap(patch: pytest.MonkeyPatch) -> None:
    decide = AvailabilityPreservingPolicy.next_action

    def hasty(self: Any, snapshots: Any) -> ServableAction | None:
        unwanted = [
            one.id for one in snapshots if not one.aspired and one.state is HarnessState.READY
        ]
        if unwanted:
            return ServableAction(ActionKind.UNLOAD, unwanted[0])
        return decide(self, snapshots)

    patch.setattr(AvailabilityPreservingPolicy, "next_action", hasty)


# ---- harness ---------------------------------------------------------------------------------------


@fault("harness", "an attempt is not counted")
def _uncounted(patch: pytest.MonkeyPatch) -> None:
    def begin(self: LoaderHarness, now: float) -> None:
        self.attempts = max(1, self.attempts)

    patch.setattr(LoaderHarness, "begin_attempt", begin)


@fault("harness", "a pause is without end")
def _endless_pause(patch: pytest.MonkeyPatch) -> None:
    pause = LoaderHarness.pause

    def endless(self: LoaderHarness, error: Any, until: float, now: float) -> None:
        pause(self, error, until + 1e9, now)

    patch.setattr(LoaderHarness, "pause", endless)


@fault("harness", "a version that was unloaded goes back to ready")
def _backwards(patch: pytest.MonkeyPatch) -> None:
    def undo(self: LoaderHarness, error: Any, now: float) -> None:
        self.move(HarnessState.READY, now)

    patch.setattr(LoaderHarness, "undo", undo)


@fault("harness", "a resumed version still counts as paused")
def _still_paused(patch: pytest.MonkeyPatch) -> None:
    def resume(self: LoaderHarness, now: float) -> None:
        self.revision_at = None

    patch.setattr(LoaderHarness, "resume", resume)


# ---- lane ------------------------------------------------------------------------------------------


@fault("lane", "there is no limit")
def _no_limit(patch: pytest.MonkeyPatch) -> None:
    following = Lane.next

    def unlimited(self: Lane) -> int | None:
        working, self._working = self._working, {}
        given = following(self)
        self._working = working | self._working
        return given

    patch.setattr(Lane, "next", unlimited)


@fault("lane", "a place is not given back")
def _place_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "leave", lambda lane, member: lane._waiting.pop(member, None))


# ---- resources and timeouts ------------------------------------------------------------------------


@fault("tracker", "memory is promised twice")
def _promised_twice(patch: pytest.MonkeyPatch) -> None:
    def reserve(self: ResourceTracker, incarnation: int, id: ServableId, needs: Any) -> bool:
        self.release(incarnation)
        self._hold(incarnation, _Holding(id, self.normalised(needs)))
        return True

    patch.setattr(ResourceTracker, "reserve", reserve)


@fault("tracker", "memory is not given back")
def _memory_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "_give_back", lambda *_: None)


@fault("reconciler", "memory is given back before the unload")
def _early_return(patch: pytest.MonkeyPatch) -> None:
    quiesce = Reconciler._quiesce

    def early(self: Reconciler, harness: LoaderHarness) -> None:
        quiesce(self, harness)
        self._give_back(harness.incarnation)

    patch.setattr(Reconciler, "_quiesce", early)


@fault("reconciler", "nobody who waits for memory hears that it is returned")
def _unheard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "_memory_returned", lambda _: None)


@fault("reconciler", "what a load that was given up brings late is not unloaded")
def _late_leak(patch: pytest.MonkeyPatch) -> None:
    late = Reconciler._come_back_late

    def leaking(
        self: Reconciler, incarnation: int, revision: Hashable, *, has_servable: bool
    ) -> None:
        del has_servable
        late(self, incarnation, revision, has_servable=False)

    patch.setattr(Reconciler, "_come_back_late", leaking)
