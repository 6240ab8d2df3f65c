from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Collection, Mapping
from typing import TypeVar

import pytest

from servman.clock import Clock
from servman.errors import FailedPreconditionError, LoadFailedError, ResourceExhaustedError
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.answer import Answer
from servman.monitor.goals import Question, decide
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.stream import StreamView
from servman.monitor.waiting import Verdict, Waiter
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Thread

T = TypeVar("T")
START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
M1, M2 = ServableId("m", 1), ServableId("m", 2)
FAILURE = LoadFailedError("broken")


def publish(bus: EventBus, id: ServableId, *states: ManagerState) -> None:
    for state in states:
        bus.publish(ServableState(id, state))


class HeldClock:
    """A clock whose mailboxes are not read while it is held: the dispatcher falls behind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.let_go = threading.Event()
        self.let_go.set()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        self._clock.wait_until(condition, deadline)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        item = self._clock.receive(mailbox, deadline)
        assert self.let_go.wait(WATCHDOG)
        return item


class Recorded(Waiter):
    """A waiter that keeps the verdict, and may do something first."""

    def __init__(self, question: Question, then: object = None) -> None:
        super().__init__(question)
        self.verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self.then = then

    def end(self, verdict: Verdict) -> None:
        if callable(self.then):
            self.then()
        self.verdicts.put(verdict)


def test_a_state_that_is_only_passed_through_is_not_missed(bus: EventBus, clock: FakeClock) -> None:
    held = HeldClock(clock)
    monitor = ServableStateMonitor(bus, clock=held)
    waiting = Spawned(lambda: monitor.wait_until("m:1", LOADING, timeout=5.0))
    clock.wait_until_parked(1)
    held.let_go.clear()
    publish(bus, M1, START, LOADING, AVAILABLE, UNLOADING, END)
    held.let_go.set()
    result = waiting.result()
    assert result
    assert result.states[M1].manager_state is LOADING
    monitor.close()


def test_events_of_before_the_wait_do_not_decide_it_even_when_they_are_still_queued(
    bus: EventBus, clock: FakeClock
) -> None:
    held = HeldClock(clock)
    monitor = ServableStateMonitor(bus, clock=held)
    first = Spawned(lambda: monitor.wait_until("m:2", timeout=50.0))
    clock.wait_until_parked(1)
    held.let_go.clear()
    publish(bus, M1, AVAILABLE, START)
    second = Spawned(lambda: monitor.wait_until("m:1", timeout=5.0))
    clock.wait_until_parked(2)
    held.let_go.set()
    publish(bus, M2, AVAILABLE)
    assert first.result()
    clock.advance(5.0)
    assert second.result().timed_out
    monitor.close()


def test_what_was_published_before_the_deadline_counts_even_when_it_is_still_queued(
    bus: EventBus, clock: FakeClock
) -> None:
    held = HeldClock(clock)
    monitor = ServableStateMonitor(bus, clock=held)
    waiting = Spawned(lambda: monitor.wait_until("m:1", timeout=5.0))
    clock.wait_until_parked(1)
    held.let_go.clear()
    publish(bus, M1, AVAILABLE)
    clock.advance(5.0)
    assert waiting.result()
    held.let_go.set()
    monitor.close()


def test_a_wait_decided_before_close_is_not_closed(bus: EventBus, clock: FakeClock) -> None:
    held = HeldClock(clock)
    monitor = ServableStateMonitor(bus, clock=held)
    waiting = Spawned(lambda: monitor.wait_until("m", timeout=5.0))
    clock.wait_until_parked(1)
    held.let_go.clear()
    publish(bus, M1, AVAILABLE)
    closing = Spawned(monitor.close)
    held.let_go.set()
    closing.result()
    assert waiting.result()


def test_a_wait_on_the_dispatchers_own_thread_is_refused(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    errors: list[Exception] = []

    def wait() -> None:
        assert monitor.wait_until(
            "n", timeout=0
        ).timed_out  # it does not last; finalisers may run here
        try:
            monitor.wait_until("n")
        except FailedPreconditionError as error:
            errors.append(error)

    waiter = Recorded(Question.of("m", AVAILABLE), wait)
    assert not monitor._waits.begin(waiter)
    publish(bus, M1, AVAILABLE)
    assert waiter.verdicts.get(timeout=WATCHDOG) is Verdict.DECIDED
    assert "monitor-waits" in str(errors[0])


def test_the_dispatcher_survives_what_cannot_happen(
    monitor: ServableStateMonitor, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> None:
        raise ValueError("boom")

    assert not monitor._waits.begin(Recorded(Question.of("m", AVAILABLE), explode))
    waiting = Spawned(lambda: monitor.wait_until("n"))
    publish(bus, M1, AVAILABLE)
    publish(bus, ServableId("n", 1), AVAILABLE)
    assert waiting.result()
    assert "boom" in caplog.text


def test_what_is_published_between_the_look_and_the_registration_is_not_lost(
    monitor: ServableStateMonitor, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_one_moment = monitor._history.at_one_moment

    def then_publish(names: Collection[str]) -> Mapping[str, StreamView]:
        monkeypatch.undo()
        streams = at_one_moment(names)
        publish(bus, M1, AVAILABLE)
        publish(bus, ServableId("n", 1), AVAILABLE)
        return streams

    monkeypatch.setattr(monitor._history, "at_one_moment", then_publish)
    waiter = Recorded(Question.of(["m", "n"], AVAILABLE))
    assert not monitor._waits.begin(waiter)
    assert waiter.verdicts.get(timeout=WATCHDOG) is Verdict.DECIDED
    assert waiter.answer.reached


def test_several_streams_are_looked_at_at_one_moment(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    publish(bus, M1, AVAILABLE)
    table = monitor._history.at_one_moment(["m", "n"])
    publish(bus, M1, UNLOADING)
    publish(bus, ServableId("n", 1), AVAILABLE)
    answer = Answer(Question.of(["m", "n"], AVAILABLE))
    assert not answer.look(table)
    assert [decision.state.id for decision in answer.decisions.values()] == [M1]


def test_no_publisher_waits_for_a_wait_that_is_being_registered_or_withdrawn(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    names = [f"m{number}" for number in range(5)]
    waiter = Recorded(Question.of(names, AVAILABLE))
    for change in (monitor._waits.begin, monitor._dispatcher.withdraw):
        with monitor._dispatcher._lock:  # it is at it
            changing = Spawned(lambda change=change: change(waiter))  # type: ignore[misc] # mypy: lambda default
            Spawned(lambda: publish(bus, ServableId("m0", 1), START)).result()
            assert not changing.done
        changing.result()
        assert waiter.registered == (change == monitor._waits.begin)


def test_a_wait_that_cannot_be_registered_leaves_nothing_behind(
    monitor: ServableStateMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    waiter = Recorded(Question.of(["m", "n"], AVAILABLE))
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with pytest.raises(ResourceExhaustedError, match="monitor-waits"):
            monitor._waits.begin(waiter)
    assert monitor._dispatcher._waiters == {}
    assert not waiter.registered


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit("boom")])
def test_the_dispatcher_survives_whatever_it_meets(
    monitor: ServableStateMonitor,
    bus: EventBus,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def explode(view: StreamView) -> bool:
        raise error

    waiter = Recorded(Question.of("m", AVAILABLE))
    monkeypatch.setattr(waiter.answer, "see", explode)
    monkeypatch.setattr(waiter.answer, "look", lambda _: False)
    assert not monitor._waits.begin(waiter)
    waiting = Spawned(lambda: monitor.wait_until("n"))
    publish(bus, M1, AVAILABLE)
    publish(bus, ServableId("n", 1), AVAILABLE)
    assert waiting.result()
    assert "boom" in caplog.text


def test_publishing_where_nobody_waits_posts_nothing(bus: EventBus, clock: FakeClock) -> None:
    held = HeldClock(clock)
    monitor = ServableStateMonitor(bus, clock=held)
    waiting = Spawned(lambda: monitor.wait_until("m", timeout=5.0))
    clock.wait_until_parked(1)
    held.let_go.clear()
    for version in range(10):
        publish(bus, ServableId("other", version), START)
    assert monitor._dispatcher._mailbox.empty()
    held.let_go.set()
    publish(bus, M1, AVAILABLE)
    assert waiting.result()
    monitor.close()


def test_at_random_moments_every_wait_is_decided_by_the_first_event_that_decides_it(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201 -- to run it again
    chance = random.Random(seed)  # noqa: S311 -- chance, not secrecy
    view = StreamView("m")
    expected: list[tuple[Recorded, ServableRequest, ManagerState, ServableState | None]] = []
    for _ in range(300):
        if chance.random() < 0.3:
            request = ServableRequest.parse(chance.choice(["m", "m:1", "m:newest", "m:earliest"]))
            goal = chance.choice([START, LOADING, AVAILABLE, AVAILABLE, END])
            if decide(request, goal, view) is None:
                waiter = Recorded(Question((request,), goal))
                assert not monitor._waits.begin(waiter)
                expected.append((waiter, request, goal, None))
        event = random_event(chance)
        bus.publish(event)
        view = monitor._history.view("m")
        for index, (waiter, request, goal, state) in enumerate(expected):
            decision = decide(request, goal, view)
            if state is None and decision is not None:
                expected[index] = (waiter, request, goal, decision.state)
    for waiter, request, _, state in expected:
        if state is not None:
            assert waiter.verdicts.get(timeout=WATCHDOG) is Verdict.DECIDED
            assert waiter.answer.decisions[request].state is state
    monitor.close()
    for waiter, _, _, state in expected:
        if state is None:
            assert waiter.verdicts.get(timeout=WATCHDOG) is Verdict.CLOSED
        assert waiter.verdicts.empty()


def random_event(chance: random.Random) -> ServableState | StreamAspiration:
    if chance.random() < 0.3:
        return StreamAspiration("m", frozenset(chance.sample(range(4), chance.randrange(4))))
    state = chance.choice(list(ManagerState))
    error = FAILURE if state is END and chance.random() < 0.7 else None
    return ServableState(ServableId("m", chance.randrange(4)), state, error)
