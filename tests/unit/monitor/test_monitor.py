from __future__ import annotations

import threading

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError, LoadFailedError
from servman.events import EventBus
from servman.ids import ServableId
from servman.monitor.monitor import ServableStateMonitor
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState


def publish(bus: EventBus, name: str, version: int, *states: ManagerState) -> None:
    for state in states:
        bus.publish(ServableState(ServableId(name, version), state))


def aspire(bus: EventBus, name: str, *versions: int) -> None:
    bus.publish(StreamAspiration(name, frozenset(versions)))


def test_of_what_was_never_published_nothing_is_known(monitor: ServableStateMonitor) -> None:
    assert monitor.get_state(ServableId("m", 1)) is None
    assert monitor.get_version_states("m") == {}
    assert monitor.get_all_states() == {}
    assert monitor.get_live_states() == {}
    assert monitor.get_available_names() == frozenset()
    assert monitor.get_log() == []


def test_the_last_state_wins_without_a_check_of_the_order(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, "m", 1, AVAILABLE, LOADING)
    state = monitor.get_state(ServableId("m", 1))
    assert state == ServableState(ServableId("m", 1), LOADING, time=5_000.0)


def test_versions_come_newest_first_everywhere(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    for version in (7, 42, 3):
        publish(bus, "m", version, START)
    assert list(monitor.get_version_states("m")) == [42, 7, 3]
    assert list(monitor.get_all_states()["m"]) == [42, 7, 3]
    assert list(monitor.get_live_states()["m"]) == [42, 7, 3]


def test_what_getters_return_is_the_callers_own(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, "m", 1, START)
    monitor.get_version_states("m").clear()
    monitor.get_all_states()["m"].clear()
    monitor.get_live_states().clear()
    monitor.get_log().clear()
    assert list(monitor.get_version_states("m")) == [1]
    assert len(monitor.get_log()) == 1


def test_live_is_what_has_not_ended_and_available_what_serves(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, "a", 1, AVAILABLE)
    publish(bus, "a", 2, END)
    publish(bus, "b", 1, UNLOADING)
    publish(bus, "c", 1, END)
    assert {name: [*states] for name, states in monitor.get_live_states().items()} == {
        "a": [1],
        "b": [1],
    }
    assert monitor.get_available_names() == {"a"}
    assert set(monitor.get_all_states()) == {"a", "b", "c"}


def test_a_stream_that_is_only_aspired_has_no_states_yet(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    aspire(bus, "m", 1)
    assert monitor.get_all_states() == {}
    assert monitor.get_log() == []


def test_the_log_keeps_the_last_states_oldest_first(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus, log_capacity=2)
    publish(bus, "m", 1, START, LOADING, AVAILABLE)
    assert [state.manager_state for state in monitor.get_log()] == [LOADING, AVAILABLE]


def test_forgetting_drops_what_ended_and_is_not_aspired(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    aspire(bus, "a", 1)
    for name, version in (("a", 1), ("a", 2), ("gone", 1)):
        publish(bus, name, version, END)
    publish(bus, "live", 1, AVAILABLE)
    monitor.forget_ended()
    assert {name: [*states] for name, states in monitor.get_all_states().items()} == {
        "a": [1],
        "live": [1],
    }


def test_streams_that_nobody_aspires_are_forgotten_when_asked_to(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus)
    for name in ("unaspired", "forgotten"):
        aspire(bus, name, 1)
    aspire(bus, "unaspired")
    publish(bus, "forgotten", 1, START, END)
    aspire(bus, "forgotten")
    assert monitor._history.names() == ("unaspired", "forgotten")
    monitor.forget_ended()
    assert monitor._history.names() == ()


def test_ended_versions_do_not_accumulate(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus, ended_capacity=3)
    for version in range(50):
        aspire(bus, "m", version)
        publish(bus, "m", version, START, LOADING, AVAILABLE, UNLOADING, END)
    assert list(monitor.get_version_states("m")) == [49, 48, 47, 46]


def test_streams_that_came_and_went_do_not_accumulate(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus, ended_streams_capacity=2)
    aspire(bus, "wanted", 1)
    publish(bus, "wanted", 1, END)
    publish(bus, "live", 1, AVAILABLE)
    publish(bus, "live", 2, END)
    for number in range(50):
        aspire(bus, f"m{number}", 1)
        publish(bus, f"m{number}", 1, START, AVAILABLE)
        aspire(bus, f"m{number}")
        publish(bus, f"m{number}", 1, UNLOADING, END)
        aspire(bus, f"nothing{number}")
    assert set(monitor._history.names()) == {"wanted", "live", "m49", "nothing49"}
    assert len(monitor._history._ended) == 2


def test_a_stream_that_comes_back_or_ends_again_is_not_the_oldest(bus: EventBus) -> None:
    monitor = ServableStateMonitor(bus, ended_streams_capacity=2)
    for name in ("back", "again", "oldest"):
        if name == "oldest":
            aspire(bus, "back", 1)
        publish(bus, name, 1, END)
    publish(bus, "again", 2, END)
    publish(bus, "newest", 1, END)
    assert set(monitor._history.names()) == {"back", "again", "newest"}
    monitor.forget_ended()
    assert monitor._history.names() == ("back",)
    assert len(monitor._history._ended) == 0


@pytest.mark.parametrize("capacity", [-1, True, 1.5, None])
def test_a_log_capacity_is_an_int_and_not_negative(bus: EventBus, capacity: object) -> None:
    with pytest.raises(InvalidArgumentError, match="log_capacity"):
        ServableStateMonitor(bus, log_capacity=capacity)  # type: ignore[arg-type] # the point


def test_at_least_one_ended_version_is_remembered(bus: EventBus) -> None:
    with pytest.raises(InvalidArgumentError, match="ended_capacity"):
        ServableStateMonitor(bus, ended_capacity=0)
    with pytest.raises(InvalidArgumentError, match="ended_streams_capacity"):
        ServableStateMonitor(bus, ended_streams_capacity=0)


@pytest.mark.parametrize("id", ["m:1", None, ("m", 1)])
def test_a_state_is_asked_for_with_an_id(monitor: ServableStateMonitor, id: ServableId) -> None:
    with pytest.raises(InvalidArgumentError, match="ServableId"):
        monitor.get_state(id)


def test_getters_answer_while_the_lock_is_held(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, "m", 1, AVAILABLE)
    with monitor._lock:
        assert Spawned(lambda: monitor.get_state(ServableId("m", 1))).result() is not None
        assert Spawned(lambda: monitor.get_version_states("m")).result()
        assert Spawned(monitor.get_all_states).result()
        assert Spawned(monitor.get_available_names).result()
        assert Spawned(monitor.get_log).result()


def test_a_monitor_starts_no_thread_before_somebody_waits(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    before = threading.active_count()
    publish(bus, "m", 1, AVAILABLE)
    assert monitor.wait_until("m", timeout=5.0)
    assert not monitor.wait_until("other", timeout=0)
    assert threading.active_count() == before


def test_a_closed_monitor_records_no_more_and_keeps_answering(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, "m", 1, AVAILABLE)
    monitor.close()
    monitor.close()
    publish(bus, "m", 2, AVAILABLE)
    assert list(monitor.get_version_states("m")) == [1]
    assert monitor.get_available_names() == {"m"}


def test_close_is_refused_on_a_thread_of_servmans_own(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    errors: list[Exception] = []

    def callback(_: object) -> None:
        try:
            monitor.close()
        except FailedPreconditionError as error:
            errors.append(error)

    with bus.subscribe(callback):
        publish(bus, "m", 1, START)
        bus.close()
    assert "ServableStateMonitor.close()" in str(errors[0])
    publish(bus, "m", 1, AVAILABLE)
    assert not monitor._dispatcher._closed


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), "5", True, 10**400])
def test_close_refuses_what_is_no_timeout(monitor: ServableStateMonitor, timeout: object) -> None:
    with pytest.raises(InvalidArgumentError):
        monitor.close(timeout)  # type: ignore[arg-type] # the point


def test_monitors_on_one_bus_are_independent(bus: EventBus, clock: FakeClock) -> None:
    one, other = ServableStateMonitor(bus, clock=clock), ServableStateMonitor(bus, clock=clock)
    one.close()
    bus.publish(ServableState(ServableId("m", 1), END, LoadFailedError("broken")))
    assert one.get_all_states() == {}
    assert set(other.get_all_states()) == {"m"}
