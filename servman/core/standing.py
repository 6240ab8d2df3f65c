"""How a model stands against what is configured of it, from what source and manager know. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, final

from servman.errors import ResourceExhaustedError
from servman.ids import ServableRequest
from servman.manager import HarnessState
from servman.manager.harness import ENDED, ON_ITS_WAY_OUT
from servman.sources import Specific

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from servman.core.config import ModelConfig
    from servman.ids import ServableId
    from servman.manager import ServableStateSnapshot
    from servman.sources import Outlook


class Stand(StrEnum):
    """How far a model has come."""

    PENDING = "pending"
    AVAILABLE = "available"
    FAILED = "failed"
    GONE = "gone"


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands.

    Attributes:
        stand: How far it has come.
        about: What the reason is to be asked for, where it is neither available nor gone.
        at_source: Whether it is the source that says why.
    """

    stand: Stand
    about: ServableRequest | None = None
    at_source: bool = False


def standing(
    model: ModelConfig,
    source: Outlook,
    passed: Mapping[int, str | None],
    snapshots: Sequence[ServableStateSnapshot],
    labels: Mapping[str, int],
) -> Standing:
    """Say how *model* stands.

    It is decided when the base path was looked at under the present configuration, every version that is
    wanted serves or has failed, and what is not wanted any more has gone. It has failed where the newest
    wanted version has, or one that a `Specific` policy names. What has failed for want of memory has not yet, while
    other versions of the model are about to return theirs.

    Args:
        model: How it is configured.
        source: What the source knows of it.
        passed: What the manager was given last: versions, and where they come from.
        snapshots: What the manager knows of its versions.
        labels: Its labels, with the versions that they mean now.
    """
    wanted = _wanted(model, source, passed, snapshots)
    if wanted is None:
        return _unknown(model.name, source)
    if source.missing:
        return _pending(ServableRequest.specific(model.name, min(source.missing)))
    leaves = any(not one.aspired and one.state in ON_ITS_WAY_OUT for one in snapshots)
    failed = {
        one.id.version
        for one in snapshots
        if _has_failed(one) and not (leaves and isinstance(one.error, ResourceExhaustedError))
    }
    decisive = wanted if isinstance(model.version_policy, Specific) else {max(wanted)}
    if failed & decisive:
        return Standing(Stand.FAILED, ServableRequest.specific(model.name, max(failed & decisive)))
    moving = _moving(snapshots)
    if moving is not None:
        return _pending(ServableRequest.specific(model.name, moving.version))
    for label in (*model.version_labels, *labels):
        version = model.version_labels.get(label)
        if labels.get(label) != version:
            stand = Stand.FAILED if version in failed else Stand.PENDING
            return Standing(stand, ServableRequest.labeled(model.name, label))
    return Standing(Stand.AVAILABLE)


def standing_to_commit(
    model: ModelConfig,
    source: Outlook,
    passed: Mapping[int, str | None],
    snapshots: Sequence[ServableStateSnapshot],
) -> Standing:
    """Say how a model of an atomic reload stands: available, once all that is wanted is loaded.

    What a label names is wanted, too.
    """
    name = model.name
    wanted = _wanted(model, source, passed, snapshots)
    if wanted is None:
        return _unknown(name, source)
    if source.missing:
        return _pending(ServableRequest.specific(name, min(source.missing)))
    for one in snapshots:
        which = ServableRequest.specific(name, one.id.version)
        # What serves under a number that is wanted from another place cannot go before the commit.
        replaced = one.wanted_again and one.state is HarnessState.READY
        if replaced or (one.aspired and one.state in ENDED):
            return Standing(Stand.FAILED, which)
    for one in snapshots:
        comes = one.aspired and one.state is not HarnessState.READY and not one.held
        if comes or one.wanted_again:  # on its way out since an earlier attempt
            return _pending(ServableRequest.specific(name, one.id.version))
    unanswered = sorted(set(model.version_labels.values()) - wanted)
    if not unanswered:
        return Standing(Stand.AVAILABLE)
    return Standing(Stand.PENDING, ServableRequest.specific(name, unanswered[0]), at_source=True)


def departure(
    name: str, passed: Mapping[int, str | None], snapshots: Sequence[ServableStateSnapshot]
) -> Standing:
    """Say whether a model that is no longer configured has gone."""
    for one in snapshots:
        if one.aspired or one.state not in ENDED:
            return _pending(ServableRequest.specific(name, one.id.version))
    return _pending(ServableRequest.latest(name)) if passed else Standing(Stand.GONE)


def standing_to_leave(
    name: str, passed: Mapping[int, str | None], snapshots: Sequence[ServableStateSnapshot]
) -> Standing:
    """Say how a model stands that an atomic reload removes: available, once nothing of it is wanted any more."""
    if passed or any(one.aspired or one.wanted_again for one in snapshots):
        return _pending(ServableRequest.latest(name))
    return Standing(Stand.AVAILABLE)


def not_taken_up(name: str) -> Standing:
    """Say how a model stands whose configuration has not come to the stages yet."""
    return _pending(ServableRequest.newest(name))


def _pending(about: ServableRequest) -> Standing:
    return Standing(Stand.PENDING, about)


def _unknown(name: str, source: Outlook) -> Standing:
    at_source = not source.known or not source.versions
    return Standing(Stand.PENDING, ServableRequest.newest(name), at_source)


def _wanted(
    model: ModelConfig,
    source: Outlook,
    passed: Mapping[int, str | None],
    snapshots: Iterable[ServableStateSnapshot],
) -> frozenset[int] | None:
    """Return what is wanted; None while that is not known, or the manager has not taken it up."""
    wanted = frozenset(source.versions)
    if not source.known or wanted != passed.keys():
        return None
    if not wanted and model.version_policy != Specific():
        return None
    replaced = {one.id.version for one in snapshots if one.wanted_again}
    aspired = {one.id.version: one.origin for one in snapshots if one.aspired}
    aspired.update({version: passed.get(version) for version in replaced})
    return wanted if aspired == passed else None


def _has_failed(snapshot: ServableStateSnapshot) -> bool:
    return snapshot.aspired and not snapshot.wanted_again and snapshot.state in ENDED


def _moving(snapshots: Iterable[ServableStateSnapshot]) -> ServableId | None:
    """Return a version that is on its way, in or out; what is wanted comes first."""
    moving = [
        one
        for one in snapshots
        if one.wanted_again
        or (one.state not in ENDED and not (one.aspired and one.state is HarnessState.READY))
    ]
    moving.sort(key=lambda one: (one.aspired, one.id.version))
    return moving[-1].id if moving else None
