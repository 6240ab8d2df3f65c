"""What a change of the configuration would do, told without doing it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final, final

from servman.manager import AvailabilityPreservingPolicy, ResourcePreservingPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servman.core.config import ModelConfig
    from servman.ids import ServableId
    from servman.manager import AspiredVersionPolicy
    from servman.reasons import Reason


_FROM_WHEN: Final = {"workers": ", for what is loaded from then on"}
"""From when on a change holds, where that is not at once."""


class Change(StrEnum):
    """What a plan does with a model."""

    ADD = "add"
    REMOVE = "remove"
    CHANGE = "change"
    KEEP = "keep"


@final
@dataclass(frozen=True, slots=True)
class Findings:
    """What a model would serve by one configuration, as the disk stands.

    Attributes:
        versions: The versions, each with where it comes from.
        reason: Why there are none, or why that is not known; None where there are some.
        is_known: Whether that is known. An error is never acted on, that there is nothing is.
    """

    versions: Mapping[int, str | None] = field(default_factory=dict)
    reason: Reason | None = None
    is_known: bool = True


@final
@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What would be done with one model, as the disk stands now.

    Attributes:
        name: The model.
        change: What is done with it.
        differences: What is configured in another way, in words.
        load: The versions that would be loaded.
        keep: The versions that are loaded, or on their way, and stay.
        unload: The versions that would be unloaded.
        failed: The versions that are wanted and would not be tried again: they have failed, and stay so until
            their files change or a retry is asked for.
        interruption: Why nothing of it, or one of its versions, would not be served for a while; None where
            service goes on.
        reason: Why nothing would be loaded, or why that is not known; None where it is.

    Threads: immutable; any thread.
    """

    name: str
    change: Change
    differences: tuple[str, ...] = ()
    load: tuple[int, ...] = ()
    keep: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    interruption: str | None = None
    reason: Reason | None = None

    @property
    def replaced(self) -> tuple[int, ...]:
        """The versions that would be unloaded, and loaded from another place."""
        return tuple(one for one in self.load if one in self.unload)

    def __str__(self) -> str:
        done = [
            f"{verb} {', '.join(map(str, versions))}"
            for verb, versions in (
                ("load", self.load),
                ("keep", self.keep),
                ("unload", self.unload),
            )
            if versions
        ]
        lines = [f"{self.change.value} {self.name}: {'; '.join(done) or 'nothing to do'}"]
        lines += [f"  {one}" for one in self.differences]
        if self.failed:
            versions = ", ".join(map(str, self.failed))
            lines.append(f"  not tried again: version {versions}, which has failed")
        if self.interruption is not None:
            lines.append(f"  interrupts service: {self.interruption}")
        if self.reason is not None:
            lines.append(f"  nothing is loaded: {self.reason}")
        return "\n".join(lines)


