"""What is done about workers that start, die, hang, or are to end."""

from __future__ import annotations

import pytest

from servman.errors import (
    ClosedError,
    InternalError,
    LoadCancelledError,
    LoadFailedError,
    ResourceExhaustedError,
    WorkerDiedError,
)
from servman.worker_state import WorkerState
from servman.workers.supervision import OVERSLEPT
from servman.workers.turns import (
    Abandon,
    Admit,
    BecameReady,
    CallAbandoned,
    CallReturned,
    Child,
    Closed,
    CloseRequested,
    ConnectionLost,
    Died,
    Event,
    GaveUp,
    HeartBeat,
    Kill,
    Loaded,
    LoadRefused,
    SendUnload,
    Spawn,
    SpawnFailed,
    StartCancelled,
    StartFailed,
    Terminate,
    TimePassed,
    Unloaded,
    Withdraw,
)
from servman.workers.worker import LOST_GRACE, REAP_GRACE, TERM_GRACE
from tests.unit.workers.supervising import DEATH, Ward, options

REFUSAL = LoadFailedError("m:1: no such file")


# The start


def test_a_start_starts_every_worker() -> None:
    ward = Ward(options(2, num_parallel_workers=3))
    assert ward.start() == [Spawn(Child(index, 1)) for index in range(3)]
    assert {ward.state(index) for index in range(3)} == {WorkerState.STARTING}


def test_a_version_is_loaded_when_every_worker_is_ready() -> None:
    ward = Ward(options(1, num_parallel_workers=2))
    ward.start()
    assert ward.ready(0) == [Admit(Child(0, 1))]
    assert ward.ready(1) == [Admit(Child(1, 1)), Loaded()]


def test_a_version_is_loaded_when_the_least_number_of_replicas_is_ready() -> None:
    ward = Ward(options(3, min_replicas=2, num_parallel_workers=4))
    ward.start()
    ward.ready(3)  # an extra worker, which is no replica
    ward.ready(0)
    assert ward.said_of(Loaded) == []
    assert Loaded() in ward.ready(1)
    ward.ready(2)
    assert len(ward.said_of(Loaded)) == 1


def test_the_first_failure_ends_the_start_of_all() -> None:
    ward = Ward(options(3))
    ward.start()
    ward.ready(0)
    effects = ward.refuse(REFUSAL, 1)
    assert {effect.child.index for effect in effects if isinstance(effect, Kill)} == {0, 1, 2}
    assert Withdraw(Child(0, 1)) in effects


def test_a_failed_start_is_told_when_no_process_is_left_with_what_the_worker_said() -> None:
    ward = Ward(options(2))
    ward.start()
    ward.refuse(REFUSAL, 1)
    assert ward.die(1) == []
    assert ward.die(0) == [StartFailed(REFUSAL)]
    assert {ward.state(0), ward.state(1)} == {WorkerState.STOPPED}
    assert ward.supervision.wake_at() is None


def test_a_death_before_it_is_ready_fails_the_start() -> None:
    ward = Ward()
    ward.start()
    assert ward.die() == [StartFailed(DEATH)]


def test_a_death_before_the_others_are_ready_fails_the_start() -> None:
    ward = Ward(options(2))
    ward.start()
    ward.ready(0)
    ward.die(0)
    assert ward.die(1) == [StartFailed(DEATH)]


def test_a_worker_that_closes_its_connections_as_it_dies_fails_the_start_with_its_own_death() -> (
    None
):
    ward = Ward(options(2))
    ward.start()
    assert ward.tell(ConnectionLost(ward.child(0))) == []
    killed = ward.die(0)
    assert [effect.child.index for effect in killed if isinstance(effect, Kill)] == [1]
    assert ward.die(1, WorkerDiedError("stopped")) == [StartFailed(DEATH)]


def test_a_process_that_the_system_refuses_fails_the_start() -> None:
    ward = Ward()
    ward.start()
    error = ResourceExhaustedError("no descriptor is left")
    assert ward.tell(SpawnFailed(ward.child(), error)) == [StartFailed(error)]


