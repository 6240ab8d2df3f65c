"""Streams that are held serve what they serve, until all of them are let in at once."""

from __future__ import annotations

import contextlib
import itertools
import sys
from types import FrameType
from typing import Any, final

import pytest

from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    LoadCancelledError,
    NotFoundError,
)
from servman.events import Event
from servman.loader import Loader
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
)
from servman.manager.tracker import ResourceTracker
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ServableState
from tests.unit.manager.rig import FileLoader, ModelLoader, Rig, entry

S = HarnessState
REQUESTS = ("m", "m:1", "m:2", "m:01", "m:latest", "m:earliest", "m:newest")
POLICIES = (AvailabilityPreservingPolicy(), ResourcePreservingPolicy())

both_policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda one: type(one).__name__)


def found(rig: Rig, request: str) -> str | None:
    try:
        with rig.handle(request) as handle:
            assert handle.servable.loaded
            return str(handle.id)
    except NotFoundError:
        return None


def all_found(rig: Rig) -> list[str | None]:
    return [found(rig, request) for request in REQUESTS]


def hold(rig: Rig, *names: str) -> None:
    rig.manager.hold(names)
    rig.settle()


def commit(rig: Rig, *names: str) -> None:
    rig.manager.commit(names)
    rig.step()


def held(*wanted: int | ServableData[Loader], **options: Any) -> Rig:
    """Make a manager that serves m:1, holds m, and has loaded what is *wanted* of it."""
    rig = Rig(**options)
    rig.bring("m", 1)
    hold(rig, "m")
    rig.bring("m", *wanted)
    return rig


# ---- while it is held ------------------------------------------------------------------------------


@both_policies
def test_lookups_in_a_held_stream_find_exactly_what_they_found(
    policy: AspiredVersionPolicy,
) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", 1)
    before = all_found(rig)
    hold(rig, "m")
    for wanted in ((2,), (1, 2), (2, 3), (), (3,)):
        rig.manager.set_aspired_versions("m", [entry(f"m:{one}") for one in wanted])
        while rig.manager.step() or rig.loads.jobs or rig.unloads.jobs:
            assert all_found(rig) == before
            if rig.loads.jobs:
                rig.loads.run()
            elif rig.unloads.jobs:
                rig.unloads.run()
        assert all_found(rig) == before
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


@both_policies
def test_what_is_wanted_is_loaded_beside_what_serves_and_held(policy: AspiredVersionPolicy) -> None:
    rig = held(2, 3, policy=policy)
    for version in (2, 3):
        snapshot = rig.snapshot(f"m:{version}")
        assert (snapshot.state, snapshot.held, snapshot.attempts) == (S.LOADING, True, 1)
        assert rig.states(f"m:{version}") == ["START", "LOADING"]
        reason = rig.why(f"m:{version}")
        assert reason.code is ReasonCode.HELD
        assert "is loaded, and has been held for 0.0 s" in reason.text
    assert not rig.snapshot("m:1").held


@both_policies
def test_what_waits_for_the_policy_when_its_stream_is_held_waits_no_longer(
    policy: AspiredVersionPolicy,
) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2) if policy is POLICIES[0] else rig.aspire("m", 2)
        rig.aspire("m", 2, 3)
        hold(rig, "m")
        assert rig.snapshot("m:3").held


def test_the_policy_is_not_asked_and_what_it_raised_before_counts_no_longer() -> None:
    asked: list[bool] = []

    class Broken:
        def next_action(self, snapshots: object) -> None:
            asked.append(bool(snapshots))
            raise ValueError("confused")

    rig = Rig(policy=Broken())
    rig.bring("m", 1)
    asked.clear()
    hold(rig, "m")
    assert rig.snapshot("m:1").held
    assert rig.snapshot("m:1").policy_error is None
    assert asked == []


