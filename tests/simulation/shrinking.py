"""Leaves out of a history what a failure does not need (delta debugging), and writes down what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from servman.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from servman.clock import Clock

T = TypeVar("T")
F = TypeVar("F")


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


def shortest(failure: F, run: Callable[[Any], F | None], seconds: float) -> F:
    """Return the failure of a shortest history, found within *seconds*, that breaks the same rule.

    Args:
        failure: Has a `history` with `decisions`, and the `violation` of a `rule`.
        run: Runs a history to its end; returns what went wrong, if anything did.
        seconds: As said.
    """
    first: Any = failure
    found = failure

    def fails(decisions: Sequence[object]) -> bool:
        nonlocal found
        again: Any = run(replace(first.history, decisions=tuple(decisions)))
        if again is None or again.violation.rule is not first.violation.rule:
            return False
        found = again
        return True

    shrink(first.history.decisions, fails, seconds)
    return found


def lines(trace: Sequence[object]) -> Iterator[str]:
    """Yield a line for each of *trace*: decisions, which are numbered, and what came of them."""
    number = 0
    for one in trace:
        if type(one).__module__.endswith("decisions"):
            number += 1
            yield f"{number:4}. {one}"
        else:
            yield f"          {one}".splitlines()[0]
