from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest

from servman.errors import InternalError, ServmanError
from servman.events import EventBus
from servman.ids import ServableId
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.result import WaitResult
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from collections.abc import Iterator

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
A42, A7, B42 = ServableId("a", 42), ServableId("a", 7), ServableId("b", 42)


class Rig:
    """A bus, a fake clock, and a monitor that keeps the last four states."""

    def __init__(self, log_capacity: int = 4) -> None:
        self.clock = FakeClock(wall=0.0)
        self.bus = EventBus(clock=self.clock)
        self.monitor = ServableStateMonitor(self.bus, log_capacity=log_capacity, clock=self.clock)

    def publish(
        self, id: ServableId, manager_state: ManagerState, error: ServmanError | None = None
    ) -> ServableState:
        """Publish a second after the last one; return the state as it is recorded."""
        self.clock.advance(1.0)
        self.bus.publish(ServableState(id, manager_state, error))
        return ServableState(id, manager_state, error, self.clock.wall())


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.monitor.close()
    rig.bus.close()


def shows(monitor: ServableStateMonitor, *states: ServableState) -> bool:
    """Check that every getter shows exactly *states*, in the order of their events."""
    by_name: dict[str, dict[int, ServableState]] = {}
    for state in states:
        by_name.setdefault(state.id.name, {})[state.id.version] = state
    assert monitor.get_log() == list(states)
    assert monitor.get_all_states() == by_name
    for name in ("a", "b", "c"):
        assert monitor.get_version_states(name) == by_name.get(name, {})
    for one in (A42, A7, B42, ServableId("b", 7)):
        assert monitor.get_state(one) == by_name.get(one.name, {}).get(one.version)
    return True


@pytest.mark.case("SM-01")
def test_each_event_shows_in_every_getter_with_its_time(rig: Rig) -> None:
    observed: queue.SimpleQueue[ServableState] = queue.SimpleQueue()
    rig.bus.subscribe(observed.put)
    assert shows(rig.monitor)

    first = rig.publish(A42, LOADING)
    assert shows(rig.monitor, first)
    assert observed.get(timeout=WATCHDOG) == first

    second = rig.publish(A7, AVAILABLE)
    assert shows(rig.monitor, first, second)
    assert observed.get(timeout=WATCHDOG) == second

    third = rig.publish(B42, UNLOADING)
    assert shows(rig.monitor, first, second, third)
    assert observed.get(timeout=WATCHDOG) == third
    assert [state.time for state in rig.monitor.get_log()] == [1.0, 2.0, 3.0]


@pytest.mark.case("SM-02")
def test_a_later_state_replaces_an_earlier_one_and_the_log_drops_the_oldest() -> None:
    rig = Rig(log_capacity=3)
    states = [rig.publish(A42, state) for state in (START, LOADING, AVAILABLE, LOADING)]
    assert rig.monitor.get_all_states() == {"a": {42: states[-1]}}
    assert rig.monitor.get_log() == states[1:]


@pytest.mark.case("SM-03")
def test_with_a_log_capacity_of_zero_the_log_stays_empty() -> None:
    rig = Rig(log_capacity=0)
    rig.publish(A42, LOADING)
    assert rig.monitor.get_log() == []


@pytest.mark.departs("SM-03")
def test_by_default_the_last_thousand_states_are_logged() -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    for _ in range(1001):
        bus.publish(ServableState(A42, LOADING))
    assert len(monitor.get_log()) == 1000


@pytest.mark.case("SM-04")
def test_started_and_available_versions_are_live_and_an_end_removes_the_name(rig: Rig) -> None:
    started = rig.publish(A42, START)
    assert rig.monitor.get_live_states() == {"a": {42: started}}
    available = rig.publish(A42, AVAILABLE)
    assert rig.monitor.get_live_states() == {"a": {42: available}}
    assert rig.monitor.get_available_names() == {"a"}
    ended = rig.publish(A42, END)
    assert rig.monitor.get_live_states() == {}
    assert rig.monitor.get_available_names() == frozenset()
    assert rig.monitor.get_all_states() == {"a": {42: ended}}


@pytest.mark.case("SM-06")
def test_versions_come_in_descending_order(rig: Rig) -> None:
    rig.publish(A7, START)
    rig.publish(A42, START)
    assert list(rig.monitor.get_version_states("a")) == [42, 7]


def notified(rig: Rig, *requests: str) -> queue.SimpleQueue[WaitResult]:
    results: queue.SimpleQueue[WaitResult] = queue.SimpleQueue()
    rig.monitor.notify_when(requests, AVAILABLE, results.put)
    return results


@pytest.mark.case("SM-08")
def test_without_servables_a_notification_comes_at_once_reached_and_empty(rig: Rig) -> None:
    result = notified(rig).get(timeout=WATCHDOG)
    assert result.reached
    assert result.states == {}


@pytest.mark.case("SM-09")
def test_a_version_that_becomes_available_is_reached(rig: Rig) -> None:
    results = notified(rig, "a:42")
    rig.publish(A42, LOADING)
    rig.publish(A7, AVAILABLE)
    available = rig.publish(A42, AVAILABLE)
    result = results.get(timeout=WATCHDOG)
    assert result.reached
    assert result.states == {A42: available}


@pytest.mark.case("SM-10")
def test_a_version_that_ends_with_an_error_is_not_reached_and_shown(rig: Rig) -> None:
    results = notified(rig, "a:42")
    ended = rig.publish(A42, END, InternalError("broken"))
    result = results.get(timeout=WATCHDOG)
    assert not result.reached
    assert not result.timed_out
    assert result.states == {A42: ended}


@pytest.mark.case("SM-11")
def test_the_latest_of_a_name_is_reached_by_any_available_version(rig: Rig) -> None:
    results = notified(rig, "a", "b")
    first = rig.publish(A7, AVAILABLE)
    second = rig.publish(B42, AVAILABLE)
    result = results.get(timeout=WATCHDOG)
    assert result.reached
    assert result.states == {A7: first, B42: second}


@pytest.mark.case("SM-12")
def test_the_latest_of_a_name_is_not_reached_when_it_ends(rig: Rig) -> None:
    results = notified(rig, "a")
    ended = rig.publish(A42, END)
    result = results.get(timeout=WATCHDOG)
    assert not result.reached
    assert result.states == {A42: ended}


@pytest.mark.departs("SM-12")
def test_where_a_version_is_aspired_an_end_without_an_error_decides_nothing(rig: Rig) -> None:
    rig.bus.publish(StreamAspiration("a", frozenset({42})))
    waiting = Spawned(lambda: rig.monitor.wait_until("a"))
    rig.publish(A42, START)
    rig.publish(A42, END)
    rig.publish(A42, START)
    rig.publish(A42, AVAILABLE)
    assert waiting.result().reached


@pytest.mark.case("SM-14")
def test_the_same_event_twice_notifies_once(rig: Rig) -> None:
    results = notified(rig, "a")
    rig.publish(A42, AVAILABLE)
    rig.publish(A42, AVAILABLE)
    assert results.get(timeout=WATCHDOG).reached
    after = notified(rig, "b")
    rig.publish(B42, AVAILABLE)
    assert after.get(timeout=WATCHDOG).reached
    rig.monitor.close()
    assert results.empty()