def test_a_stream_may_be_held_before_it_is_known_and_twice() -> None:
    rig = Rig()
    hold(rig, "m")
    hold(rig, "m")
    rig.bring("m", 1)
    assert rig.serving() == []
    commit(rig, "m")
    assert rig.serving() == ["m:1"]
    rig.bring("m", 2)
    assert rig.serving() == ["m:2"]  # one commit ends it


def test_other_streams_are_not_held(rig: Rig) -> None:
    hold(rig, "m")
    rig.bring("other", 1)
    rig.bring("other", 2)
    assert rig.serving() == ["other:2"]


@pytest.mark.parametrize("names", ["m", [""], ["a:b"], [3]])
def test_names_that_can_name_no_stream_are_refused(rig: Rig, names: Any) -> None:
    for call in (rig.manager.hold, rig.manager.commit):
        with pytest.raises(InvalidArgumentError):
            call(names)


# ---- taken back ------------------------------------------------------------------------------------


@both_policies
def test_what_is_no_longer_wanted_is_unloaded_unseen(policy: AspiredVersionPolicy) -> None:
    loader = ModelLoader()
    rig = held(entry("m:2", loader), policy=policy)
    rig.bring("m", 3)
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert isinstance(rig.end("m:2"), LoadCancelledError)
    assert (len(loader.models), loader.unloads) == (1, 1)
    assert rig.serving() == ["m:1"]


@both_policies
def test_the_old_list_aspired_again_leaves_everything_as_it_was(
    policy: AspiredVersionPolicy,
) -> None:
    rig = held(2, policy=policy)
    before, model = rig.snapshot("m:1").incarnation, rig.handle("m").servable
    rig.bring("m", 1)
    commit(rig, "m")
    rig.settle()
    assert rig.snapshot("m:1").incarnation == before
    assert rig.snapshot("m:1").aspired
    assert rig.handle("m").servable is model
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert rig.state("m:2") is None
    assert found(rig, "m:newest") == "m:1"


def test_an_origin_taken_back_leaves_everything_as_it_was() -> None:
    rig = Rig()
    rig.bring("m", entry("m:1", origin="/a"))
    model = rig.handle("m").servable
    hold(rig, "m")
    new = ModelLoader()
    rig.bring("m", entry("m:1", new, origin="/b"))
    assert rig.snapshot("m:1").wanted_again
    rig.bring("m", entry("m:1", origin="/a"))
    commit(rig, "m")
    rig.settle()
    assert rig.handle("m").servable is model
    assert new.contexts == []
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


# ---- the commit ------------------------------------------------------------------------------------


