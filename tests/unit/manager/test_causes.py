"""What is told of a state beside the state: what brought the version there."""

from __future__ import annotations

import pickle

from servman.events import Event
from servman.manager.harness import LoaderHarness
from servman.state import ManagerState, ServableState
from tests.unit.manager.basic_bench import BasicBench
from tests.unit.manager.cache import Cache
from tests.unit.manager.rig import FileLoader, ModelLoader, Rig, entry, sid


def causes(rig: Rig, id: str) -> list[str]:
    """Return the public states of *id* with their causes, oldest first."""
    return [f"{one.manager_state.name} {one.cause}".strip() for one in rig.published(id)]


def test_a_version_begins_because_it_is_aspired_and_goes_because_it_no_longer_is(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.bring("m", 2)
    assert causes(rig, "m:1") == [
        "START aspired",
        "LOADING",
        "AVAILABLE",
        "UNLOADING no longer aspired",
        "END no longer aspired",
    ]


def test_a_version_from_elsewhere_replaces_the_one_before_it(rig: Rig) -> None:
    rig.bring("m", entry("m:1", origin="/a"))
    rig.bring("m", entry("m:1", origin="/b"))
    assert causes(rig, "m:1")[3:] == [
        "UNLOADING replaced",
        "END replaced",
        "START comes back",
        "LOADING",
        "AVAILABLE",
    ]


def test_a_version_that_is_wanted_again_while_it_goes_comes_back(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    with rig.handle("m:1"):
        rig.bring("m", 2)
        rig.bring("m", 1, 2)
    rig.settle()
    assert causes(rig, "m:1")[3:6] == [
        "UNLOADING no longer aspired",
        "END no longer aspired",
        "START comes back",
    ]


def test_a_version_that_is_wanted_again_in_time_goes_later_for_another_reason(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 2)
    rig.aspire("m", 1)
    rig.begin_close()
    assert causes(rig, "m:1")[-1] == "UNLOADING closing"


def test_why_it_was_to_go_is_forgotten_when_it_is_wanted_again() -> None:
    harness = LoaderHarness(entry("m:1"), 1, 0.0)
    harness.leave("no longer aspired")
    assert (harness.aspired, harness.leaving) == (False, "no longer aspired")
    harness.aspired = True
    assert harness.leaving == ""


def test_a_load_that_is_no_longer_wanted_ends_for_that_reason(rig: Rig) -> None:
    rig.aspire("m", 1)
    rig.bring("m")
    assert causes(rig, "m:1") == ["START aspired", "LOADING", "END no longer aspired"]


def test_a_version_that_fails_has_its_error_and_no_other_cause() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("torn"))))
    assert causes(rig, "m:1") == ["START aspired", "LOADING", "END"]


def test_another_try_tells_what_it_comes_from() -> None:
    rig = Rig(max_num_load_retries=0, revision_interval=1.0)
    loader = FileLoader(ValueError("torn"), ValueError("torn"))
    rig.bring("m", entry("m:1", loader))
    loader.files = 1
    rig.advance(1.0)
    rig.manager.retry(sid("m:1"))
    rig.settle()
    starts = [one for one in causes(rig, "m:1") if one.startswith("START")]
    assert starts == ["START aspired", "START files changed", "START retry requested"]


def test_closing_is_told_as_the_cause(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.begin_close(5.0)
        rig.advance(5.0)
    assert causes(rig, "m:1")[3:] == ["UNLOADING closing", "END closing"]


def test_what_is_on_its_way_out_when_the_manager_closes_keeps_its_cause(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    with rig.handle("m:1"):
        rig.bring("m", 2)
        rig.begin_close()
    rig.settle()
    assert causes(rig, "m:1")[-1] == "END no longer aspired"


def test_a_commit_and_a_rollback_are_told(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 1, 2)
    rig.manager.hold(["m"])
    rig.bring("m", 1)
    rig.manager.rollback(["m"])
    rig.settle()
    assert causes(rig, "m:2")[2:] == [
        "END no longer aspired",
        "START rolled back",
        "LOADING",
        "AVAILABLE",
    ]
    rig.manager.hold(["m"])
    rig.bring("m", 3)
    rig.manager.commit(["m"])
    rig.settle()
    assert causes(rig, "m:3")[-1] == "AVAILABLE committed"
    assert causes(rig, "m:1")[-1] == "END no longer aspired"


def test_what_was_loaded_for_a_reload_that_is_rolled_back_ends_for_that(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.manager.hold(["m"])
    rig.bring("m", 2)
    rig.manager.rollback(["m"])
    rig.settle()
    assert causes(rig, "m:2")[-1] == "END rolled back"


def test_calls_are_told_as_causes() -> None:
    bench = BasicBench()
    told: list[str] = []

    class Recorder:
        def record(self, event: Event) -> None:
            assert isinstance(event, ServableState)
            if event.cause:
                told.append(f"{event.id} {event.manager_state.name} {event.cause}")

    bench.bus.attach(Recorder())
    bench.bring("m:1")
    bench.unload("m:1")
    bench.manage("m:2")
    bench.stop("m:2")
    assert told == [
        "m:1 START managed",
        "m:1 UNLOADING unload requested",
        "m:1 END unload requested",
        "m:2 START managed",
        "m:2 END no longer managed",
    ]


def test_a_lookup_and_what_makes_room_for_it_are_told_as_causes() -> None:
    cache = Cache(max_servables=1)
    try:
        cache.use("a:1", "b:1")
        cache.wait_for("a:1", ManagerState.END)
        told = [one for one in cache.events if isinstance(one, ServableState) and one.cause]
    finally:
        cache.close()
    assert [f"{one.id} {one.manager_state.name} {one.cause}" for one in told] == [
        "a:1 START looked up",
        "b:1 START looked up",
        "a:1 UNLOADING evicted",
        "a:1 END evicted",
    ]


def test_the_cause_is_no_part_of_equality_and_travels() -> None:
    state = ServableState(sid("m:1"), ManagerState.START, cause="aspired")
    assert state == ServableState(sid("m:1"), ManagerState.START)
    assert pickle.loads(pickle.dumps(state)).cause == "aspired"