def test_a_worker_that_does_not_become_ready_is_killed_and_fails_the_start() -> None:
    ward = Ward(options(start_timeout=600.0))
    ward.start()
    assert ward.pass_time(599.0) == []
    (killed,) = ward.pass_time(1.0)
    assert isinstance(killed, Kill)
    assert "600 s (start_timeout)" in killed.why
    assert ward.die() == [StartFailed(DEATH)]


def test_a_failure_that_leaves_enough_replicas_fails_no_start_and_is_made_up_for_later() -> None:
    ward = Ward(options(2, min_replicas=1))
    ward.start()
    ward.refuse(REFUSAL, 0)
    ward.die(0)
    assert ward.pass_time(60.0) == []  # the start of the others comes first
    assert ward.ready(1) == [Admit(Child(1, 1)), Loaded(), Spawn(Child(0, 2))]


def test_a_start_fails_when_the_last_replica_that_could_be_ready_fails() -> None:
    ward = Ward(options(2, min_replicas=1))
    ward.start()
    ward.refuse(REFUSAL, 0)
    ward.die(0)
    assert ward.die(1) == [StartFailed(REFUSAL)]


def test_a_cancelled_start_kills_all_and_is_told_when_they_are_gone() -> None:
    ward = Ward(options(2))
    ward.start()
    ward.ready(0)
    error = LoadCancelledError("m:1: not wanted")
    assert len([each for each in ward.tell(StartCancelled(error)) if isinstance(each, Kill)]) == 2
    ward.die(0)
    assert ward.die(1) == [StartFailed(error)]


def test_what_is_loaded_cannot_be_cancelled() -> None:
    ward = Ward()
    ward.serve()
    assert ward.tell(StartCancelled(LoadCancelledError("late"))) == []
    assert ward.state() is WorkerState.READY


def test_a_close_during_the_start_ends_both() -> None:
    ward = Ward()
    ward.start()
    assert isinstance(ward.close()[0], Kill)
    failed, closed = ward.die()
    assert isinstance(failed, StartFailed)
    assert isinstance(failed.error, ClosedError)
    assert closed == Closed(None)


# Replacing


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_that_exits_is_replaced_whatever_its_exit_code(code: int) -> None:
    ward = Ward(options(2))
    ward.serve()
    assert ward.die(1, WorkerDiedError(f"exited with code {code}", exit_code=code)) == []
    assert ward.state(1) is WorkerState.WAITING
    assert ward.pass_time(1.0) == [Spawn(Child(1, 2))]
    ward.ready(1)
    worker = ward.supervision.workers[1]
    assert (worker.restarts, worker.state) == (1, WorkerState.READY)
    assert str(worker.error) == f"exited with code {code}"  # kept, for people


def test_the_system_may_refuse_a_process_once() -> None:
    ward = Ward(options(2))
    ward.serve()
    ward.die(0)
    ward.pass_time(1.0)
    ward.tell(SpawnFailed(ward.child(0), ResourceExhaustedError("none left")))
    assert ward.pass_time(2.0) == [Spawn(Child(0, 3))]


def _gaps(ward: Ward, deaths: int, *, worked: bool = False) -> list[float]:
    gaps = []
    for _ in range(deaths):
        died = ward.now
        ward.die(0, worked=worked)
        ward.wait()
        gaps.append(ward.now - died)
        ward.ready(0)
    return gaps


def test_the_pauses_grow_while_no_call_is_answered() -> None:
    ward = Ward(options(2))
    ward.serve()
    assert _gaps(ward, 5) == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_what_has_answered_a_call_is_replaced_at_once_and_begins_the_pauses_anew() -> None:
    ward = Ward(options(2))
    ward.serve()
    assert _gaps(ward, 3) == [1.0, 2.0, 4.0]
    for _ in range(2):
        assert ward.die(0, worked=True) == [Spawn(ward.child())]
        ward.ready(0)
    assert _gaps(ward, 2) == [1.0, 2.0]


def test_what_has_served_for_long_is_replaced_at_once_too() -> None:
    ward = Ward(options(2, heartbeat_timeout=1e6, restart_window=60.0))
    ward.serve()
    assert _gaps(ward, 3) == [1.0, 2.0, 4.0]
    ward.pass_time(60.0)
    assert ward.die(0) == [Spawn(ward.child())]


