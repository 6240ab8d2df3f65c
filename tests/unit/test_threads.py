"""Threads and the pool: as many as allowed, no more, and none is lost."""

from __future__ import annotations

import collections
import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

import servman.threads
from servman.clock import SystemClock
from servman.errors import FailedPreconditionError, ResourceExhaustedError
from servman.testing import FakeClock, ManualPool, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import (
    CallingThread,
    Thread,
    WorkerExecutor,
    WorkerPool,
    join,
    refuse_own_thread,
    spawn,
)


class Gate:
    """A job that says when it has begun, and ends when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let = threading.Event()
        self.thread = ""

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self.entered.set()
        assert self.let.wait(WATCHDOG)

    def wait_entered(self) -> None:
        assert self.entered.wait(WATCHDOG)


@pytest.fixture
def pools() -> Iterator[Callable[[int], WorkerPool]]:
    """Make pools, and end them with the test."""
    made: list[WorkerPool] = []

    def make(size: int) -> WorkerPool:
        made.append(WorkerPool("pool", size, SystemClock()))
        return made[-1]

    yield make
    for pool in made:
        pool.close()
        assert pool.join(SystemClock().monotonic() + WATCHDOG)


def run_through(pool: WorkerPool) -> None:
    """Return when a job submitted now has run."""
    gate = Gate()
    gate.let.set()
    pool.submit(gate)
    gate.wait_entered()


def test_a_spawned_thread_is_named_and_does_not_hold_the_process() -> None:
    thread = spawn("reader", lambda: None, owner=Gate())
    assert (thread.name, thread.daemon) == ("reader", True)
    assert join(thread, SystemClock(), None)


def test_a_thread_that_cannot_be_started_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    with pytest.raises(ResourceExhaustedError, match=r"'reader'.*raise the limit"):
        spawn("reader", lambda: None, owner=Gate())


def test_join_gives_up_at_the_deadline() -> None:
    gate = Gate()
    thread = spawn("gate", gate, owner=gate)
    clock = SystemClock()
    assert not join(thread, clock, clock.monotonic() - 1)
    gate.let.set()
    assert join(thread, clock, clock.monotonic() + 1e12)


def test_a_call_that_would_wait_for_itself_is_refused_on_threads_of_ours_only() -> None:
    def call() -> None:
        try:
            refuse_own_thread("close()")
        except FailedPreconditionError as error:
            raised.append(str(error))

    raised: list[str] = []
    call()
    Spawned(call).result()
    assert raised == []
    assert join(spawn("bus", call, owner=Gate()), SystemClock(), None)
    assert "close()" in raised[0]
    assert "'bus'" in raised[0]


def test_as_many_jobs_run_at_once_as_the_pool_is_large(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(2)
    gates = [Gate() for _ in range(3)]
    for gate in gates:
        pool.submit(gate)
    gates[0].wait_entered()
    gates[1].wait_entered()
    assert not gates[2].entered.is_set()
    gates[0].let.set()
    gates[2].wait_entered()
    for gate in gates:
        gate.let.set()


def test_an_idle_thread_is_used_again(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(4)
    for _ in range(50):
        run_through(pool)
    # The one before may still be on its way back to idle, so two are fair.
    assert pool._started <= 2 + 1


def test_jobs_submitted_together_find_a_thread_each(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(4)
    for _ in range(20):
        gates = [Gate() for _ in range(4)]
        for gate in gates:
            pool.submit(gate)
        for gate in gates:  # hangs if one of them waits behind another
            gate.wait_entered()
        for gate in gates:
            gate.let.set()


def test_an_idle_thread_counts_for_one_job_only(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(2)
    pool._idle = 1  # as if a thread had been woken and had not run yet
    pool.submit(lambda: None)
    assert pool._started == 0
    run_through(pool)
    assert pool._started == 1


def test_whatever_a_job_raises_is_logged_and_the_next_one_runs(
    pools: Callable[[int], WorkerPool], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise SystemExit("the loader called sys.exit()")

    pool = pools(1)
    with caplog.at_level(logging.ERROR):
        pool.submit(fail)
        run_through(pool)
    assert "a job of pool pool raised" in caplog.text
    assert "the loader called sys.exit()" in caplog.text
    assert pool._started == 1


def test_a_pool_that_grows_takes_up_what_is_queued(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(1)
    gates = [Gate() for _ in range(3)]
    for gate in gates:
        pool.submit(gate)
    gates[0].wait_entered()
    pool.resize(3)
    gates[1].wait_entered()
    gates[2].wait_entered()
    for gate in gates:
        gate.let.set()


def test_a_pool_that_shrinks_finishes_what_runs_and_then_runs_fewer(
    pools: Callable[[int], WorkerPool],
) -> None:
    pool = pools(2)
    first, second, third, fourth = (Gate() for _ in range(4))
    pool.submit(first)
    pool.submit(second)
    first.wait_entered()
    second.wait_entered()
    pool.resize(1)
    pool.submit(third)
    pool.submit(fourth)
    first.let.set()
    second.let.set()
    third.wait_entered()
    assert not fourth.entered.is_set()
    third.let.set()
    fourth.wait_entered()
    fourth.let.set()


@pytest.mark.parametrize("size", [3, 1, 0])
def test_a_pool_that_shrinks_ends_idle_threads_at_once(
    size: int, pools: Callable[[int], WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait without a deadline: whoever is not woken stays."""
    pool = pools(4)
    wait, idle, ended = pool._changed.wait, threading.Semaphore(0), threading.Semaphore(0)

    def waiting() -> bool:
        idle.release()
        return wait()

    def wait_for(thread: Thread) -> None:
        thread.join()
        ended.release()

    monkeypatch.setattr(pool._changed, "wait", waiting)
    gates = [Gate() for _ in range(4)]
    for gate in gates:
        pool.submit(gate)
    for gate in gates:
        gate.wait_entered()
        gate.let.set()
    for _ in gates:  # each says so with the lock held, which `resize` gets when the last one waits
        assert idle.acquire(timeout=WATCHDOG)
    threads = list(pool._threads)
    pool.resize(size)
    for thread in threads:
        Spawned(functools.partial(wait_for, thread))
    for _ in range(4 - size):
        assert ended.acquire(timeout=WATCHDOG)
    assert sum(thread.is_alive() for thread in threads) == size


