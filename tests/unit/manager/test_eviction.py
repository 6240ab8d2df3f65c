"""Room that is made for what is asked for: by whom, at whose cost, and never at that of whoever is in use."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from servman import set_debug
from servman.errors import ClosedError, LoadFailedError, ResourceExhaustedError, WaitTimeoutError
from servman.ids import ServableRequest
from servman.manager.handle import Entry
from servman.manager.leases import lease
from servman.manager.messages import Obtain
from servman.manager.replies import Rendezvous
from servman.manager.tracker import ResourceTracker
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation
from servman.state import ManagerState
from servman.testing import FailingLoader, FakeClock, GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.cache import Cache, ShelfLoader
from tests.unit.manager.rig import sid


@pytest.fixture
def cache() -> Iterator[Cache]:
    """Return a started manager that may hold two servables, and close it."""
    cache = Cache(max_servables=2)
    yield cache
    cache.close()


# ---- who goes ----------------------------------------------------------------------------------


def test_what_was_used_least_recently_goes_whenever_it_was_loaded(cache: Cache) -> None:
    cache.use("a", "b", "a", "c")
    assert cache.serving() == ["a:1", "c:1"]
    cache.use("c", "a:1", "d")
    assert cache.serving() == ["a:1", "d:1"]
    assert cache.shelf.most == 2
    assert cache.states("b:1") == ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    assert cache.ends("b:1") == [None]


def test_versions_of_one_stream_go_one_by_one(cache: Cache) -> None:
    cache.use("m:1", "m:2", "m:1", "m:3")
    assert cache.serving() == ["m:1", "m:3"]


def test_to_list_what_is_there_is_no_use_of_it(cache: Cache) -> None:
    cache.use("a", "b", "a")
    for handle in cache.manager.get_available_handles().values():
        handle.close()
    cache.use("c")
    assert cache.serving() == ["a:1", "c:1"]


def test_a_handle_that_was_closed_long_after_others_were_used_counts_by_its_lookup(
    cache: Cache,
) -> None:
    handle = cache.get("a")
    cache.use("b")
    handle.close()
    cache.use("c")
    assert cache.serving() == ["b:1", "c:1"]


def test_as_many_go_as_it_takes_and_no_more() -> None:
    cache = Cache(memory=10)
    cache.sizes = {"a": 3, "b": 3, "c": 3, "big": 5}
    cache.use("a", "b", "c", "big")
    assert cache.serving() == ["big:1", "c:1"]
    cache.close()


def test_what_would_go_in_vain_stays_though_it_was_used_longer_ago() -> None:
    cache = Cache(memory=10)
    cache.sizes = {"small": 1, "large": 8, "fresh": 1, "new": 7}
    cache.use("small", "large", "fresh", "new")
    assert cache.serving() == ["fresh:1", "new:1", "small:1"]
    cache.close()


def test_where_one_of_two_would_go_in_vain_the_one_that_was_used_last_stays() -> None:
    cache = Cache(memory=10)
    cache.sizes = {"first": 2, "second": 2, "large": 6, "new": 8}
    cache.use("first", "second", "large", "new")
    assert cache.serving() == ["new:1", "second:1"]
    cache.close()


def test_room_on_one_device_is_not_made_on_another() -> None:
    class OnGpu(ShelfLoader):
        def estimate_resources(self) -> ResourceAllocation:
            return ResourceAllocation({Resource("gpu", "ram_bytes"): 5})

    total = ResourceAllocation({MAIN_MEMORY: 5, Resource("gpu", "ram_bytes"): 10})
    cache = Cache(resource_tracker=ResourceTracker(total))
    cache.sizes = {"a": 5, "b": 5}
    cache.loaders |= {name: OnGpu(cache.shelf) for name in ("x", "y")}
    cache.use("x", "y", "a", "b")
    assert cache.serving() == ["b:1", "x:1", "y:1"]
    cache.close()


def test_none_goes_where_all_of_them_would_not_do() -> None:
    cache = Cache(memory=10)
    cache.sizes = {"held": 4, "idle": 4, "big": 8, "huge": 11}
    with cache.get("held"):
        cache.use("idle")
        with pytest.raises(ResourceExhaustedError) as raised:
            cache.get("big")
        assert str(raised.value) == (
            "big:1: needs 8 ram_bytes on main, of 10 there are 8 in use (held:1 4, idle:1 4);"
            " unload something, or raise the total"
        )
        with pytest.raises(ResourceExhaustedError, match=r"needs 11 .*; raise the total$"):
            cache.get("huge")
        assert cache.serving() == ["held:1", "idle:1"]
    cache.close()


def test_many_are_looked_through_and_the_fewest_taken() -> None:
    cache = Cache(memory=100)
    cache.sizes = {f"m{number}": 1 for number in range(100)} | {"big": 37}
    cache.use(*(f"m{number}" for number in range(100)))
    cache.use("big")
    assert len(cache.serving()) == 64
    assert not {f"m{number}:1" for number in range(37)} & set(cache.serving())
    cache.close()


def test_without_a_limit_nothing_goes() -> None:
    cache = Cache()
    cache.use(*(f"m{number}" for number in range(20)))
    assert len(cache.serving()) == 20
    cache.close()


# ---- what is in use ----------------------------------------------------------------------------


@contextmanager
def open_handle(cache: Cache) -> Iterator[None]:
    with cache.get("a"):
        yield


@contextmanager
def second_handle(cache: Cache) -> Iterator[None]:
    cache.get("a").close()
    with cache.get("a"):
        cache.get("a").close()
        yield


@contextmanager
def in_a_traceback(cache: Cache) -> Iterator[None]:
    def fail() -> None:
        handle = cache.get("a")
        raise ValueError(handle.id)

    try:
        fail()
    except ValueError as error:
        kept = error
        yield
        del kept


@contextmanager
def in_a_cycle(cache: Cache) -> Iterator[None]:
    cycle: list[object] = [cache.get("a")]
    cycle.append(cycle)
    del cycle
    yield
    gc.collect()


@contextmanager
def in_another_thread(cache: Cache) -> Iterator[None]:
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with cache.get("a"):
            taken.set()
            assert let_go.wait(WATCHDOG)

    holding = Spawned(hold)
    assert taken.wait(WATCHDOG)
    yield
    let_go.set()
    holding.result()


@contextmanager
def among_all(cache: Cache) -> Iterator[None]:
    cache.use("a")
    handles = cache.manager.get_available_handles()
    yield
    for handle in handles.values():
        handle.close()


Holding = Callable[[Cache], AbstractContextManager[None]]


@pytest.mark.parametrize(
    "holding",
    [open_handle, second_handle, in_a_traceback, in_a_cycle, in_another_thread, among_all],
)
def test_what_somebody_holds_is_never_chosen_and_afterwards_it_is(
    cache: Cache, holding: Holding
) -> None:
    gc.disable()  # so that a cycle lives until the test lets it go
    try:
        with holding(cache):
            cache.use("b", "c", "d")
            assert cache.serving() == ["a:1", "d:1"]
            assert cache.states("a:1") == ["START", "LOADING", "AVAILABLE"]
        cache.use("e", "f")
        assert cache.serving() == ["e:1", "f:1"]
    finally:
        gc.enable()


def test_a_handle_that_was_dropped_is_not_in_use(cache: Cache) -> None:
    cache.get("a")
    cache.get("b")
    cache.use("c", "d")
    assert cache.serving() == ["c:1", "d:1"]


def test_a_lookup_of_the_wrong_type_holds_nothing_though_its_error_is_kept(cache: Cache) -> None:
    with pytest.raises(ValueError, match="not the str") as kept:
        cache.manager.get_servable_handle("a", str)
    cache.use("b", "c")
    assert cache.serving() == ["b:1", "c:1"]
    del kept


def test_when_everything_is_in_use_the_lookup_fails_at_once_with_the_numbers(cache: Cache) -> None:
    with cache.get("a"), cache.get("b"):
        with pytest.raises(ResourceExhaustedError) as raised:
            cache.get("c", timeout=None)
        assert str(raised.value) == (
            "c:1: the limit of 2 servables is reached (a:1, b:1); none of them can be spared:"
            " close handles, or raise max_servables"
        )
        assert cache.manager.snapshots("c") == ()
    cache.use("c")
    assert cache.serving() == ["b:1", "c:1"]


def test_the_text_names_no_more_than_some_of_those_in_use() -> None:
    cache = Cache(max_servables=7)
    handles = [cache.get(f"m:{number}") for number in range(7)]
    with pytest.raises(
        ResourceExhaustedError,
        match=r"the limit of 7 servables is reached \(m:0, m:1, m:2, m:3, m:4 and 2 more\); none",
    ):
        cache.get("m:7")
    assert len(handles) == 7
    del handles
    cache.close()


def test_what_a_lookup_has_waited_for_is_in_use_before_that_thread_comes_to_run() -> None:
    cache = Cache(max_servables=1)
    manager = cache.manager
    reply: Rendezvous[Entry] = Rendezvous(lambda: manager._take("a", 1))
    data = manager._in_a_place(cache.make(ServableRequest.latest("a")))
    manager._actor.post(Obtain(data, reply))  # and nobody waits yet
    cache.wait_for("a:1", ManagerState.AVAILABLE)
    with pytest.raises(ResourceExhaustedError):
        cache.get("b")
    assert reply.wait(cache.clock, None) is not None
    cache.use("b")
    cache.close()


def test_a_lookup_that_gave_up_holds_nothing_though_its_error_is_kept() -> None:
    cache = Cache(max_servables=1)
    loader = cache.loaders["a"] = GatedLoader()
    lookup = cache.waiting("a", timeout=1.0)
    assert loader.load_entered.wait(WATCHDOG)
    cache.clock.advance(1.0)
    with pytest.raises(WaitTimeoutError) as kept:
        lookup.result()
    loader.let_load.set()
    cache.wait_for("a:1", ManagerState.AVAILABLE)
    cache.use("b")
    assert cache.serving() == ["b:1"]
    del kept
    cache.close()


def test_an_answer_that_comes_when_nobody_waits_any_more_is_not_kept() -> None:
    entry, clock = Entry(sid("m:1"), "servable", object()), FakeClock()
    reply = Rendezvous(lambda: lease(entry))
    assert reply.wait(clock, clock.monotonic()) is None
    reply.answer(None)
    assert entry.leases == set()


def test_snapshots_count_the_handles(cache: Cache) -> None:
    with cache.get("a"), cache.get("a") as second:
        (snapshot,) = cache.manager.snapshots("a")
        assert snapshot.handles == 2
        second.close()
        (snapshot,) = cache.manager.snapshots("a")
        assert snapshot.handles == 1
    (snapshot,) = cache.manager.snapshots("a")
    assert snapshot.handles == 0


def test_in_debug_mode_the_sites_of_handles_are_told(cache: Cache) -> None:
    set_debug(True)
    try:
        with cache.get("a"):
            (snapshot,) = cache.manager.snapshots("a")
            assert snapshot.handles == 1
            (site,) = snapshot.sites
            assert "in get" in site.where, "where the test's own code took it"
    finally:
        set_debug(False)
    (snapshot,) = cache.manager.snapshots("a")
    assert snapshot.sites == ()


# ---- waiting for room --------------------------------------------------------------------------


def leaving(cache: Cache, name: str) -> GatedLoader:
    """Bring *name* in, so that its unload will wait for the test."""
    loader = GatedLoader(gate_load=False, gate_unload=True)
    cache.loaders[name] = loader
    cache.use(name)
    return loader


def test_a_load_waits_for_what_is_on_its_way_out_and_says_so() -> None:
    cache = Cache(max_servables=1)
    old = leaving(cache, "a")
    early, late = cache.waiting("b", timeout=5.0), cache.waiting("b")
    assert old.unload_entered.wait(WATCHDOG)
    assert cache.shelf.loads == []
    reason = cache.manager.explain("b")
    assert reason is not None
    assert reason.code is ReasonCode.WAITING_FOR_MEMORY
    assert str(reason) == "b:1 waits for memory: the limit of 1 servable is reached (a:1)"
    cache.clock.advance(5.0)
    with pytest.raises(WaitTimeoutError, match="b:1 waits for memory: the limit of 1"):
        early.result()
    old.let_unload.set()
    late.result().close()
    assert cache.serving() == ["b:1"]
    cache.close()


def test_what_is_asked_for_while_it_leaves_comes_back_with_the_new_loader(cache: Cache) -> None:
    old = leaving(cache, "a")
    cache.use("b")
    making_room = cache.waiting("c")
    assert old.unload_entered.wait(WATCHDOG)
    del cache.loaders["a"]
    back = cache.waiting("a")
    assert (back.done, cache.shelf.loads) == (False, ["b:1"])
    old.let_unload.set()
    making_room.result().close()
    with back.result() as handle:
        assert handle.servable.loaded
    assert cache.shelf.loads == ["b:1", "c:1", "a:1"]
    assert cache.states("a:1")[-4:] == ["END", "START", "LOADING", "AVAILABLE"]
    assert cache.serving() == ["a:1", "c:1"]


def test_closing_tells_at_once_who_waits_for_what_has_to_leave_first() -> None:
    cache = Cache(max_servables=1)
    old = leaving(cache, "a")
    waits = [cache.waiting("b")]
    assert old.unload_entered.wait(WATCHDOG)
    waits.append(cache.waiting("a"))
    closing = Spawned(lambda: cache.manager.close(WATCHDOG))
    for one in waits:
        with pytest.raises(ClosedError):
            one.result()
    assert not closing.done
    old.let_unload.set()
    assert closing.result()


def test_of_two_that_compete_for_the_last_place_each_gets_it_or_the_numbers() -> None:
    cache = Cache(max_servables=1)
    first = cache.loaders["a"] = GatedLoader()
    winner = cache.waiting("a")
    assert first.load_entered.wait(WATCHDOG)
    with pytest.raises(
        ResourceExhaustedError, match=r"b:1: the limit of 1 servable is reached \(a:1"
    ):
        cache.get("b")
    first.let_load.set()
    winner.result().close()
    cache.use("b")
    cache.close()


def test_a_load_that_fails_gives_its_place_back(cache: Cache) -> None:
    cache.use("a")
    for number in range(5):
        cache.loaders["bad"] = FailingLoader(ValueError("corrupt"))
        with pytest.raises(LoadFailedError):
            cache.get(f"bad:{number}")
    cache.use("b")
    assert cache.serving() == ["a:1", "b:1"]


def test_a_version_whose_unload_fails_gives_its_place_back(cache: Cache) -> None:
    class Bad(ShelfLoader):
        def unload(self, servable: object) -> None:
            super().unload(servable)
            raise ValueError("cannot be taken apart")

    cache.loaders["a"] = Bad(cache.shelf)
    cache.use("a", "b", "c", "d")
    assert cache.serving() == ["c:1", "d:1"]
    assert [str(one) for one in cache.ends("a:1")] == ["ValueError: cannot be taken apart"]


def test_a_limit_passes_the_revision_of_a_loader_on() -> None:
    cache = Cache(max_servables=1, max_num_load_retries=1, load_retry_interval=1000.0)
    loader = FailingLoader(ValueError("corrupt"))
    cache.loaders["m"] = loader
    lookup = cache.waiting("m", timeout=None)
    while not cache.manager.snapshots("m") or cache.manager.snapshots("m")[0].retry_at is None:
        cache.flush()
    loader.files = "repaired"
    cache.clock.advance(1.0)
    lookup.result().close()
    assert loader.attempts == 2
    cache.close()


def test_a_manager_with_a_limit_keeps_nothing_of_what_went(cache: Cache) -> None:
    cache.use("a", "b", "c")
    cache.flush()
    before = cache.records()
    cache.use(*(f"m{number}:{number}" for number in range(50)))
    cache.use("d")
    cache.flush()
    assert cache.records() == before


def test_loaders_of_any_kind_count_as_one(cache: Cache) -> None:
    cache.sizes = {"a": 10**15}
    cache.loaders["b"] = GatedLoader(gate_load=False)
    cache.use("a", "b")
    assert cache.serving() == ["a:1", "b:1"]
