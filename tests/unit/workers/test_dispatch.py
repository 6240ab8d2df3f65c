"""Which worker takes a call, who waits, and for how long."""

from __future__ import annotations

import contextlib

import pytest

from servman.errors import (
    ClosedError,
    ResourceExhaustedError,
    ServmanError,
    WaitTimeoutError,
    WorkerUnavailableError,
)
from servman.testing import Spawned
from tests.unit.workers.dispatching import Bench, died

# ---- which worker ------------------------------------------------------------------------------


def test_a_call_goes_to_the_worker_with_the_fewest_calls() -> None:
    bench = Bench()
    bench.add("a", 4)
    bench.add("b", 4)
    taken = [bench.take() for _ in range(4)]
    assert sorted(str(slot.key) for slot in taken) == ["a", "a", "b", "b"]
    for slot in taken:
        if slot.key == "b":
            bench.dispatcher.give_back(slot)
    assert [bench.take().key for _ in range(2)] == ["b", "b"]


def test_no_two_calls_have_one_connection() -> None:
    bench = Bench()
    bench.add("a", 3)
    slots = [bench.take() for _ in range(3)]
    assert len({slot.connection for slot in slots}) == 3
    with pytest.raises(WaitTimeoutError, match="no worker came free"):
        bench.take()


def test_a_slot_given_back_twice_takes_nothing_from_whoever_has_the_connection_now() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.give_back(slot)
    again = bench.take()
    assert again.connection is slot.connection
    bench.dispatcher.give_back(slot)
    bench.dispatcher.abandon(slot)
    assert bench.abandoned == []
    with pytest.raises(WaitTimeoutError):
        bench.take()
    assert bench.dispatcher.running("a") == 1


def test_work_that_needs_no_device_goes_to_extra_workers_first_and_then_to_replicas() -> None:
    bench = Bench()
    bench.add("device", 2)
    bench.add("extra", extra=True)
    assert [bench.take(python=True).key for _ in range(3)] == ["extra", "device", "device"]


def test_work_that_needs_a_device_never_goes_to_an_extra_worker() -> None:
    bench = Bench()
    bench.add("extra", 9, extra=True)
    waiting = bench.taking()
    assert bench.take(python=True).key == "extra"
    bench.add("device")
    assert waiting.result().key == "device"


def test_a_worker_that_is_withdrawn_gets_no_more_calls_and_finishes_those_that_run() -> None:
    bench = Bench()
    bench.add("a", 2)
    running = bench.take()
    bench.dispatcher.withdraw("a")
    assert bench.dispatcher.running("a") == 1
    with pytest.raises(WaitTimeoutError):
        bench.take()
    bench.dispatcher.give_back(running)
    with pytest.raises(WaitTimeoutError):
        bench.take()
    assert bench.dispatcher.running("a") == 0


def test_a_worker_has_worked_once_it_has_answered() -> None:
    bench = Bench()
    bench.add("a")
    bench.dispatcher.give_back(bench.take(), answered=False)
    assert not bench.dispatcher.worked("a")
    bench.dispatcher.give_back(bench.take())
    assert bench.dispatcher.worked("a")
    bench.dispatcher.remove("a", died())
    assert not bench.dispatcher.worked("a")


# ---- the line ----------------------------------------------------------------------------------


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    waiting = [bench.taking() for _ in range(3)]
    for one in waiting:
        bench.dispatcher.give_back(slot)
        slot = one.result()
        assert slot.key == "a"


def test_who_came_first_is_served_first_whatever_the_work() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    waiting = [bench.taking(python=python) for python in (False, True, False, True)]
    for one in waiting:
        bench.dispatcher.give_back(slot)
        slot = one.result()


def test_a_slot_that_the_first_in_line_cannot_use_goes_to_the_next_who_can() -> None:
    bench = Bench()
    bench.add("device")
    bench.add("extra", extra=True)
    device, extra = bench.take(), bench.take(python=True)
    first, second = bench.taking(), bench.taking(python=True)
    bench.dispatcher.give_back(extra)
    assert second.result().key == "extra"
    bench.dispatcher.give_back(device)
    assert first.result().key == "device"


