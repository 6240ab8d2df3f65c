"""Faults in what becomes of versions whose loaders report that they have failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servman.manager.effects import Served
from servman.manager.harness import HarnessState, LoaderHarness
from servman.manager.labels import Labels
from servman.manager.lives import Lives
from servman.manager.messages import Obtain, ServableFailed, UnloadReturned
from servman.manager.reconciler import Reconciler
from tests.simulation.plants import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from servman.errors import ServmanError
    from servman.manager.stream import Stream


def _unless(
    patch: pytest.MonkeyPatch, ignored: Callable[[Reconciler, LoaderHarness], bool]
) -> None:
    """Have reports *ignored* that say of a version what that function is true of."""
    take = Reconciler._servable_failed

    def deaf(self: Reconciler, event: ServableFailed) -> None:
        harness = self._incarnations.get(event.incarnation)
        if harness is None or not ignored(self, harness):
            take(self, event)

    patch.setattr(Reconciler, "_servable_failed", deaf)


@fault("failures", "the last version that serves stays although it has failed")
def _last_one(patch: pytest.MonkeyPatch) -> None:
    def last(self: Reconciler, harness: LoaderHarness) -> bool:
        stream = self._streams[harness.id.name]
        return stream.served().incarnations.keys() == {harness.id.version}

    _unless(patch, last)


@fault("failures", "what fails while it loads is served all the same")
def _unheard(patch: pytest.MonkeyPatch) -> None:
    _unless(patch, lambda _, harness: harness.attempt_began is not None)


@fault("failures", "what fails while it is held is let in")
def _let_in(patch: pytest.MonkeyPatch) -> None:
    _unless(patch, lambda _, harness: harness.held)


@fault("failures", "what an earlier load reports is taken for the failure of the last one")
def _earlier(patch: pytest.MonkeyPatch) -> None:
    take = Reconciler._servable_failed

    def confused(self: Reconciler, event: ServableFailed) -> None:
        harness = self._incarnations.get(event.incarnation)
        event.load = event.load if harness is None else harness.begun
        take(self, event)

    patch.setattr(Reconciler, "_servable_failed", confused)


@fault("failures", "the last report counts instead of the first")
def _last_word(patch: pytest.MonkeyPatch) -> None:
    take = Reconciler._servable_failed

    def forgetful(self: Reconciler, event: ServableFailed) -> None:
        harness = self._incarnations.get(event.incarnation)
        if harness is not None:
            harness.reported = None
        take(self, event)

    patch.setattr(Reconciler, "_servable_failed", forgetful)


@fault("failures", "a version that has failed in a held stream is found until the commit")
def _until_commit(patch: pytest.MonkeyPatch) -> None:
    serve = Reconciler._serve_together

    def later(self: Reconciler, streams: Iterable[Stream]) -> None:
        serve(self, [one for one in streams if one.name not in self._held])

    patch.setattr(Reconciler, "_serve_together", later)


@fault("failures", "labels of a held stream move when a version of it fails")
def _moving(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Labels, "stay", Labels.move)


@fault("failures", "what is the newest changes when a version of a held stream fails")
def _newest(patch: pytest.MonkeyPatch) -> None:
    def served(self: Lives, stream: Stream) -> Served:
        del self
        return stream.served()

    patch.setattr(Reconciler, "_served", served)


@fault("failures", "what its unload raises is told of a version that has failed")
def _other_error(patch: pytest.MonkeyPatch) -> None:
    end = Reconciler._unload_returned

    def outdone(self: Reconciler, event: UnloadReturned) -> None:
        harness = self._incarnations.get(event.incarnation)
        if harness is not None and event.error is not None:
            harness.reported = None
        end(self, event)

    patch.setattr(Reconciler, "_unload_returned", outdone)


@fault("failures", "a version that has failed is told to have gone because nobody wants it")
def _other_cause(patch: pytest.MonkeyPatch) -> None:
    fail = LoaderHarness.break_down

    def discreet(self: LoaderHarness, error: ServmanError) -> None:
        fail(self, error)
        self.leaving = ""

    patch.setattr(LoaderHarness, "break_down", discreet)


@fault("failures", "a version that has failed is not tried again when its files change")
def _unwatched(patch: pytest.MonkeyPatch) -> None:
    watch = Reconciler._watch_revision

    def blind(self: Reconciler, harness: LoaderHarness) -> None:
        if harness.reported is None:
            watch(self, harness)

    patch.setattr(Reconciler, "_watch_revision", blind)


@fault("failures", "a lookup of what has failed is told of that instead of having it loaded anew")
def _stale(patch: pytest.MonkeyPatch) -> None:
    obtain = Reconciler._obtain

    def patient(self: Reconciler, event: Obtain) -> None:
        harness = self._find(event.data.id)
        failed = harness is not None and harness.aspired and harness.reported is not None
        if harness is not None and failed and harness.state is not HarnessState.LOADING:
            self._lookups.setdefault(event.data.id, {})[event.reply] = None
        else:
            obtain(self, event)

    patch.setattr(Reconciler, "_obtain", patient)
