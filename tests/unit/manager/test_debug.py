"""`set_debug`: where handles were taken, for how long they are held, and which were never closed."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from servman.errors import InvalidArgumentError
from servman.manager import CachingManager, HandleSite, ServableHandle, ServableStateSnapshot
from servman.manager.debug import set_debug
from servman.reasons import ReasonCode
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import Model, Rig, entry, sid

NEVER = (
    r"a handle on m:1, taken at .*test_debug\.py:\d+ in \w+, was never closed; use it in a `with`"
)


@pytest.fixture(autouse=True)
def debug() -> Iterator[None]:
    """Switch debugging on, and off again with the test; keep the collector for the test."""
    set_debug(True)
    gc.disable()
    yield
    gc.enable()
    set_debug(False)


@pytest.fixture
def rig() -> Rig:
    """Return a manager that serves "m:1"."""
    rig = Rig()
    rig.bring("m", 1)
    return rig


def here() -> str:
    """Return the place of the caller, as sites tell it."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def places(rig: Rig) -> list[str]:
    return [site.where for site in rig.snapshot("m:1").sites]


def gone(rig: Rig) -> bool:
    """Let "m:1" go; return whether it has ended."""
    rig.bring("m")
    return rig.ends("m:1") == [None]


# ---- where and for how long ---------------------------------------------------------------------


def test_snapshots_tell_where_and_when_each_open_handle_was_taken(rig: Rig) -> None:
    first, place = rig.manager.get_servable_handle("m"), here()
    rig.clock.advance(5.0)
    second, other = rig.manager.get_servable_handle("m:1"), here()
    now = rig.clock.monotonic()
    expected = (HandleSite(place, now - 5.0), HandleSite(other, now))
    assert (rig.snapshot("m:1").sites, rig.snapshot("m:1").handles) == (expected, 2)
    first.close()
    assert rig.snapshot("m:1").sites == expected[1:]
    second.close()
    assert (rig.snapshot("m:1").sites, rig.snapshot("m:1").handles) == ((), 0)


def test_leaving_a_block_takes_the_handle_off_the_record(rig: Rig) -> None:
    with rig.manager.get_servable_handle("m") as handle:
        assert len(places(rig)) == 1
    handle.close()
    assert places(rig) == []