def test_one_call_more_than_may_wait_is_refused_at_once() -> None:
    bench = Bench(max_queue=2)
    bench.add("a")
    slot = bench.take()
    waiting = [bench.taking(), bench.taking()]
    with pytest.raises(ResourceExhaustedError, match="m:1: 2 calls wait"):
        bench.take(timeout=None)
    for one in waiting:
        bench.dispatcher.give_back(slot)
        slot = one.result()


def test_with_no_line_a_call_runs_at_once_or_not_at_all() -> None:
    bench = Bench(max_queue=0)
    bench.add("a")
    bench.take()
    with pytest.raises(ResourceExhaustedError):
        bench.take(timeout=None)


def test_a_call_leaves_the_line_at_its_deadline_and_the_next_one_moves_up() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    first, second = bench.taking(timeout=1.0), bench.taking(timeout=9.0)
    bench.clock.advance(1.0)
    with pytest.raises(WaitTimeoutError, match="m:1: no worker came free"):
        first.result()
    assert bench.waiting == 1
    bench.dispatcher.give_back(slot)
    assert second.result().key == "a"


def test_a_slot_that_comes_at_the_deadline_is_not_lost() -> None:
    """Whether the call still takes it or not: if not, the next one has it."""
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    first, second = bench.taking(timeout=1.0), bench.taking(timeout=9.0)
    bench.clock.advance(1.0)
    bench.dispatcher.give_back(slot)
    with contextlib.suppress(WaitTimeoutError):
        bench.dispatcher.give_back(first.result())
    assert second.result().key == "a"


# ---- nothing serves ----------------------------------------------------------------------------


def test_a_call_is_held_while_nothing_serves_and_goes_on_when_something_does() -> None:
    bench = Bench(hold_timeout=5.0)
    waiting = bench.taking(timeout=None)
    bench.clock.advance(4.9)
    bench.add("a")
    assert waiting.result().key == "a"


def test_a_call_for_which_nothing_serves_is_refused_after_the_hold_and_told_why() -> None:
    bench = Bench(hold_timeout=5.0)
    waiting = bench.taking(timeout=None)
    bench.clock.advance(5.0)
    with pytest.raises(WorkerUnavailableError, match="none did for 5 s: worker 0 starts"):
        waiting.result()


def test_a_call_is_not_held_beyond_its_deadline() -> None:
    bench = Bench(hold_timeout=5.0)
    waiting = bench.taking(timeout=2.0)
    bench.clock.advance(2.0)
    with pytest.raises(WaitTimeoutError, match="before the deadline of the call: worker 0 starts"):
        waiting.result()


def test_who_waits_when_the_last_worker_goes_is_held_from_then_on() -> None:
    bench = Bench(hold_timeout=5.0)
    bench.add("a")
    bench.take()
    waiting = bench.taking(timeout=100.0)
    bench.clock.advance(50.0)
    bench.dispatcher.remove("a", died())
    bench.wait_until_parked_for(5.0)
    bench.clock.advance(5.0)
    with pytest.raises(WorkerUnavailableError):
        waiting.result()


def test_a_worker_that_is_back_ends_the_hold_though_it_is_busy() -> None:
    bench = Bench(hold_timeout=5.0)
    bench.add("a")
    bench.take()
    waiting = [bench.taking(timeout=100.0), bench.taking(timeout=200.0)]
    bench.dispatcher.remove("a", died())
    bench.wait_until_parked_for(5.0)
    bench.add("b")
    slot = waiting[0].result()
    bench.wait_until_parked_for(200.0)
    bench.clock.advance(150.0)
    bench.dispatcher.give_back(slot)
    assert waiting[1].result().key == "b"


def test_the_slots_of_a_worker_that_has_gone_are_not_given_out() -> None:
    bench = Bench()
    bench.add("a", 2)
    slot = bench.take()
    bench.dispatcher.remove("a", died())
    bench.dispatcher.remove("a", died())
    bench.dispatcher.give_back(slot)
    with pytest.raises(WaitTimeoutError):
        bench.take()


# ---- suspects ----------------------------------------------------------------------------------