def test_chance_shortens_a_pause() -> None:
    ward = Ward(options(restart_backoff=options().restart_backoff), chance=lambda: 0.5)
    ward.serve()
    ward.die()
    assert ward.supervision.wake_at() == ward.now + 1.0  # jitter is 0 here
    ward = Ward(
        options(restart_backoff=type(options().restart_backoff)(initial=1.0, jitter=1.0)),
        chance=lambda: 0.25,
    )
    ward.serve()
    ward.die()
    assert ward.supervision.wake_at() == ward.now + 0.75


# The budget


def test_a_version_whose_sole_worker_dies_at_once_for_ever_is_given_up_with_its_last_error() -> (
    None
):
    ward = Ward(options(max_restarts=3))
    ward.serve()
    for _ in range(3):
        ward.die()
        ward.wait()
        ward.ready()
    last = WorkerDiedError("m:1: the last one", exit_code=3, log_tail="out of memory")
    (gave_up,) = ward.die(0, last)
    assert isinstance(gave_up, GaveUp)
    assert isinstance(gave_up.error, WorkerDiedError)
    assert str(last) in str(gave_up.error)
    assert "3 in 60 s" in str(gave_up.error)
    assert (gave_up.error.exit_code, gave_up.error.log_tail) == (3, "out of memory")
    assert ward.state() is WorkerState.GIVEN_UP
    assert ward.supervision.wake_at() is None
    assert ward.close() == [Closed(None)]


def test_the_budget_is_spent_however_slow_the_starts_are() -> None:
    ward = Ward(options(max_restarts=3, restart_window=60.0, start_timeout=1e6))
    ward.serve()
    for _ in range(3):
        ward.die()
        ward.wait()
        ward.pass_time(500.0)
        ward.ready()
    assert [type(effect) for effect in ward.die()] == [GaveUp]


def test_the_budget_of_a_replica_does_not_come_back_while_only_an_extra_worker_serves() -> None:
    patient = {"start_timeout": 1e6, "heartbeat_timeout": 1e6}
    ward = Ward(options(1, num_parallel_workers=2, max_restarts=1, restart_window=60.0, **patient))
    ward.serve()
    ward.die(0)
    ward.wait()
    ward.pass_time(500.0)
    ward.ready(0)
    assert isinstance(ward.die(0)[0], GaveUp)


def test_a_budget_comes_back_with_the_time_for_which_the_version_serves() -> None:
    ward = Ward(options(max_restarts=1, restart_window=60.0, heartbeat_timeout=1e6))
    ward.serve()
    for _ in range(5):
        ward.pass_time(61.0)
        assert ward.die() == [Spawn(ward.child())]
        ward.ready()
    assert ward.said_of(GaveUp) == []


def test_a_worker_without_budget_goes_on_at_its_pace_while_another_serves() -> None:
    ward = Ward(options(2, max_restarts=2, restart_window=60.0, heartbeat_timeout=1e6))
    ward.serve()
    begun = ward.now
    spawned = []
    for _ in range(6):
        ward.die(0)
        ward.wait()
        spawned.append(ward.now - begun)
        ward.ready(0)
    assert spawned == [1.0, 3.0, 61.0, 69.0, 121.0, 129.0]
    assert ward.said_of(GaveUp) == []


def test_a_version_is_not_given_up_while_a_replica_may_be_started() -> None:
    ward = Ward(options(2, max_restarts=1))
    ward.serve()
    _gaps(ward, 1)
    ward.die(0)  # its budget is spent
    assert ward.die(1) == []  # but not that of this one
    assert ward.pass_time(1.0) == [Spawn(Child(1, 2))]
    assert [type(effect) for effect in ward.die(1)] == [GaveUp]


def test_no_restart_at_all_gives_up_at_the_first_death() -> None:
    ward = Ward(options(max_restarts=0))
    ward.serve()
    assert [type(effect) for effect in ward.die()] == [GaveUp]


def test_an_extra_worker_ends_no_version() -> None:
    ward = Ward(options(1, num_parallel_workers=2, max_restarts=0))
    ward.serve()
    assert ward.die(1) == []
    assert ward.state(0) is WorkerState.READY


