"""Faults in what managers tell their callers, and in what a cache takes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.manager.caching import CachingManager
from servman.manager.harness import LoaderHarness
from servman.manager.lives import Lives
from servman.manager.messages import Obtain
from servman.manager.reconciler import Reconciler
from tests.simulation.plants import fault

if TYPE_CHECKING:
    import pytest

    from servman.ids import ServableId


@fault("answers", "whoever asks for a version on its way out is forgotten")
def _forgotten(patch: pytest.MonkeyPatch) -> None:
    obtain = Reconciler._obtain

    def forgetful(self: Reconciler, event: Obtain) -> None:
        harness = self._find(event.data.id)
        obtain(self, event)
        if harness is not None and not harness.aspired:
            self._lookups.pop(event.data.id, None)

    patch.setattr(Reconciler, "_obtain", forgetful)


@fault("answers", "who waits for a version that comes back is told of its earlier end")
def _wrong_end(patch: pytest.MonkeyPatch) -> None:
    end = Reconciler._end

    def hasty(self: Reconciler, harness: LoaderHarness, error: Any) -> None:
        self._answer(harness.id, error)
        end(self, harness, error)

    patch.setattr(Reconciler, "_end", hasty)


@fault("answers", "an unload is said to be done when it begins")
def _too_early(patch: pytest.MonkeyPatch) -> None:
    settle = Reconciler.settle

    def hasty(self: Reconciler) -> Any:
        for which in list(self._replies):
            harness = self._find(which)
            if harness is not None and not harness.ended and harness.state.value == "quiescing":
                self._answer(which, None)
        return settle(self)

    patch.setattr(Reconciler, "settle", hasty)


@fault("answers", "only the first of several who wait is answered")
def _only_one(patch: pytest.MonkeyPatch) -> None:
    answer = Lives._answer

    def stingy(self: Lives, id: ServableId, error: Any) -> None:
        waiting = self._lookups.get(id, {})
        for one in list(waiting)[1:]:
            del waiting[one]
        answer(self, id, error)

    patch.setattr(Lives, "_answer", stingy)


@fault("answers", "a failed load is never told")
def _silent_failure(patch: pytest.MonkeyPatch) -> None:
    answer = Lives._answer

    def silent(self: Lives, id: ServableId, error: Any) -> None:
        if error is None:
            answer(self, id, error)

    patch.setattr(Lives, "_answer", silent)


@fault("cache", "what is in use is taken out as well")
def _evicted_in_use(patch: pytest.MonkeyPatch) -> None:
    def dispensable(self: CachingManager) -> list[ServableId]:
        entries = sorted(self._serving.all_entries(), key=lambda entry: entry.used)
        return [entry.id for entry in entries]

    patch.setattr(CachingManager, "_dispensable", dispensable)


@fault("cache", "what was used most recently is taken out")
def _most_recent(patch: pytest.MonkeyPatch) -> None:
    dispensable = CachingManager._dispensable

    def backwards(self: CachingManager) -> list[ServableId]:
        return list(reversed(dispensable(self)))

    patch.setattr(CachingManager, "_dispensable", backwards)


@fault("cache", "everything that nobody uses is taken out, however little is needed")
def _generous(patch: pytest.MonkeyPatch) -> None:
    def all_of_it(self: Reconciler, spare: list[int], needs: object) -> list[int]:
        return spare

    patch.setattr(Reconciler, "_enough", all_of_it)


@fault("cache", "what is taken out is not counted any more although it is there")
def _uncounted(patch: pytest.MonkeyPatch) -> None:
    fits = Reconciler._admit

    def greedy(self: Reconciler, harness: LoaderHarness, needs: Any) -> None:
        for incarnation in self._leaving():
            if self._tracker is not None:
                self._tracker.release(incarnation)
        fits(self, harness, needs)

    patch.setattr(Reconciler, "_admit", greedy)


@fault("cache", "a snapshot does not tell that its version is taken out")
def _stale_snapshot(patch: pytest.MonkeyPatch) -> None:
    quiesce = Lives._quiesce

    def quietly(self: Lives, harness: LoaderHarness) -> None:
        before = set(self.changed)
        quiesce(self, harness)
        self.changed.intersection_update(before)

    patch.setattr(Lives, "_quiesce", quietly)


@fault("cache", "a version that failed is remembered")
def _remembered(patch: pytest.MonkeyPatch) -> None:
    make = CachingManager.__init__

    def remembering(self: CachingManager, *args: Any, **kwargs: Any) -> None:
        self._forgets_failed = False  # type: ignore[misc] # that is the fault
        make(self, *args, **kwargs)

    patch.setattr(CachingManager, "__init__", remembering)
