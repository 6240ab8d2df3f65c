"""How long it takes from the return of a load to the awakening of who waits for it."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

from servman import (
    AspiredVersionsManager,
    EventBus,
    ManagerState,
    ServableData,
    ServableId,
    ServableState,
    ServableStateMonitor,
    SimpleLoader,
)
from tests.bench.measure import RUNS, Row, ms, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman import LoadContext, Loader

_TIMES = 60
_OTHERS = 1000


def rows() -> list[Row]:
    """Run them all."""
    what = "load() returned -> waiter awake"
    return [
        _row(f"{what}, alone", lambda: _wake(others=0)),
        _row(f"{what}, 1,000 waiting elsewhere", lambda: _wake(others=_OTHERS)),
        _row(f"{what}, in place of an older version", lambda: _wake(others=0, swap=True)),
        _publish(),
    ]


def _row(what: str, wake: Callable[[], list[float]]) -> Row:
    floors, times, ratios = [], [], []
    for _ in range(RUNS):
        floors.append(percentile(_floor(), 0.5))
        times.extend(run := wake())
        ratios.append(percentile(run, 0.5) / floors[-1])
    ratio = statistics.median(ratios)
    return Row(
        what,
        f"p50 {ratio:.1f} x ({ms(percentile(times, 0.5))}), p99 {ms(percentile(times, 0.99))}",
        f"Condition.notify: p50 {ms(statistics.median(floors))}",
        "p50 at most 5 x",
        ratio <= 5,
    )


def _floor() -> list[float]:
    """Time a bare `Condition.notify` to a thread that waits."""
    condition = threading.Condition()
    times: list[float] = []
    told = 0.0

    def wait() -> None:
        with condition:
            condition.wait()
            times.append(time.perf_counter() - told)

    for _ in range(_TIMES):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.002)
        with condition:
            told = time.perf_counter()
            condition.notify()
        thread.join()
    return times


def _wake(*, others: int, swap: bool = False) -> list[float]:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    elsewhere = [
        threading.Thread(
            target=monitor.wait_until, args=(f"other{number}",), kwargs={"timeout": 60}, daemon=True
        )
        for number in range(others)
    ]
    for thread in elsewhere:
        thread.start()
    times: list[float] = []
    returned = 0.0

    def create(_: LoadContext) -> object:
        nonlocal returned
        time.sleep(0.003)  # the waiter is asleep by now
        returned = time.perf_counter()
        return object()

    for version in range(1, _TIMES + 1):
        loader: Loader = SimpleLoader(create)
        name = "m" if swap else f"m{version}"
        manager.set_aspired_versions(name, [ServableData(ServableId(name, version), loader)])
        monitor.wait_until_available(f"{name}:{version}", timeout=10)
        times.append(time.perf_counter() - returned)
    for number in range(others):
        bus.publish(ServableState(ServableId(f"other{number}", 1), ManagerState.AVAILABLE))
    for thread in elsewhere:
        thread.join()
    manager.close()
    monitor.close()
    return times


def _publish() -> Row:
    """Time `publish` while 1,000 threads wait for another version of the same stream."""
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    threads = [
        threading.Thread(
            target=monitor.wait_until, args=("m:1",), kwargs={"timeout": 60}, daemon=True
        )
        for _ in range(_OTHERS)
    ]
    for thread in threads:
        thread.start()
    times = []
    state = ServableState(ServableId("m", 2), ManagerState.LOADING)
    for _ in range(20):
        started = time.perf_counter()
        bus.publish(state)
        times.append(time.perf_counter() - started)
        time.sleep(0.05)
    started = time.perf_counter()
    bus.publish(ServableState(ServableId("m", 1), ManagerState.AVAILABLE))
    last = time.perf_counter() - started
    for thread in threads:
        thread.join()
    monitor.close()
    worst = max(*times, last)
    return Row(
        "publish with 1,000 waiters on the stream",
        f"worst {ms(worst)}, the one that wakes all {ms(last)}",
        "-",
        "at most 1 ms",
        worst <= 0.001,
    )
