from __future__ import annotations

import asyncio
import queue

import pytest

from servman.errors import InvalidArgumentError, ServableUnavailableError, WaitTimeoutError
from servman.events import EventBus
from servman.ids import ServableId
from servman.monitor.answer import Answer
from servman.monitor.goals import Question
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.stream import StreamView
from servman.state import ManagerState
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.monitor.feed import (
    AVAILABLE,
    END,
    FAILURE,
    LOADING,
    START,
    UNLOADING,
    bring,
    fail,
    publish,
    requests,
    view_of,
)


def came(name: str) -> StreamView:
    return view_of({1}, (1, START), (1, AVAILABLE), name=name)


def failed(name: str) -> StreamView:
    return view_of({1}, (1, START), (1, END, FAILURE), name=name)


def gone(name: str) -> StreamView:
    return view_of({1}, (1, START), (1, AVAILABLE), (1, UNLOADING), name=name)


def answer(count: int | None, *views: StreamView) -> Answer:
    answer = Answer(Question.of(["a", "b", "c"], AVAILABLE, count=count))
    for view in views:
        answer.see(view)
    return answer


@pytest.mark.parametrize(
    ("count", "views", "complete", "reached"),
    [
        (1, [], False, False),
        (1, [came("b")], True, True),
        (1, [failed("a"), failed("b")], False, False),
        (1, [failed("a"), failed("b"), failed("c")], True, False),
        (2, [came("b")], False, False),
        (2, [came("b"), came("c")], True, True),
        (2, [came("b"), failed("a")], False, False),
        (2, [came("b"), failed("a"), failed("c")], True, False),
        (2, [failed("a"), failed("c")], True, False),
        (2, [failed("a"), came("a"), failed("c")], False, False),  # it was tried again
        (2, [came("a"), gone("a"), came("b")], False, False),  # not at one moment
        (3, [came("a"), came("b"), came("c")], True, True),
        (3, [failed("a")], True, False),
        (None, [failed("a")], False, False),
        (None, [failed("a"), came("b"), came("c")], True, False),
    ],
)
def test_a_count_is_decided_when_so_many_are_there_or_no_longer_can_be(
    count: int | None, views: list[StreamView], *, complete: bool, reached: bool
) -> None:
    got = answer(count, *views)
    assert (got.complete, got.reached) == (complete, reached)


def test_looking_again_counts_nothing_twice() -> None:
    got = answer(2)
    views = {"a": came("a"), "b": failed("b")}
    for _ in range(3):
        assert not got.look(views)
    assert got.look(views | {"c": came("c")})
    assert got.reached
    assert not got.look(views | {"c": StreamView("c")})


def test_requests_on_one_stream_are_counted_one_by_one() -> None:
    question = Question.of(["m:1", "n", "m:2", "m"], AVAILABLE, count=2)
    got = Answer(question)
    assert not got.see(view_of({1, 2}))
    assert got.see(view_of({1, 2}, (1, AVAILABLE)))  # "m:1" and "m"
    assert list(got.table()) == list(requests("m:1", "n", "m:2", "m"))


@pytest.mark.parametrize("count", [0, -1, 3, True, 1.0, "1"])
def test_a_count_is_an_int_of_at_most_as_many_requests_as_there_are(
    monitor: ServableStateMonitor, count: int
) -> None:
    for call in (monitor.wait_until, monitor.wait_future):
        with pytest.raises(InvalidArgumentError, match="different requests, here 2, not"):
            call(["m", "n", "m"], count=count, timeout=0)
    with pytest.raises(InvalidArgumentError, match="count"):
        monitor.wait_until_available("m", "n", count=count, timeout=0)
    with pytest.raises(InvalidArgumentError, match="count"):
        monitor.notify_when(["m", "n"], AVAILABLE, print, count=count)


def test_any_of_nothing_can_never_come(monitor: ServableStateMonitor) -> None:
    with pytest.raises(InvalidArgumentError, match="here 0, not 1"):
        monitor.wait_until_available(count=1)


def test_a_wait_for_any_ends_with_the_first_and_tells_of_the_others(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until(["a", "b", "c"], count=1, timeout=5.0))
    clock.wait_until_parked(1)
    fail(bus, "a")
    bring(bus, "b", 1)
    result = waiting.result()
    assert result
    assert not result.timed_out
    assert result.pending == requests("c")
    assert tuple(result.reasons) == requests("a", "c")
    assert {one: state.manager_state for one, state in result.states.items()} == {
        ServableId("a", 1): END,
        ServableId("b", 1): AVAILABLE,
    }


def test_a_wait_for_any_goal_counts_as_well(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until(["a", "b"], LOADING, count=1, timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, (1, START), (1, LOADING), name="b")
    assert waiting.result()


def test_a_quorum_returns_those_that_are_available(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    bring(bus, "a", 3)
    fail(bus, "b")
    bring(bus, "c", 4)
    a, c = requests("a", "c")
    got = monitor.wait_until_available("a", "b", "c", count=2, timeout=0)
    assert got == {a: ServableId("a", 3), c: ServableId("c", 4)}


def test_a_quorum_that_can_no_longer_come_is_raised_at_once(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    waiting = Spawned(lambda: monitor.wait_until_available("a", "b", "c", count=2, timeout=5.0))
    clock.wait_until_parked(1)
    fail(bus, "a")
    bring(bus, "b", 1)
    fail(bus, "c")
    with pytest.raises(ServableUnavailableError) as raised:
        waiting.result()
    assert str(raised.value) == (
        "a, c failed, which ended the wait, as fewer than 2 of 3 can become available; missing:\n"
        "  a: a:1 failed 0.0 s ago: broken\n"
        "  c: c:1 failed 0.0 s ago: broken"
    )


def test_a_quorum_that_does_not_come_in_time_says_so(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    bring(bus, "a", 1)
    with pytest.raises(WaitTimeoutError, match="fewer than 2 of 3 were available within 0 s"):
        monitor.wait_until_available("a", "b", "c", count=2, timeout=0)


def test_tasks_futures_and_callbacks_count_as_well(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    told: queue.SimpleQueue[bool] = queue.SimpleQueue()
    future = monitor.wait_future(["a", "b"], count=1)
    monitor.notify_when(["a", "b"], AVAILABLE, lambda got: told.put(got.reached), count=1)

    async def main() -> None:
        one = asyncio.create_task(monitor.wait_until_async(["a", "b"], count=1))
        all_but_one = asyncio.create_task(monitor.wait_until_available_async("a", "b", count=1))
        await asyncio.sleep(0)
        bring(bus, "b", 2)
        assert await asyncio.wait_for(one, WATCHDOG)
        (b,) = requests("b")
        assert await asyncio.wait_for(all_but_one, WATCHDOG) == {b: ServableId("b", 2)}

    asyncio.run(main())
    assert future.result(WATCHDOG)
    later = monitor.wait_future(["a", "b"], ManagerState.AVAILABLE, count=1)
    assert later.result(0)
    assert told.get(timeout=WATCHDOG)
