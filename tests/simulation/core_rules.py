"""What always holds of a core, and how a configuration is judged here, apart from the product's own check."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from servman.sources import Specific
from tests.simulation.core_storage import StoredLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.core import ModelConfig
    from tests.simulation.ledger import Model


class CoreRule(StrEnum):
    """What always holds. A violation names the rule; shrinking keeps to one rule."""

    VALIDATED = "a configuration in force is a valid one"
    REFUSED = "a configuration that is valid is not refused as one that is not"
    GENERATIONS = "generations only grow"
    EXPECTED = "a reload that expects a generation comes right after that one"
    EDITS = "to add, change or remove a model changes that model alone"
    WHOLE = "an atomic reload lets all in, labels included, by one change of what lookups find"
    HELD_STANDS = "until then, lookups find what they found before"
    IN_FORCE = "nothing is found that was never in force"
    LABELS = "a label points to a version that lookups find"
    SERVES_ON = (
        "a model that serves goes on serving, unless nothing of it is wanted or it is replaced"
    )
    NO_EMPTY = "that a base path could not be looked at unloads nothing"
    RETURNS = (
        "every wait returns by its deadline, and at once where a newer configuration is wanted"
    )
    EXPLAINED = "whatever is wanted and not available has a reason, and nothing else has"
    PUT_BACK = "an atomic reload that has failed leaves exactly what was served"
    TRUE_RESULT = "what a reload says of a model is so when it returns"
    PLAN = "a reload does what its plan says"
    NO_FAULT = "nothing raises or logs a fault of its own, and no version fails but as planted"
    SETTLES = "once inputs stop, the system comes to rest within bounded steps"
    SERVED = "at rest, what is served is what is in force, as far as it can be loaded"
    NOTHING_KEPT = "what is no longer wanted leaves nothing behind"
    CLOSES = "closing ends every wait"


def faults_of(models: Iterable[ModelConfig]) -> list[str]:
    """Return what can never be right in a configuration of *models*, as far as simulations draw it."""
    models = tuple(models)
    names = [one.name for one in models]
    found = [f"two models {name}" for name in set(names) if names.count(name) > 1]
    for model in models:
        if not model.base_path.startswith("/"):
            found.append(f"{model.name}: {model.base_path} is relative")
        if isinstance(model.version_policy, Specific):
            labeled = set(model.version_labels.values())
            found += [
                f"{model.name}: label for {one}"
                for one in labeled - set(model.version_policy.versions)
            ]
    return found


def other_platforms(
    before: Mapping[str, ModelConfig], after: Mapping[str, ModelConfig]
) -> list[str]:
    """Return the models of both whose platform is another one."""
    return [
        name
        for name in before.keys() & after.keys()
        if before[name].platform != after[name].platform
    ]


def chosen(model: ModelConfig, there: Iterable[int]) -> frozenset[int]:
    """Return which of the versions that are *there* the policy of *model* chooses."""
    return frozenset(model.version_policy.choose(tuple(sorted(there)), lambda _: True))


def at_home(model: ModelConfig, found: Mapping[int, Model]) -> bool:
    """Return whether all that was *found* comes from where *model* says."""
    return all(
        isinstance(one.loader, StoredLoader) and one.loader.path == f"{model.base_path}/{version}"
        for version, one in found.items()
    )
