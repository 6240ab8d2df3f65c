"""The one message that flows through servman, and how its stages are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.data import ServableData

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Target(Protocol[T_contra]):
    """Takes aspirations."""

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T_contra]]) -> None:
        """State which versions of the stream *name* should be loaded: the complete list.

        What is left out should go; the empty list unloads the whole stream. Saying the same again
        changes nothing, and the newest list of a stream replaces an older one that has not been acted
        on. "I could not look" is never sent, least of all as an empty list.

        Never blocks. Threads: any, but one at a time for one stream.
        """
        ...


class Source(Protocol[T_co]):
    """Emits aspirations to the one target that it is connected to."""

    def set_target(self, target: Target[T_co]) -> None:
        """Emit to *target* from now on. Called once, by `connect`."""
        ...


def connect(source: Source[T], target: Target[T]) -> None:
    """Let the aspirations of *source* flow to *target*. Call it once for each source, before start."""
    source.set_target(target)
