"""What requests on one stream notice of versions that are swapped beside them.

The floor: the same requests beside three bare threads that hand a token on, as often as there are
swaps. A thread that becomes runnable waits 5 ms for the interpreter of a request thread that computes
without pause; then the whole chain of those that it wakes may run before the request goes on. So what stands above the
floor is what a swap computes in all of its turns together.

One stream alone cannot be swapped a hundred times a second beside such a thread, for a swap takes at least
three of these waits; that many are served when some streams are swapped in turn.
"""

from __future__ import annotations

import itertools
import queue
import statistics
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.assembly import WATCHDOG, Arrivals, running, trivial
from tests.bench.measure import RUNS, Row, ms, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from servman import AspiredVersionsManager

_SECONDS = 1.5
_RATE = 100
_STREAMS = 4
_WORK = 100e-6
_HOPS = 3
_QUIET = 2 * _WORK
"""The p99 of requests alone above which other programs disturb them more than any swap: no verdict then."""


@dataclass(frozen=True)
class _Run:
    """How long the requests of one run took, alone and beside something, and how many swaps there were."""

    alone: Sequence[float]
    floor: Sequence[float]
    swapped: Sequence[float]
    swaps: float

    def ratio(self, share: float) -> float:
        """Return how far the swaps are above the floor at this percentile."""
        return percentile(self.swapped, share) / percentile(self.floor, share)


def rows() -> list[Row]:
    """Run them all."""
    with running() as assembly:
        assembly.manager.set_aspired_versions("a", [trivial("a", 1, lambda _: _compute)])
        assembly.monitor.wait_until_available("a", timeout=WATCHDOG)
        arrivals, versions = Arrivals(assembly.bus), itertools.count(1)
        runs = [_run(assembly.manager, arrivals, versions) for _ in range(RUNS)]
    p99, p999 = (statistics.median(run.ratio(share) for run in runs) for share in (0.99, 0.999))
    swaps = statistics.median(run.swaps for run in runs)
    quiet = statistics.median(percentile(run.alone, 0.99) for run in runs) < _QUIET
    return [
        Row(
            f"requests on A while others are swapped ({swaps:.0f} swaps/s served)",
            f"p99 {p99:.1f} x ({_p99(run.swapped for run in runs)}), p99.9 {p999:.1f} x",
            f"beside {_HOPS} bare hops: p99 {_p99(run.floor for run in runs)};"
            f" alone: {_p99(run.alone for run in runs)}",
            "p99 at most 2 x",
            p99 <= 2 if quiet else None,
        )
    ]


def _p99(runs: Iterable[Sequence[float]]) -> str:
    return ms(statistics.median(percentile(times, 0.99) for times in runs))


def _run(manager: AspiredVersionsManager, arrivals: Arrivals, versions: Iterator[int]) -> _Run:
    def swap() -> None:
        version = next(versions)
        name = f"b{version % _STREAMS}"
        manager.set_aspired_versions(name, [trivial(name, version)])

    alone = _requests(manager)
    with _hops() as ping, _beating(ping):
        floor = _requests(manager)
    before, started = arrivals.count, time.perf_counter()
    with _beating(swap):
        swapped = _requests(manager)
    swaps = (arrivals.count - before) / (time.perf_counter() - started)
    return _Run(alone, floor, swapped, swaps)


def _requests(manager: AspiredVersionsManager) -> list[float]:
    """Make requests without pause; return how long each took."""
    times = []
    end = time.perf_counter() + _SECONDS
    while (started := time.perf_counter()) < end:
        with manager.get_servable_handle("a") as handle:
            handle.servable()
        times.append(time.perf_counter() - started)
    return times


def _compute() -> None:
    """Take up this thread's own time, which stands still while others have the interpreter."""
    end = time.thread_time() + _WORK
    while time.thread_time() < end:
        pass


@contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call *beat* so many times a second, on a thread of its own."""
    stop = threading.Event()

    def run() -> None:
        due = time.perf_counter()
        while not stop.is_set():
            beat()
            due += 1 / _RATE
            time.sleep(max(0.0, due - time.perf_counter()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _hops() -> Iterator[Callable[[], None]]:
    """Yield what sends a token along a row of bare threads."""
    queues: list[queue.SimpleQueue[str | None]] = [queue.SimpleQueue() for _ in range(_HOPS)]

    def hand_on(number: int) -> None:
        token: str | None = ""
        while token is not None:
            token = queues[number].get()
            if number + 1 < _HOPS:
                queues[number + 1].put(token)

    threads = [threading.Thread(target=hand_on, args=(number,)) for number in range(_HOPS)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: queues[0].put("")
    finally:
        queues[0].put(None)
        for thread in threads:
            thread.join()