def versions_at_every_bytecode(rig: Rig, names: tuple[str, ...]) -> list[tuple[int | None, ...]]:
    """Let the manager step, and look *names* up between any two of its bytecodes."""
    seen: list[tuple[int | None, ...]] = []

    def look(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("servman."):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            entries = [rig.manager._serving.find(name) for name in names]
            now = tuple(None if one is None else one.id.version for one in entries)
            if seen[-1:] != [now]:
                seen.append(now)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        rig.step()
    finally:
        sys.settrace(before)
    return seen


def test_no_lookup_sees_a_mixture_of_the_streams_that_are_let_in() -> None:
    rig = Rig()
    for name in ("a", "b"):
        rig.bring(name, 1)
    rig.bring("goes", 1)
    rig.bring("falls", 1, 2)
    names = ("a", "b", "new", "goes", "falls")
    hold(rig, *names)
    for name in ("a", "b", "new"):
        rig.bring(name, 2)
    rig.bring("goes")
    rig.bring("falls", 1)
    rig.manager.commit(names)
    seen = versions_at_every_bytecode(rig, names)
    assert seen == [(1, 1, None, 1, 2), (2, 2, 2, None, 1)]


def test_whoever_still_reads_the_old_map_sees_no_mixture_either(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.bring(name, 1)
    hold(rig, "a", "b")
    for name in ("a", "b"):
        rig.bring(name, 2)
    old = rig.manager._serving.streams
    commit(rig, "a", "b")
    new = rig.manager._serving.streams
    assert [old[name].latest.id.version for name in "ab"] == [1, 1]
    assert [new[name].latest.id.version for name in "ab"] == [2, 2]


def test_unloading_is_told_before_the_commit_and_available_after_it(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.bring(name, 1)
    hold(rig, "a", "b")
    for name in ("a", "b"):
        rig.bring(name, 2)
    told: list[tuple[str, list[str]]] = []

    @final
    class Recorder:
        def record(self, event: Event) -> None:
            assert isinstance(event, ServableState)
            told.append((f"{event.id} {event.manager_state.name}", rig.serving()))

    rig.bus.attach(Recorder())
    commit(rig, "a", "b")
    old, new = ["a:1", "b:1"], ["a:2", "b:2"]
    assert told[:4] == [
        ("a:1 UNLOADING", old),
        ("b:1 UNLOADING", old),
        ("a:2 AVAILABLE", new),
        ("b:2 AVAILABLE", new),
    ]
    assert [state for _, state in told[4:]] == [new] * len(told[4:])


@both_policies
def test_the_old_version_goes_in_the_moment_in_which_the_new_one_comes(
    policy: AspiredVersionPolicy,
) -> None:
    rig = held(2, policy=policy)
    with rig.handle("m") as handle:
        commit(rig, "m")
        assert rig.serving() == ["m:2"]
        assert rig.state("m:1") is S.QUIESCING
        assert handle.servable.loaded
    rig.settle()
    assert rig.ends("m:1") == [None]
    assert not rig.snapshot("m:2").held


@both_policies
def test_a_removed_stream_serves_until_the_commit(policy: AspiredVersionPolicy) -> None:
    rig = held(policy=policy)
    assert rig.serving() == ["m:1"]
    commit(rig, "m")
    assert rig.serving() == []
    rig.settle()
    assert rig.ends("m:1") == [None]
    assert rig.manager.snapshots("m") == ()


@both_policies
def test_another_origin_is_loaded_once_the_commit_has_taken_the_old_one_out(
    policy: AspiredVersionPolicy,
) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", entry("m:1", origin="/a"), 2)
    hold(rig, "m")
    rig.bring("m", entry("m:1", origin="/b"), 2)
    assert rig.serving() == ["m:1", "m:2"]
    assert rig.states("m:1")[-1] == "AVAILABLE"
    commit(rig, "m")
    assert rig.serving() == ["m:2"]
    rig.settle()
    assert rig.serving() == ["m:1", "m:2"]
    assert rig.manager._actor._reconciler._streams["m"].harnesses[1].data.origin == "/b"


@both_policies
def test_another_origin_comes_even_where_nothing_else_serves(policy: AspiredVersionPolicy) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", entry("m:1", origin="/a"))
    hold(rig, "m")
    rig.bring("m", entry("m:1", origin="/b"))
    assert rig.serving() == ["m:1"]
    commit(rig, "m")
    rig.settle()
    assert rig.states("m:1").count("AVAILABLE") == 2


def test_an_old_version_serves_on_while_another_comes_back_from_another_origin(rig: Rig) -> None:
    rig.bring("m", entry("m:1", origin="/a"), 2)
    hold(rig, "m")
    rig.bring("m", entry("m:1", origin="/b"))
    commit(rig, "m")
    assert rig.serving() == ["m:2"]
    rig.settle()
    assert rig.serving() == ["m:1"]


@both_policies
def test_what_is_not_loaded_at_the_commit_comes_in_as_usual(policy: AspiredVersionPolicy) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", 1)
    hold(rig, "m")
    rig.aspire("m", 2)
    commit(rig, "m")
    keeps = policy is POLICIES[0]
    assert rig.serving() == (["m:1"] if keeps else [])
    rig.settle()
    assert rig.serving() == ["m:2"]


def test_of_two_versions_the_one_that_is_loaded_comes_in(rig: Rig) -> None:
    rig.bring("m", 1)
    hold(rig, "m")
    rig.aspire("m", 2, 3)
    rig.load(1)
    assert [rig.snapshot(f"m:{one}").held for one in (2, 3)] == [True, False]
    commit(rig, "m")
    assert rig.serving() == ["m:2"]
    rig.settle()
    assert rig.serving() == ["m:2", "m:3"]


def test_a_commit_of_what_was_never_held_changes_nothing(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 2)
    told = len(rig.events)
    commit(rig, "m", "unknown")
    assert (rig.serving(), len(rig.events)) == (["m:1"], told)
    rig.settle()
    assert rig.serving() == ["m:2"]


def test_of_two_streams_that_are_held_one_can_be_committed(rig: Rig) -> None:
    hold(rig, "a", "b")
    rig.bring("a", 1)
    rig.bring("b", 1)
    commit(rig, "a")
    assert rig.serving() == ["a:1"]
    commit(rig, "b")
    assert rig.serving() == ["a:1", "b:1"]


# ---- what can go wrong meanwhile -------------------------------------------------------------------


def test_a_load_that_fails_while_its_stream_is_held_ends_and_can_be_tried_again() -> None:
    loader = ModelLoader(ValueError("planted"))
    rig = held(entry("m:2", loader), max_num_load_retries=0)
    assert "planted" in str(rig.end("m:2"))
    assert rig.serving() == ["m:1"]
    rig.manager.retry(entry("m:2").id)
    rig.settle()
    assert rig.snapshot("m:2").held
    commit(rig, "m")
    assert rig.serving() == ["m:2"]


def test_a_commit_after_a_failure_leaves_the_old_version_to_the_policy() -> None:
    failing = entry("m:2", ModelLoader(*[ValueError("planted")] * 2))
    rig = held(failing, max_num_load_retries=0)
    commit(rig, "m")
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_a_load_that_pauses_is_tried_again_and_then_held() -> None:
    loader = ModelLoader(ValueError("planted"))
    rig = held(entry("m:2", loader), load_retry_interval=5.0)
    assert rig.why("m:2").code is ReasonCode.RETRYING
    rig.advance(5.0)
    assert rig.snapshot("m:2").held
    assert rig.snapshot("m:2").retry_at is None
    with pytest.raises(FailedPreconditionError, match="it has not failed"):
        rig.manager.retry(entry("m:2").id)
    rig.manager.cancel_retry(entry("m:2").id)
    rig.settle()
    assert rig.snapshot("m:2").held


def test_a_failed_version_of_a_held_stream_is_tried_again_when_its_files_change() -> None:
    loader = FileLoader(ValueError("planted"))
    rig = held(entry("m:2", loader), max_num_load_retries=0)
    loader.files = 1
    rig.advance(1.0)
    assert rig.snapshot("m:2").held
    loader.files = 2
    for _ in range(3):
        rig.advance(1.0)
    assert (len(loader.models), rig.serving()) == (1, ["m:1"])  # what is held is as good as ready


class Hungry(ModelLoader):
    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: 6})


def hungry(id: str) -> ServableData[Loader]:
    return entry(id, Hungry())


@both_policies
def test_what_does_not_fit_beside_the_old_version_fails_while_held_and_comes_after_the_commit(
    policy: AspiredVersionPolicy,
) -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, policy=policy)
    rig.bring("m", hungry("m:1"))
    hold(rig, "m")
    rig.bring("m", hungry("m:2"))
    assert "needs 6" in str(rig.end("m:2"))
    assert rig.serving() == ["m:1"]
    commit(rig, "m")
    rig.settle()
    frees = policy is POLICIES[1]
    assert rig.serving() == (["m:2"] if frees else ["m:1"])


