"""Closing a basic manager: every future gets done, in whatever order things happen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

import servman.threads
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    ResourceExhaustedError,
)
from servman.manager import BasicManager, HarnessState
from servman.manager.messages import StopManaging
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import Thread
from tests.unit.manager.basic_bench import BasicBench
from tests.unit.manager.rig import entry, failing, sid

S = HarnessState


CALLS: dict[str, Callable[[BasicManager], Future[None]]] = {
    "manage": lambda manager: manager.manage(entry("m:1")),
    "load": lambda manager: manager.load(sid("m:1")),
    "unload": lambda manager: manager.unload(sid("m:1")),
    "stop_managing": lambda manager: manager.stop_managing(sid("m:1")),
}


@pytest.fixture(params=list(CALLS))
def ask(request: pytest.FixtureRequest) -> Callable[[BasicManager], Future[None]]:
    """Return each of the calls."""
    return CALLS[request.param]


def is_closed(future: Future[None]) -> bool:
    return future.done() and isinstance(future.exception(0), ClosedError)


def test_asked_after_the_close_a_future_is_done_at_once(
    bench: BasicBench, ask: Callable[[BasicManager], Future[None]]
) -> None:
    bench.close()
    assert is_closed(ask(bench.manager))


def test_asked_before_the_close_is_taken_up_a_future_is_done(
    bench: BasicBench, ask: Callable[[BasicManager], Future[None]]
) -> None:
    future = ask(bench.manager)
    bench.close()
    assert future.done()
    assert not isinstance(future.exception(0), ClosedError), "it was first, and was answered first"


def test_asked_while_it_closes_a_future_is_done(
    bench: BasicBench, ask: Callable[[BasicManager], Future[None]]
) -> None:
    bench.bring("other:1")
    bench.begin_close()
    future = ask(bench.manager)
    bench.step()
    assert is_closed(future)


def test_asked_when_all_is_decided_and_nothing_said_yet_a_future_is_done(
    bench: BasicBench,
    ask: Callable[[BasicManager], Future[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    futures: list[Future[None]] = []
    monkeypatch.setattr(bench.loads, "close", lambda: futures.append(ask(bench.manager)))
    bench.close()
    assert [is_closed(future) for future in futures] == [True]


def test_asked_between_the_end_and_the_last_look_into_the_mailbox_a_future_is_done(
    bench: BasicBench,
    ask: Callable[[BasicManager], Future[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actor, futures = bench.manager._actor, list[Future[None]]()
    refuse = actor._refuse_the_rest

    def ask_first() -> None:
        futures.append(ask(bench.manager))
        refuse()

    monkeypatch.setattr(actor, "_refuse_the_rest", ask_first)
    bench.close()
    assert [is_closed(future) for future in futures] == [True]


def test_a_call_that_puts_its_wish_into_the_mailbox_after_the_last_look_is_answered(
    bench: BasicBench, ask: Callable[[BasicManager], Future[None]]
) -> None:
    actor = bench.manager._actor
    mailbox: Any = actor._mailbox

    class Late:
        """A mailbox that the manager leaves for good just before something is put into it."""

        def put(self, event: object) -> None:
            actor._mailbox = mailbox
            bench.begin_close()
            mailbox.put(event)

    actor._mailbox = Late()  # type: ignore[assignment]
    assert is_closed(ask(bench.manager))


def test_who_asks_too_late_answers_nobody_else(
    bench: BasicBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    actor = bench.manager._actor

    class Telling:
        def answer(self, error: object) -> None:
            told.append(threading.current_thread().name)

    def ask_first() -> None:
        actor._mailbox.put(StopManaging(sid("m:1"), Telling()))
        Spawned(lambda: bench.manager.load(sid("m:1"))).result()
        told.append("the manager looks for the last time")

    monkeypatch.setattr(actor, "_refuse_the_rest", ask_first)
    bench.close()
    assert told == ["the manager looks for the last time"]


def test_wishes_that_come_too_late_are_not_kept(bench: BasicBench) -> None:
    bench.close()
    for _ in range(3):
        bench.manager.load(sid("m:1"))
    assert bench.manager._actor._mailbox.qsize() == 0


def test_a_load_that_waits_or_pauses_is_cancelled_by_the_close() -> None:
    bench = BasicBench(load_retry_interval=60.0, num_load_threads=1)
    bench.manage(entry("pausing:1", failing()), "running:1", "waiting:1")
    pausing = bench.manager.load(sid("pausing:1"))
    bench.settle()
    futures = [pausing, *(bench.manager.load(sid(f"{one}:1")) for one in ("running", "waiting"))]
    bench.step()
    bench.begin_close()
    assert [future.done() for future in futures] == [True, False, True]
    bench.close()
    for future in futures:
        assert isinstance(future.exception(0), LoadCancelledError)
        assert "the manager was closed" in str(future.exception(0))


def test_an_unload_that_runs_is_done_by_the_close(bench: BasicBench) -> None:
    bench.bring("m:1")
    future = bench.manager.unload(sid("m:1"))
    bench.step()
    bench.close()
    assert future.exception(0) is None


def test_what_is_left_behind_at_the_deadline_answers_its_futures() -> None:
    bench = BasicBench()
    bench.bring("held:1")
    bench.manage("slow:1")
    handle = bench.handle("held:1")
    unload, load = bench.manager.unload(sid("held:1")), bench.manager.load(sid("slow:1"))
    bench.step()
    bench.begin_close(30.0)
    assert not unload.done()
    bench.clock.advance(30.0)
    bench.step()
    assert not bench.manager.close(0)
    assert "its load has not returned" in str(load.exception(0))
    assert "it waited for its handles to close" in str(unload.exception(0))
    assert all(isinstance(one.exception(0), ClosedError) for one in (load, unload))
    assert handle.servable.loaded


def test_callbacks_of_futures_that_end_with_the_close_have_run_when_it_returns() -> None:
    live, loader, called = BasicBench(threads=(1, 1)), GatedLoader(), list[str]()
    live.manage(entry("m:1", loader))
    for name in ("load", "again"):
        future = live.manager.load(sid("m:1"))
        future.add_done_callback(lambda _, name=name: called.append(name))  # type: ignore[misc]
    assert loader.load_entered.wait(WATCHDOG)
    closing = Spawned(lambda: live.manager.close(WATCHDOG))
    assert loader.contexts[0].cancelled.wait(WATCHDOG)
    loader.let_load.set()
    assert closing.result()
    assert sorted(called) == ["again", "load"]


def test_callbacks_that_wait_for_their_turn_when_the_manager_closes_run_all_the_same() -> None:
    bench, entered, let = BasicBench(), threading.Barrier(5), threading.Event()
    called: list[int] = []

    def hang(_: Future[None]) -> None:
        entered.wait(WATCHDOG)
        assert let.wait(WATCHDOG)

    for number in range(4):
        bench.manager.manage(entry(f"m:{number}")).add_done_callback(hang)
    for number in range(4, 7):
        future = bench.manager.manage(entry(f"m:{number}"))
        future.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]
    bench.settle()
    entered.wait(WATCHDOG)
    closing = Spawned(lambda: bench.manager.close(None))
    bench.clock.wait_until_parked(1)  # it waits for the callbacks
    assert called == []
    let.set()
    assert closing.result()
    assert sorted(called) == [4, 5, 6]


def test_close_joins_the_threads_of_callbacks(live: BasicBench) -> None:
    threads: list[Thread] = []
    live.manager.manage(entry("m:1")).add_done_callback(
        lambda _: threads.append(threading.current_thread())
    )
    assert live.manager.close(WATCHDOG)
    assert [(one.name, one.is_alive()) for one in threads] == [("callback-1", False)]


def test_a_callback_that_hangs_is_waited_for_for_a_second_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, entered, let = BasicBench(), threading.Event(), threading.Event()

    def hang(_: Future[None]) -> None:
        entered.set()
        assert let.wait(WATCHDOG)

    bench.manager.manage(entry("m:1")).add_done_callback(hang)
    bench.settle()
    assert entered.wait(WATCHDOG)
    bench.manager.start()
    closing = Spawned(lambda: bench.manager.close(None))
    bench.clock.wait_until_parked(1)
    bench.clock.advance(1.0)
    assert closing.result()
    assert "a callback of a future has not returned, and is left behind" in caplog.text
    let.set()


def test_the_manager_is_not_closed_from_a_callback(live: BasicBench) -> None:
    refused: Future[str] = Future()

    def close(_: Future[None]) -> None:
        try:
            live.manager.close()
        except FailedPreconditionError as error:
            refused.set_result(str(error))

    live.manager.manage(entry("m:1")).add_done_callback(close)
    told = refused.result(WATCHDOG)
    assert told.startswith("BasicManager.close() must not be called from servman's own thread")
    live.bring("n:1")


def test_after_the_close_a_callback_is_called_at_once(live: BasicBench) -> None:
    future = live.manager.manage(entry("m:1"))
    live.close()
    called: list[Thread] = []
    future.add_done_callback(lambda _: called.append(threading.current_thread()))
    assert called == [threading.current_thread()]


def test_where_the_manager_has_not_come_to_its_end_callbacks_still_stay_off_its_thread() -> None:
    """A close that gives up leaves a manager that may yet answer: its callbacks have their threads."""
    bench, stuck, let = BasicBench(), threading.Event(), threading.Event()

    class Stuck:
        def record(self, event: object) -> None:
            stuck.set()
            assert let.wait(WATCHDOG)

    bench.bus.attach(Stuck())
    future, called = bench.manager.manage(entry("m:1")), list[str]()
    done = threading.Event()

    def call(_: Future[None]) -> None:
        called.append(threading.current_thread().name)
        done.set()

    future.add_done_callback(call)
    bench.manager.start()
    assert stuck.wait(WATCHDOG)
    closing = Spawned(lambda: bench.manager.close(0))
    bench.clock.wait_until_parked(1)
    bench.clock.advance(1.0)
    assert not closing.result()
    let.set()
    assert done.wait(WATCHDOG)
    assert called == ["callback-1"]
    assert bench.manager.close(WATCHDOG)


def test_a_handle_outlives_the_call_and_keeps_its_version(live: BasicBench) -> None:
    live.bring("m:1")
    handle = live.handle("m:1")
    future = live.manager.unload(sid("m:1"))
    with pytest.raises(TimeoutError):
        future.result(0)
    assert handle.servable.loaded
    handle.close()
    future.result(WATCHDOG)


def test_a_manager_whose_thread_cannot_be_had_can_be_closed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = BasicBench()

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(servman.threads.Thread, "start", refuse)
        with pytest.raises(ResourceExhaustedError):
            bench.manager.close(0)
    future = bench.manager.manage(entry("m:1"))
    assert bench.manager.close(WATCHDOG)
    assert future.exception(0) is None


# ---- what all managers share --------------------------------------------------------------------


def test_a_with_block_that_had_to_leave_something_says_so_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = BasicBench()
    bench.bring("m:1")
    with bench.handle("m:1"):

        def use() -> None:
            with bench.manager:
                pass

        leaving = Spawned(use)
        bench.clock.wait_until_parked(2)  # who closes, and the manager's thread
        bench.clock.advance(30.0)
        leaving.result()
    told = "BasicManager was closed, and not everything had gone: left: m:1 (quiescing, 1 handle)"
    assert told in caplog.text


def test_a_with_block_that_left_nothing_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with BasicManager() as manager:
        manager.manage(entry("m:1")).result(WATCHDOG)
    assert caplog.text == ""


@pytest.mark.parametrize("timeout", [-1, "30", float("nan"), True])
def test_a_timeout_that_is_none_closes_nothing(bench: BasicBench, timeout: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a timeout is None or a number"):
        bench.manager.close(timeout)
    bench.bring("m:1")


def test_of_two_closes_the_earlier_deadline_counts_and_both_report_the_same() -> None:
    bench = BasicBench()
    bench.bring("m:1")
    with bench.handle("m:1"):
        first = Spawned(lambda: bench.manager.close(30.0))
        bench.clock.wait_until_parked(2)  # who closes, and the manager's thread
        second = Spawned(lambda: bench.manager.close(5.0))
        bench.clock.wait_until_parked(3)
        bench.clock.advance(5.0)
        reports = [str(first.result()), str(second.result())]
    assert reports == ["left: m:1 (quiescing, 1 handle)"] * 2