def test_a_suspect_goes_only_where_another_replica_serves_beside() -> None:
    bench = Bench()
    bench.add("a", 4)
    suspect = bench.taking(suspect=True)
    assert bench.take().key == "a", "others do not wait for it"
    bench.add("b", 4)
    assert suspect.result().key == "b"


def test_a_suspect_waits_for_a_second_replica_as_long_as_that_may_take_to_start() -> None:
    bench = Bench(hold_timeout=5.0, start_timeout=60.0)
    bench.add("a", 4)
    suspect = bench.taking(suspect=True, timeout=None)
    bench.clock.advance(59.0)
    assert not suspect.done
    bench.clock.advance(1.0)
    with pytest.raises(
        WorkerUnavailableError, match="no second replica serves, and none did for 60 s"
    ):
        suspect.result()


def test_a_suspect_is_held_no_longer_than_others_once_nothing_serves() -> None:
    bench = Bench(hold_timeout=5.0, start_timeout=60.0)
    bench.add("a", 4)
    suspect = bench.taking(suspect=True, timeout=None)
    bench.clock.advance(4.0)
    bench.dispatcher.remove("a", died())
    bench.clock.advance(1.0)
    with pytest.raises(WorkerUnavailableError, match="none did for 5 s"):
        suspect.result()


def test_no_two_suspects_run_in_one_worker_nor_in_all_of_them() -> None:
    bench = Bench()
    for key in ("a", "b", "c"):
        bench.add(key, 4)
    slots = [bench.take(suspect=True) for _ in range(2)]
    assert len({slot.key for slot in slots}) == 2
    third = bench.taking(suspect=True)
    bench.dispatcher.give_back(slots[0])
    assert third.result().key == slots[0].key


def test_a_suspect_that_waits_for_another_goes_on_when_that_has_ended() -> None:
    bench = Bench()
    bench.add("a", 4)
    bench.add("b", 4)
    first = bench.take(suspect=True)
    second = bench.taking(suspect=True)
    bench.dispatcher.give_back(first)
    assert second.result().key == "a"


def test_where_one_replica_is_wanted_a_suspect_may_have_it() -> None:
    bench = Bench(several=False)
    bench.add("a", 4)
    assert bench.take(suspect=True).key == "a"
    with pytest.raises(WaitTimeoutError):
        bench.take(suspect=True)


def test_a_suspect_that_needs_no_device_may_have_an_extra_worker_beside_one_replica() -> None:
    bench = Bench()
    bench.add("a", 4)
    bench.add("extra", 4, extra=True)
    assert bench.take(suspect=True, python=True).key == "extra"
    with pytest.raises(WaitTimeoutError):
        bench.take(suspect=True)


# ---- a process dies ----------------------------------------------------------------------------


def test_who_has_lost_a_connection_is_told_how_the_process_ended() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.lost(slot)
    assert bench.lost == ["a"]
    asking = Spawned(lambda: bench.dispatcher.end_of(slot, bench.clock.monotonic() + 9.0))
    bench.clock.wait_until_parked(1)
    error = died()
    bench.dispatcher.remove("a", error)
    assert asking.result() is error
    assert bench.dispatcher.end_of(slot, 0.0) is error


def test_who_asks_how_a_process_ended_is_not_kept_beyond_the_deadline() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.lost(slot)
    asking = Spawned(lambda: bench.dispatcher.end_of(slot, bench.clock.monotonic() + 9.0))
    bench.clock.wait_until_parked(1)
    bench.clock.advance(9.0)
    assert asking.result() is None


def test_a_worker_that_has_closed_a_connection_gets_no_more_calls() -> None:
    bench = Bench()
    bench.add("a", 2)
    bench.add("b", 1)
    slot = bench.take()
    assert slot.key == "a"
    bench.dispatcher.lost(slot)
    assert bench.take().key == "b"
    with pytest.raises(WaitTimeoutError):
        bench.take()


def test_a_worker_comes_back_under_another_key_while_slots_of_the_former_are_held() -> None:
    bench = Bench()
    bench.add("a-1")
    former = bench.take()
    bench.dispatcher.remove("a-1", died())
    bench.add("a-2")
    assert bench.take().key == "a-2"
    bench.dispatcher.give_back(former)
    with pytest.raises(WaitTimeoutError):
        bench.take()


