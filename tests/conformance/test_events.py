from __future__ import annotations

import queue

import pytest

from servman.events import EventBus
from servman.ids import ServableId
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock
from servman.testing.clock import WATCHDOG


def state(version: int) -> ServableState:
    return ServableState(ServableId("m", version), ManagerState.START)


@pytest.mark.case("EB-01")
def test_publishing_without_subscribers_is_fine() -> None:
    EventBus().publish(state(1))


@pytest.mark.case("EB-02")
def test_subscribers_get_the_event_with_its_time_until_they_are_closed() -> None:
    clock = FakeClock(wall=1.0)
    bus = EventBus(clock=clock)
    one: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    other: queue.SimpleQueue[ServableState] = queue.SimpleQueue()

    first = bus.subscribe(one.put)
    bus.publish(state(1))
    assert one.get(timeout=WATCHDOG) == ServableState(
        ServableId("m", 1), ManagerState.START, time=1.0
    )

    second = bus.subscribe(other.put)
    clock.advance(1.0)
    bus.publish(state(2))
    assert one.get(timeout=WATCHDOG).time == 2.0
    assert other.get(timeout=WATCHDOG).time == 2.0

    first.close()
    bus.publish(state(3))
    assert other.get(timeout=WATCHDOG).id == ServableId("m", 3)
    assert one.empty()

    del bus
    second.close()


@pytest.mark.case("EB-03")
def test_leaving_the_scope_of_a_subscription_stops_delivery() -> None:
    bus = EventBus()
    seen: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    with bus.subscribe(seen.put):
        bus.publish(state(1))
        assert seen.get(timeout=WATCHDOG).id.version == 1
    bus.publish(state(2))
    assert seen.empty()
