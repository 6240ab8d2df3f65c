from __future__ import annotations

import queue
import threading

import pytest

from servman.events import EventBus
from servman.ids import ServableId
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock, Spawned
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


# ---- observers, which are subscriptions here ----------------------------------------------------


@pytest.mark.case("OB-01")
@pytest.mark.case("OB-02")
@pytest.mark.case("OB-04")
def test_each_of_ten_subscribers_is_called_with_the_event() -> None:
    bus = EventBus(clock=FakeClock(wall=1.0))
    seen: list[queue.SimpleQueue[ServableState]] = [queue.SimpleQueue() for _ in range(10)]
    for one in seen:
        bus.subscribe(one.put)
    bus.publish(state(1))
    bus.close()
    told = ServableState(ServableId("m", 1), ManagerState.START, time=1.0)
    assert [one.get(timeout=WATCHDOG) for one in seen] == [told] * 10
    assert all(one.empty() for one in seen)


@pytest.mark.case("OB-03")
@pytest.mark.case("OB-05")
def test_publishing_to_subscribers_of_which_none_is_left_does_nothing() -> None:
    bus = EventBus()
    seen: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    for subscription in [bus.subscribe(seen.put) for _ in range(10)]:
        subscription.close()
    bus.publish(state(1))
    bus.close()
    assert seen.empty()


@pytest.mark.case("OB-06")
def test_a_subscription_closed_while_another_thread_publishes_is_never_called_again() -> None:
    bus = EventBus()
    called, closed = threading.Event(), threading.Event()
    seen: list[ServableState] = []

    def note(event: ServableState) -> None:
        seen.append(event)
        called.set()

    def publish() -> None:
        while not closed.is_set():
            bus.publish(state(1))
        for _ in range(100):
            bus.publish(state(2))

    subscription = bus.subscribe(note)
    publisher = Spawned(publish)
    assert called.wait(WATCHDOG)
    subscription.close()
    before = len(seen)
    closed.set()
    publisher.result()
    bus.close()  # whoever were still on the bus would have been called by now
    assert len(seen) == before
