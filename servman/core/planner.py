"""Makes plans: looks at the disk, asks loaders what they need, and compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from servman.clock import deadline_after
from servman.core.config import resolved
from servman.core.configuration import by_name
from servman.core.plan import Findings, MemoryPlan, Plan, plan_model
from servman.core.preview import estimate, find_versions
from servman.core.validation import check
from servman.errors import InvalidArgumentError
from servman.ids import ServableId
from servman.manager.harness import ENDED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from servman.clock import Clock
    from servman.core.config import ModelConfig, ServerConfig
    from servman.core.options import ServerCoreOptions
    from servman.core.pipeline import Pipeline
    from servman.core.plan import ModelPlan
    from servman.manager import AspiredVersionsManager

    # Versions with where they come from, and how their models are configured.
    _Configured = tuple[Mapping[ServableId, str | None], Mapping[str, ModelConfig]]


class Scene(Protocol):
    """What there is before a change."""

    def present(self, name: str) -> Mapping[int, str | None]:
        """Return the versions of a model that are loaded, or on their way, and where they come from."""
        ...

    def failed(self, name: str) -> Mapping[int, str | None]:
        """Return the versions of a model that have failed for good, and where they come from."""
        ...

    def wanted(self, name: str) -> Findings | None:
        """Return what a model is to serve that is configured; None where that is not known."""
        ...


@final
class LiveScene:
    """What a core serves."""

    def __init__(self, manager: AspiredVersionsManager, pipeline: Pipeline) -> None:
        self._manager = manager
        self._pipeline = pipeline

    def present(self, name: str) -> Mapping[int, str | None]:
        """Return what the manager has; see `Scene`."""
        return {
            one.id.version: one.origin
            for one in self._manager.snapshots(name, count_handles=False)
            if one.state not in ENDED
        }

    def failed(self, name: str) -> Mapping[int, str | None]:
        """Return what has failed in the manager, and is still wanted there; see `Scene`."""
        return {
            one.id.version: one.origin
            for one in self._manager.snapshots(name, count_handles=False)
            if one.aspired and one.state in ENDED
        }

    def wanted(self, name: str) -> Findings | None:
        """Return what the manager was given last; see `Scene`."""
        passed = self._pipeline.intake.passed(name)
        return Findings(passed) if passed else None


@final
class SceneOnDisk:
    """What a configuration would serve that nobody has put in force, as the disk stands."""

    def __init__(self, found: Mapping[str, Findings]) -> None:
        self._found = found

    def present(self, name: str) -> Mapping[int, str | None]:
        """Return what was found; see `Scene`."""
        return self._found[name].versions if name in self._found else {}

    def failed(self, name: str) -> Mapping[int, str | None]:
        """Return nothing: what nobody has loaded has not failed."""
        del name
        return {}

    def wanted(self, name: str) -> Findings | None:
        """Return what was found; see `Scene`."""
        return self._found.get(name)


@final
class Planner:
    """Says what it would do to put one configuration in the place of another.

    Args:
        options: How the core works.
        clock: The time.

    Threads: any.
    """

    def __init__(self, options: ServerCoreOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock

    def plan(
        self,
        before: ServerConfig,
        after: ServerConfig,
        *,
        timeout: float | None,
        scene: Scene | None = None,
        memory_now: int = 0,
    ) -> Plan:
        """Return the plan.

        Args:
            before: The configuration in force.
            after: The one to come.
            timeout: Seconds for base paths and loaders to answer; None: as long as they take.
            scene: What there is; None for what *before* would serve, as the disk stands.
            memory_now: How much memory is set aside for that.

        Blocks: for *timeout* seconds at most, and about a second more.
        """
        deadline = deadline_after(self._clock, timeout)
        try:
            check(after, self._options, before)
        except InvalidArgumentError as error:
            return Plan(before.generation, faults=error.faults or (str(error),))
        old, new = by_name(resolved(before)), by_name(resolved(after))
        if scene is None:
            scene = SceneOnDisk(self._found(before, old, deadline))
        same_prefix = before.storage_path_prefix == after.storage_path_prefix
        wanted = self._wanted(old if same_prefix else {}, after, scene, deadline)
        present = {name: scene.present(name) for name in {**new, **old}}
        models = {
            name: plan_model(
                name,
                old.get(name),
                new.get(name),
                present=versions,
                failed=scene.failed(name),
                wanted=wanted.get(name, Findings()),
                default_policy=self._options.aspired_version_policy,
            )
            for name, versions in present.items()
        }
        coming = _paths(models, "load", {name: one.versions for name, one in wanted.items()})
        going = _paths(models, "unload", present)
        return Plan(
            before.generation,
            models,
            self._memory(
                memory_now, (coming, {**old, **new}), (going, {**new, **old}), deadline=deadline
            ),
        )

    def _found(
        self, config: ServerConfig, names: Collection[str], deadline: float | None
    ) -> dict[str, Findings]:
        models = [model for model in resolved(config).models if model.name in names]
        prefix = config.storage_path_prefix
        return find_versions(models, prefix=prefix, clock=self._clock, deadline=deadline)

    def _wanted(
        self,
        old: Mapping[str, ModelConfig],
        after: ServerConfig,
        scene: Scene,
        deadline: float | None,
    ) -> dict[str, Findings]:
        """Return what each model would serve; only what is new or changed is looked for."""
        wanted = {}
        for model in resolved(after).models:
            known = scene.wanted(model.name) if old.get(model.name) == model else None
            if known is not None:
                wanted[model.name] = known
        unknown = by_name(after).keys() - wanted.keys()
        return wanted | self._found(after, unknown, deadline)

    def _memory(
        self,
        now: int,
        coming: _Configured,
        going: _Configured,
        *,
        deadline: float | None,
    ) -> MemoryPlan:
        load, unload = (
            estimate(paths, models, options=self._options, clock=self._clock, deadline=deadline)
            for paths, models in (coming, going)
        )
        return MemoryPlan(
            now=now,
            load=sum(load.known.values()),
            unload=sum(unload.known.values()),
            limit=self._options.total_model_memory_limit_bytes,
            unknown=unload.unknown | load.unknown,
        )


def _paths(
    plans: Mapping[str, ModelPlan], what: str, paths: Mapping[str, Mapping[int, str | None]]
) -> dict[ServableId, str | None]:
    """Return what is to be done *what* with, each with where it comes from."""
    return {
        ServableId(name, version): paths[name].get(version)
        for name, one in plans.items()
        for version in getattr(one, what)
    }
