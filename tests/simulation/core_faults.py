"""Faults that can be planted in a core: in its configuration, its reloads, what it tells its stages, and its plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from servman.core import ServerCore, standing
from servman.core.configuration import Configuration
from servman.core.noticeboard import Noticeboard
from servman.core.pipeline import Pipeline
from servman.core.plan import plan_model
from servman.core.reloader import Reloader
from servman.core.validation import check
from servman.manager import AspiredVersionsManager
from servman.sources.actor import SourceActor
from servman.sources.stream import MonitoredStream
from servman.sources.versions import select
from tests.simulation.plants import Fault, fault

if TYPE_CHECKING:
    import pytest

# ---- the configuration -----------------------------------------------------------------------------


@fault("configuration", "it is in force before it is checked")
def _unchecked(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: Reloader, change: Any, **options: Any) -> Any:
        while True:
            seen, in_force = self._configuration.wanted, self._configuration.in_force
            config = change(in_force.config)
            accepted = self._configuration.accept(config, seen=seen, **options)
            if accepted is not None:
                break
        check(config, self._options, in_force.config)
        self._configuration.hand_on()
        self._noticeboard.wake()
        return accepted

    patch.setattr(Reloader, "change", hasty)


@fault("configuration", "it is checked against one that is in force no longer")
def _checked_before(patch: pytest.MonkeyPatch) -> None:
    accept = Configuration.accept

    def careless(self: Configuration, config: Any, *, seen: Any, **options: Any) -> Any:
        return accept(self, config, seen=self.wanted, **options)

    patch.setattr(Configuration, "accept", careless)


@fault("configuration", "the expected generation is ignored")
def _unexpected(patch: pytest.MonkeyPatch) -> None:
    accept = Configuration.accept

    def careless(self: Configuration, config: Any, **options: Any) -> Any:
        return accept(self, config, **{**options, "expected": None})

    patch.setattr(Configuration, "accept", careless)


@fault("configuration", "an atomic one is in force at once")
def _in_force_early(patch: pytest.MonkeyPatch) -> None:
    accept = Configuration.accept

    def hasty(self: Configuration, config: Any, **options: Any) -> Any:
        accepted = accept(self, config, **options)
        self.in_force = accepted or self.in_force
        return accepted

    patch.setattr(Configuration, "accept", hasty)


@fault("configuration", "an atomic one that has failed stays wanted")
def _never_withdrawn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Configuration, "withdraw", lambda *_: False)


@fault("configuration", "one that an atomic one follows at once is told to nobody")
def _skipped(patch: pytest.MonkeyPatch) -> None:
    def hand_on(self: Configuration) -> None:
        with self.undisturbed():
            if self.wanted is not self._told:
                self._pass_on(self.wanted)

    patch.setattr(Configuration, "hand_on", hand_on)


# ---- reloads ---------------------------------------------------------------------------------------


@fault("reload", "nobody is told that something newer is wanted")
def _untold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Noticeboard, "wake", lambda _: None)


@fault("reload", "an older one does not notice the newer")
def _unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reloader, "_superseded_by", lambda *_: None)


@fault("reload", "it waits for half a minute too long")
def _too_long(patch: pytest.MonkeyPatch) -> None:
    wait = Reloader.wait

    def patient(self: Reloader, accepted: Any, deadline: float | None, *args: Any) -> Any:
        return wait(self, accepted, None if deadline is None else deadline + 30.0, *args)

    patch.setattr(Reloader, "wait", patient)


@fault("reload", "the same number from another place counts as there")
def _same_number(patch: pytest.MonkeyPatch) -> None:
    wanted = standing._wanted

    def careless(model: Any, source: Any, passed: Any, snapshots: Any) -> Any:
        found = wanted(model, source, passed, snapshots)
        aspired = {one.id.version for one in snapshots if one.aspired or one.wanted_again}
        there = frozenset(source.versions)
        return there if source.known and there and there == aspired else found

    patch.setattr(standing, "_wanted", careless)
    patch.setattr(Reloader, "_hear_out", lambda *_: set())


@fault("reload", "what is on its way to the manager is not heard out")
def _unheard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reloader, "_hear_out", lambda *_: set())


@fault("reload", "what the stages have not taken up counts")
def _not_taken_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reloader, "_is_taken_up", lambda *_: True)


@fault("reload", "labels come after the commit, and not with it")
def _labels_late(patch: pytest.MonkeyPatch) -> None:
    commit = AspiredVersionsManager.commit

    def slow(self: Any, names: Any, *, expected: Any = None, labels: Any = None) -> Any:
        reply = commit(self, names, expected=expected)
        if labels is not None:
            self.set_labels(labels)
        return reply

    patch.setattr(AspiredVersionsManager, "commit", slow)


@fault("reload", "models are let in one after the other")
def _one_by_one(patch: pytest.MonkeyPatch) -> None:
    commit = AspiredVersionsManager.commit

    def slowly(self: Any, names: Any, *, expected: Any = None, labels: Any = None) -> Any:
        for name in sorted(names)[:-1]:
            commit(self, [name])
        return commit(self, names, expected=expected, labels=labels)

    patch.setattr(AspiredVersionsManager, "commit", slowly)


# ---- what the stages are told ----------------------------------------------------------------------


@fault("stages", "what was held is not rolled back")
def _never_rolled_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AspiredVersionsManager, "rollback", lambda *_: None)


@fault("stages", "what was rolled back is not sent again")
def _not_again(patch: pytest.MonkeyPatch) -> None:
    reconfigure = SourceActor.reconfigure

    def forgetful(self: SourceActor, servables: Any, first: Any = None, again: Any = ()) -> None:
        reconfigure(self, servables, first)

    patch.setattr(SourceActor, "reconfigure", forgetful)


@fault("stages", "streams are held after their first lists")
def _held_late(patch: pytest.MonkeyPatch) -> None:
    reconfigure = SourceActor.reconfigure

    def late(self: SourceActor, servables: Any, first: Any = None, again: Any = ()) -> None:
        reconfigure(self, servables, None, again)
        if first is not None:
            first()

    patch.setattr(SourceActor, "reconfigure", late)


@fault("stages", "the routes of models that go are dropped before their last lists")
def _routes_early(patch: pytest.MonkeyPatch) -> None:
    tell = Pipeline.tell

    def hasty(self: Pipeline, accepted: Any) -> None:
        self.platforms.route({one.name: one.platform for one in accepted.config.models})
        tell(self, accepted)

    patch.setattr(Pipeline, "tell", hasty)


@fault("stages", "a model that was removed is not withdrawn")
def _not_withdrawn(patch: pytest.MonkeyPatch) -> None:
    send = SourceActor._send

    def forgetful(self: SourceActor, name: str, versions: Any) -> bool:
        return True if name not in self.streams else send(self, name, versions)

    patch.setattr(SourceActor, "_send", forgetful)


@fault("stages", "labels are set by atomic reloads only")
def _no_labels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AspiredVersionsManager, "set_labels", lambda *_: None)


@fault("stages", "a base path that cannot be looked at counts as empty")
def _empty(patch: pytest.MonkeyPatch) -> None:
    take = MonitoredStream.take

    def careless(self: MonitoredStream, look: Any, now: float) -> Any:
        if look.failure is not None:
            look.failure, look.selection = None, select((), self.servable.version_policy)
        return take(self, look, now)

    patch.setattr(MonitoredStream, "take", careless)


# ---- telling ---------------------------------------------------------------------------------------


@fault("telling", "a plan forgets versions that are replaced by the same number")
def _not_replaced(patch: pytest.MonkeyPatch) -> None:
    def careless(name: str, *args: Any, present: Any, wanted: Any, **options: Any) -> Any:
        same = {one: wanted.versions.get(one, origin) for one, origin in present.items()}
        return plan_model(name, *args, present=same, wanted=wanted, **options)

    patch.setattr("servman.core.planner.plan_model", careless)


@fault("telling", "an atomic reload begins although its plan has obstacles")
def _unplanned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ServerCore, "_check_atomic", lambda *_: None)


@fault("telling", "what is wrong with base paths is no reason")
def _unexplained(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pipeline, "explain", lambda *_: None)


CORE_FAULTS: Final = tuple(one for one in list(vars().values()) if isinstance(one, Fault))
"""In the order in which they stand here."""