def test_a_pool_of_size_zero_keeps_its_jobs_until_there_is_room(
    pools: Callable[[int], WorkerPool],
) -> None:
    pool = pools(0)
    gate = Gate()
    gate.let.set()
    pool.submit(gate)
    assert not gate.entered.is_set()
    pool.resize(1)
    gate.wait_entered()


def test_a_job_that_has_run_is_not_kept_by_the_idle_thread(
    pools: Callable[[int], WorkerPool],
) -> None:
    pool = pools(1)
    gate = Gate()
    gate.let.set()
    gone = threading.Event()
    weakref.finalize(gate, gone.set)
    pool.submit(gate)
    gate.wait_entered()
    del gate
    assert gone.wait(WATCHDOG)


@pytest.mark.case("EX-02")
def test_a_pool_without_work_closes_and_has_started_no_thread() -> None:
    before = threading.active_count()
    pool = WorkerPool("pool", 4, SystemClock())
    assert threading.active_count() == before
    pool.close()
    assert pool.join(None)


@pytest.mark.departs("EX-03")
def test_closing_lets_running_jobs_finish_and_drops_the_queued_ones() -> None:
    pool = WorkerPool("pool", 1, SystemClock())
    running, queued = Gate(), Gate()
    pool.submit(running)
    running.wait_entered()
    pool.submit(queued)
    pool.close()
    closer = Spawned(lambda: pool.join(None))
    assert not closer.done
    running.let.set()
    assert closer.result()
    assert not queued.entered.is_set()