def test_the_extra_workers_of_a_version_that_is_given_up_are_killed() -> None:
    ward = Ward(options(1, num_parallel_workers=2, max_restarts=0))
    ward.serve()
    gave_up, withdraw, kill = ward.die(0)
    assert isinstance(gave_up, GaveUp)
    assert withdraw == Withdraw(Child(1, 1))
    assert isinstance(kill, Kill)
    ward.die(1)
    assert ward.state(1) is WorkerState.GIVEN_UP


# Processes that are ended


def test_a_worker_that_is_not_heard_of_is_killed_and_replaced() -> None:
    ward = Ward(options(heartbeat_timeout=30.0))
    ward.serve()
    ward.pass_time(29.0)
    ward.tell(HeartBeat(ward.child()))
    assert ward.pass_time(29.0) == []
    withdraw, kill = ward.pass_time(1.0)
    assert withdraw == Withdraw(ward.child())
    assert isinstance(kill, Kill)
    assert "30 s (heartbeat_timeout)" in kill.why
    ward.die()
    assert ward.pass_time(1.0) == [Spawn(Child(0, 2))]


def test_a_worker_that_does_not_end_a_call_is_killed() -> None:
    ward = Ward(options(heartbeat_timeout=1e6, hang_timeout=5.0))
    ward.serve()
    ward.tell(CallAbandoned(ward.child(), 1))
    assert ward.pass_time(4.0) == []
    _, kill = ward.pass_time(1.0)
    assert isinstance(kill, Kill)
    assert "5 s after its deadline (hang_timeout)" in kill.why


def test_a_call_that_comes_back_late_costs_no_worker() -> None:
    ward = Ward(options(heartbeat_timeout=1e6, hang_timeout=5.0))
    ward.serve()
    ward.tell(CallAbandoned(ward.child(), 1))
    ward.pass_time(3.0)
    ward.tell(CallAbandoned(ward.child(), 2))
    ward.tell(CallReturned(ward.child(), 1))
    assert ward.pass_time(4.0) == []
    assert any(isinstance(effect, Kill) for effect in ward.pass_time(1.0))  # the other one


def test_a_worker_that_closes_a_connection_and_lives_on_is_killed() -> None:
    ward = Ward()
    ward.serve()
    assert ward.tell(ConnectionLost(ward.child())) == [Withdraw(ward.child())]
    (kill,) = ward.pass_time(LOST_GRACE)
    assert isinstance(kill, Kill)
    assert "closed its connections" in kill.why


def test_a_worker_that_closes_its_connections_as_it_ends_is_not_killed() -> None:
    ward = Ward()
    ward.serve()
    ward.tell(ConnectionLost(ward.child()))
    ward.die()
    assert ward.pass_time(60.0) == [Spawn(Child(0, 2))]
    assert ward.said_of(Kill) == []


def test_sigkill_is_sent_again_to_what_does_not_go() -> None:
    ward = Ward(options(heartbeat_timeout=30.0))
    ward.serve()
    ward.pass_time(30.0)
    assert len(ward.said_of(Kill)) == 1
    ward.pass_time(REAP_GRACE)
    assert len(ward.said_of(Kill)) == 2
    assert len(ward.said_of(Spawn)) == 1  # never two processes of one worker


def test_time_in_which_the_host_stood_still_is_not_held_against_a_worker() -> None:
    ward = Ward(options(heartbeat_timeout=30.0))
    ward.serve()
    ward.now += 30.0 + OVERSLEPT
    assert ward.tell(TimePassed()) == []
    assert ward.pass_time(0.9) == []
    assert ward.pass_time(0.1) != []  # one heartbeat was waited for


# Late events