def test_connections_to_a_process_that_has_gone_are_closed_as_soon_as_no_call_has_them() -> None:
    bench = Bench()
    connections = bench.add("a", 5)
    lost, late, taken, answered = (bench.take() for _ in range(4))
    bench.dispatcher.abandon(late)
    bench.dispatcher.remove("a", died())
    held = {id(lost.connection), id(taken.connection), id(answered.connection)}
    assert {id(one) for one in connections if not one.closed} == held
    bench.dispatcher.lost(lost)
    bench.dispatcher.abandon(taken)
    bench.dispatcher.give_back(answered)
    assert all(one.closed for one in connections)


def test_connections_of_a_process_that_lives_are_never_closed() -> None:
    bench = Bench()
    connections = bench.add("a", 2)
    bench.dispatcher.give_back(bench.take())
    bench.dispatcher.lost(bench.take())
    bench.dispatcher.close()
    assert not any(one.closed for one in connections)


# ---- abandoned calls ---------------------------------------------------------------------------


def test_an_abandoned_slot_counts_as_running_until_it_is_given_back() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.abandon(slot)
    assert bench.abandoned == [slot]
    assert bench.dispatcher.running("a") == 1
    waiting = bench.taking()
    bench.dispatcher.give_back(slot)
    assert waiting.result().connection is slot.connection


def test_an_abandoned_call_ends_with_its_process() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.abandon(slot)
    bench.dispatcher.remove("a", died())
    bench.dispatcher.close()
    assert bench.dispatcher.drain(0.0)
    bench.dispatcher.give_back(slot)


def test_a_call_abandoned_after_its_process_has_ended_is_left_to_nobody() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.remove("a", died())
    bench.dispatcher.abandon(slot)
    assert bench.abandoned == []
    bench.dispatcher.close()
    assert bench.dispatcher.drain(0.0)


# ---- the end -----------------------------------------------------------------------------------


def test_closing_refuses_those_who_wait_and_those_who_come() -> None:
    bench = Bench()
    bench.add("a")
    bench.take()
    waiting = bench.taking()
    bench.dispatcher.close()
    with pytest.raises(ClosedError, match="m:1: its workers are being stopped"):
        waiting.result()
    with pytest.raises(ClosedError):
        bench.take()


def test_closing_with_an_error_raises_that_each_time_as_an_object_of_its_own() -> None:
    bench = Bench()
    error = died("m:1: given up")
    waiting = [bench.taking(), bench.taking()]
    bench.dispatcher.close(error)
    bench.dispatcher.close()
    raised: list[ServmanError] = []
    for call in (waiting[0].result, waiting[1].result, bench.take, bench.take):
        with pytest.raises(type(error), match="given up") as info:
            call()
        raised.append(info.value)
    assert len({id(one) for one in (*raised, error)}) == 5


def test_draining_waits_for_the_calls_that_run() -> None:
    bench = Bench()
    bench.add("a", 2)
    slots = [bench.take(), bench.take()]
    bench.dispatcher.close()
    draining = Spawned(lambda: bench.dispatcher.drain(bench.clock.monotonic() + 9.0))
    bench.clock.wait_until_parked(1)
    bench.dispatcher.give_back(slots[0])
    assert not draining.done
    bench.dispatcher.give_back(slots[1])
    assert draining.result()


def test_draining_ends_at_its_deadline_and_says_that_calls_still_run() -> None:
    bench = Bench()
    bench.add("a")
    bench.take()
    bench.dispatcher.close()
    draining = Spawned(lambda: bench.dispatcher.drain(bench.clock.monotonic() + 9.0))
    bench.clock.wait_until_parked(1)
    bench.clock.advance(9.0)
    assert not draining.result()


def test_draining_ends_when_the_process_of_the_last_call_dies() -> None:
    bench = Bench()
    bench.add("a")
    slot = bench.take()
    bench.dispatcher.close()
    draining = Spawned(lambda: bench.dispatcher.drain(bench.clock.monotonic() + 9.0))
    bench.clock.wait_until_parked(1)
    bench.dispatcher.remove("a", died())
    bench.dispatcher.lost(slot)
    assert draining.result()