def test_join_gives_up_at_the_deadline_by_the_injected_clock() -> None:
    clock = FakeClock()
    pool = WorkerPool("pool", 1, clock)
    gate = Gate()
    pool.submit(gate)
    gate.wait_entered()
    pool.close()
    joining = Spawned(lambda: pool.join(clock.monotonic() + 30.0))
    clock.wait_until_parked(1)
    clock.advance(30.0)
    assert joining.result() is False
    gate.let.set()
    assert pool.join(None)


def test_a_closed_pool_drops_jobs_and_is_not_revived_by_a_resize() -> None:
    pool = WorkerPool("pool", 1, SystemClock())
    running, late = Gate(), Gate()
    pool.submit(running)
    running.wait_entered()
    pool.close()
    pool.resize(4)
    pool.submit(late)
    running.let.set()
    assert pool.join(SystemClock().monotonic() + WATCHDOG)
    assert pool._started == 1
    assert not late.entered.is_set()


def test_destructors_of_dropped_jobs_run_without_the_lock() -> None:
    class Job:
        def __call__(self) -> None: ...

        def __del__(self) -> None:
            free.append(not pool._changed._lock.locked())  # type: ignore[attr-defined] # typeshed hides it

    free: list[bool] = []
    pool = WorkerPool("pool", 0, SystemClock())
    pool.submit(Job())
    pool.close()
    assert free == [True]


