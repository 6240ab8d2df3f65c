from __future__ import annotations

import logging
import threading

import pytest

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from servman.events import Event, EventBus, Subscription
from servman.ids import ServableId
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Thread


def state(version: int, manager_state: ManagerState = ManagerState.START) -> ServableState:
    return ServableState(ServableId("m", version), manager_state)


class Recording:
    """A recorder and a subscriber that keeps what it is told, and waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards `events`
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Event]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, WATCHDOG)
            return list(self.events)


class Gate:
    """A callback that says when it was entered and returns when it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.returned = threading.Event()

    def __call__(self, event: ServableState) -> None:
        self.entered.set()
        assert self.let_go.wait(WATCHDOG)
        self.returned.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall=5_000.0)


@pytest.fixture
def bus(clock: FakeClock) -> EventBus:
    return EventBus(clock=clock)


def test_a_state_is_stamped_with_the_wall_clock_of_the_bus(bus: EventBus, clock: FakeClock) -> None:
    recording = Recording()
    bus.attach(recording)
    clock.advance(2.0)
    error = ClosedError("x")
    bus.publish(ServableState(ServableId("m", 1), ManagerState.END, error, time=3.0))
    assert recording.events == [
        ServableState(ServableId("m", 1), ManagerState.END, error, time=5_002.0)
    ]


def test_an_aspiration_is_handed_on_as_it_is(bus: EventBus) -> None:
    recording = Recording()
    bus.attach(recording)
    bus.publish(StreamAspiration("m", frozenset({1})))
    assert recording.events == [StreamAspiration("m", frozenset({1}))]


def test_recorders_have_the_event_when_publish_returns_and_on_the_publishing_thread(
    bus: EventBus,
) -> None:
    threads: list[int] = []

    class Here:
        def record(self, event: Event) -> None:
            threads.append(threading.get_ident())

    bus.attach(Here())
    bus.publish(state(1))
    assert threads == [threading.get_ident()]


def test_a_detached_recorder_hears_no_more_and_others_do(bus: EventBus) -> None:
    one, other = Recording(), Recording()
    bus.attach(one)
    bus.attach(other)
    bus.detach(one)
    bus.detach(Recording())
    bus.publish(state(1))
    assert one.events == []
    assert len(other.events) == 1


def test_subscribers_get_states_only_unless_they_ask_for_aspirations(bus: EventBus) -> None:
    states, aspirations = Recording(), Recording()
    bus.subscribe(states.record)
    bus.subscribe(aspirations.record, kind=StreamAspiration)
    bus.publish(StreamAspiration("m", frozenset({1})))
    bus.publish(state(1))
    bus.publish(StreamAspiration("m", frozenset()))
    bus.close()
    assert states.events == [ServableState(ServableId("m", 1), ManagerState.START, time=5_000.0)]
    assert aspirations.events == [
        StreamAspiration("m", frozenset({1})),
        StreamAspiration("m", frozenset()),
    ]


def test_a_subscriber_gets_the_events_of_one_publisher_in_order(bus: EventBus) -> None:
    recording = Recording()
    bus.subscribe(recording.record)
    for version in range(200):
        bus.publish(state(version))
    got = recording.wait_for(200)
    assert [event.id.version for event in got if isinstance(event, ServableState)] == [*range(200)]
    bus.close()


def test_the_events_of_each_of_two_publishers_stay_in_order(bus: EventBus) -> None:
    recording = Recording()
    bus.subscribe(recording.record)

    def publish(name: str) -> None:
        for version in range(100):
            bus.publish(ServableState(ServableId(name, version), ManagerState.START))

    publishers = [Spawned(lambda name=name: publish(name)) for name in ("a", "b")]  # type: ignore[misc] # a default argument
    for publisher in publishers:
        publisher.result()
    events = [event for event in recording.wait_for(200) if isinstance(event, ServableState)]
    for name in ("a", "b"):
        assert [event.id.version for event in events if event.id.name == name] == [*range(100)]
    bus.close()


def test_a_late_subscriber_gets_no_replay(bus: EventBus) -> None:
    bus.publish(state(1))
    recording = Recording()
    bus.subscribe(recording.record)
    bus.publish(state(2))
    bus.close()
    assert [str(event) for event in recording.events] == ["m:2 START"]


