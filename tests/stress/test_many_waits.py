"""As many waits at once as there may ever be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from servman.events import EventBus
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.progress import WaitProgress
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.monitor.feed import AVAILABLE, publish

MANY = 10_000
STREAMS = 100


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def publish_to_all(bus: EventBus) -> None:
    """Have every stream come up."""
    for number in range(STREAMS):
        publish(bus, {1}, (1, AVAILABLE), name=f"m{number}")


def names() -> list[str]:
    return [f"m{number % STREAMS}" for number in range(MANY)]


def test_ten_thousand_futures_wait_at_once_and_all_end(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus)  # by the real clock, with real deadlines
    threads = threading.active_count()
    futures = [monitor.wait_future(name, timeout=60.0) for name in names()]
    assert threading.active_count() <= threads + 1
    publish_to_all(bus)
    assert all(future.result(WATCHDOG) for future in futures)
    monitor.close()
    assert monitor._dispatcher._waiters == {}


def test_ten_thousand_futures_are_cancelled_without_a_trace(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus)
    futures = [monitor.wait_future(name, timeout=60.0) for name in names()]
    assert all(future.cancel() for future in futures)
    assert monitor._dispatcher._waiters == {}
    assert len(monitor._dispatcher._deadlines) == 0
    monitor.close()


def test_ten_thousand_tasks_wait_at_once_and_all_end(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus)

    async def main() -> None:
        tasks = [asyncio.create_task(monitor.wait_until_async(name)) for name in names()]
        await asyncio.sleep(0)
        publish_to_all(bus)
        assert all(await asyncio.wait_for(asyncio.gather(*tasks), WATCHDOG))

    asyncio.run(main())
    monitor.close()


def test_a_thousand_threads_wait_at_once_and_all_end(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus)
    waits = [
        Spawned(lambda name=name: monitor.wait_until(name))  # type: ignore[misc] # mypy: lambda default
        for name in names()[:1000]
    ]
    publish_to_all(bus)
    assert all(wait.result() for wait in waits)
    monitor.close()


@pytest.mark.parametrize("progress", [None, lambda _: None], ids=["silent", "telling"])
def test_one_wait_is_for_thousands_of_streams(
    bus: EventBus, progress: Callable[[WaitProgress], None] | None
) -> None:
    monitor = ServableStateMonitor(bus)
    every = [f"m{number}" for number in range(3000)]
    waiting = Spawned(lambda: monitor.wait_until(every, progress=progress))
    for name in every:
        publish(bus, {1}, (1, AVAILABLE), name=name)
    assert waiting.result()
    assert monitor.wait_until_settled(every, timeout=0)
    assert monitor.wait_until_settled(timeout=0)
    monitor.close()
