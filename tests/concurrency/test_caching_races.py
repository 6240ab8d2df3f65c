"""A caching manager with many who ask at once, in the interleavings that could break its promises."""

from __future__ import annotations

import functools
import gc
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from servman.errors import ClosedError, LoadFailedError, ResourceExhaustedError, ServmanError
from servman.loader import LoadContext, SimpleLoader
from servman.manager import ServableHandle
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.cache import Cache, ShelfLoader
from tests.unit.manager.rig import Model

MANY = 32


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Let threads take turns far more often than they usually would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*calls: Callable[[], Any]) -> list[Spawned[Any]]:
    """Run each call in a thread of its own, all from one moment on."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait(WATCHDOG)
        return call()

    return [Spawned(lambda call=call: run(call)) for call in calls]  # type: ignore[misc]


def outcome(cache: Cache, request: str) -> type[ServmanError] | None:
    """Look up and use; return the type of the error that this raises, or None."""
    try:
        with cache.get(request) as handle:
            assert handle.servable.loaded
    except ServmanError as error:
        return type(error)
    return None


def test_of_many_who_ask_for_one_id_at_once_all_get_it_by_one_load() -> None:
    cache = Cache()
    loader = cache.loaders["m"] = GatedLoader()
    lookups = together(*[lambda: cache.get("m:1")] * MANY)
    cache.heard(MANY)
    assert cache.manager.list_available_ids() == []
    loader.let_load.set()
    handles: list[ServableHandle[Model]] = [one.result() for one in lookups]
    assert [str(one.id) for one in handles] == ["m:1"] * MANY
    assert len(loader.contexts) == 1
    assert cache.manager.snapshots("m")[0].handles == MANY
    for handle in handles:
        handle.close()
    cache.close()


def test_of_many_who_ask_for_one_id_that_fails_all_are_told_of_one_load() -> None:
    cache = Cache()
    let, loads = threading.Event(), []

    def create(context: LoadContext) -> object:
        loads.append(context)
        assert let.wait(WATCHDOG)
        raise ValueError("corrupt")

    cache.loaders["m"] = SimpleLoader(create)
    lookups = together(*[lambda: outcome(cache, "m:1")] * MANY)
    cache.heard(MANY)
    let.set()
    assert [one.result() for one in lookups] == [LoadFailedError] * MANY
    assert len(loads) == 1
    cache.close()


def test_without_a_gate_one_load_is_enough_as_well() -> None:
    for number in range(20):
        cache = Cache()
        lookups = together(*[lambda: outcome(cache, f"m:{number}")] * 8)  # noqa: B023 -- awaited below
        assert [one.result() for one in lookups] == [None] * 8
        assert cache.shelf.loads == [f"m:{number}"]
        cache.close()


def test_different_ids_are_loaded_at_the_same_time() -> None:
    cache = Cache()
    inside = threading.Barrier(4)
    cache.loaders["m"] = SimpleLoader(lambda _: f"met as {inside.wait(WATCHDOG)}")

    def ask(version: int) -> str:
        with cache.get(f"m:{version}") as handle:
            return str(handle.servable)

    lookups = together(*[functools.partial(ask, version) for version in range(4)])
    assert sorted(one.result() for one in lookups) == [f"met as {number}" for number in range(4)]
    cache.close()


def test_two_who_compete_for_the_last_place_never_share_it() -> None:
    for _ in range(20):
        cache = Cache(max_servables=2)
        with cache.get("held"):
            told = [
                one.result()
                for one in together(lambda: outcome(cache, "a"), lambda: outcome(cache, "b"))  # noqa: B023 -- awaited here
            ]
            assert None in told
            assert set(told) <= {None, ResourceExhaustedError}
        assert cache.shelf.most == 2
        cache.close()


@pytest.mark.parametrize("places", [1, 3])
def test_many_who_ask_for_more_than_there_is_room_for_all_get_an_answer(places: int) -> None:
    cache = Cache(max_servables=places)

    def ask(number: int) -> set[type[ServmanError] | None]:
        choose = random.Random(number)  # noqa: S311 -- a test's dice
        return {outcome(cache, f"m:{choose.randrange(8)}") for _ in range(25)}

    askers = together(*[functools.partial(ask, number) for number in range(8)])
    told = set().union(*(one.result(60.0) for one in askers))
    assert None in told
    assert told <= {None, ResourceExhaustedError}
    assert cache.shelf.most == places
    cache.close()


def test_handles_of_any_fate_are_good_while_others_take_their_room() -> None:
    cache = Cache(max_servables=6)

    def ask(number: int) -> int:
        choose, used = random.Random(number), 0  # noqa: S311 -- likewise
        for _ in range(40):
            try:
                handle = cache.get(f"m:{choose.randrange(9)}")
            except ResourceExhaustedError:
                continue
            fate = choose.randrange(3)
            if fate == 0:
                cycle: list[object] = [handle]
                cycle.append(cycle)
            assert handle.servable.loaded
            if fate == 1:
                handle.close()
            used += 1
        return used

    askers = together(*[functools.partial(ask, number) for number in range(4)])
    assert all(one.result(60.0) for one in askers)
    gc.collect()
    assert cache.shelf.most <= 6
    cache.close()


def test_a_lookup_beside_the_eviction_of_what_it_finds_is_good() -> None:
    cache = Cache(max_servables=1)
    for _ in range(30):
        cache.use("a")
        lookups = together(lambda: outcome(cache, "a:1"), lambda: outcome(cache, "b:1"))
        told = {one.result() for one in lookups}
        assert told <= {None, ResourceExhaustedError}
        assert None in told
    assert cache.shelf.most == 1
    cache.close()


def test_lookups_during_a_close_are_answered_all_of_them() -> None:
    for number in range(20):
        cache = Cache(max_servables=2)

        def ask(cache: Cache = cache) -> type[ServmanError] | None:
            version, told = 0, None
            while told in (None, ResourceExhaustedError):
                version += 1
                told = outcome(cache, f"m:{version % 4}")
            return told

        close = lambda cache=cache: cache.manager.close(WATCHDOG)  # noqa: E731 -- its name is what it does
        *askers, closing = together(ask, ask, ask, close)
        assert [one.result() for one in askers] == [ClosedError] * 3, number
        assert closing.result()
        assert cache.shelf.there() == []


def test_a_lookup_may_come_between_any_two_lines_of_another_one() -> None:
    """As a signal handler does, or a finaliser: nothing of ours may be locked then."""
    cache = Cache(max_servables=3)
    cache.use("a", "b", "c")
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        where = frame.f_code.co_filename
        if "/servman/manager/" not in where:
            return None
        if event == "line" and (where, frame.f_lineno) not in seen:
            seen.add((where, frame.f_lineno))
            sys.settrace(None)
            cache.use("a:1", "b")
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cache.use("a:1", "c")
    finally:
        sys.settrace(before)
    assert {where.rsplit("/", 1)[1] for where, _ in seen} >= {"caching.py", "leases.py"}
    assert cache.shelf.loads == ["a:1", "b:1", "c:1"]
    with cache.get("a"), cache.get("b"), pytest.raises(ResourceExhaustedError), cache.get("c"):
        cache.get("d")
    cache.use("d")
    cache.close()


def test_a_lookup_that_loads_may_come_between_any_two_lines_of_one_that_waits() -> None:
    cache = Cache()
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        where = frame.f_code.co_filename
        if not where.endswith(("caching.py", "replies.py")):
            return None
        if event == "line" and (where, frame.f_lineno) not in seen:
            seen.add((where, frame.f_lineno))
            sys.settrace(None)
            cache.use(f"inner:{len(seen)}")
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cache.use("outer")
    finally:
        sys.settrace(before)
    assert {where.rsplit("/", 1)[1] for where, _ in seen} == {"caching.py", "replies.py"}
    assert len(cache.shelf.loads) == len(seen) + 1
    cache.close()


def test_loaders_that_ask_for_each_others_parts_get_them() -> None:
    cache = Cache(num_load_threads=8)

    class Whole(ShelfLoader):
        def load(self, context: LoadContext) -> Model:
            with cache.get("part:1") as part:
                assert part.servable.loaded
            return super().load(context)

    cache.loaders["whole"] = Whole(cache.shelf)
    lookups = together(*[functools.partial(outcome, cache, f"whole:{n}") for n in range(6)])
    assert [one.result() for one in lookups] == [None] * 6
    assert cache.shelf.loads.count("part:1") == 1
    cache.close()
