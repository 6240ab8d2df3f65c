from __future__ import annotations

import asyncio

import pytest

from servman.errors import InvalidArgumentError, LoadCancelledError
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.answer import Answer
from servman.monitor.monitor import ServableStateMonitor
from servman.monitor.settlement import Settlement
from servman.reasons import Reason, ReasonCode
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.monitor.feed import (
    AVAILABLE,
    END,
    FAILURE,
    LOADING,
    START,
    UNLOADING,
    Script,
    bring,
    fail,
    publish,
    requests,
    view_of,
)

CANCELLED = LoadCancelledError("not wanted")
UP_1: tuple[Script, ...] = ({1}, (1, START), (1, AVAILABLE))


@pytest.mark.parametrize(
    ("script", "pending", "decided"),
    [
        ([{1}], ["m:1"], {}),
        ([{1}, (1, START)], ["m:1"], {}),
        ([{1}, (1, START), (1, LOADING)], ["m:1"], {}),  # so what is held has not settled, either
        ([*UP_1], [], {"m:1": True}),
        ([{1, 2}, (1, AVAILABLE), (2, LOADING)], ["m:2"], {"m:1": True}),
        ([{1}, (1, START), (1, END, FAILURE)], [], {"m:1": False}),
        # what is not aspired has to go
        ([*UP_1, set()], ["m:1"], {}),
        ([*UP_1, set(), (1, UNLOADING)], ["m:1"], {}),
        ([*UP_1, set(), (1, UNLOADING), (1, END)], [], {}),
        ([*UP_1, {2}, (2, AVAILABLE)], ["m:1"], {"m:2": True}),
        ([{1}, (1, START), (1, LOADING), set(), (1, END, CANCELLED)], [], {}),
        ([{1}, (1, START), (1, END, FAILURE), set()], [], {}),
        # an END of an earlier time says nothing of what is aspired now
        ([{1}, (1, START), (1, END, FAILURE), set(), {1}], ["m:1"], {}),
        ([*UP_1, set(), (1, UNLOADING), {1}, (1, END)], ["m:1"], {}),
        # an aspired version that ended without an error comes back
        ([*UP_1, (1, UNLOADING), (1, END)], ["m:1"], {}),
        # nothing is wanted
        ([set()], [], {}),
        # nobody tells what is aspired
        ([(1, AVAILABLE)], [], {"m:1": True}),
        ([(1, LOADING)], ["m:1"], {}),
        ([(1, END)], [], {}),
        ([(1, END, CANCELLED)], [], {}),
        ([(1, END, FAILURE)], [], {"m:1": False}),
        # labels alone are no versions
        ([({"stable": 1}, {})], ["m"], {}),
    ],
)
def test_a_stream_settles_when_what_is_aspired_came_or_failed_and_all_else_ended(
    script: list[Script], pending: list[str], decided: dict[str, bool]
) -> None:
    answer = Answer(Settlement.of("m"))
    answer.look({"m": view_of(*script)})
    table = {str(request): decision for request, decision in answer.table().items()}
    assert [request for request, decision in table.items() if decision is None] == pending
    got = {request: one.reached for request, one in table.items() if one is not None}
    assert got == decided
    assert answer.complete is not bool(pending)
    assert answer.reached is (not pending and all(decided.values()))


def test_a_stream_by_name_of_which_nothing_is_known_is_pending() -> None:
    answer = Answer(Settlement.of(["m", "n"]))
    assert not answer.look({"n": view_of(*UP_1, name="n")})
    assert [str(request) for request in answer.table()] == ["m", "n:1"]
    assert answer.see(view_of(set()))


def test_without_names_all_that_are_known_have_to_settle() -> None:
    answer = Answer(Settlement.of(()))
    assert answer.complete
    assert answer.reached
    assert not answer.look({"m": view_of({1})})
    assert not answer.see(view_of({1}, name="n"))
    assert not answer.see(view_of(*UP_1))
    assert answer.see(view_of(*UP_1, name="n"))
    assert answer.reached


def test_a_stream_of_which_only_labels_are_known_is_not_on_its_way() -> None:
    assert Answer(Settlement.of(())).look({"m": view_of(({"stable": 1}, {}))})
    assert not Answer(Settlement.of("m")).look({"m": view_of(({"stable": 1}, {}))})


def test_what_is_forgotten_does_not_stay_pending() -> None:
    answer = Answer(Settlement.of(()))
    assert not answer.look({"m": view_of({1}), "n": view_of({1}, name="n")})
    assert not answer.look({"n": view_of({1}, name="n")})
    assert list(answer.table()) == list(requests("n:1"))


