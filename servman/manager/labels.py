"""Where the labels of a stream point to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Container, Mapping


@final
class Labels:
    """The labels of one stream: where each is to point, and where it does.

    A label keeps its target until what is wanted serves, and then moves. One that has none, for it is new or its
    target serves no longer, gets one when what is wanted serves.

    Attributes:
        wanted: Label to the version that it is to point to. Replaced, never changed.
        targets: Label to the version that lookups by it find; each of them serves. Likewise.
    """

    __slots__ = ("_told", "targets", "wanted")

    def __init__(self) -> None:
        self.wanted: Mapping[str, int] = {}
        self.targets: Mapping[str, int] = {}
        self._told: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})

    @property
    def empty(self) -> bool:
        """Whether there is no label left, wanted or not."""
        return not self.wanted and not self.targets

    def move(self, serving: Container[int]) -> None:
        """Let the labels point to what they can, where these versions are *serving*."""
        targets = {}
        for label, version in self.wanted.items():
            target = version if version in serving else self.targets.get(label)
            if target is not None and target in serving:
                targets[label] = target
        self.targets = targets

    def stay(self, serving: Container[int]) -> None:
        """Let the labels point to what they do, where that is still *serving*; none moves."""
        self.targets = {label: one for label, one in self.targets.items() if one in serving}

    def tell(self) -> bool:
        """Return whether anything has changed since this was last asked."""
        now = (self.wanted, self.targets)
        before, self._told = self._told, now
        return before != now
