"""The versions of one name, as the reconciler keeps them. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from servman.data import ServableData
    from servman.loader import Loader
    from servman.manager.harness import LoaderHarness, ServableStateSnapshot


@final
class Stream:
    """The versions of one name.

    Attributes:
        harnesses: Version to its current incarnation.
        successors: Aspired versions whose earlier incarnation has to end first.
    """

    __slots__ = ("harnesses", "name", "successors")

    def __init__(self, name: str) -> None:
        self.name = name
        self.harnesses: dict[int, LoaderHarness] = {}
        self.successors: dict[int, ServableData[Loader]] = {}

    def aspired(self) -> frozenset[int]:
        """Return the versions that are wanted, those included that have to come back first."""
        wanted = {version for version, one in self.harnesses.items() if one.aspired}
        return frozenset(wanted | self.successors.keys())

    def snapshots(self) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of each version, in ascending order."""
        snapshots = (self.harnesses[version].snapshot() for version in sorted(self.harnesses))
        if not self.successors:
            return tuple(snapshots)
        return tuple(
            dataclasses.replace(one, wanted_again=True)
            if one.id.version in self.successors
            else one
            for one in snapshots
        )