@final
@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How much main memory models would take, in bytes, by their loaders' estimates.

    Attributes:
        now: What is set aside now; 0 where nothing is tracked.
        load: What the versions that would be loaded take.
        unload: What the versions that would be unloaded give back.
        limit: How much there is; None for no limit.
        unknown: The versions that cannot be estimated, each with why; they count as 0.

    Threads: immutable; any thread.
    """

    now: int = 0
    load: int = 0
    unload: int = 0
    limit: int | None = None
    unknown: Mapping[ServableId, str] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """What is needed where everything new is loaded before anything old has gone."""
        return self.now + self.load

    @property
    def after(self) -> int:
        """What is needed when all is done."""
        return max(0, self.now + self.load - self.unload)

    def __str__(self) -> str:
        limit = "no limit" if self.limit is None else f"of {self.limit}"
        text = f"memory: {self.now} now, {self.peak} at the peak, {self.after} afterwards, {limit}"
        return text + "".join(
            f"\n  {which}: not known: {why}" for which, why in self.unknown.items()
        )


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What a reload would do, without doing it. `bool()` says whether it is free of faults.

    Attributes:
        generation: The configuration in force that it was made for.
        models: What would be done with each model; empty where there are faults.
        memory: What it would need.
        faults: All that is wrong with the configuration.

    Threads: immutable; any thread.
    """

    generation: int
    models: Mapping[str, ModelPlan] = field(default_factory=dict)
    memory: MemoryPlan = field(default_factory=MemoryPlan)
    faults: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether the configuration could be put in force."""
        return not self.faults

    @property
    def interruptions(self) -> dict[str, str]:
        """What would interrupt service, by model."""
        return {
            name: one.interruption
            for name, one in self.models.items()
            if one.interruption is not None
        }

    @property
    def atomic_obstacles(self) -> tuple[str, ...]:
        """Why all of it could not be loaded beside what is served, as an atomic reload has to do."""
        return tuple(self._atomic_obstacles())

    def _atomic_obstacles(self) -> Iterator[str]:
        for name, one in self.models.items():
            for version in one.replaced:
                yield (
                    f"{name}:{version} would have to be replaced by the same number from another place;"
                    " publish it under another number"
                )
        memory = self.memory
        if memory.limit is not None and memory.peak > memory.limit:
            yield (
                f"{memory.peak} bytes of memory would be needed for the old beside the new, and there are"
                f" {memory.limit}; raise the limit, or let the reload not be atomic"
            )

    def __str__(self) -> str:
        if self.faults:
            return "\n".join(
                ["the configuration has faults:", *(f"  {one}" for one in self.faults)]
            )
        doing = [str(one) for one in self.models.values() if one.change is not Change.KEEP]
        kept = len(self.models) - len(doing)
        loading = [
            str(one) for one in self.models.values() if one.change is Change.KEEP and one.load
        ]
        lines = [*doing, *loading]
        if kept:
            what = "1 model is" if kept == 1 else f"{kept} models are"
            lines.append(f"{what} configured as before")
        return "\n".join([*lines, str(self.memory)])


def plan_model(
    name: str,
    before: ModelConfig | None,
    after: ModelConfig | None,
    *,
    present: Mapping[int, str | None],
    failed: Mapping[int, str | None],
    wanted: Findings,
    default_policy: AspiredVersionPolicy,
) -> ModelPlan:
    """Say what would be done with one model.

    Args:
        name: The model.
        before: How it is configured; None if it is not.
        after: How it is to be configured; None if it is to go.
        present: The versions that are loaded, or on their way, and where they come from.
        failed: The versions that have failed for good, likewise.
        wanted: What it would serve then.
        default_policy: Decides the order of loads and unloads where the model has no policy of its own.
    """
    change, differences = _change(before, after)
    if after is None:
        return ModelPlan(name, change, unload=tuple(sorted(present)))
    if not wanted.is_known:  # an error is never sent on: what is there stays
        return ModelPlan(
            name, change, differences, keep=tuple(sorted(present)), reason=wanted.reason
        )
    keep = {one for one, origin in wanted.versions.items() if present.get(one, origin) == origin}
    keep &= present.keys()
    stuck = {one for one in wanted.versions if (one, wanted.versions[one]) in failed.items()}
    policy = after.aspired_version_policy or default_policy
    load = wanted.versions.keys() - keep - stuck
    if stuck and not load and not keep and isinstance(policy, AvailabilityPreservingPolicy):
        keep = set(sorted(present)[-1:])  # it serves on, in the place of what has failed
    unload = present.keys() - keep
    return ModelPlan(
        name,
        change,
        differences,
        load=tuple(sorted(load)),
        keep=tuple(sorted(keep)),
        unload=tuple(sorted(unload)),
        failed=tuple(sorted(stuck)),
        interruption=_interruption(load, keep, unload, policy),
        reason=wanted.reason,
    )


def _change(
    before: ModelConfig | None, after: ModelConfig | None
) -> tuple[Change, tuple[str, ...]]:
    if after is None:
        return Change.REMOVE, ()
    if before is None:
        return Change.ADD, ()
    differences = tuple(
        f"{one.name}: {getattr(before, one.name)} -> {getattr(after, one.name)}"
        + _FROM_WHEN.get(one.name, "")
        for one in fields(after)
        if getattr(before, one.name) != getattr(after, one.name)
    )
    return (Change.CHANGE if differences else Change.KEEP), differences


def _interruption(
    load: set[int], keep: set[int], unload: set[int], policy: AspiredVersionPolicy
) -> str | None:
    if unload and not load and not keep:
        return "all its versions are unloaded, and there is none to take their place"
    replaced = sorted(load & unload)
    if replaced:
        which = ", ".join(map(str, replaced))
        return f"version {which} is unloaded before it is loaded from its new place"
    if unload and load and not keep and isinstance(policy, ResourcePreservingPolicy):
        return "the policy unloads what is served before it loads what is wanted"
    return None
