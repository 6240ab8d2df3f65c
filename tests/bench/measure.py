"""What the benchmarks share: rows, and timing that is fair to both sides of a ratio."""

from __future__ import annotations

import statistics
import timeit
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUNS = 5
"""Interleaved runs; the median of the ratios counts."""


@dataclass(frozen=True)
class Row:
    """One line of the report; without a bar there is nothing to hold."""

    what: str
    figure: str
    floor: str = "-"
    bar: str = "-"
    holds: bool | None = None


def ratios(subjects: dict[str, Callable[[], None]], floor: Callable[[], None]) -> list[Row]:
    """Time each subject against *floor*, interleaved, one call each, in ns."""
    number = 100_000
    times: dict[str, list[float]] = {name: [] for name in subjects}
    floors: list[float] = []
    for _ in range(RUNS):
        floors.append(_per_call(floor, number))
        for name, subject in subjects.items():
            times[name].append(_per_call(subject, number))
    rows = []
    for name, measured in times.items():
        ratio = statistics.median(m / f for m, f in zip(measured, floors, strict=True))
        what, bar = name.rsplit("|", 1)
        rows.append(
            Row(
                what,
                f"{ratio:.2f} x ({statistics.median(measured):.0f} ns)",
                f"{statistics.median(floors):.0f} ns",
                f"at most {bar} x",
                ratio <= float(bar),
            )
        )
    return rows


def _per_call(subject: Callable[[], None], number: int) -> float:
    return min(timeit.repeat(subject, number=number, repeat=3)) / number * 1e9


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of *values* lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ms(seconds: float) -> str:
    """Return *seconds* as text in milliseconds."""
    return f"{seconds * 1e3:.3f} ms"
