"""Leaves out of a list what a failure does not need (delta debugging)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from servman.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock

T = TypeVar("T")


def shrink(
    items: Sequence[T],
    fails: Callable[[Sequence[T]], bool],
    seconds: float,
    clock: Clock | None = None,
) -> list[T]:
    """Return a part of *items* that still fails and of which nothing can be left out.

    Tries to leave out halves, then quarters, down to single items, and starts over after a success
    with single items. After *seconds* it returns the shortest that it has found.
    """
    time = clock or SystemClock()
    deadline = time.monotonic() + seconds
    kept = list(items)
    size = max(1, len(kept) // 2)
    while True:
        before = len(kept)
        start = 0
        while start < len(kept):
            if time.monotonic() >= deadline:
                return kept
            shorter = kept[:start] + kept[start + size :]
            if fails(shorter):
                kept = shorter
            else:
                start += size
        if size == 1 and len(kept) == before:
            return kept
        size = max(1, size // 2)
