"""Handles: each holds its own version in memory, in whatever way it is kept, and nothing else."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator

import pytest

from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.ids import ServableRequest
from servman.manager import HarnessState, ServableHandle
from tests.unit.manager.rig import Model, Rig, sid

Q = HarnessState.QUIESCING


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Keep the collector from running on its own."""
    gc.disable()
    yield
    gc.enable()


def going(rig: Rig) -> None:
    """Let "m:1" go as far as handles let it."""
    rig.bring("m")


def gone(rig: Rig) -> bool:
    """Return whether "m:1" has ended."""
    rig.settle()
    return rig.ends("m:1") == [None]


def test_a_handle_tells_its_id_and_its_servable(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m") as handle:
        assert (handle.id, handle.servable.id) == (sid("m:1"), sid("m:1"))
        assert repr(handle) == "ServableHandle(m:1)"
    assert repr(handle) == "ServableHandle(closed)"


def test_a_handle_cannot_be_constructed() -> None:
    with pytest.raises(TypeError, match="handles come from get_servable_handle"):
        ServableHandle()


def test_a_version_is_not_unloaded_while_a_handle_is_open(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    going(rig)
    assert (rig.state("m:1"), rig.serving(), rig.unloads.jobs) == (Q, [], [])
    assert handle.servable.loaded
    handle.close()
    assert gone(rig)


def test_a_version_waits_for_the_last_of_several_handles(rig: Rig) -> None:
    rig.bring("m", 1)
    first, second = rig.handle("m"), rig.handle("m:1")
    going(rig)
    first.close()
    rig.settle()
    assert second.servable.loaded
    second.close()
    assert gone(rig)


def test_closing_runs_nothing_of_the_loader(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    model = handle.servable
    going(rig)
    handle.close()
    rig.step()
    assert (model.loaded, len(rig.unloads.jobs)) == (True, 1)
    rig.unload()
    assert not model.loaded


def test_closing_twice_does_nothing(rig: Rig) -> None:
    rig.bring("m", 1)
    first, second = rig.handle("m"), rig.handle("m")
    going(rig)
    first.close()
    first.close()
    assert not gone(rig)
    second.close()


def test_a_closed_handle_says_so(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    handle.close()
    with pytest.raises(FailedPreconditionError, match="the handle was closed; take a new one"):
        _ = handle.servable
    with pytest.raises(FailedPreconditionError, match="the handle was closed"):
        _ = handle.id


def test_leaving_the_block_closes_whatever_was_raised_in_it(rig: Rig) -> None:
    rig.bring("m", 1)
    with pytest.raises(ValueError, match="a request went wrong"), rig.handle("m") as handle:
        raise ValueError("a request went wrong")
    going(rig)
    assert gone(rig)
    assert repr(handle) == "ServableHandle(closed)"


def test_a_handle_that_is_dropped_without_close_lets_go(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    going(rig)
    assert not gone(rig)
    del handle
    assert gone(rig)


def test_a_copy_of_a_handle_holds_too(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    twin = copy.copy(handle)
    handle.close()
    going(rig)
    assert not gone(rig)
    assert twin.servable.loaded
    twin.close()
    assert gone(rig)


def test_a_handle_kept_by_a_traceback_holds(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)

    def request() -> None:
        handle = rig.handle("m")
        raise ValueError(handle.id)

    kept: list[ValueError] = []
    try:
        request()
    except ValueError as error:
        kept.append(error)
    going(rig)
    assert not gone(rig)
    kept.clear()
    assert gone(rig)


def test_a_handle_kept_by_a_suspended_frame_holds(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)

    def stream() -> Iterator[bool]:
        with rig.handle("m") as handle:
            yield handle.servable.loaded
            yield handle.servable.loaded

    answers = stream()
    assert next(answers)
    going(rig)
    assert not gone(rig)
    assert next(answers)
    del answers
    assert gone(rig)


class Owner:
    """Sits in a reference cycle with a handle, and uses the servable when it is finalised."""

    def __init__(self, handle: ServableHandle[Model], saw: Callable[[bool], None]) -> None:
        self.handle = handle
        self.saw = saw
        self.cycle = self

    def __del__(self) -> None:
        self.saw(self.handle.servable.loaded)


def test_finalisers_of_a_garbage_cycle_still_find_the_servable_loaded(
    rig: Rig, no_collection: None
) -> None:
    rig.bring("m", 1)
    saw: list[bool] = []

    def look(loaded: bool) -> None:
        rig.settle()  # the manager hears of whatever it could hear of by now
        saw.append(loaded and not rig.ends("m:1"))

    Owner(rig.handle("m"), look)
    going(rig)
    assert not gone(rig)
    gc.collect()
    assert saw == [True]
    assert gone(rig)


def test_a_handle_that_a_finaliser_brings_back_to_life_still_holds(
    rig: Rig, no_collection: None
) -> None:
    rig.bring("m", 1)
    kept: list[ServableHandle[Model]] = []

    class Keeper:
        def __init__(self) -> None:
            self.handle = rig.handle("m")
            self.cycle = self

        def __del__(self) -> None:
            kept.append(self.handle)

    Keeper()
    going(rig)
    gc.collect()
    assert not gone(rig)
    assert kept[0].servable.loaded
    assert rig.snapshot("m:1").handles == 0  # it cannot be counted any more, only waited for
    kept[0].close()
    assert gone(rig)


def test_a_handle_delays_neither_load_nor_unload_of_another_version(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.bring("n", 1)
    handle = rig.handle("m:1")
    rig.bring("n", 2)
    rig.bring("m", 2)
    assert rig.serving() == ["m:2", "n:2"]
    assert rig.ends("n:1") == [None]
    rig.bring("m", 3)
    assert rig.ends("m:2") == [None]
    assert handle.servable.loaded
    handle.close()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_snapshots_count_the_handles_of_a_version_that_serves(rig: Rig, count: int) -> None:
    rig.bring("m", 1, 2)
    other = rig.handle("m:2")
    handles = [rig.handle("m:1") for _ in range(count)]
    assert rig.snapshot("m:1").handles == len(handles)
    assert rig.snapshot("m:2").handles == 1
    other.close()


@pytest.mark.parametrize("count", [1, 3])
def test_snapshots_count_the_handles_that_hold_a_version_up(rig: Rig, count: int) -> None:
    rig.bring("m", 1)
    handles = [rig.handle("m") for _ in range(count)]
    going(rig)
    assert (rig.snapshot("m:1").state, rig.snapshot("m:1").handles) == (Q, len(handles))
    handles.pop().close()
    if count > 1:
        assert rig.snapshot("m:1").handles == count - 1


def test_a_lookup_under_way_in_another_thread_holds_too(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)
    found = rig.manager._serving.find("m")  # found, and not yet in a handle
    going(rig)
    assert not gone(rig)
    stream = rig.manager._serving.streams.get("m")
    assert stream is None
    del found
    assert gone(rig)


def test_counting_handles_holds_nothing(rig: Rig, no_collection: None) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    going(rig)
    kept = (rig.manager.snapshots(), rig.manager.explain("m:1"))
    handle.close()
    assert gone(rig)
    assert kept[0][0].handles == 1


# ---- lookups that fail hold nothing -------------------------------------------------------------


def failed_lookups() -> list[Callable[[Rig], object]]:
    """Return lookups in "m" that fail, with "m:1" being served."""
    return [  # the wrong types are the point
        lambda rig: rig.manager.get_servable_handle("m:2"),
        lambda rig: rig.manager.get_servable_handle("m:newest"),
        lambda rig: rig.manager.get_servable_handle("m:bogus"),
        lambda rig: rig.manager.get_servable_handle("m:"),
        lambda rig: rig.manager.get_servable_handle(ServableRequest.newest("m")),
        lambda rig: rig.manager.get_servable_handle("m", str),
        lambda rig: rig.manager.get_servable_handle("m:1", str),
        lambda rig: rig.manager.get_servable_handle("m", "no type"),
        lambda rig: rig.manager.get_available_handles("no type"),
    ]


@pytest.mark.parametrize("lookup", failed_lookups())
def test_a_lookup_that_fails_holds_nothing_even_while_its_error_is_kept(
    rig: Rig, no_collection: None, lookup: Callable[[Rig], object]
) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 1, 2)  # so that the newest is not there yet
    with pytest.raises((NotFoundError, InvalidArgumentError, TypeError)) as caught:
        lookup(rig)
    rig.bring("m")
    assert rig.ends("m:1") == [None]
    assert caught.value.__traceback__ is not None


def test_a_lookup_of_the_wrong_type_says_what_it_found(rig: Rig) -> None:
    rig.bring("m", 1)
    with pytest.raises(InvalidArgumentError, match="m:1 is a Model, not the str that was asked"):
        rig.manager.get_servable_handle("m", str)


def test_a_servable_that_cannot_be_asked_for_its_type_holds_nothing(
    rig: Rig, no_collection: None
) -> None:
    class Shy(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise ZeroDivisionError

    class Never(metaclass=Shy):
        pass

    rig.bring("m", 1)
    with pytest.raises(ZeroDivisionError) as caught:
        rig.manager.get_servable_handle("m", Never)
    rig.bring("m")
    assert rig.ends("m:1") == [None]
    assert caught.value.__traceback__ is not None