def test_a_slow_subscriber_delays_neither_the_publisher_nor_others(bus: EventBus) -> None:
    slow, quick = Gate(), Recording()
    bus.subscribe(slow)
    bus.subscribe(quick.record)
    bus.publish(state(1))
    assert slow.entered.wait(WATCHDOG)
    bus.publish(state(2))
    assert len(quick.wait_for(2)) == 2
    assert not slow.returned.is_set()
    slow.let_go.set()
    bus.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_a_subscriber_that_raises_anything_is_logged_and_called_again(
    bus: EventBus, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording()

    def callback(event: ServableState) -> None:
        recording.record(event)
        raise error

    with caplog.at_level(logging.ERROR):
        bus.subscribe(callback)
        bus.publish(state(1))
        bus.publish(state(2))
        bus.close()
    assert len(recording.events) == 2
    assert "m:1 START" in caplog.text


def test_a_subscriber_may_publish_subscribe_and_unsubscribe(bus: EventBus) -> None:
    echo, inner = Recording(), Recording()
    other = bus.subscribe(lambda _: None)

    def callback(event: ServableState) -> None:
        if event.id.version == 1:
            bus.subscribe(inner.record)
            other.close()
            bus.publish(state(2))
        echo.record(event)

    bus.subscribe(callback)
    bus.publish(state(1))
    assert len(echo.wait_for(2)) == 2
    assert len(inner.wait_for(1)) == 1
    bus.close()


def test_closing_a_subscription_waits_for_a_running_callback(bus: EventBus) -> None:
    gate = Gate()
    subscription = bus.subscribe(gate)
    bus.publish(state(1))
    assert gate.entered.wait(WATCHDOG)

    def close() -> bool:
        subscription.close()
        return gate.returned.is_set()

    closing = Spawned(close)
    gate.let_go.set()
    assert closing.result()


def test_closing_a_subscription_drops_what_is_queued(bus: EventBus) -> None:
    gate, recording = Gate(), Recording()

    def callback(event: ServableState) -> None:
        recording.record(event)
        gate(event)

    subscription = bus.subscribe(callback)
    bus.publish(state(1))
    assert gate.entered.wait(WATCHDOG)
    bus.publish(state(2))
    subscription._closed = True  # as close() sets it before it waits
    gate.let_go.set()
    subscription.close()
    assert len(recording.events) == 1


def test_a_subscription_can_be_closed_from_its_own_callback(bus: EventBus) -> None:
    recording = Recording()
    subscriptions: list[Subscription] = []

    def callback(event: ServableState) -> None:
        subscriptions[0].close()
        recording.record(event)

    subscriptions.append(bus.subscribe(callback))
    bus.publish(state(1))
    recording.wait_for(1)
    bus.publish(state(2))
    subscriptions[0].close()
    assert len(recording.events) == 1


def test_closing_a_subscription_twice_is_harmless(bus: EventBus) -> None:
    subscription = bus.subscribe(lambda _: None)
    subscription.close()
    subscription.close()


def test_close_delivers_what_was_published_before_it(bus: EventBus) -> None:
    gate, recording = Gate(), Recording()

    def callback(event: ServableState) -> None:
        gate(event)
        recording.record(event)

    bus.subscribe(callback)
    for version in range(3):
        bus.publish(state(version))
    assert gate.entered.wait(WATCHDOG)
    closing = Spawned(bus.close)
    gate.let_go.set()
    closing.result()
    assert len(recording.events) == 3


def test_after_close_nothing_is_recorded_and_nobody_can_subscribe(bus: EventBus) -> None:
    recording = Recording()
    bus.attach(recording)
    bus.close()
    bus.close()
    bus.publish(state(1))
    assert recording.events == []
    with pytest.raises(ClosedError, match="subscribe before closing"):
        bus.subscribe(recording.record)


def test_close_leaves_a_callback_that_does_not_return_and_names_it(
    bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    subscription = bus.subscribe(gate)
    bus.publish(state(1))
    assert gate.entered.wait(WATCHDOG)
    bus.close(timeout=0)
    assert repr(gate) in caplog.text
    gate.let_go.set()
    subscription.close()


def test_close_from_a_callback_is_refused_and_changes_nothing(bus: EventBus) -> None:
    errors: list[Exception] = []
    recording = Recording()

    def callback(event: ServableState) -> None:
        try:
            bus.close()
        except FailedPreconditionError as error:
            errors.append(error)
        recording.record(event)

    bus.subscribe(callback)
    bus.publish(state(1))
    recording.wait_for(1)
    bus.publish(state(2))
    recording.wait_for(2)
    assert "EventBus.close()" in str(errors[0])
    bus.close()


@pytest.mark.parametrize("kind", ["ServableState", Event, object, None])
def test_a_kind_that_no_event_is_of_is_refused_and_harms_no_subscriber(
    bus: EventBus, kind: type[ServableState]
) -> None:
    recording = Recording()
    with pytest.raises(InvalidArgumentError, match="kind of an event"):
        bus.subscribe(recording.record, kind=kind)
    with bus.subscribe(recording.record):
        bus.publish(state(1))
        assert len(recording.wait_for(1)) == 1


def test_what_cannot_be_called_or_record_is_refused(bus: EventBus) -> None:
    with pytest.raises(InvalidArgumentError, match="something to call"):
        bus.subscribe("print")  # type: ignore[call-overload] # the point
    with pytest.raises(InvalidArgumentError, match="record"):
        bus.attach(print)  # type: ignore[arg-type] # the point
    bus.publish(state(1))


def test_a_subscription_without_a_thread_is_not_on_the_bus(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with pytest.raises(ResourceExhaustedError, match=r"'bus-subscriber'.*raise the limit"):
            bus.subscribe(lambda _: None)
    assert bus._subscriptions == ()


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), "5", True, 10**400])
def test_closing_refuses_what_is_no_timeout_and_changes_nothing(
    bus: EventBus, timeout: float
) -> None:
    recording = Recording()
    with bus.subscribe(recording.record) as subscription:
        with pytest.raises(InvalidArgumentError, match="timeout"):
            bus.close(timeout)
        with pytest.raises(InvalidArgumentError, match="timeout"):
            subscription.close(timeout)
        bus.publish(state(1))
        recording.wait_for(1)


def test_closing_a_subscription_leaves_a_callback_that_does_not_return_and_names_it(
    bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    subscription = bus.subscribe(gate)
    bus.publish(state(1))
    assert gate.entered.wait(WATCHDOG)
    Spawned(lambda: subscription.close(timeout=0)).result()
    assert repr(gate) in caplog.text
    gate.let_go.set()
    subscription.close(timeout=None)
    assert gate.returned.is_set()