def test_a_thread_that_cannot_be_started_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, run: Callable[[], None], *, owner: object) -> servman.threads.Thread:
        raise RuntimeError("can't start new thread")

    ran = threading.Event()
    pool = WorkerPool("pool", 1, SystemClock())
    with monkeypatch.context() as patched:
        patched.setattr(servman.threads, "spawn", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            pool.submit(ran.set)
    run_through(pool)
    assert ran.is_set()
    pool.close()
    assert pool.join(None)


def test_jobs_run_in_the_order_in_which_they_came(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(1)
    ran: collections.deque[int] = collections.deque()
    for number in range(20):
        pool.submit(lambda number=number: ran.append(number))  # type: ignore[misc] # mypy: lambda default
    run_through(pool)
    assert list(ran) == list(range(20))


def refuse_threads(*_: object, **__: object) -> NoReturn:
    raise ResourceExhaustedError("no thread")


def test_a_job_for_which_there_is_no_thread_is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, ran = WorkerPool("pool", 1, SystemClock()), []
    with monkeypatch.context() as patch:
        patch.setattr("servman.threads.spawn", refuse_threads)
        with pytest.raises(ResourceExhaustedError):
            pool.submit(lambda: ran.append("refused"))
    assert pool.submit(lambda: ran.append("taken"))
    pool.finish()
    assert pool.join(None)
    assert ran == ["taken"]


def test_a_job_for_which_there_is_no_further_thread_waits_for_one_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, ran, gate = WorkerPool("pool", 2, SystemClock()), [], threading.Event()

    def busy() -> None:
        gate.wait(WATCHDOG)

    pool.submit(busy)
    with monkeypatch.context() as patch:
        patch.setattr("servman.threads.spawn", refuse_threads)
        assert pool.submit(lambda: ran.append("taken"))
    gate.set()
    pool.finish()
    assert pool.join(None)
    assert ran == ["taken"]


# ---- the end of a pool, and a pool of no threads --------------------------------------------------


def test_a_pool_says_whether_it_will_run_a_job(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(1)
    assert pool.submit(lambda: None)
    pool.close()
    assert not pool.submit(lambda: None)


def test_a_finished_pool_takes_no_more_jobs_and_runs_all_that_it_has(
    pools: Callable[[int], WorkerPool],
) -> None:
    pool, gate, ran = pools(1), Gate(), list[int]()
    pool.submit(gate)
    gate.wait_entered()
    for number in range(3):
        assert pool.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
    pool.finish()
    assert not pool.submit(lambda: ran.append(9))
    gate.let.set()
    assert pool.join(None)
    assert ran == [0, 1, 2]


def test_a_finished_pool_ends_its_idle_workers(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(2)
    run_through(pool)
    run_through(pool)
    pool.finish()
    assert pool.join(SystemClock().monotonic() + WATCHDOG)


def test_a_finished_pool_that_is_closed_drops_what_has_not_begun(
    pools: Callable[[int], WorkerPool],
) -> None:
    pool, gate, ran = pools(1), Gate(), list[int]()
    pool.submit(gate)
    gate.wait_entered()
    pool.submit(lambda: ran.append(1))
    pool.finish()
    pool.close()
    gate.let.set()
    assert pool.join(None)
    assert ran == []


def test_a_pool_that_never_had_a_job_finishes_at_once(pools: Callable[[int], WorkerPool]) -> None:
    pool = pools(3)
    pool.finish()
    pool.finish()
    assert pool.join(SystemClock().monotonic())


def test_the_calling_thread_runs_each_job_itself_and_at_once() -> None:
    pool, ran = CallingThread(), list[Thread]()
    assert pool.submit(lambda: ran.append(threading.current_thread()))
    assert ran == [threading.current_thread()]
    pool.resize(0)
    pool.close()
    assert pool.join(None)


def test_what_a_job_raises_on_the_calling_thread_is_raised_there() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        CallingThread().submit(fail)


def test_an_executor_runs_calls_on_its_pool() -> None:
    pool = ManualPool()
    executor = WorkerExecutor(pool)
    future = executor.submit(divmod, 7, 2)
    assert not future.done()
    pool.run_all()
    assert future.result(0) == (3, 1)
    assert executor._threads == set()


def test_whoever_has_the_future_is_told_what_a_call_raised() -> None:
    executor = WorkerExecutor(CallingThread())

    def leave() -> NoReturn:
        raise SystemExit(3)

    assert isinstance(executor.submit(leave).exception(0), SystemExit)


def test_a_call_that_was_cancelled_is_not_made() -> None:
    pool = ManualPool()
    made: list[int] = []
    future = WorkerExecutor(pool).submit(made.append, 1)
    future.cancel()
    pool.run_all()
    assert made == []


def test_who_wants_to_know_is_told_of_calls_that_come_and_that_begin() -> None:
    pool, told = ManualPool(), list[str]()

    def comes(name: str) -> Callable[[], None] | None:
        told.append(f"{name} comes")
        return None if name == "a" else lambda: told.append(f"{name} begins")

    executor = WorkerExecutor(pool, comes)
    for name in ("a", "b"):
        executor.submit(told.append, name)
    pool.run_all()
    assert told == ["a comes", "b comes", "a", "b begins", "b"]


def test_a_pool_is_full_while_another_job_would_have_to_wait() -> None:
    pool, gate = WorkerPool("pool", 1, SystemClock()), Gate()
    assert (pool.size, pool.is_full) == (1, False)
    pool.submit(gate)
    gate.wait_entered()
    assert pool.is_full
    gate.let.set()
    pool.resize(2)
    assert (pool.size, pool.is_full) == (2, False)
    pool.close()
    assert pool.join(SystemClock().monotonic() + WATCHDOG)


def test_an_executor_of_a_pool_that_was_closed_cancels() -> None:
    pool = ManualPool()
    executor = WorkerExecutor(pool)
    pool.close()
    assert executor.submit(print).cancelled()


def test_an_executor_starts_its_first_thread_at_once_so_that_no_call_can_lack_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        with pytest.raises(ResourceExhaustedError):
            WorkerExecutor(WorkerPool("executor", 1, SystemClock()))
    pool = WorkerPool("executor", 2, SystemClock())
    executor = WorkerExecutor(pool)
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        assert executor.submit(divmod, 7, 2).result(WATCHDOG) == (3, 1)
    pool.close()
    assert pool.join(SystemClock().monotonic() + WATCHDOG)
