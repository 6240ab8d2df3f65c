"""Faults in what holds streams and commits them, and in what bears with users' policies and orders."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from servman.manager.harness import HarnessState, LoaderHarness
from servman.manager.reconciler import Reconciler
from servman.manager.stream import Stream
from servman.manager.tracker import ResourceTracker
from tests.simulation.plants import fault

if TYPE_CHECKING:
    import pytest

    from servman.errors import ServmanError
    from servman.manager.causes import Cause
    from servman.manager.messages import Commit
    from servman.manager.policy import ServableAction


@fault("hold", "a commit lets its streams in one after the other")
def _one_by_one(patch: pytest.MonkeyPatch) -> None:
    commit = Reconciler._commit

    def slowly(self: Reconciler, event: Commit) -> None:
        if event.reply is not None:
            commit(self, event)
            return
        for name in sorted(event.names):
            commit(self, dataclasses.replace(event, names=frozenset({name})))

    patch.setattr(Reconciler, "_commit", slowly)


@fault("hold", "a version is found although its stream is held")
def _found_early(patch: pytest.MonkeyPatch) -> None:
    loaded = Reconciler._loaded

    def early(self: Reconciler, harness: LoaderHarness) -> None:
        held, self._held = self._held, {}
        loaded(self, harness)
        self._held = held

    patch.setattr(Reconciler, "_loaded", early)


@fault("hold", "what is the newest changes in a held stream")
def _newest_changes(patch: pytest.MonkeyPatch) -> None:
    def serve(self: Reconciler, stream: Stream) -> None:
        held, self._held = self._held, {}
        self._serve_together((stream,))
        self._held = held

    patch.setattr(Reconciler, "_serve", serve)


@fault("hold", "the old list aspired again unloads the old version")
def _no_way_back(patch: pytest.MonkeyPatch) -> None:
    def stays(harness: LoaderHarness, data: object) -> bool:
        return harness.aspired

    patch.setattr("servman.manager.stream._can_stay", stays)


@fault("hold", "another origin takes the old version out of a held stream")
def _taken_out(patch: pytest.MonkeyPatch) -> None:
    unaspire = Reconciler._unaspire

    def hasty(self: Reconciler, harness: LoaderHarness, cause: Cause) -> None:
        held, self._held = self._held, {}
        unaspire(self, harness, cause)
        self._held = held

    patch.setattr(Reconciler, "_unaspire", hasty)


@fault("hold", "a commit takes nothing out that is to come back")
def _nothing_goes(patch: pytest.MonkeyPatch) -> None:
    def to_let_go(self: Stream) -> list[LoaderHarness]:
        return []

    patch.setattr(Stream, "to_let_go", to_let_go)


@fault("hold", "a commit takes out the last version although none comes in")
def _all_goes(patch: pytest.MonkeyPatch) -> None:
    def to_let_go(self: Stream) -> list[LoaderHarness]:
        ready = [one for one in self.harnesses.values() if one.state is HarnessState.READY]
        return [one for one in ready if not one.aspired]

    patch.setattr(Stream, "to_let_go", to_let_go)


@fault("hold", "what is held and no longer wanted is forgotten in memory")
def _left_in_memory(patch: pytest.MonkeyPatch) -> None:
    def undo(self: Reconciler, harness: LoaderHarness, error: ServmanError) -> None:
        self._end(harness, error)

    patch.setattr(Reconciler, "_undo", undo)


@fault("users", "an order that loses an action is taken")
def _lost_action(patch: pytest.MonkeyPatch) -> None:
    def permuted(
        actions: list[ServableAction], wished: list[ServableAction]
    ) -> list[ServableAction]:
        return [one for one in wished if one in actions]

    patch.setattr("servman.manager.policies._permuted", permuted)


@fault("users", "a policy that has failed is never asked again")
def _unforgiving(patch: pytest.MonkeyPatch) -> None:
    ask = Reconciler._next_action

    def unforgiving(self: Reconciler, name: str) -> Any:
        stream = self._streams.get(name)
        failed = stream is not None and stream.harnesses and stream.policy_error is not None
        return None if failed else ask(self, name)

    patch.setattr(Reconciler, "_next_action", unforgiving)


@fault("users", "a policy that fails ends the turn of all streams")
def _contagious(patch: pytest.MonkeyPatch) -> None:
    failed = Reconciler._policy_failed

    def contagious(self: Reconciler, stream: Stream, error: BaseException) -> None:
        failed(self, stream, error)
        self._loads._waiting.clear()

    patch.setattr(Reconciler, "_policy_failed", contagious)


@fault("tracker", "what a load says after it is not believed")
def _disbelieved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResourceTracker, "replace", lambda *_: False)