def test_each_version_has_its_own_record(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    with rig.manager.get_servable_handle("m:2"):
        assert places(rig) == []
        assert len(rig.snapshot("m:2").sites) == 1


def test_the_reason_of_a_version_that_waits_for_handles_tells_where_and_for_how_long(
    rig: Rig,
) -> None:
    handle, place = rig.manager.get_servable_handle("m"), here()
    rig.clock.advance(5.0)
    rig.bring("m")
    rig.clock.advance(7.0)
    reason = rig.why("m:1")
    assert reason.code is ReasonCode.WAITING_FOR_HANDLES
    assert reason.text == (
        f"m:1 is on its way out and has waited 7.0 s for 1 handle to close; taken at {place}, 12.0 s ago"
    )
    assert reason.facts["sites"] == rig.snapshot("m:1").sites
    handle.close()


def test_a_reason_names_the_three_oldest_of_many_handles(rig: Rig) -> None:
    handles = []
    for _ in range(5):
        handles.append(rig.manager.get_servable_handle("m"))
        rig.clock.advance(1.0)
    rig.bring("m")
    text = rig.why("m:1").text
    assert [f"{age}.0 s ago" in text for age in (5, 4, 3, 2, 1)] == [True] * 3 + [False] * 2
    assert text.endswith(", and 2 more")
    for handle in handles:
        handle.close()


def test_the_report_of_a_close_tells_where_the_handles_were_taken_that_it_had_to_leave(
    rig: Rig,
) -> None:
    handle, place = rig.manager.get_servable_handle("m"), here()
    rig.begin_close(0.0)
    assert str(rig.report()) == f"left: m:1 (quiescing, 1 handle, taken at {place})"
    handle.close()


def test_handles_on_everything_tell_who_asked_for_them(rig: Rig) -> None:
    handles, place = rig.manager.get_available_handles(), here()
    assert places(rig) == [place]
    for handle in handles.values():
        handle.close()


def test_handles_that_a_type_leaves_out_are_closed(
    rig: Rig, recwarn: pytest.WarningsRecorder
) -> None:
    assert rig.manager.get_available_handles(int) == {}
    assert places(rig) == []
    assert list(recwarn) == []


def test_a_lookup_that_fails_for_its_type_leaves_no_record(
    rig: Rig, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(InvalidArgumentError):
        rig.manager.get_servable_handle("m", int)
    assert (places(rig), list(recwarn)) == ([], [])


def test_a_handle_on_what_was_loaded_for_it_tells_who_asked_for_it() -> None:
    with CachingManager(lambda _: entry("m:1"), max_servables=1) as manager:
        with manager.get_servable_handle("m", timeout=WATCHDOG):
            place = here()
            (snapshot,) = manager.snapshots()
        (site,) = snapshot.sites
        assert site.where.partition(":")[0] == place.partition(":")[0]
        assert manager.snapshots()[0].sites == ()


def test_a_debug_handle_looks_like_any_other(rig: Rig) -> None:
    with rig.manager.get_servable_handle("m", Model) as handle:
        assert isinstance(handle, ServableHandle)
        assert (repr(handle), handle.id, handle.servable.id) == (
            "ServableHandle(m:1)",
            sid("m:1"),
            sid("m:1"),
        )
    assert repr(handle) == "ServableHandle(closed)"


# ---- on and off ---------------------------------------------------------------------------------


def test_switched_off_new_handles_are_plain_and_old_ones_stay_on_record(rig: Rig) -> None:
    old, place = rig.manager.get_servable_handle("m"), here()
    set_debug(False)
    new = rig.manager.get_servable_handle("m")
    assert (places(rig), rig.snapshot("m:1").handles) == ([place], 2)
    assert (type(new), type(old) is type(new)) == (ServableHandle, False)
    old.close()
    assert (places(rig), rig.snapshot("m:1").handles) == ([], 1)
    new.close()


def test_switched_on_handles_that_are_open_already_stay_unknown(rig: Rig) -> None:
    set_debug(False)
    old = rig.manager.get_servable_handle("m")
    set_debug(True)
    new, place = rig.manager.get_servable_handle("m"), here()
    rig.bring("m")
    assert (places(rig), rig.snapshot("m:1").handles) == ([place], 2)
    assert "for about 2 handles to close; taken at" in rig.why("m:1").text
    new.close()
    assert rig.why("m:1").text.endswith("for 1 handle to close")
    old.close()


def test_a_handle_taken_before_debugging_is_dropped_in_silence(
    rig: Rig, recwarn: pytest.WarningsRecorder
) -> None:
    set_debug(False)
    handle = rig.manager.get_servable_handle("m")
    set_debug(True)
    del handle
    assert list(recwarn) == []


# ---- never closed -------------------------------------------------------------------------------


def test_a_handle_that_is_dropped_is_reported_with_its_place_and_lets_go(rig: Rig) -> None:
    handle = rig.manager.get_servable_handle("m")
    with pytest.warns(ResourceWarning, match=NEVER):
        del handle
    assert places(rig) == []
    assert gone(rig)


def test_a_handle_that_was_closed_is_dropped_in_silence(
    rig: Rig, recwarn: pytest.WarningsRecorder
) -> None:
    handle = rig.manager.get_servable_handle("m")
    handle.close()
    with rig.manager.get_servable_handle("m"):
        pass
    del handle
    assert list(recwarn) == []


def test_a_handle_is_reported_wherever_it_is_dropped(rig: Rig) -> None:
    kept = [rig.manager.get_servable_handle("m")]
    with pytest.warns(ResourceWarning, match=NEVER):
        Spawned(kept.clear).result()
    assert gone(rig)


def test_a_copy_that_is_dropped_is_reported_without_a_place(rig: Rig) -> None:
    handle = rig.manager.get_servable_handle("m")
    twin = copy.copy(handle)
    handle.close()
    assert not gone(rig)
    with pytest.warns(ResourceWarning, match="a handle on m:1 was never closed"):
        del twin
    assert gone(rig)


def test_where_warnings_are_errors_the_version_is_let_go_even_while_the_error_is_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", kept.append)
    handle = rig.manager.get_servable_handle("m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del handle
    assert len(kept) == 1
    assert gone(rig)


def test_a_recorded_warning_keeps_no_version(rig: Rig) -> None:
    handle = rig.manager.get_servable_handle("m")
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        del handle
    assert len(recorded) == 1
    assert gone(rig)


class Owner:
    """Sits in a reference cycle with a handle, and uses the servable when it is finalised."""

    def __init__(self, handle: ServableHandle[Model], saw: Callable[[bool], None]) -> None:
        self.handle = handle
        self.saw = saw
        self.cycle = self

    def __del__(self) -> None:
        self.saw(self.handle.servable.loaded)


@pytest.mark.parametrize("handle_first", [True, False])
def test_finalisers_of_a_garbage_cycle_still_find_the_servable_loaded(
    rig: Rig, handle_first: bool
) -> None:
    saw: list[bool] = []

    def look(loaded: bool) -> None:
        rig.settle()  # the manager hears of whatever it could hear of by now
        saw.append(loaded and not rig.ends("m:1"))

    if handle_first:  # the collector finalises what is older first
        Owner(rig.manager.get_servable_handle("m", Model), look)
    else:
        owner = Owner.__new__(Owner)
        owner.__init__(rig.manager.get_servable_handle("m", Model), look)  # type: ignore[misc]
        del owner
    assert not gone(rig)
    with pytest.warns(ResourceWarning, match=NEVER):
        gc.collect()
    assert saw == [True]
    assert gone(rig)


def test_a_handle_that_a_finaliser_brings_back_to_life_still_holds(rig: Rig) -> None:
    kept: list[ServableHandle[Model]] = []

    class Keeper:
        def __init__(self) -> None:
            self.handle = rig.manager.get_servable_handle("m", Model)
            self.cycle = self

        def __del__(self) -> None:
            kept.append(self.handle)

    Keeper()
    with pytest.warns(ResourceWarning, match=NEVER):
        gc.collect()
    assert not gone(rig)
    assert kept[0].servable.loaded
    kept[0].close()
    assert gone(rig)


def test_the_warning_may_ask_the_manager(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, tuple[ServableStateSnapshot, ...]]] = []
    monkeypatch.setattr(
        warnings,
        "showwarning",
        lambda text, *_, **__: told.append((str(text), rig.manager.snapshots())),
    )
    handle = rig.manager.get_servable_handle("m")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        del handle
    ((text, (snapshot,)),) = told
    assert "never closed" in text
    assert snapshot.sites == ()


# ---- many threads ----------------------------------------------------------------------------


def test_handles_that_come_and_go_in_many_threads_leave_no_record(rig: Rig) -> None:
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait(WATCHDOG)
        for _ in range(50):
            with rig.manager.get_servable_handle("m"):
                rig.manager.snapshots()

    for thread in [Spawned(ask) for _ in range(4)]:
        thread.result()
    assert places(rig) == []
    assert gone(rig)
