"""What a lookup costs, alone and while versions are swapped under it."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Self

from servman import (
    AspiredVersionsManager,
    EventBus,
    ManagerState,
    ServableData,
    ServableId,
    ServableStateMonitor,
    SimpleLoader,
)
from servman.manager.handle import Entry
from servman.manager.serving import ServingMap
from tests.bench.measure import RUNS, Row, ratios

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman import Loader

_THREADS = 4
_SECONDS = 1.0
_SWAPS = 1000


class _Floor:
    """The least that a lookup could be: a fresh slotted context manager around a found object."""

    __slots__ = ("_held",)

    def __init__(self, held: object) -> None:
        self._held: object | None = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = None


def rows() -> list[Row]:
    """Run them all."""
    return [*_quiet(), *_swapped()]


def _data(version: int) -> ServableData[Loader]:
    loader: Loader = SimpleLoader(lambda _: object())
    return ServableData(ServableId("m", version), loader)


def _quiet() -> list[Row]:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    manager.set_aspired_versions("m", [_data(3)])
    monitor.wait_until_available("m:3", timeout=10)
    found = {"m": object()}

    def floor() -> None:
        with _Floor(found["m"]):
            pass

    def latest() -> None:
        with manager.get_servable_handle("m"):
            pass

    def specific() -> None:
        with manager.get_servable_handle("m:3"):
            pass

    def used() -> None:
        with manager.get_servable_handle("m") as handle:
            handle.servable  # noqa: B018 -- reading it is what is measured

    try:
        return ratios(
            {
                "handle: latest by name, enter, exit|1.5": latest,
                'handle: "m:3"|2': specific,
                "handle: latest with .servable read|2": used,
            },
            floor,
        )
    finally:
        manager.close()
        monitor.close()


def _swapped() -> list[Row]:
    return [
        _under_swaps("4 threads, bare map, 1,000 swaps/s", 0.8, _bare),
        _under_swaps("4 threads, whole manager, 1,000 swaps/s", 0.7, _whole),
    ]


def _under_swaps(
    what: str,
    bar: float,
    make: Callable[[], tuple[Callable[[], None], Callable[[int], None], Callable[[], None]]],
) -> Row:
    shares, reached, quiet_rates = [], [], []
    for _ in range(RUNS):
        look_up, swap, close = make()
        quiet, _none = _rate(look_up, None)
        loud, swaps = _rate(look_up, swap)
        close()
        shares.append(loud / quiet)
        reached.append(swaps)
        quiet_rates.append(quiet)
    share = statistics.median(shares)
    return Row(
        f"{what} ({statistics.median(reached):.0f} reached)",
        f"{share:.0%} of the quiet rate",
        f"{statistics.median(quiet_rates) / 1e3:.0f} k/s quiet",
        f"at least {bar:.0%}",
        share >= bar,
    )


def _rate(look_up: Callable[[], None], swap: Callable[[int], None] | None) -> tuple[float, float]:
    """Return lookups a second by all threads, and swaps a second."""
    stop = threading.Event()
    counts = [0] * _THREADS
    swaps = 0

    def reader(number: int) -> None:
        count = 0
        while not stop.is_set():
            for _ in range(100):
                look_up()
            count += 100
        counts[number] = count

    def writer() -> None:
        nonlocal swaps
        started = time.perf_counter()
        while not stop.is_set():
            due = int((time.perf_counter() - started) * _SWAPS)
            while swap is not None and swaps < due and not stop.is_set():
                swaps += 1
                swap(swaps)
            time.sleep(0.0005)

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(_THREADS)]
    threads.append(threading.Thread(target=writer))
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    return sum(counts) / took, swaps / took


def _bare() -> tuple[Callable[[], None], Callable[[int], None], Callable[[], None]]:
    serving = ServingMap()

    def swap(version: int) -> None:
        serving.replace(
            "m", {version: Entry(ServableId("m", version), object(), object())}, version
        )

    def look_up() -> None:
        entry = serving.find("m")
        if entry is None:
            raise LookupError("m")

    swap(0)
    return look_up, swap, lambda: None


def _whole() -> tuple[Callable[[], None], Callable[[int], None], Callable[[], None]]:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()

    def swap(version: int) -> None:
        manager.set_aspired_versions("m", [_data(version)])

    def look_up() -> None:
        with manager.get_servable_handle("m"):
            pass

    def close() -> None:
        manager.close()
        monitor.close()

    swap(0)
    monitor.wait_until("m:0", ManagerState.AVAILABLE, timeout=10)
    return look_up, swap, close