def test_what_is_held_keeps_its_memory_until_it_is_unloaded() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker)
    hold(rig, "m")
    rig.bring("m", hungry("m:1"))
    rig.bring("other", hungry("other:1"))
    assert rig.state("other:1") is S.ERROR
    rig.bring("m")
    assert rig.serving() == ["other:1"]


def test_load_timeout_and_patience_count_no_longer_once_it_is_held() -> None:
    rig = held(2, load_timeout=3.0)
    for seconds in (2.9, 0.2, 60.0, 1.0):
        rig.advance(seconds)
    assert rig.snapshot("m:2").held
    assert "held for 64.1 s" in rig.why("m:2").text
    commit(rig, "m")
    assert rig.serving() == ["m:2"]


def test_a_load_that_hangs_in_a_held_stream_is_given_up_and_its_late_return_is_unloaded() -> None:
    rig, loader = Rig(load_timeout=3.0), ModelLoader()
    rig.bring("m", 1)
    hold(rig, "m")
    rig.aspire("m", entry("m:2", loader))
    rig.clock.advance(3.0)
    rig.step()
    assert "load_timeout" in str(rig.end("m:2"))
    commit(rig, "m")
    rig.settle()
    assert (rig.serving(), loader.unloads) == (["m:1"], 1)


def test_what_is_held_takes_no_load_thread() -> None:
    rig = held(2, 3, num_load_threads=1)
    rig.aspire("other", 1, 2)
    assert len(rig.loads.jobs) == 1
    rig.manager.num_load_threads = 2
    rig.step()
    assert (len(rig.loads.jobs), rig.loads.size) == (2, 2)
    rig.settle()
    assert rig.serving() == ["m:1", "other:1", "other:2"]
    assert rig.why("m:2").code is ReasonCode.HELD


