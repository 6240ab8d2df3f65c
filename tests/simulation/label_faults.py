"""Faults in labels, in conditional commits, in rollbacks, and in options of single streams."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from servman.manager.causes import Cause
from servman.manager.effects import Answer
from servman.manager.labels import Labels
from servman.manager.options import NO_OPTIONS
from servman.manager.reconciler import Reconciler
from servman.manager.serving import StreamEntry
from tests.simulation.plants import fault

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    import pytest

    from servman.errors import ServmanError
    from servman.manager.harness import LoaderHarness
    from servman.manager.messages import Commit
    from servman.manager.options import StreamOptions


# ---- labels ----------------------------------------------------------------------------------------


@fault("labels", "a label lets go of its version as soon as another one is wanted")
def _hasty(patch: pytest.MonkeyPatch) -> None:
    def move(self: Labels, serving: Container[int]) -> None:
        self.targets = {label: one for label, one in self.wanted.items() if one in serving}

    patch.setattr(Labels, "move", move)


@fault("labels", "a label stays where it is as long as that serves")
def _sluggish(patch: pytest.MonkeyPatch) -> None:
    def move(self: Labels, serving: Container[int]) -> None:
        targets = {label: self.targets.get(label, one) for label, one in self.wanted.items()}
        right = {
            label: one if one in serving else self.wanted[label] for label, one in targets.items()
        }
        self.targets = {label: one for label, one in right.items() if one in serving}

    patch.setattr(Labels, "move", move)


@fault("labels", "a label that is left out is still found")
def _never_gone(patch: pytest.MonkeyPatch) -> None:
    move = Labels.move

    def keeping(self: Labels, serving: Container[int]) -> None:
        before = {label: one for label, one in self.targets.items() if one in serving}
        move(self, serving)
        self.targets = {**before, **self.targets}

    patch.setattr(Labels, "move", keeping)


@fault("labels", "labels move in the step after the one in which their version comes in")
def _late(patch: pytest.MonkeyPatch) -> None:
    loaded = Reconciler._loaded

    def late(self: Reconciler, harness: LoaderHarness) -> None:
        labels, self._labels = self._labels, {}
        loaded(self, harness)
        self._labels = labels
        if harness.id.name not in self._held:
            self._to_serve[harness.id.name] = None

    patch.setattr(Reconciler, "_loaded", late)


@fault("labels", "labels move in a stream that is held")
def _moving(patch: pytest.MonkeyPatch) -> None:
    set_labels = Reconciler._set_labels

    def moving(self: Reconciler, wanted: Mapping[str, Mapping[str, int]]) -> None:
        held, self._held = self._held, {}
        set_labels(self, wanted)
        self._held = held

    patch.setattr(Reconciler, "_set_labels", moving)


@fault("labels", "labels of a commit move after its versions")
def _after_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Reconciler._commit

    def slowly(self: Reconciler, event: Commit) -> None:
        commit(self, dataclasses.replace(event, labels=None))
        if event.labels is not None and self._why_not(event) is None:
            self._set_labels(event.labels)

    patch.setattr(Reconciler, "_commit", slowly)


@fault("labels", "it is not told that other labels are wanted")
def _untold(patch: pytest.MonkeyPatch) -> None:
    def tell(self: Labels) -> bool:
        now = (self.wanted, self.targets)
        before, self._told = self._told, now
        return before[1] != now[1]

    patch.setattr(Labels, "tell", tell)


@fault("labels", "it is not told where labels point to")
def _untold_targets(patch: pytest.MonkeyPatch) -> None:
    def tell(self: Labels) -> bool:
        now = (self.wanted, self.targets)
        before, self._told = self._told, now
        return before[0] != now[0]

    patch.setattr(Labels, "tell", tell)


@fault("labels", "labels count as handles")
def _counted(patch: pytest.MonkeyPatch) -> None:
    def references(self: StreamEntry, entry: object) -> int:
        held = (*self.versions.values(), *(self.by_text or {}).values(), self.latest)
        return sum(one is entry for one in held)

    patch.setattr(StreamEntry, "references", references)


@fault("labels", "labels that nobody wants any more are kept for ever")
def _kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Labels, "empty", False)


# ---- commits and rollbacks -------------------------------------------------------------------------


@fault("commit", "a conditional commit does not ask whether all is loaded")
def _unloaded(patch: pytest.MonkeyPatch) -> None:
    lacking = Reconciler._lacking

    def lenient(self: Reconciler, name: str, expected: frozenset[int]) -> Iterator[str]:
        yield from (one for one in lacking(self, name, expected) if "expected to have" in one)

    patch.setattr(Reconciler, "_lacking", lenient)


@fault("commit", "a conditional commit does not ask what is aspired")
def _unexpected(patch: pytest.MonkeyPatch) -> None:
    lacking = Reconciler._lacking

    def lenient(self: Reconciler, name: str, expected: frozenset[int]) -> Iterator[str]:
        yield from (one for one in lacking(self, name, expected) if "expected to have" not in one)

    patch.setattr(Reconciler, "_lacking", lenient)


@fault("commit", "a version that is to be loaded anew counts as loaded")
def _stale(patch: pytest.MonkeyPatch) -> None:
    lacking = Reconciler._lacking

    def lenient(self: Reconciler, name: str, expected: frozenset[int]) -> Iterator[str]:
        yield from (one for one in lacking(self, name, expected) if "loaded anew" not in one)

    patch.setattr(Reconciler, "_lacking", lenient)


@fault("commit", "what a conditional commit lacks is told, and the rest is committed")
def _half(patch: pytest.MonkeyPatch) -> None:
    commit = Reconciler._commit

    def half(self: Reconciler, event: Commit) -> None:
        error = self._why_not(event)
        if error is None or event.reply is None:
            commit(self, event)
            return
        rest = frozenset(
            name
            for name in event.names
            if not list(self._lacking(name, event.expected.get(name, frozenset())))
        )
        commit(self, dataclasses.replace(event, names=rest, expected={}, reply=None))
        self._emit(Answer(event.reply, error))

    patch.setattr(Reconciler, "_commit", half)


@fault("commit", "whoever waits for a refused commit is told nothing")
def _silent(patch: pytest.MonkeyPatch) -> None:
    emit = Reconciler._emit

    def silent(self: Reconciler, effect: Any) -> None:
        error: ServmanError | None = effect.error if isinstance(effect, Answer) else None
        if error is None or "nothing was committed" not in str(error):
            emit(self, effect)

    patch.setattr(Reconciler, "_emit", silent)


@fault("rollback", "a rollback ends the hold and wants nothing else")
def _as_it_stands(patch: pytest.MonkeyPatch) -> None:
    def rollback(self: Reconciler, names: frozenset[str]) -> None:
        for name in names & self._held.keys():
            del self._held[name]
        self._let_in(self._known(names), Cause.ROLLED_BACK, names)

    patch.setattr(Reconciler, "_rollback", rollback)


@fault("rollback", "what served is let go before it is wanted again")
def _gap(patch: pytest.MonkeyPatch) -> None:
    rollback = Reconciler._rollback

    def hasty(self: Reconciler, names: frozenset[str]) -> None:
        for stream in self._known(names & self._held.keys()):
            for harness in stream.to_let_go():
                self._quiesce(harness)
        rollback(self, names)

    patch.setattr(Reconciler, "_rollback", hasty)


@fault("rollback", "what was loaded since is let in first")
def _glimpse(patch: pytest.MonkeyPatch) -> None:
    rollback = Reconciler._rollback

    def generous(self: Reconciler, names: frozenset[str]) -> None:
        self._let_in(self._known(names & self._held.keys()), Cause.ROLLED_BACK, ())
        rollback(self, names)

    patch.setattr(Reconciler, "_rollback", generous)


@fault("rollback", "holding what is held forgets what was wanted at first")
def _forgetful(patch: pytest.MonkeyPatch) -> None:
    hold = Reconciler._hold

    def anew(self: Reconciler, names: frozenset[str]) -> None:
        for name in names:
            self._held.pop(name, None)
        hold(self, names)

    patch.setattr(Reconciler, "_hold", anew)


@fault("rollback", "labels that were wanted since are still wanted")
def _relabeled(patch: pytest.MonkeyPatch) -> None:
    hold = Reconciler._hold

    def no_labels(self: Reconciler, names: frozenset[str]) -> None:
        hold(self, names)
        for name in names:
            labels = self._labels.get(name)
            if labels is not None and name in self._held:
                self._held[name] = self._held[name]._replace(labels=labels.wanted)

    patch.setattr(Reconciler, "_hold", no_labels)
    rollback = Reconciler._rollback

    def keeping(self: Reconciler, names: frozenset[str]) -> None:
        no_labels(self, names & self._held.keys())
        rollback(self, names)

    patch.setattr(Reconciler, "_rollback", keeping)


@fault("rollback", "a list that was posted after it is taken up before it")
def _no_era(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("servman.manager.actor._IN_ORDER", ())


# ---- options of single streams ---------------------------------------------------------------------


@fault("options", "a stream's own policy is not asked")
def _no_policy(patch: pytest.MonkeyPatch) -> None:
    configure = Reconciler._configure

    def deaf(self: Reconciler, streams: Mapping[str, StreamOptions]) -> None:
        own = {name: dataclasses.replace(one, policy=None) for name, one in streams.items()}
        configure(self, own)

    patch.setattr(Reconciler, "_configure", deaf)


@fault("options", "another policy is asked only when something else happens")
def _not_asked(patch: pytest.MonkeyPatch) -> None:
    def quietly(self: Reconciler, streams: Mapping[str, StreamOptions]) -> None:
        self._configured = streams

    patch.setattr(Reconciler, "_configure", quietly)


@fault("options", "the retries of one stream count for all")
def _for_all(patch: pytest.MonkeyPatch) -> None:
    def anyone(self: Reconciler, _: str) -> int:
        numbers: Iterable[int | None] = (
            one.max_num_load_retries for one in (*self._configured.values(), NO_OPTIONS)
        )
        own = [number for number in numbers if number is not None]
        return own[0] if own else self._options.max_num_load_retries

    patch.setattr(Reconciler, "_retries_of", anyone)
