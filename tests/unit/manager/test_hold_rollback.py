"""Rolling back what was held: what was wanted is wanted again, and lookups notice nothing."""

from __future__ import annotations

from typing import Any

import pytest

from servman.data import ServableData
from servman.errors import ClosedError, InvalidArgumentError, LoadCancelledError, NotFoundError
from servman.events import Event
from servman.loader import Loader
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
)
from servman.manager.messages import CloseRequested
from servman.manager.tracker import ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.unit.manager.rig import ModelLoader, Rig, entry

REQUESTS = ("m", "m:1", "m:2", "m:3", "m:latest", "m:earliest", "m:newest", "m@x", "m@y")
POLICIES = (AvailabilityPreservingPolicy(), ResourcePreservingPolicy())

both_policies = pytest.mark.parametrize("policy", POLICIES, ids=lambda one: type(one).__name__)


def found(rig: Rig) -> list[object]:
    """Return what each request finds: its id and its very servable."""
    everything: list[object] = []
    for request in REQUESTS:
        try:
            with rig.handle(request) as handle:
                assert handle.servable.loaded
                everything.append((handle.id, handle.servable))
        except (NotFoundError, InvalidArgumentError):
            everything.append(None)
    return everything


class Unnoticed:
    """Sees that lookups find the same at every event, and in the end."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._before = rig, found(rig)
        rig.bus.attach(self)

    def record(self, event: Event) -> None:
        self.check(event)

    def check(self, what: object = "in the end") -> None:
        assert found(self._rig) == self._before, what


def rollback(rig: Rig, *names: str) -> None:
    rig.manager.rollback(names)
    rig.settle()


def held(*wanted: int | ServableData[Loader], **options: Any) -> tuple[Rig, Unnoticed]:
    """Make a manager that serves m:1, by the label x as well, holds m, and has loaded what is *wanted*."""
    rig = Rig(**options)
    rig.manager.set_labels({"m": {"x": 1}})
    rig.bring("m", 1)
    unnoticed = Unnoticed(rig)
    rig.manager.hold(["m"])
    rig.bring("m", *wanted)
    return rig, unnoticed


# ---- back to what served ---------------------------------------------------------------------------


@both_policies
def test_what_was_loaded_since_is_unloaded_unseen(policy: AspiredVersionPolicy) -> None:
    loader = ModelLoader()
    rig, unnoticed = held(entry("m:2", loader), policy=policy)
    rollback(rig, "m")
    unnoticed.check()
    assert rig.states("m:2") == ["START", "LOADING", "END"]
    assert isinstance(rig.end("m:2"), LoadCancelledError)
    assert (len(loader.models), loader.unloads) == (1, 1)
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]
    assert rig.snapshot("m:1").aspired


@both_policies
def test_a_removed_stream_is_back_without_a_gap_and_without_a_load(
    policy: AspiredVersionPolicy,
) -> None:
    rig, unnoticed = held(policy=policy)
    assert not rig.snapshot("m:1").aspired
    rollback(rig, "m")
    unnoticed.check()
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]
    assert rig.aspirations("m") == [{1}, set(), {1}]


@both_policies
def test_another_origin_taken_back_leaves_the_servable_as_it_was(
    policy: AspiredVersionPolicy,
) -> None:
    rig = Rig(policy=policy)
    rig.bring("m", entry("m:1", origin="/a"))
    unnoticed = Unnoticed(rig)
    rig.manager.hold(["m"])
    new = ModelLoader()
    rig.bring("m", entry("m:1", new, origin="/b"))
    rollback(rig, "m")
    unnoticed.check()
    assert new.contexts == []
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]
    assert not rig.snapshot("m:1").wanted_again


def test_afterwards_the_stream_is_held_no_longer(rig: Rig) -> None:
    rig, _ = held(2)
    rollback(rig, "m")
    rig.bring("m", 3)
    assert rig.serving() == ["m:3"]


def test_a_stream_that_was_not_known_then_is_gone_again(rig: Rig) -> None:
    rig.manager.hold(["m"])
    rig.bring("m", 1)
    rollback(rig, "m")
    assert rig.manager.snapshots("m") == ()
    assert rig.aspirations("m") == [{1}, set()]


def test_a_stream_that_is_not_known_at_all_stays_so(rig: Rig) -> None:
    rig.manager.hold(["m"])
    rollback(rig, "m", "other")
    assert rig.events == []
    assert rig.manager._actor._reconciler._streams == {}


def test_several_streams_come_back_together(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.bring(name, 1)
    rig.manager.hold(["a", "b"])
    rig.bring("a", 2)
    rig.bring("b")
    rollback(rig, "a", "b")
    assert rig.serving() == ["a:1", "b:1"]
    assert [one.aspired for one in rig.manager.snapshots()] == [True, True]


def test_what_is_not_held_is_left_alone(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.bring("m", 2)
    rollback(rig, "m")
    assert rig.serving() == ["m:2"]


def test_what_was_wanted_at_the_first_hold_counts(rig: Rig) -> None:
    rig, unnoticed = held(2)
    rig.manager.hold(["m"])
    rig.bring("m", 3)
    rollback(rig, "m")
    unnoticed.check()
    assert rig.aspirations("m")[-1] == {1}


def test_after_a_commit_the_next_hold_remembers_anew(rig: Rig) -> None:
    rig, _ = held(2)
    rig.manager.commit(["m"])
    rig.settle()
    rig.manager.hold(["m"])
    rig.bring("m", 3)
    rollback(rig, "m")
    assert rig.serving() == ["m:2"]
    assert rig.aspirations("m")[-1] == {2}


# ---- whatever is under way -------------------------------------------------------------------------


def test_a_load_that_runs_is_cancelled_and_undone_when_it_returns() -> None:
    loader = ModelLoader()
    rig, unnoticed = held()
    rig.aspire("m", entry("m:2", loader))
    rig.manager.rollback(["m"])
    rig.step()
    rig.settle()
    assert loader.contexts[0].cancelled.is_set()
    assert (len(loader.models), loader.unloads) == (1, 1)
    unnoticed.check()


def test_a_load_that_has_just_returned_is_undone(rig: Rig) -> None:
    rig, unnoticed = held()
    rig.aspire("m", 2)
    rig.loads.run()
    rollback(rig, "m")
    unnoticed.check()
    assert rig.states("m:2") == ["START", "LOADING", "END"]


def test_what_has_failed_or_pauses_is_forgotten() -> None:
    failing = entry("m:2", ModelLoader(ValueError("torn"), ValueError("torn")))
    rig, unnoticed = held(failing, load_retry_interval=5.0)
    assert rig.snapshot("m:2").retry_at is not None
    rollback(rig, "m")
    assert rig.state("m:2") is None
    unnoticed.check()
    rig.advance(100)
    assert len(rig.states("m:2")) == 3


def test_what_waits_for_memory_is_forgotten_and_its_memory_given_back() -> None:
    class Big(ModelLoader):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

        def estimate_resources(self) -> ResourceAllocation:
            return ResourceAllocation({MAIN_MEMORY: self.size})

    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 100}))
    rig = Rig(resource_tracker=tracker)
    rig.bring("m", entry("m:1", Big(60)))
    unnoticed = Unnoticed(rig)
    rig.manager.hold(["m"])
    rig.bring("m", entry("m:2", Big(40)), entry("m:3", Big(60)))
    assert sum(tracker.used.quantities.values()) == 100
    rollback(rig, "m")
    unnoticed.check()
    assert [str(one.id) for one in rig.manager.snapshots()] == ["m:1"]
    assert sum(tracker.used.quantities.values()) == 60


def test_what_was_on_its_way_in_and_is_still_wanted_comes_in(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 1, 2)
    rig.manager.hold(["m"])
    rig.settle()
    assert rig.snapshot("m:2").held
    rollback(rig, "m")
    assert rig.serving() == ["m:1", "m:2"]
    assert rig.states("m:2") == ["START", "LOADING", "AVAILABLE"]


def test_what_was_on_its_way_in_and_was_given_up_begins_anew(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 1, 2)
    rig.manager.hold(["m"])
    rig.bring("m", 1)
    assert rig.state("m:2") is None
    rollback(rig, "m")
    assert rig.serving() == ["m:1", "m:2"]


def test_what_had_failed_is_tried_anew_where_it_was_given_up_meanwhile() -> None:
    rig = Rig(max_num_load_retries=0)
    loader = ModelLoader(ValueError("torn"))
    rig.bring("m", entry("m:1", loader))
    rig.manager.hold(["m"])
    rig.bring("m", 2)
    rollback(rig, "m")
    assert rig.serving() == ["m:1"]
    assert len(loader.contexts) == 2


def test_what_had_failed_and_is_still_wanted_stays_as_it_is() -> None:
    rig = Rig(max_num_load_retries=0)
    loader = ModelLoader(ValueError("torn"))
    rig.bring("m", entry("m:1", loader))
    rig.manager.hold(["m"])
    rig.bring("m", 1, 2)
    rollback(rig, "m")
    assert rig.state("m:1") is HarnessState.ERROR
    assert len(loader.contexts) == 1


def test_an_old_version_that_was_wanted_no_more_is_the_policy_s_business_again(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 2)
    rig.manager.hold(["m"])
    rig.settle()
    rollback(rig, "m")
    assert rig.serving() == ["m:2"]
    assert rig.ends("m:1") == [None]


# ---- lists and labels ------------------------------------------------------------------------------


def test_a_list_that_is_posted_after_it_is_taken_up_after_it(rig: Rig) -> None:
    rig, _ = held(2)
    rig.manager.set_aspired_versions("m", [entry("m:3")])
    rig.manager.rollback(["m"])
    rig.manager.set_aspired_versions("m", [entry("m:4")])
    rig.settle()
    assert rig.aspirations("m") == [{1}, {2}, {3}, {1}, {4}]
    assert rig.serving() == ["m:4"]


def test_labels_that_were_wanted_since_are_wanted_no_more(rig: Rig) -> None:
    rig, unnoticed = held(2)
    rig.manager.set_labels({"m": {"x": 2, "y": 1}})
    rig.step()
    rollback(rig, "m")
    unnoticed.check()
    assert rig.manager.labels("m") == {"x": 1}
    with pytest.raises(InvalidArgumentError, match="there are: x"):
        rig.handle("m@y")


def test_labels_of_a_stream_that_had_none_are_gone(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.manager.hold(["m"])
    rig.manager.set_labels({"m": {"x": 1}})
    rollback(rig, "m")
    assert rig.manager.labels("m") == {}
    assert rig.manager._actor._reconciler._labels == {}


# ---- closing ---------------------------------------------------------------------------------------


def test_a_close_ends_every_hold_and_a_rollback_after_it_brings_nothing_back() -> None:
    rig, _ = held(2)
    rig.begin_close()
    rig.manager._closing = False  # as for a caller that has looked just before
    rig.manager.rollback(["m"])
    rig.manager.hold(["m"])
    rig.manager.set_labels({"m": {"x": 2}})
    rig.settle()
    assert rig.report().left == ()
    assert rig.ends("m:1") == [None]


def test_a_rollback_lets_nothing_in_of_streams_that_a_close_has_not_come_to_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servman.manager.reconciler._MOST_STREAMS", 1)  # in a turn
    rig = Rig()
    rig.manager.hold(["a", "b", "c"])
    for name in ("a", "b", "c"):
        rig.bring(name, 1)
    rig.manager._actor.post(CloseRequested(None))
    rig.manager.rollback(["a", "b", "c"])
    rig.settle()
    for name in ("a", "b", "c"):
        assert rig.states(f"{name}:1") == ["START", "LOADING", "END"]


def test_afterwards_nothing_can_be_rolled_back(rig: Rig) -> None:
    rig.begin_close()
    with pytest.raises(ClosedError):
        rig.manager.rollback(["m"])


@pytest.mark.parametrize("names", ["m", [""], ["a:b"], [3]])
def test_names_that_can_name_no_stream_are_refused(rig: Rig, names: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        rig.manager.rollback(names)