@pytest.mark.parametrize("order", list(itertools.permutations(("hold", "aspire", "close"))))
def test_closing_ends_what_is_held(order: tuple[str, ...]) -> None:
    rig, loader = Rig(), ModelLoader()
    rig.bring("m", 1)
    for what in order:
        match what:
            case "hold":
                with contextlib.suppress(ClosedError):  # where that comes first
                    rig.manager.hold(["m"])
            case "aspire":
                rig.manager.set_aspired_versions("m", [entry("m:2", loader)])
            case _:
                rig.begin_close()
        rig.settle()
    assert rig.report()
    assert rig.serving() == []
    assert rig.states("m:1")[-2:] == ["UNLOADING", "END"]
    assert len(loader.models) == loader.unloads
    for call in (rig.manager.hold, rig.manager.commit):
        with pytest.raises(ClosedError):
            call(["m"])


def test_closing_unloads_what_is_held_unseen() -> None:
    loader = ModelLoader()
    rig = held(entry("m:2", loader))
    rig.begin_close()
    rig.settle()
    assert rig.report()
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert "the manager was closed" in str(rig.end("m:2"))
    assert loader.unloads == 1


@both_policies
@pytest.mark.parametrize("new", [[], [2]])
def test_a_list_that_follows_a_hold_is_not_taken_up_before_it(
    policy: AspiredVersionPolicy, new: list[int]
) -> None:
    """Although it takes the place of one that has not been taken up yet and came before the hold."""
    rig = Rig(policy=policy)
    rig.bring("m", 1)
    rig.manager.set_aspired_versions("m", [entry("m:1")])
    rig.manager.hold(["m"])
    rig.manager.set_aspired_versions("m", [entry(f"m:{version}") for version in new])
    rig.settle()
    assert rig.serving() == ["m:1"]
    assert rig.states("m:1")[-1] == "AVAILABLE"


def test_a_list_that_follows_a_commit_is_not_taken_up_before_it() -> None:
    rig = held(entry("m:2"))
    rig.manager.set_aspired_versions("m", [entry("m:2")])
    rig.manager.commit(["m"])
    rig.manager.set_aspired_versions("m", [entry("m:3")])
    rig.settle()
    assert "AVAILABLE" in rig.states("m:2"), "let in by the commit, and only then replaced"
    assert rig.serving() == ["m:3"]
