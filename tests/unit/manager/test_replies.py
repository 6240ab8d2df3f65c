"""Who waits for an answer: a future whose callbacks stay off the manager's thread, or a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from servman.clock import SystemClock
from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.manager.replies import FutureReply, Rendezvous
from servman.testing import FakeClock, ManualPool, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Thread, WorkerPool

ERROR = FailedPreconditionError("m:1: not now")


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Return a pool of two threads, and end it with the test."""
    pool = WorkerPool("callback", 2, SystemClock())
    yield pool
    pool.close()
    assert pool.join(SystemClock().monotonic() + WATCHDOG)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Keep the collector from running on its own."""
    gc.disable()
    yield
    gc.enable()


# ---- futures ------------------------------------------------------------------------------------


def test_a_future_runs_until_it_is_answered() -> None:
    future = FutureReply(ManualPool())
    assert (future.running(), future.done()) == (True, False)
    future.answer(None)
    assert (future.done(), future.result(0), future.exception(0)) == (True, None, None)  # type: ignore[func-returns-value]


def test_a_future_cannot_be_cancelled() -> None:
    future = FutureReply(ManualPool())
    assert not future.cancel()
    future.answer(None)
    assert not future.cancel()
    assert not future.cancelled()


@pytest.mark.parametrize(("first", "second"), [(None, ERROR), (ERROR, None)])
def test_only_the_first_answer_counts(
    first: FailedPreconditionError | None, second: FailedPreconditionError | None
) -> None:
    future = FutureReply(ManualPool())
    future.answer(first)
    future.answer(second)
    assert type(future.exception(0)) is type(first)


def test_a_wait_for_a_future_that_is_not_done_times_out() -> None:
    future = FutureReply(ManualPool())
    for wait in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            wait(0)


def test_a_failed_future_raises_an_error_of_its_own_each_time() -> None:
    future = FutureReply(ManualPool())
    stored = NotFoundError("m:1 is not managed")
    future.answer(stored)
    with pytest.raises(NotFoundError, match="m:1 is not managed") as first:
        future.result(0)
    with pytest.raises(NotFoundError) as second:
        future.result(0)
    assert len({id(one) for one in (stored, first.value, second.value, future.exception(0))}) == 4
    assert stored.__traceback__ is None, "what is on record collects no frames"
    assert str(pickle.loads(pickle.dumps(first.value))) == "m:1 is not managed"


def test_a_future_that_is_kept_keeps_nobody_who_asked_it(no_collection: None) -> None:
    class Big:
        """What a frame names."""

    future = FutureReply(ManualPool())
    future.answer(ERROR)

    def ask() -> weakref.ref[Big]:
        big = Big()
        with pytest.raises(FailedPreconditionError):
            future.result(0)
        return weakref.ref(big)

    assert ask()() is None


@pytest.mark.parametrize("late", [False, True])
def test_callbacks_run_on_the_pool_with_the_future(pool: WorkerPool, late: bool) -> None:
    future, called, done = FutureReply(pool), list[object](), threading.Event()

    def call(one: Future[None]) -> None:
        called.extend([one, threading.current_thread().name.partition("-")[0]])
        done.set()

    if late:
        future.answer(None)
    future.add_done_callback(call)
    if not late:
        assert called == []
        future.answer(None)
    assert done.wait(WATCHDOG)
    assert called == [future, "callback"]


def test_an_answer_waits_for_no_callback_and_a_callback_for_no_other(pool: WorkerPool) -> None:
    future, entered, let, other = FutureReply(pool), *(threading.Event() for _ in range(3))

    def hang(_: Future[None]) -> None:
        entered.set()
        assert let.wait(WATCHDOG)

    future.add_done_callback(hang)
    future.add_done_callback(lambda _: other.set())
    future.answer(None)  # returns, although one hangs
    assert entered.wait(WATCHDOG)
    assert other.wait(WATCHDOG)
    let.set()


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3)])
def test_a_callback_that_raises_is_logged_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    pool = WorkerPool("callback", 1, SystemClock())
    future, other = FutureReply(pool), threading.Event()

    def fail(_: Future[None]) -> None:
        raise raised

    future.add_done_callback(fail)
    future.add_done_callback(lambda _: other.set())
    future.answer(None)
    assert other.wait(WATCHDOG)
    assert "a job of pool callback raised" in caplog.text
    pool.close()
    assert pool.join(None)


def test_when_the_pool_is_finished_a_callback_is_called_by_whoever_adds_it(
    pool: WorkerPool,
) -> None:
    future, threads = FutureReply(pool), list[Thread]()
    future.answer(None)
    pool.finish()
    future.add_done_callback(lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


@pytest.mark.parametrize("raised", [None, ValueError("no"), SystemExit(3)])
def test_a_callback_for_which_there_is_no_thread_is_called_by_who_answers_and_cannot_harm_it(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch, raised: BaseException | None
) -> None:
    """Lost, it would be awaited for ever."""
    future, called = FutureReply(pool), list[str]()

    def call(_: Future[None]) -> None:
        called.append(threading.current_thread().name)
        if raised is not None:
            raise raised

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    future.add_done_callback(call)
    future.add_done_callback(call)
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        future.answer(None)
    assert called == [threading.current_thread().name] * 2


def test_futures_can_be_waited_for_as_any_others(pool: WorkerPool) -> None:
    first, second = FutureReply(pool), FutureReply(pool)
    answering = Spawned(lambda: [one.answer(ERROR) for one in (second, first)])  # type: ignore[func-returns-value]
    done = concurrent.futures.wait([first, second], WATCHDOG).done
    assert done == {first, second}
    assert set(concurrent.futures.as_completed([first, second], 0)) == done
    answering.result()


def test_a_future_can_be_awaited(pool: WorkerPool) -> None:
    async def wait(answer: Callable[[FutureReply], None]) -> None:
        future = FutureReply(pool)
        awaited = asyncio.wrap_future(future)
        answering = Spawned(lambda: answer(future))
        await asyncio.wait_for(awaited, WATCHDOG)
        answering.result()

    asyncio.run(wait(lambda future: future.answer(None)))
    with pytest.raises(FailedPreconditionError, match="not now"):
        asyncio.run(wait(lambda future: future.answer(ERROR)))


def test_who_awaits_and_is_cancelled_leaves_the_future_alone(pool: WorkerPool) -> None:
    future = FutureReply(pool)

    async def give_up() -> None:
        awaited = asyncio.wrap_future(future)
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(give_up())
    assert future.running()
    future.answer(None)
    assert future.result(0) is None  # type: ignore[func-returns-value]


# ---- a thread that waits ------------------------------------------------------------------------


def test_a_thread_waits_until_there_is_an_answer_and_gets_what_was_taken_then() -> None:
    reply, clock = Rendezvous(lambda: "taken"), FakeClock()
    waiting = Spawned(lambda: reply.wait(clock, clock.monotonic() + 5.0))
    clock.wait_until_parked(1)
    reply.answer(None)
    assert waiting.result() == "taken"


def test_a_thread_waits_no_longer_than_to_its_deadline() -> None:
    reply, clock = Rendezvous(lambda: "taken"), FakeClock()
    waiting = Spawned(lambda: reply.wait(clock, clock.monotonic() + 5.0))
    clock.wait_until_parked(1)
    clock.advance(4.9)
    assert not waiting.done
    clock.advance(0.1)
    assert waiting.result() is None


def test_an_answer_that_is_there_counts_after_the_deadline_too() -> None:
    reply, clock = Rendezvous(lambda: "taken"), FakeClock()
    reply.answer(None)
    assert reply.wait(clock, clock.monotonic() - 1.0) == "taken"


def test_a_thread_that_waited_raises_an_error_of_its_own_and_the_first_answer_counts() -> None:
    reply, stored = Rendezvous(lambda: "taken"), NotFoundError("m:1: no such file")
    reply.answer(stored)
    reply.answer(InvalidArgumentError("too late"))
    with pytest.raises(NotFoundError, match="m:1: no such file") as raised:
        reply.wait(SystemClock(), None)
    assert raised.value is not stored
    assert stored.__traceback__ is None
