"""What lookups in a simulated core find, looked at after every single effect of its manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from servman.manager import AvailabilityPreservingPolicy
from servman.sources import Specific
from tests.simulation.core_rules import CoreRule, at_home, chosen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.core import ModelConfig
    from servman.manager.messages import Aspire
    from tests.simulation.core_reloads import Reload
    from tests.simulation.core_world import CoreWorld
    from tests.simulation.ledger import Model

NAMES: Final = ("a", "b", "c")


class View(NamedTuple):
    """What lookups of one model find: by version, and by label."""

    versions: Mapping[int, Model]
    labels: Mapping[str, int]

    def __str__(self) -> str:
        found = [f"{model.loader.path}" for model in self.versions.values()]  # type: ignore[attr-defined] # one of ours
        found += [f"@{label}={version}" for label, version in self.labels.items()]
        return ", ".join(found) or "nothing"


_NOTHING: Final = View({}, {})

_RECENT: Final = 6
"""Looks at a base path among which is the one that a list comes from: several models may have that path."""


@final
class Lookups:
    """Follows what lookups find.

    Attributes:
        were: Generation to the models of each configuration that has been in force, oldest first.
        views: Name to what was found when it was last looked at.
        held: Name of each stream that is held, to what was found when it was.
    """

    def __init__(self, world: CoreWorld) -> None:
        self._world = world
        self._require = world.ledger.require
        self.were: dict[int, Mapping[str, ModelConfig]] = {world.core.config.generation: {}}
        self.views: dict[str, View] = dict.fromkeys(NAMES, _NOTHING)
        self.held: dict[str, View] = {}
        self._back: dict[str, View] = {}
        self._entering: Reload | None = None
        self._before: dict[str, View] = {}
        self._in = False
        # What the manager goes by, what it went by when a stream was held, and what may excuse each list.
        self._lists: dict[str, Aspire] = {}
        self._held_lists: dict[str, Aspire | None] = {}
        self._excused: list[Aspire] = []

    def view(self, name: str) -> View:
        """Return what lookups of *name* find now."""
        stream = self._world.core.manager._serving.streams.get(name)
        if stream is None:
            return _NOTHING
        versions = {version: entry.servable for version, entry in stream.versions.items()}
        return View(versions, {one: entry.id.version for one, entry in stream.labels.items()})  # type: ignore[arg-type] # models

    # ---- what the manager is told and takes up -------------------------------------------------

    def sent(self, aspire: Aspire) -> None:
        """Follow a list. One without versions is sent where there are none, not where nobody could look."""
        name, world = aspire.name, self._world
        if aspire.versions:
            return
        stream = world.source._actor.streams.get(name)
        if (
            stream is None
        ):  # by the configuration that the source follows, which may be an atomic one
            followed = self.were.get(world.core._pipeline.generation)
            excused = followed is not None and name not in followed
        else:
            choose = stream.servable.version_policy.choose
            looks = world.storage.looks[stream.servable.base_path][-_RECENT:]
            found = [choose(tuple(sorted(look)), lambda _: True) for look in looks]
            excused = () in found
            text = f"{name} is to have no versions, and {found} were found"
            self._require(excused, CoreRule.NO_EMPTY, text)
        if excused:
            self._excused.append(aspire)

    def taken_up(self, aspire: Aspire) -> None:
        """Follow that the manager goes by a list from now on."""
        self._lists[aspire.name] = aspire

    def hold(self, names: Iterable[str]) -> None:
        """Follow that streams are held from now on."""
        for name in set(names) - self.held.keys():
            self.held[name] = self.view(name)
            self._held_lists[name] = self._lists.get(name)

    def roll_back(self, names: Iterable[str]) -> None:
        """Follow that streams are rolled back."""
        for name in set(names) & self.held.keys():
            self._back[name] = self.held.pop(name)
            before = self._held_lists.pop(name)
            if before is not None:
                self._lists[name] = before

    def commit(self, reload: Reload, names: Iterable[str]) -> None:
        """Follow that what streams hold is let in for *reload*."""
        self._entering, self._in = reload, False
        self._before = {name: self.view(name) for name in NAMES}
        for name in names:
            self.held.pop(name, None)

    def carried_out(self) -> None:
        """Judge what was taken up, now that it is done and policies have not been asked yet."""
        for name, before in self._back.items():
            now = self.views[name]
            kept = all(now.versions.get(v) is model for v, model in before.versions.items())
            text = f"{name}: {now} found after the rollback, {before} when it was held"
            # What was on its way in when the stream was held may have come in, and labels with it.
            moved = [
                label
                for label, version in before.labels.items()
                if now.labels.get(label) not in {version, *now.versions.keys() - before.versions}
            ]
            self._require(kept and not moved, CoreRule.PUT_BACK, text)
        self._back.clear()
        if self._entering is not None:
            self._require(self._in, CoreRule.WHOLE, f"{self._entering} is not in: {self._told()}")
            self._entering = None

    # ---- what is found -------------------------------------------------------------------------

    def look(self) -> None:
        """Look at all that lookups find."""
        before, self.views = self.views, {name: self.view(name) for name in NAMES}
        if self._entering is not None:
            self._judge_commit(self._entering)
        for name, now in self.views.items():
            if now == before[name]:
                continue
            for version, model in now.versions.items():
                if before[name].versions.get(version) is not model:
                    self._judge_newcomer(name, version, model)
            if not now.versions:
                self._judge_loss(name, before[name])
            if name in self.held:
                text = f"{name}: {now} found, {self.held[name]} when it was held"
                self._require(now == self.held[name], CoreRule.HELD_STANDS, text)

    def _judge_commit(self, reload: Reload) -> None:
        assert reload.accepted is not None
        changed = reload.accepted.changed
        stands = all(self.views[name] == self._before[name] for name in changed)
        comes = all(self._is_as_wanted(reload, name) for name in changed)
        text = f"{reload} is in by halves: {self._told()}"
        self._require(comes or (stands and not self._in), CoreRule.WHOLE, text)
        self._in |= comes

    def _told(self) -> str:
        return "; ".join(f"{name}: {view}" for name, view in self.views.items())

    def _is_as_wanted(self, reload: Reload, name: str) -> bool:
        """Whether exactly that is found of a model which *reload* asks for."""
        assert reload.accepted is not None
        model, now = reload.accepted.models.get(name), self.views[name]
        if model is None:
            return now == _NOTHING
        versions = now.versions
        labels = {
            label: version if version in versions else self._before[name].labels.get(label)
            for label, version in model.version_labels.items()
        }
        there = {label: version for label, version in labels.items() if version in versions}
        wanted = [chosen(model, one) for one in reload.looks_at(model)]
        return versions.keys() in wanted and at_home(model, versions) and now.labels == there

    def _judge_newcomer(self, name: str, version: int, model: Model) -> None:
        """What comes in is what a configuration that is or was in force asks for."""
        asked = [one[name] for one in self.were.values() if name in one]
        if self._entering is not None and self._entering.accepted is not None:
            asked += [one for one in self._entering.accepted.config.models if one.name == name]
        right = any(
            at_home(one, {version: model})
            and (
                not isinstance(one.version_policy, Specific)
                or version in one.version_policy.versions
            )
            for one in asked
        )
        self._require(right, CoreRule.IN_FORCE, f"{self.views[name]} found of {name}")

    def _judge_loss(self, name: str, before: View) -> None:
        """What serves goes on serving unless it is not wanted, or has to make room for its own successor."""
        policy = self._world.options.policy
        if self._entering is not None or not isinstance(policy, AvailabilityPreservingPolicy):
            return
        last = self._lists[name]
        origins = {one.id.version: one.origin for one in last.versions}
        replaced = any(
            version in origins and not _comes_from(model, origins[version])
            for version, model in before.versions.items()
        )
        # An empty list excuses it if it was true: somebody has looked, or the model was removed.
        removed = any(last is one for one in self._excused)
        text = f"{name} served {before}, and serves nothing; it was to have {origins}"
        self._require(replaced or removed, CoreRule.SERVES_ON, text)


def _comes_from(model: Model, origin: str | None) -> bool:
    return bool(model.loader.path == origin)  # type: ignore[attr-defined] # one of ours
