"""What many streams cost: to bring all of them in at once, and when nothing changes.

The floor of bringing them in is what any manager with one thread and a pool has to do: as many names
through a bare queue to one thread, from there through a bare queue to a bare pool of four threads, each
of which makes an object and sends it back through the first queue.
"""

from __future__ import annotations

import gc
import queue
import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servman import AspiredVersionsManager, EventBus
from tests.bench.assembly import Arrivals, trivial
from tests.bench.measure import RUNS, Row, ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman import Loader, ServableData

_MANY = 10_000
_FEW = 1_000
_LOADERS = 4


@dataclass(frozen=True)
class _Took:
    """Seconds, by the clock on the wall and of the processor."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class _Run:
    """What one run took."""

    floor: _Took
    few: _Took
    many: _Took
    unchanged: _Took
    snapshots: _Took


def rows() -> list[Row]:
    """Run them all."""
    runs = [_run() for _ in range(RUNS)]
    many = _medians([run.many for run in runs])
    floor = _medians([run.floor for run in runs])
    few = _medians([run.few for run in runs])
    growth = statistics.median(run.many.cpu / run.few.cpu for run in runs)
    share = statistics.median(run.many.wall / run.floor.wall for run in runs)
    return [
        Row(
            "10,000 streams aspired at once -> all AVAILABLE",
            f"{many.wall:.2f} s ({share:.1f} x the floor)",
            f"bare queues and threads: {floor.wall:.2f} s",
            "at most 2 s",
            many.wall <= 2,
        ),
        Row(
            "CPU time of 10,000 streams over that of 1,000",
            f"{growth:.1f} x ({many.cpu:.2f} s)",
            f"1,000 streams: {few.cpu:.2f} s",
            "at most 13 x",
            growth <= 13,
        ),
        _free("10,000 aspirations when nothing changes", [run.unchanged for run in runs]),
        _free("snapshots() of 10,000 streams", [run.snapshots for run in runs]),
    ]


def _free(what: str, times: Sequence[_Took]) -> Row:
    took = _medians(times)
    each = took.wall / _MANY * 1e6
    return Row(what, f"{ms(took.wall)} ({each:.1f} us each), CPU {ms(took.cpu)}")


def _medians(times: Sequence[_Took]) -> _Took:
    return _Took(
        statistics.median(one.wall for one in times), statistics.median(one.cpu for one in times)
    )


def _run() -> _Run:
    floor = _timed(lambda: _floor(_MANY))
    few, *_ = _bring_in(_FEW)
    return _Run(floor, few, *_bring_in(_MANY))


def _timed(work: Callable[[], object]) -> _Took:
    gc.collect()  # what came before is not to be paid here
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return _Took(time.perf_counter() - wall, time.process_time() - cpu)


def _bring_in(count: int) -> tuple[_Took, _Took, _Took]:
    """Aspire *count* streams, then the same again, then look at them."""
    bus = EventBus()
    wanted = [(f"m{number}", [trivial(f"m{number}", 1)]) for number in range(count)]
    last = ("last", [trivial("last", 1)])
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    try:
        return (
            _timed(lambda: _aspire(manager, wanted, Arrivals(bus, awaited=count))),
            # Lists are taken up in their order: when the last is available the others were looked at.
            _timed(lambda: _aspire(manager, [*wanted, last], Arrivals(bus, awaited=1))),
            _timed(manager.snapshots),
        )
    finally:
        manager.close()


def _aspire(
    manager: AspiredVersionsManager,
    wanted: Sequence[tuple[str, Sequence[ServableData[Loader]]]],
    arrivals: Arrivals,
) -> None:
    for name, versions in wanted:
        manager.set_aspired_versions(name, versions)
    arrivals.wait()


def _floor(count: int) -> None:
    mailbox: queue.SimpleQueue[str | object] = queue.SimpleQueue()
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def manage() -> None:
        made = 0
        while made < count:
            message = mailbox.get()
            if isinstance(message, str):
                jobs.put(message)
            else:
                made += 1
        for _ in range(_LOADERS):
            jobs.put(None)

    def load() -> None:
        while jobs.get() is not None:
            mailbox.put(object())

    threads = [threading.Thread(target=one) for one in (manage, *[load] * _LOADERS)]
    for thread in threads:
        thread.start()
    for number in range(count):
        mailbox.put(f"m{number}")
    for thread in threads:
        thread.join()
