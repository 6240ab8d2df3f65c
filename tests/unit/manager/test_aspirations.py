"""What the manager makes of lists of aspired versions: which versions come, stay, go and come back."""

from __future__ import annotations

import pytest

from servman.data import ServableData
from servman.errors import InvalidArgumentError, LoadCancelledError, LoadFailedError
from servman.ids import ServableId
from servman.loader import Loader, SimpleLoader
from servman.manager import HarnessState, ResourcePreservingPolicy
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored, kept

LIFE = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


def test_the_same_list_again_changes_nothing(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.bring("m", entry("m:1", first))
    told = list(rig.events)
    rig.bring("m", entry("m:1", second))
    assert rig.events == told
    assert (len(first.models), len(second.models)) == (1, 0)


def test_a_list_replaces_the_one_before(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    rig.bring("m", 2, 3)
    assert rig.serving() == ["m:2", "m:3"]
    assert rig.states("m:1") == LIFE
    assert rig.aspirations("m") == [{1, 2}, {2, 3}]


def test_the_empty_list_unloads_the_stream_and_leaves_nothing_behind(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    rig.bring("m")
    assert (rig.serving(), rig.manager.snapshots()) == ([], ())
    assert (rig.ends("m:1"), rig.ends("m:2")) == ([None], [None])
    reconciler = rig.manager._actor._reconciler
    assert kept(rig.manager) == set()
    assert (reconciler._streams, reconciler._incarnations) == ({}, {})


def test_streams_do_not_touch_each_other(rig: Rig) -> None:
    rig.bring("a", 1)
    rig.bring("b", 1)
    told = list(rig.published("a:1"))
    rig.bring("b")
    assert (rig.serving(), rig.published("a:1")) == (["a:1"], told)


def test_an_aspiration_is_published_before_the_states_that_it_brings(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    rig.bring("m", 3)
    first = rig.events.index(StreamAspiration("m", frozenset({3})))
    brought = [
        index
        for index, event in enumerate(rig.events)
        if isinstance(event, ServableState)
        and (event.id.version == 3 or event.manager_state >= ManagerState.UNLOADING)
    ]
    assert min(brought) > first


def test_a_list_with_an_entry_of_another_stream_is_refused_whole(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*another stream.*n:2"):
        rig.manager.set_aspired_versions("m", [entry("m:1"), entry("n:2")])
    rig.settle()
    assert rig.events == []


def test_a_list_that_names_a_version_twice_is_refused_whole(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*stands twice.*m:1, m:1"):
        rig.manager.set_aspired_versions("m", [entry("m:1"), entry("m:1")])
    rig.settle()
    assert rig.events == []


@pytest.mark.parametrize("name", ["", "a:b", "a@b", None])
def test_a_list_for_what_is_no_name_is_refused(rig: Rig, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a servable name"):
        rig.manager.set_aspired_versions(name, [])


def test_an_entry_that_is_no_servable_data_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'m'.*ServableData"):
        rig.manager.set_aspired_versions("m", ["/models/m/1"])  # type: ignore[list-item]


# ---- a version that comes back ------------------------------------------------------------------


def test_a_version_wanted_again_while_it_still_serves_stays(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.bring("m", entry("m:1", first))
    rig.aspire("m", 2)  # 1 serves on until 2 is ready
    rig.aspire("m", entry("m:1", second))
    rig.settle()
    assert (rig.serving(), rig.states("m:1")) == (["m:1"], LIFE[:3])
    assert (len(first.models), first.unloads, second.models) == (1, 0, [])


def test_a_version_wanted_again_while_it_unloads_comes_back_with_the_new_loader(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.bring("m", entry("m:1", first))
    rig.aspire("m")
    assert rig.state("m:1") is HarnessState.UNLOADING
    rig.aspire("m", entry("m:1", second))
    assert second.models == []
    rig.settle()
    assert rig.states("m:1") == LIFE + LIFE[:3]
    assert (first.unloads, len(second.models)) == (1, 1)


def test_a_version_wanted_again_and_left_out_again_while_it_unloads_stays_away(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m")
    rig.aspire("m", 1)
    rig.aspire("m")
    rig.settle()
    assert (rig.serving(), rig.states("m:1"), rig.manager.snapshots()) == ([], LIFE, ())


def test_a_version_wanted_again_while_handles_hold_the_old_one_waits_for_them(rig: Rig) -> None:
    rig.bring("m", 1)
    handle = rig.handle("m")
    rig.bring("m")
    rig.bring("m", 1)
    assert (rig.state("m:1"), rig.serving()) == (HarnessState.QUIESCING, [])
    assert handle.servable.loaded
    handle.close()
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_a_version_wanted_again_while_its_cancelled_load_runs_starts_after_it(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.aspire("m", entry("m:1", first))
    rig.aspire("m")
    rig.aspire("m", entry("m:1", second))
    assert rig.states("m:1") == ["START", "LOADING"]
    rig.settle()
    assert rig.states("m:1") == ["START", "LOADING", "END", *LIFE[:3]]
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    assert (first.unloads, len(second.models)) == (1, 1)


# ---- a version that is left out before it is there ----------------------------------------------


def test_a_version_left_out_while_it_loads_ends_once_after_the_load_has_returned(rig: Rig) -> None:
    loader = ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.aspire("m")
    assert rig.states("m:1") == ["START", "LOADING"]
    rig.load()
    assert rig.states("m:1") == ["START", "LOADING"]
    rig.unload()
    assert rig.states("m:1") == ["START", "LOADING", "END"]
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    assert (loader.unloads, rig.manager.snapshots()) == (1, ())


def test_a_running_load_is_told_that_it_is_cancelled(rig: Rig) -> None:
    loader = ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.load()
    assert not loader.contexts[0].cancelled.is_set()
    failing = ModelLoader(ValueError("slow disk"))
    rig.aspire("m", 1, entry("m:2", failing))
    rig.aspire("m", 1)
    rig.load()
    assert failing.contexts[0].cancelled.is_set()


def test_a_version_left_out_while_its_load_fails_ends_as_cancelled_and_is_not_repeated(
    rig: Rig,
) -> None:
    loader = ModelLoader(ValueError("slow disk"))
    rig.aspire("m", entry("m:1", loader))
    rig.aspire("m")
    rig.settle()
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    assert "slow disk" in str(rig.end("m:1"))
    rig.advance(1000.0)
    assert len(loader.contexts) == 1


def test_a_version_left_out_while_it_is_queued_ends_at_once_and_is_never_loaded() -> None:
    rig = Rig(num_load_threads=1)
    queued = ModelLoader()
    rig.aspire("a", 1)
    rig.aspire("m", entry("m:1", queued))
    assert rig.state("m:1") is HarnessState.LOAD_REQUESTED
    rig.aspire("m")
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    rig.settle()
    assert queued.contexts == []


def test_a_version_left_out_before_the_policy_asked_for_it_ends_at_once() -> None:
    rig = Rig(policy=ResourcePreservingPolicy())
    rig.bring("m", 1)
    handle = rig.handle("m")
    rig.aspire("m", 2)
    assert rig.state("m:2") is HarnessState.NEW
    rig.aspire("m", 3)
    assert rig.states("m:2") == ["START", "END"]
    assert isinstance(rig.end("m:2"), LoadCancelledError)
    handle.close()
    rig.settle()
    assert rig.serving() == ["m:3"]


# ---- another place, errors ----------------------------------------------------------------------


def test_a_version_that_arrives_from_another_place_is_replaced(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.bring("m", entry("m:1", first, origin="/a/1"))
    rig.bring("m", entry("m:1", second, origin="/b/1"))
    assert rig.states("m:1") == LIFE + LIFE[:3]
    assert (first.unloads, second.contexts[0].path) == (1, "/b/1")


def test_a_replaced_version_is_aspired_anew_so_that_no_wait_takes_the_old_end_for_the_new(
    rig: Rig,
) -> None:
    rig.bring("m", entry("m:1", origin="/a/1"), entry("m:2"))
    del rig.events[:]
    rig.bring("m", entry("m:1", origin="/b/1"), entry("m:2"))
    assert rig.aspirations("m") == [{2}, {1, 2}]
    told = [
        set(event.versions) if isinstance(event, StreamAspiration) else event.manager_state.name
        for event in rig.events
        if not isinstance(event, StreamLabels)
    ]
    assert told == [{2}, "UNLOADING", {1, 2}, "END", "START", "LOADING", "AVAILABLE"]


def test_a_version_that_failed_and_comes_from_another_place_is_tried_at_once() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("corrupt")), origin="/a/1"))
    rig.bring("m", entry("m:1", origin="/b/1"))
    assert rig.serving() == ["m:1"]


def test_a_loading_version_that_comes_from_another_place_is_cancelled_first(rig: Rig) -> None:
    first, second = ModelLoader(), ModelLoader()
    rig.aspire("m", entry("m:1", first, origin="/a/1"))
    rig.aspire("m", entry("m:1", second, origin="/b/1"))
    rig.load()
    assert first.contexts[0].cancelled.is_set()
    rig.settle()
    assert rig.states("m:1") == ["START", "LOADING", "END", *LIFE[:3]]


@pytest.mark.parametrize(("first", "second"), [(None, "/b/1"), ("/a/1", None), ("/a/1", "/a/1")])
def test_a_version_from_the_same_or_an_unnamed_place_keeps_its_first_loader(
    rig: Rig, first: str | None, second: str | None
) -> None:
    loader = ModelLoader()
    rig.bring("m", entry("m:1", loader, origin=first))
    rig.bring("m", entry("m:1", origin=second))
    assert (rig.states("m:1"), loader.unloads) == (LIFE[:3], 0)


def test_the_last_of_several_places_wins_and_those_between_are_never_loaded(rig: Rig) -> None:
    between, last = ModelLoader(), ModelLoader()
    rig.bring("m", entry("m:1", origin="/a/1"))
    handle = rig.handle("m")
    rig.bring("m", entry("m:1", between, origin="/b/1"))
    rig.bring("m", entry("m:1", last, origin="/c/1"))
    handle.close()
    rig.settle()
    assert (between.contexts, last.contexts[0].path) == ([], "/c/1")


def test_an_errored_entry_starts_and_ends_with_its_error_and_harms_no_sibling(rig: Rig) -> None:
    rig.bring("m", 1, errored("m:2", ValueError("no such platform")))
    assert rig.states("m:2") == ["START", "END"]
    assert isinstance(rig.end("m:2"), LoadFailedError)
    assert "no such platform" in str(rig.end("m:2"))
    assert (rig.state("m:2"), rig.serving()) == (HarnessState.ERROR, ["m:1"])


def test_an_errored_entry_is_replaced_by_one_with_a_payload(rig: Rig) -> None:
    rig.bring("m", errored("m:1"))
    rig.bring("m", 1)
    assert rig.states("m:1") == ["START", "END", "START", "LOADING", "AVAILABLE"]
    assert rig.aspirations("m") == [{1}, set(), {1}]


def test_an_errored_entry_takes_nothing_from_a_version_that_serves(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.bring("m", errored("m:1"))
    assert (rig.serving(), rig.ends("m:1")) == (["m:1"], [])


def test_a_failed_version_left_out_and_wanted_again_is_loaded_anew() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("corrupt"))))
    rig.bring("m")
    assert rig.state("m:1") is None
    rig.bring("m", 1)
    assert rig.states("m:1") == ["START", "LOADING", "END", *LIFE[:3]]


def test_a_failed_version_ends_once_even_when_it_is_left_out_later() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("corrupt"))))
    rig.bring("m")
    assert len(rig.ends("m:1")) == 1


# ---- order --------------------------------------------------------------------------------------


def test_the_old_version_serves_until_the_new_one_is_ready(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 2)
    assert rig.serving() == ["m:1"]
    rig.load()
    assert rig.serving() == ["m:2"]
    assert rig.states("m:1")[-1] == "UNLOADING"


def test_the_old_version_serves_on_when_the_new_one_fails() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", 1)
    rig.bring("m", entry("m:2", ModelLoader(ValueError("corrupt"))))
    assert (rig.serving(), rig.state("m:2")) == (["m:1"], HarnessState.ERROR)


def test_the_resource_policy_unloads_the_old_version_first() -> None:
    rig = Rig(policy=ResourcePreservingPolicy())
    rig.bring("m", 1)
    rig.aspire("m", 2)
    assert (rig.serving(), rig.loads.jobs) == ([], [])
    rig.unload()
    assert rig.state("m:2") is HarnessState.LOADING
    rig.settle()
    assert rig.serving() == ["m:2"]


def test_loads_take_their_turn_in_the_order_of_asking_the_highest_of_a_list_first() -> None:
    rig = Rig(num_load_threads=1)
    order: list[ServableId] = []

    def noted(id: ServableId) -> str:
        order.append(id)
        return "servable"

    def telling(id: str) -> ServableData[Loader]:
        return entry(id, SimpleLoader(lambda context: noted(context.id)))

    rig.aspire("b", telling("b:1"), telling("b:2"))
    rig.aspire("a", telling("a:1"))
    rig.settle()
    assert [str(one) for one in order] == ["b:2", "b:1", "a:1"]


def test_as_many_loads_run_as_there_are_threads(rig: Rig) -> None:
    rig.aspire("m", *range(6))
    assert len(rig.loads.jobs) == 4
    rig.load(2)
    assert len(rig.loads.jobs) == 4


def test_as_many_unloads_run_as_there_are_threads(rig: Rig) -> None:
    rig.bring("m", *range(6))
    rig.aspire("m")
    assert len(rig.unloads.jobs) == 2
    rig.unload()
    assert len(rig.unloads.jobs) == 2


def test_a_slow_load_delays_no_other_stream(rig: Rig) -> None:
    rig.aspire("slow", 1)
    rig.aspire("m", 1)
    rig.load(1)
    assert rig.serving() == ["m:1"]


def test_more_load_threads_take_up_what_is_queued_at_once() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("m", 1, 2, 3)
    assert len(rig.loads.jobs) == 1
    rig.manager.num_load_threads = 3
    rig.step()
    assert (len(rig.loads.jobs), rig.loads.size, rig.manager.num_load_threads) == (3, 3, 3)


def test_fewer_load_threads_disturb_no_running_load_and_hold_for_the_next(rig: Rig) -> None:
    rig.aspire("m", *range(6))
    rig.manager.num_load_threads = 1
    rig.step()
    assert len(rig.loads.jobs) == 4
    for left in (3, 2, 1, 1, 1, 0):
        rig.load()
        assert len(rig.loads.jobs) == left