@pytest.mark.parametrize(
    "event",
    [
        BecameReady(Child(0, 1)),
        LoadRefused(Child(0, 1), REFUSAL),
        SpawnFailed(Child(0, 1), REFUSAL),
        HeartBeat(Child(0, 1)),
        CallAbandoned(Child(0, 1), 7),
        CallReturned(Child(0, 1), 7),
        ConnectionLost(Child(0, 1)),
        Unloaded(Child(0, 1), None),
        Died(Child(0, 1), DEATH, worked=True),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_late_event_of_an_earlier_process_changes_nothing(event: Event) -> None:
    ward = Ward(options(hang_timeout=5.0))
    ward.serve()
    ward.die()
    before = ward.supervision.wake_at()
    assert ward.tell(event) == []  # between two processes
    assert ward.supervision.wake_at() == before
    ward.wait()
    for state in (WorkerState.STARTING, WorkerState.READY):
        before = ward.supervision.wake_at()
        assert ward.tell(event) == []
        assert (ward.state(), ward.supervision.wake_at()) == (state, before)
        ward.ready()


def test_a_worker_that_is_being_killed_cannot_become_ready() -> None:
    ward = Ward(options(start_timeout=5.0))
    ward.start()
    ward.pass_time(5.0)
    assert ward.ready() == []
    assert ward.state() is WorkerState.STOPPING


# The end


def test_a_close_unloads_and_is_told_when_all_have_ended() -> None:
    ward = Ward(options(2))
    ward.serve()
    first, second = ward.child(0), ward.child(1)
    assert ward.close() == [
        Withdraw(first),
        SendUnload(first),
        Withdraw(second),
        SendUnload(second),
    ]
    for index in (0, 1):
        ward.tell(Unloaded(ward.child(index), None))
        ward.die(index)
    assert ward.said[-1] == Closed(None)
    assert ward.state() is WorkerState.STOPPED
    assert ward.pass_time(1e6) == []


def test_a_worker_that_does_not_unload_gets_sigterm_then_sigkill() -> None:
    ward = Ward(options(stop_timeout=10.0))
    ward.serve()
    ward.close()
    assert ward.pass_time(9.9) == []
    (terminate,) = ward.pass_time(0.1)
    assert isinstance(terminate, Terminate)
    (kill,) = ward.pass_time(TERM_GRACE)
    assert isinstance(kill, Kill)
    assert "10 s (stop_timeout)" in kill.why
    assert ward.die() == [Closed(DEATH)]


def test_what_not_even_sigkill_ends_is_left_with_an_error_that_says_so() -> None:
    ward = Ward(options(stop_timeout=10.0))
    ward.serve()
    ward.close()
    abandon, closed = ward.pass_time(10.0 + TERM_GRACE + REAP_GRACE)[-2:]
    assert abandon == Abandon(Child(0, 1))
    assert isinstance(closed, Closed)
    assert isinstance(closed.error, InternalError)
    assert "after SIGKILL" in str(closed.error)


def test_a_worker_that_is_busy_at_the_close_is_ended_by_force() -> None:
    ward = Ward(options(2))
    ward.serve()
    busy, idle = ward.child(0), ward.child(1)
    effects = ward.tell(CloseRequested(frozenset({busy})))
    assert [type(effect) for effect in effects] == [Withdraw, Terminate, Withdraw, SendUnload]
    assert SendUnload(idle) in effects


def test_the_first_error_of_an_unload_is_told() -> None:
    ward = Ward(options(2))
    ward.serve()
    ward.close()
    error = LoadFailedError("m:1: unload raised")
    ward.tell(Unloaded(ward.child(0), error))
    ward.die(0)
    ward.tell(Unloaded(ward.child(1), None))
    assert ward.die(1) == [Closed(error)]


def test_a_death_before_the_unload_has_ended_is_told() -> None:
    ward = Ward()
    ward.serve()
    ward.close()
    assert ward.die() == [Closed(DEATH)]


def test_a_death_before_the_close_is_no_error_of_the_close() -> None:
    ward = Ward(options(2))
    ward.serve()
    ward.die(0)
    ward.close()
    ward.tell(Unloaded(ward.child(1), None))
    assert ward.die(1) == [Closed(None)]


def test_a_process_that_starts_at_the_close_is_killed() -> None:
    ward = Ward(options(2))
    ward.serve()
    ward.die(0)
    ward.wait()
    assert isinstance(ward.close()[0], Kill)
    assert ward.ready(0) == []


def test_a_second_close_changes_nothing() -> None:
    ward = Ward()
    ward.serve()
    ward.close()
    before = ward.supervision.wake_at()
    assert ward.close() == []
    assert ward.supervision.wake_at() == before
    ward.tell(Unloaded(ward.child(), None))
    ward.die()
    assert len(ward.said_of(Closed)) == 1


def test_nothing_that_was_never_started_needs_an_end() -> None:
    assert Ward().close() == [Closed(None)]


def test_a_second_start_changes_nothing() -> None:
    ward = Ward()
    ward.serve()
    assert ward.start() == []
