from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from servman.events import EventBus
from servman.monitor.monitor import ServableStateMonitor
from servman.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=5_000.0)


@pytest.fixture
def bus(clock: FakeClock) -> EventBus:
    return EventBus(clock=clock)


@pytest.fixture
def monitor(bus: EventBus, clock: FakeClock) -> Iterator[ServableStateMonitor]:
    monitor = ServableStateMonitor(bus, clock=clock)
    yield monitor
    monitor.close()
    assert monitor._dispatcher._waiters == {}
    assert len(monitor._dispatcher._deadlines) == 0
