"""What lookups lose while the version that they find is replaced a thousand times a second.

"Whole manager" is measured twice. *By one thread*: whoever asks for a swap also does the manager's turns and
the loads, so that all that a swap costs is paid at the rate that is named. *On its own threads*: a swap
takes three hand-overs between threads, and a request thread that computes without pause keeps the
interpreter for 5 ms before each. So most lists are overtaken by newer ones before they are acted on,
and far fewer versions come to serve than were asked for; both numbers are printed.
"""

from __future__ import annotations

import functools
import statistics
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servman import AspiredVersionsManager, EventBus, ServableId, ServableStateMonitor
from servman.manager.handle import Entry
from servman.manager.serving import ServingMap, StreamEntry
from servman.testing import ManualPool
from tests.bench.assembly import WATCHDOG, Arrivals, running, trivial
from tests.bench.measure import RUNS, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_THREADS = (1, 4, 16)
_SECONDS = 0.8
_SWAPS = 1000


@dataclass(frozen=True)
class _Scene:
    """What is looked up and replaced.

    Attributes:
        look_up: One lookup.
        swap: Asks for the version of this number in the place of the one before.
        served: How many versions have come to serve so far.
    """

    look_up: Callable[[], None]
    swap: Callable[[int], None]
    served: Callable[[], int]


@dataclass(frozen=True)
class _Rate:
    """So many a second."""

    lookups: float
    asked: float
    served: float


def rows() -> list[Row]:
    """Run them all."""
    scenes: list[tuple[str, float, Callable[[], AbstractContextManager[_Scene]]]] = [
        ("bare map", 0.8, _bare),
        ("whole manager by one thread", 0.7, _stepped),
        ("whole manager on its own threads", 0.7, _threaded),
    ]
    return [
        _row(f"{what}, {threads} request thread{'s' if threads > 1 else ''}", threads, bar, scene)
        for what, bar, scene in scenes
        for threads in _THREADS
    ]


def _row(
    what: str, threads: int, bar: float, scene: Callable[[], AbstractContextManager[_Scene]]
) -> Row:
    shares, quiets, louds = [], [], []
    for _ in range(RUNS):
        with scene() as measured:
            before = _rate(measured, threads, loud=False)
            louds.append(_rate(measured, threads, loud=True))
            after = _rate(measured, threads, loud=False)
        # Between the two, for the speed of a shared machine drifts.
        quiets.append((before.lookups + after.lookups) / 2)
        shares.append(louds[-1].lookups / quiets[-1])
    share = statistics.median(shares)
    asked = statistics.median(one.asked for one in louds)
    served = statistics.median(one.served for one in louds)
    quiet = statistics.median(quiets)
    return Row(
        f"{what}; swaps a second: {asked:.0f} asked for, {served:.0f} served",
        f"{share:.0%} of the quiet rate",
        f"{quiet / 1e3:.0f} k/s quiet",
        f"at least {bar:.0%}",
        share >= bar,
    )


def _rate(scene: _Scene, number: int, *, loud: bool) -> _Rate:
    stop = threading.Event()
    counts: list[int] = []
    swaps: list[int] = []
    work = [functools.partial(_read, scene.look_up, stop, counts)] * number
    if loud:
        work.append(functools.partial(_write, scene.swap, stop, swaps))
    # All begin at once: beside threads that compute, the start of another one takes its time.
    begin = threading.Barrier(len(work) + 1)
    threads = [threading.Thread(target=_after, args=(begin, one)) for one in work]
    for thread in threads:
        thread.start()
    served = scene.served()
    begin.wait()
    started = time.perf_counter()
    time.sleep(_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    return _Rate(sum(counts) / took, sum(swaps) / took, (scene.served() - served) / took)


def _after(begin: threading.Barrier, work: Callable[[], None]) -> None:
    begin.wait()
    work()


def _read(look_up: Callable[[], None], stop: threading.Event, counts: list[int]) -> None:
    count = 0
    while not stop.is_set():
        for _ in range(100):
            look_up()
        count += 100
    counts.append(count)


def _write(swap: Callable[[int], None], stop: threading.Event, swaps: list[int]) -> None:
    """Swap as often as is due by now, and catch up where it was kept from it."""
    done = 0
    started = time.perf_counter()
    while not stop.is_set():
        due = int((time.perf_counter() - started) * _SWAPS)
        while done < due and not stop.is_set():
            done += 1
            swap(done)
        time.sleep(0.0005)
    swaps.append(done)


@contextmanager
def _bare() -> Iterator[_Scene]:
    serving = ServingMap()
    served = 0

    def swap(version: int) -> None:
        nonlocal served
        entry = Entry(ServableId("m", version), object(), object())
        serving.replace({"m": StreamEntry({version: entry}, version, {})})
        served += 1

    def look_up() -> None:
        serving.streams["m"].latest  # noqa: B018 -- what a lookup by name reads

    swap(0)
    yield _Scene(look_up, swap, lambda: served)


@contextmanager
def _threaded() -> Iterator[_Scene]:
    with running() as assembly:
        arrivals = Arrivals(assembly.bus)

        def swap(version: int) -> None:
            assembly.manager.set_aspired_versions("m", [trivial("m", version)])

        swap(0)
        assembly.monitor.wait_until_available("m:0", timeout=WATCHDOG)
        yield _Scene(_lookups(assembly.manager), swap, lambda: arrivals.count)


@contextmanager
def _stepped() -> Iterator[_Scene]:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    arrivals = Arrivals(bus)
    loads, unloads, revisions = ManualPool(), ManualPool(), ManualPool()
    manager = AspiredVersionsManager(event_bus=bus, _pools=(loads, unloads, revisions))

    def swap(version: int) -> None:
        manager.set_aspired_versions("m", [trivial("m", version)])
        while manager.step():
            loads.run_all()
            unloads.run_all()

    swap(0)
    yield _Scene(_lookups(manager), swap, lambda: arrivals.count)
    manager.close(timeout=0)
    monitor.close()


def _lookups(manager: AspiredVersionsManager) -> Callable[[], None]:
    def look_up() -> None:
        with manager.get_servable_handle("m"):
            pass

    return look_up