@pytest.mark.parametrize("names", [None, 5, "m:1", "m@stable", "", ["m", ""], [None]])
def test_what_is_no_name_is_refused(monitor: ServableStateMonitor, names: str) -> None:
    with pytest.raises(InvalidArgumentError):
        monitor.wait_until_settled(names, timeout=0)


def test_a_wait_ends_when_the_last_stream_settles(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    bring(bus, "a", 1)
    waiting = Spawned(lambda: monitor.wait_until_settled(["a", "b"], timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, {2}, (2, START), (2, AVAILABLE), name="a")
    fail(bus, "b")
    assert not waiting.done
    publish(bus, (1, UNLOADING), (1, END), name="a")
    result = waiting.result()
    assert not result  # for "b:1" has failed
    assert not result.timed_out
    assert {str(one): state.manager_state for one, state in result.states.items()} == {
        "a:2": AVAILABLE,
        "b:1": END,
    }
    assert [reason.code for reason in result.reasons.values()] == [ReasonCode.FAILED]


def test_a_wait_for_everything_follows_streams_that_come_during_the_wait(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    publish(bus, {1}, name="a")
    waiting = Spawned(lambda: monitor.wait_until_settled(timeout=5.0))
    clock.wait_until_parked(1)
    publish(bus, {1}, name="b")
    publish(bus, (1, START), (1, AVAILABLE), name="a")
    assert not Spawned(lambda: monitor.wait_until_settled(timeout=0)).result()
    assert not waiting.done
    publish(bus, (1, START), (1, AVAILABLE), name="b")
    assert set(waiting.result().states) == {ServableId("a", 1), ServableId("b", 1)}
    assert monitor._dispatcher._everywhere == {}


def test_a_wait_for_everything_where_nothing_is_on_its_way_is_over_at_once(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    assert monitor.wait_until_settled()
    bring(bus, "a", 1, 2)
    publish(bus, set(), name="b")
    assert monitor.wait_until_settled()
    assert monitor.wait_until_settled("b")
    assert monitor.wait_until_settled(["a", "b"])


def test_a_wait_that_does_not_settle_says_what_each_version_waits_for(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    bring(bus, "a", 1)
    publish(bus, {2}, (2, START), (2, LOADING), name="a")
    waiting = Spawned(lambda: monitor.wait_until_settled(["a", "nobody"], timeout=5.0))
    clock.wait_until_parked(1)
    clock.advance(5.0)
    result = waiting.result()
    assert result.timed_out
    assert result.pending == requests("a:1", "a:2", "nobody")
    assert [(reason.code, str(reason)) for reason in result.reasons.values()][:2] == [
        (ReasonCode.WAITING, "a:1 is no longer aspired, and serves until it may go"),
        (ReasonCode.LOADING, "a:2 has been loading for 5.0 s"),
    ]
    assert result.reasons[requests("nobody")[0]].code is ReasonCode.NOT_CONFIGURED


def test_what_an_explainer_says_of_a_version_on_its_way_out_is_told(
    monitor: ServableStateMonitor, bus: EventBus
) -> None:
    class Explainer:
        def explain(self, request: ServableRequest) -> Reason | None:
            return Reason(ReasonCode.WAITING_FOR_HANDLES, f"{request} waits for 1 handle")

    monitor.add_explainer(Explainer())
    bring(bus, "m", 1)
    publish(bus, set(), (1, UNLOADING))
    result = monitor.wait_until_settled("m", timeout=0)
    assert [str(reason) for reason in result.reasons.values()] == ["m:1 waits for 1 handle"]


def test_a_task_waits_as_well(monitor: ServableStateMonitor, bus: EventBus) -> None:
    async def main() -> None:
        by_name = asyncio.create_task(monitor.wait_until_settled_async("m"))
        publish(bus, {1})
        everything = asyncio.create_task(monitor.wait_until_settled_async())
        await asyncio.sleep(0)
        publish(bus, (1, START), (1, AVAILABLE))
        assert await asyncio.wait_for(by_name, WATCHDOG)
        assert await asyncio.wait_for(everything, WATCHDOG)

    asyncio.run(main())


def test_closing_the_monitor_ends_waits_for_everything(
    monitor: ServableStateMonitor, bus: EventBus, clock: FakeClock
) -> None:
    publish(bus, {1})
    waiting = Spawned(lambda: monitor.wait_until_settled(timeout=5.0))
    clock.wait_until_parked(1)
    monitor.close()
    with pytest.raises(Exception, match="closed during the wait"):
        waiting.result()
