"""A thread that ticks a thousand times a second, and how late it was: what others notice of work beside them."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Span = tuple[str, float, float]
"""What was done, when it began, and when it ended."""

QUIET = 0.005
"""The longest gap while nothing is done above which other programs disturb the ticker: no verdict then."""


class Tick(NamedTuple):
    """One tick: when it was, and for how many seconds its thread had waited for a core until then, in all."""

    time: float
    waited: float


@contextmanager
def ticking() -> Iterator[list[Tick]]:
    """Tick inside the `with`; the list grows by each tick."""
    ticks: list[Tick] = []
    stop = threading.Event()

    def tick() -> None:
        with Path("/proc/thread-self/schedstat").open(buffering=1) as waits:
            while not stop.is_set():
                waits.seek(0)
                ticks.append(Tick(time.perf_counter(), int(waits.read().split()[1]) / 1e9))
                time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield ticks
    finally:
        stop.set()
        thread.join()


def longest_gaps(
    ticks: Sequence[Tick], spans: Sequence[Span], *, without_waits: bool = False
) -> dict[str, float]:
    """Return the seconds of the longest gap in the spans of each name.

    Args:
        ticks: What was recorded.
        spans: What was done meanwhile.
        without_waits: Whether to leave out the time for which the ticker could have run, but other threads and
            programs had the cores. A wait for the interpreter is none of these.
    """
    longest = dict.fromkeys((name for name, _, _ in spans), 0.0)
    for name, begin, end in spans:
        for last, tick in itertools.pairwise(ticks):
            if last.time < end and tick.time > begin:
                gap = tick.time - last.time
                if without_waits:
                    gap -= tick.waited - last.waited
                longest[name] = max(longest[name], gap)
    return longest
