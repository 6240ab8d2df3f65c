"""The basic manager: what its futures promise, and what it says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from servman.data import ServableData
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    NotFoundError,
    ResourceExhaustedError,
)
from servman.ids import ServableId
from servman.manager import HarnessState, ResourceTracker
from servman.manager.messages import StopManaging
from servman.manager.replies import FutureReply
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import StreamAspiration
from servman.testing.clock import WATCHDOG
from servman.threads import CallingThread
from tests.unit.manager.basic_bench import BasicBench
from tests.unit.manager.rig import FileLoader, ModelLoader, entry, errored, failing, sid

S = HarnessState


# ---- what each state allows ---------------------------------------------------------------------


def to_new(bench: BasicBench) -> None:
    bench.manage("m:1")


def to_load_requested(bench: BasicBench) -> None:
    bench.manager.num_load_threads = 1
    bench.manage("busy:1", "m:1")
    bench.manager.load(sid("busy:1"))
    bench.manager.load(sid("m:1"))
    bench.step()


def to_loading(bench: BasicBench) -> None:
    bench.manage("m:1")
    bench.manager.load(sid("m:1"))
    bench.step()


def to_pausing(bench: BasicBench) -> None:
    bench.manage(entry("m:1", failing()))
    bench.manager.load(sid("m:1"))
    bench.settle()


def to_ready(bench: BasicBench) -> None:
    bench.bring("m:1")


def to_quiescing(bench: BasicBench) -> None:
    bench.bring("m:1")
    OPEN.append(bench.handle("m:1"))
    bench.manager.unload(sid("m:1"))
    bench.settle()


def to_unloading(bench: BasicBench) -> None:
    bench.bring("m:1")
    bench.manager.unload(sid("m:1"))
    bench.step()


def to_disabled(bench: BasicBench) -> None:
    bench.bring("m:1")
    bench.unload("m:1")


def to_error(bench: BasicBench) -> None:
    bench.manage(errored("m:1"))


OPEN: list[Any] = []
STATES: dict[Callable[[BasicBench], None], tuple[HarnessState, str, str]] = {
    # what each allows of load, unload and stop_managing, and what it is called where it refuses
    to_new: (S.NEW, "load stop", "new"),
    to_load_requested: (S.LOAD_REQUESTED, "", "load requested; wait for that to end first"),
    to_loading: (S.LOADING, "", "loading; wait for that to end first"),
    to_pausing: (S.LOADING, "", "loading; wait for that to end first"),
    to_ready: (S.READY, "unload", "ready; unload it first"),
    to_quiescing: (S.QUIESCING, "", "quiescing; wait for that to end first"),
    to_unloading: (S.UNLOADING, "", "unloading; wait for that to end first"),
    to_disabled: (S.DISABLED, "stop", "disabled"),
    to_error: (S.ERROR, "stop", "error"),
}


@pytest.mark.parametrize("bring", STATES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("call", ["load", "unload", "stop"])
def test_what_a_state_does_not_allow_is_refused_and_changes_nothing(
    bring: Callable[[BasicBench], None], call: str
) -> None:
    bench = BasicBench(load_retry_interval=60.0)
    bring(bench)
    state, allowed, _ = STATES[bring]
    assert bench.state("m:1") is state
    manager = bench.manager
    ask = {"load": manager.load, "unload": manager.unload, "stop": manager.stop_managing}[call]
    future = ask(sid("m:1"))
    bench.step()
    if call in allowed.split():
        assert not future.done() or future.exception(0) is None
    else:
        assert isinstance(future.exception(0), FailedPreconditionError)
        assert "m:1" in str(future.exception(0))
        assert bench.state("m:1") is state
    OPEN.clear()
    bench.close()


@pytest.mark.parametrize("bring", STATES, ids=lambda one: one.__name__)
def test_a_version_that_may_not_be_let_go_is_refused_with_the_remedy(
    bring: Callable[[BasicBench], None],
) -> None:
    bench = BasicBench(load_retry_interval=60.0)
    bring(bench)
    _, allowed, told = STATES[bring]
    future = bench.manager.stop_managing(sid("m:1"))
    bench.step()
    if allowed != "stop" and bring is not to_new:
        assert str(future.exception(0)) == f"m:1 cannot be let go: it is {told}"
    OPEN.clear()
    bench.close()


@pytest.mark.parametrize("bring", STATES, ids=lambda one: one.__name__)
def test_a_version_that_is_managed_in_whatever_state_is_not_managed_twice(
    bring: Callable[[BasicBench], None],
) -> None:
    bench = BasicBench(load_retry_interval=60.0)
    bring(bench)
    future = bench.manager.manage(entry("m:1"))
    bench.step()
    assert isinstance(future.exception(0), FailedPreconditionError)
    assert f"it is {STATES[bring][0].value}" in str(future.exception(0))
    OPEN.clear()
    bench.close()


def test_a_new_version_that_is_let_go_ends_and_is_forgotten(bench: BasicBench) -> None:
    bench.manage("m:1")
    assert bench.stop("m:1") is None
    assert (bench.states("m:1"), bench.manager.snapshots()) == (["START", "END"], ())
    (error,) = bench.ends("m:1")
    assert isinstance(error, LoadCancelledError)
    assert str(error) == "m:1: the load was cancelled, for it is no longer managed"


@pytest.mark.parametrize("bad", ["m:1", None, 3, ServableData(ServableId("m", 1), ModelLoader())])
def test_what_is_no_id_is_refused_at_once(bench: BasicBench, bad: Any) -> None:
    manager = bench.manager
    for call in (manager.load, manager.unload, manager.stop_managing, manager.cancel_retry):
        with pytest.raises(InvalidArgumentError, match="named by its ServableId"):
            call(bad)


@pytest.mark.parametrize("bad", ["m:1", None, ServableId("m", 1), ModelLoader()])
def test_what_is_no_servable_data_is_refused_at_once(bench: BasicBench, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"manage\(\) takes a ServableData"):
        bench.manager.manage(bad)


# ---- futures ------------------------------------------------------------------------------------


def test_calls_take_effect_in_the_order_in_which_they_are_made(bench: BasicBench) -> None:
    manager = bench.manager
    futures = [manager.manage(entry("m:1")), manager.load(sid("m:1"))]
    bench.settle()
    futures += [manager.unload(sid("m:1"))]
    bench.settle()
    futures += [manager.stop_managing(sid("m:1")), manager.manage(entry("m:1"))]
    bench.settle()
    assert [future.exception(0) for future in futures] == [None] * 5
    assert bench.state("m:1") is S.NEW


def test_a_load_is_done_when_lookups_find_the_version_and_an_unload_when_it_has_ended() -> None:
    seen: list[object] = []
    live = BasicBench(threads=(1, 1))

    def look(_: Future[None]) -> None:
        seen.extend([live.serving(), live.states("m:1")[-1], live.state("m:1")])
        done.set()

    live.manage("m:1")
    for call in (live.manager.load, live.manager.unload):
        done = threading.Event()
        call(sid("m:1")).add_done_callback(look)
        assert done.wait(WATCHDOG)
    assert seen == [["m:1"], "AVAILABLE", S.READY, [], "END", S.DISABLED]
    live.close()


@pytest.mark.parametrize("bring", [to_new, to_disabled, to_error])
def test_snapshots_no_longer_have_the_version_when_stop_managing_is_done(
    bench: BasicBench, bring: Callable[[BasicBench], None]
) -> None:
    bring(bench)
    known: list[int] = []
    reply = FutureReply(CallingThread())  # asked at the very moment of the answer
    reply.add_done_callback(lambda _: known.append(len(bench.manager.snapshots())))
    bench.manager._actor.post(StopManaging(sid("m:1"), reply))
    bench.step()
    assert known == [0]


def test_the_error_of_a_future_is_not_the_one_on_record(bench: BasicBench) -> None:
    bench.manage(entry("m:1", failing(11)))
    future = bench.manager.load(sid("m:1"))
    bench.settle()
    with pytest.raises(LoadFailedError, match="attempt 11 failed") as caught:
        future.result(0)
    (snapshot,) = bench.manager.snapshots()
    (published,) = bench.ends("m:1")
    assert str(snapshot.error) == str(published) == str(caught.value)
    for one in (snapshot.error, published):
        assert one is not None
        assert one.__traceback__ is None, "what is on record keeps nobody's frames alive"
    assert "Traceback" in (caught.value.traceback or "")


def test_four_callbacks_that_never_return_delay_no_version(live: BasicBench) -> None:
    entered, let = threading.Barrier(5), threading.Event()

    def hang(_: Future[None]) -> None:
        entered.wait(WATCHDOG)
        assert let.wait(WATCHDOG)

    for number in range(4):
        live.manager.manage(entry(f"m:{number}")).add_done_callback(hang)
    entered.wait(WATCHDOG)
    live.bring("n:1")
    assert live.unload("n:1") is None
    let.set()


def test_a_callback_may_ask_for_more(live: BasicBench) -> None:
    ended: Future[None] = Future()

    def then(call: Callable[[ServableId], Future[None]], next_: Any) -> Callable[[Any], None]:
        return lambda _: call(sid("m:1")).add_done_callback(next_)

    manager = live.manager
    stop = then(manager.stop_managing, lambda _: ended.set_result(None))
    loaded = then(manager.load, then(manager.unload, stop))
    manager.manage(entry("m:1")).add_done_callback(loaded)
    ended.result(WATCHDOG)
    assert live.states("m:1")[-1] == "END"
    assert manager.snapshots() == ()


def test_a_load_can_be_awaited(live: BasicBench) -> None:
    async def load() -> list[object]:
        manager = live.manager
        await asyncio.wrap_future(manager.manage(entry("m:1")))
        await asyncio.wrap_future(manager.load(sid("m:1")))
        return [*map(str, manager.list_available_ids())]

    assert asyncio.run(load()) == ["m:1"]


# ---- retries ------------------------------------------------------------------------------------


def test_a_load_is_repeated_after_a_pause_and_its_future_waits_for_that() -> None:
    bench, loader = BasicBench(load_retry_interval=60.0), failing(1)
    bench.manage(entry("m:1", loader))
    future = bench.manager.load(sid("m:1"))
    bench.settle()
    assert (len(loader.contexts), future.done()) == (1, False)
    assert bench.why("m:1").startswith("m:1 is tried again in 60.0 s; attempt 1 of 11 failed")
    bench.clock.advance(60.0)
    bench.settle()
    assert (future.exception(0), bench.serving()) == (None, ["m:1"])
    bench.close()


def test_a_retry_that_is_cancelled_ends_the_pause_with_the_last_error() -> None:
    bench = BasicBench(load_retry_interval=60.0)
    bench.manage(entry("m:1", failing()))
    future = bench.manager.load(sid("m:1"))
    bench.settle()
    bench.manager.cancel_retry(sid("m:1"))
    bench.settle()
    assert "attempt 1 failed" in str(future.exception(0))
    assert bench.state("m:1") is S.ERROR
    bench.close()


def test_a_retry_that_is_cancelled_lets_the_running_attempt_be_the_last() -> None:
    bench, loader = BasicBench(), failing()
    bench.manage(entry("m:1", loader))
    future = bench.manager.load(sid("m:1"))
    bench.step()
    bench.manager.cancel_retry(sid("m:1"))
    bench.settle()
    assert (len(loader.contexts), "attempt 1 failed" in str(future.exception(0))) == (1, True)
    bench.close()


def test_files_are_looked_at_while_a_load_pauses_and_never_once_it_has_failed() -> None:
    bench = BasicBench(load_retry_interval=60.0, max_num_load_retries=1)
    loader = FileLoader(ValueError("half written"), ValueError("still"), ValueError("corrupt"))
    bench.manage(entry("m:1", loader))
    future = bench.manager.load(sid("m:1"))
    bench.settle()
    loader.files = 1
    bench.clock.advance(1.0)
    bench.settle()  # tried again at once, attempts from 1
    bench.clock.advance(60.0)
    bench.settle()
    assert [one.attempt for one in loader.contexts] == [1, 1, 2]
    assert "corrupt" in str(future.exception(0))
    loader.files, asked = 2, loader.asked
    bench.clock.advance(3_600.0)
    bench.settle()
    assert (loader.asked, bench.state("m:1")) == (asked, S.ERROR)
    bench.close()


# ---- resources ----------------------------------------------------------------------------------


class Hungry(ModelLoader):
    """A loader that needs ten bytes."""

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: 10})


@pytest.fixture
def small() -> Iterator[BasicBench]:
    """Return a manager that has ten bytes, and tries once."""
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    bench = BasicBench(resource_tracker=tracker, max_num_load_retries=0)
    yield bench
    bench.close()


def test_a_load_waits_for_the_memory_of_what_is_on_its_way_out(small: BasicBench) -> None:
    small.bring(entry("a:1", Hungry()))
    small.manage(entry("b:1", Hungry()))
    handle = small.handle("a:1")
    unload, load = small.manager.unload(sid("a:1")), small.manager.load(sid("b:1"))
    small.settle()
    assert (unload.done(), load.done()) == (False, False)
    assert small.why("b:1").startswith("b:1 waits for memory")
    handle.close()
    small.settle()
    assert (unload.exception(0), load.exception(0)) == (None, None)
    assert small.serving() == ["b:1"]


def test_a_version_that_failed_for_want_of_memory_is_not_tried_again_of_itself(
    small: BasicBench,
) -> None:
    small.bring(entry("a:1", Hungry()))
    small.manage(entry("b:1", Hungry()))
    assert isinstance(small.load("b:1"), ResourceExhaustedError)
    assert small.unload("a:1") is None
    assert (small.serving(), len(small.ends("b:1"))) == ([], 1)
    assert small.stop("b:1") is None
    small.bring(entry("b:1", Hungry()))


# ---- what it says -------------------------------------------------------------------------------


def test_what_is_not_known_is_told_in_the_words_of_this_manager(bench: BasicBench) -> None:
    with pytest.raises(NotFoundError, match=r"request m: nothing of it is managed$"):
        bench.handle("m")
    with pytest.raises(NotFoundError, match=r"m:1 is not managed; manage it first$"):
        bench.manager.cancel_retry(sid("m:1"))
    assert "m:1 is not managed; manage it first" in str(bench.load("m:1"))
    assert bench.manager.explain("m:1") is None


def test_each_state_has_its_reason(bench: BasicBench) -> None:
    bench.manage("m:1")
    reason = bench.manager.explain("m:1")
    assert reason is not None
    assert reason.code is ReasonCode.WAITING
    assert reason.text == "m:1 is not loading yet: nobody has asked for its load"
    bench.load("m:1")
    assert bench.why("m:1") == "m:1 is available"
    bench.unload("m:1")
    assert bench.why("m") == "m:1 was unloaded"
    with pytest.raises(NotFoundError, match="m: m:1 was unloaded"):
        bench.handle("m")
    bench.manage(errored("n:1", ValueError("no loader")))
    assert bench.why("n") == "n:1 failed: ValueError: no loader"


def test_the_newest_is_the_highest_that_is_managed(bench: BasicBench) -> None:
    bench.bring("m:1")
    bench.manage("m:2")
    with pytest.raises(NotFoundError, match="m:2 is not loading yet: nobody has asked"):
        bench.handle("m:newest")
    bench.load("m:2")
    with bench.handle("m:newest") as handle:
        assert handle.id == sid("m:2")
    bench.unload("m:2")
    with pytest.raises(NotFoundError, match="m:2 was unloaded"):
        bench.handle("m:newest")
    with bench.handle("m") as handle:
        assert handle.id == sid("m:1")
    bench.stop("m:2")
    with bench.handle("m:newest") as handle:
        assert handle.id == sid("m:1")


def test_no_aspirations_are_published(bench: BasicBench) -> None:
    bench.bring("m:1")
    bench.unload("m:1")
    assert not [one for one in bench._events if isinstance(one, StreamAspiration)]
