"""A manager with real threads, in the interleavings that could break its promises."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator

import pytest

from servman.errors import ClosedError, NotFoundError
from servman.manager import CloseReport, ServableHandle
from servman.state import ManagerState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import outcome, together
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, entry

READERS = 4


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Let threads take turns far more often than they usually would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def live() -> Iterator[Live]:
    """Return a started manager, and close it."""
    live = Live()
    yield live
    live.close()


def test_no_lookup_fails_or_finds_an_unloaded_version_while_versions_are_swapped(
    live: Live,
) -> None:
    swaps = 8
    swapped = threading.Event()
    live.bring("m", 0)

    def read() -> int:
        versions = [0]
        while not swapped.is_set():
            with live.handle("m") as handle:
                assert handle.servable.loaded
                assert handle.id == handle.servable.id
                versions.append(handle.id.version)
        assert versions == sorted(versions), "a reader went back in time"
        return len(versions)

    readers = [Spawned(read) for _ in range(READERS)]
    try:
        for version in range(1, swaps + 1):
            live.bring("m", version)
    finally:
        swapped.set()
    assert all(reader.result() > 1 for reader in readers)
    assert live.serving() == [f"m:{swaps}"]


def use(handle: ServableHandle[Model]) -> None:
    assert handle.servable.loaded
    handle.close()


def take_and_use(live: Live, name: str) -> None:
    use(live.handle(name))


def test_a_version_is_unloaded_once_after_the_last_of_many_handles_was_closed(live: Live) -> None:
    for name in (f"m{number}" for number in range(30)):
        loader = ModelLoader()
        live.bring(name, entry(f"{name}:1", loader))
        handles = [live.handle(name) for _ in range(READERS)]
        live.aspire(name)
        for one in together(*[functools.partial(use, handle) for handle in handles]):
            one.result()
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loader.unloads == 1


def test_a_handle_taken_while_its_version_goes_is_good_or_refused(live: Live) -> None:
    for name in (f"m{number}" for number in range(30)):
        loader = ModelLoader()
        live.bring(name, entry(f"{name}:1", loader))
        take = functools.partial(outcome, functools.partial(take_and_use, live, name))
        *takers, leave = together(take, take, take, functools.partial(live.aspire, name))
        leave.result()
        assert {one.result() for one in takers} <= {None, NotFoundError}
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loader.unloads == 1


def test_a_load_that_returns_while_the_manager_closes_is_unloaded_and_ends_once() -> None:
    for _ in range(20):
        live, loader = Live(), GatedLoader()
        live.aspire("m", entry("m:1", loader))
        assert loader.load_entered.wait(WATCHDOG)
        close, let = together(live.manager.close, loader.let_load.set)
        let.result()
        assert close.result()
        assert loader.unloaded == [loader.servable]
        assert live.states("m:1")[-1] == "END"
        assert len(live.ends("m:1")) == 1


def test_all_who_close_at_once_wait_and_hear_the_same() -> None:
    for _ in range(10):
        live = Live()
        live.bring("m", 1, 2)
        reports = [one.result() for one in together(*[live.manager.close] * 4)]
        assert reports == [CloseReport()] * 4
        assert (live.ends("m:1"), live.ends("m:2")) == ([None], [None])


def test_who_starts_a_manager_that_is_being_closed_succeeds_or_is_told() -> None:
    for _ in range(20):
        live = Live()
        start, close = together(functools.partial(outcome, live.manager.start), live.manager.close)
        assert start.result() in (None, ClosedError)
        assert close.result()


def test_lists_of_one_stream_from_two_threads_leave_the_one_that_came_last(live: Live) -> None:
    def aspire(versions: tuple[int, ...]) -> None:
        for _ in range(30):
            live.aspire("m", *versions)

    for one in together(lambda: aspire((1, 2)), lambda: aspire((2, 3)), lambda: aspire((4,))):
        one.result()
    live.bring("m", 5)
    assert live.serving() == ["m:5"]
    for version in (1, 2, 3, 4):
        states = live.states(f"m:{version}")
        assert states.count("START") == states.count("END") == len(live.ends(f"m:{version}"))


def test_lists_of_many_streams_from_many_threads_are_all_acted_on(live: Live) -> None:
    def serve(name: str) -> None:
        for version in range(10):
            live.bring(name, version)
            with live.handle(name) as handle:
                assert handle.id.version == version

    for one in together(*[lambda name=name: serve(name) for name in ("a", "b", "c", "d")]):
        one.result()
    assert live.serving() == ["a:9", "b:9", "c:9", "d:9"]


def test_lookups_during_a_close_find_a_loaded_version_or_are_told() -> None:
    for _ in range(10):
        live = Live()
        live.bring("m", 1)

        read = functools.partial(look_until_closed, live)
        for one in together(read, read, live.manager.close):
            one.result()


def look_until_closed(live: Live) -> None:
    while (told := outcome(functools.partial(take_and_use, live, "m"))) is None:
        pass
    assert told in (ClosedError, NotFoundError)
