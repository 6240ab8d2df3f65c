"""The versions of one name, as the reconciler keeps them. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, final

from servman.manager.effects import Served
from servman.manager.harness import HarnessState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.loader import Loader
    from servman.manager.harness import LoaderHarness, ServableStateSnapshot


@final
class Stream:
    """The versions of one name.

    Attributes:
        harnesses: Version to its current incarnation.
        successors: Aspired versions whose earlier incarnation has to end first.
        policy_error: What the policy raised when it was last asked.
    """

    __slots__ = ("harnesses", "name", "policy_error", "successors")

    def __init__(self, name: str) -> None:
        self.name = name
        self.harnesses: dict[int, LoaderHarness] = {}
        self.successors: dict[int, ServableData[Loader]] = {}
        self.policy_error: ServmanError | None = None

    def aspired(self) -> frozenset[int]:
        """Return the versions that are wanted, those included that have to come back first."""
        wanted = [version for version, one in self.harnesses.items() if one.aspired]
        return frozenset((*wanted, *self.successors))

    def wanted(self) -> dict[int, ServableData[Loader]]:
        """Return what is wanted, as it was aspired."""
        wanted = {version: one.data for version, one in self.harnesses.items() if one.aspired}
        return wanted | self.successors

    def compared_with(
        self, wanted: Mapping[int, ServableData[Loader]]
    ) -> tuple[set[int], set[int]]:
        """Return which versions can answer for what is *wanted*, and which aspired ones cannot."""
        again = {version: one for version, one in self.harnesses.items() if version in wanted}
        staying = {version for version, one in again.items() if _can_stay(one, wanted[version])}
        return staying, {version for version in again.keys() - staying if again[version].aspired}

    def served(self) -> Served:
        """Return what lookups are to find."""
        ready = {
            version: harness.incarnation
            for version, harness in self.harnesses.items()
            if harness.state is HarnessState.READY
        }
        return Served(ready, max(self.aspired(), default=None))

    def to_let_in(self) -> list[LoaderHarness]:
        """Return what is loaded and held."""
        return [harness for harness in self.harnesses.values() if harness.held]

    def to_let_go(self) -> list[LoaderHarness]:
        """Return what is to go in the step in which what is held comes in.

        Where nothing comes in and nothing that is wanted serves, what is left serves on, unless nothing
        is wanted; but a version that is to come back has to go first.
        """
        unwanted = [
            harness
            for harness in self.harnesses.values()
            if harness.state is HarnessState.READY and not harness.aspired
        ]
        wanted_serves = any(
            harness.aspired and (harness.held or harness.state is HarnessState.READY)
            for harness in self.harnesses.values()
        )
        if wanted_serves or not self.aspired():
            return unwanted
        return [harness for harness in unwanted if harness.id.version in self.successors]

    def snapshots(self) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of each version, in ascending order."""
        snapshots = [self.harnesses[version].snapshot() for version in sorted(self.harnesses)]
        if not self.successors and self.policy_error is None:
            return tuple(snapshots)
        return tuple(
            dataclasses.replace(
                one,
                wanted_again=one.id.version in self.successors,
                policy_error=self.policy_error,
            )
            for one in snapshots
        )


def _can_stay(harness: LoaderHarness, data: ServableData[Loader]) -> bool:
    """Whether *harness* can answer for *data*: an aspired version keeps its first loader."""
    if harness.data.origin != data.origin and None not in (harness.data.origin, data.origin):
        return False
    if harness.data.error is not None and data.error is None:
        return False  # what could not be converted then can be now
    # An unwanted version that still serves is simply wanted again.
    return harness.aspired or harness.state is HarnessState.READY
