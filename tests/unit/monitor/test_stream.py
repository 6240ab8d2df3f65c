from __future__ import annotations

import pytest

from servman.errors import LoadCancelledError, LoadFailedError, ServmanError
from servman.ids import ServableId
from servman.monitor.stream import StreamView
from servman.state import ManagerState, ServableState, StreamAspiration

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
FAILURE = LoadFailedError("broken")


def after(*events: tuple[int, ManagerState] | set[int], capacity: int = 100) -> StreamView:
    """Return the view after states of versions and sets of aspired versions."""
    view = StreamView("m")
    for event in events:
        view = extend(view, event, capacity)
    return view


def extend(
    view: StreamView, event: tuple[int, ManagerState] | set[int], capacity: int = 100
) -> StreamView:
    if isinstance(event, set):
        return view.with_aspiration(StreamAspiration("m", frozenset(event)), capacity)
    version, manager_state = event
    return view.with_state(ServableState(ServableId("m", version), manager_state), capacity)


def ended(view: StreamView, version: int, error: ServmanError | None) -> StreamView:
    return view.with_state(ServableState(ServableId("m", version), END, error), 100)


def test_a_view_never_changes() -> None:
    before = after({1}, (1, START))
    extend(before, (1, LOADING))
    extend(before, set())
    assert before.states[1].manager_state is START
    assert before.aspired == frozenset({1})


def test_what_is_aspired_is_unknown_until_somebody_tells() -> None:
    assert after((1, START)).aspired is None
    assert after(set()).aspired == frozenset()


def test_a_version_newly_aspired_is_unstarted_until_it_starts() -> None:
    assert after({1, 2}).unstarted == {1, 2}
    assert after({1, 2}, (1, START)).unstarted == {2}


def test_only_start_shows_a_new_incarnation() -> None:
    view = after({1}, (1, START), (1, LOADING), set(), {1})
    assert ended(view, 1, LoadCancelledError("late")).unstarted == {1}


def test_saying_the_same_again_makes_nothing_unstarted() -> None:
    assert after({1}, (1, START), {1}).unstarted == set()
    assert after({1}, {1, 2}, (2, START)).unstarted == {1}


def test_a_version_that_is_available_when_it_is_aspired_again_has_started() -> None:
    assert after({1}, (1, START), (1, AVAILABLE), set(), {1}).unstarted == set()


@pytest.mark.parametrize("manager_state", [START, LOADING, UNLOADING, END])
def test_a_version_on_its_way_out_when_it_is_aspired_again_is_unstarted(
    manager_state: ManagerState,
) -> None:
    assert after({1}, (1, START), (1, manager_state), set(), {1}).unstarted == {1}


def test_what_is_no_longer_aspired_is_not_unstarted() -> None:
    assert after({1, 2}, {2}).unstarted == {2}


def test_failed_is_an_aspired_version_whose_present_incarnation_ended_with_an_error() -> None:
    started = after({1}, (1, START))
    assert ended(started, 1, FAILURE).failed(1)
    assert not started.failed(1)
    assert not started.failed(2)
    assert not ended(started, 1, None).failed(1)
    assert not ended(started, 1, LoadCancelledError("not wanted")).failed(1)
    assert not ended(after({2}), 1, FAILURE).failed(1)
    assert not ended(after((1, START)), 1, FAILURE).failed(1)


def test_a_failure_of_an_earlier_incarnation_is_none_of_the_present() -> None:
    again = extend(extend(ended(after({1}, (1, START)), 1, FAILURE), set()), {1})
    assert not again.failed(1)
    assert ended(extend(again, (1, START)), 1, FAILURE).failed(1)


def test_beyond_the_capacity_the_oldest_end_is_forgotten_first() -> None:
    view = after((3, END), (1, END), (2, END), capacity=2)
    assert set(view.states) == {1, 2}
    assert set(extend(view, (1, END), 2).states) == {1, 2}
    assert set(extend(extend(view, (1, END), 2), (9, END), 2).states) == {1, 9}


def test_ends_of_aspired_versions_and_live_ones_are_kept_whatever_the_capacity() -> None:
    view = after({1, 2}, (1, END), (2, END), (3, LOADING), (4, END), (5, END), capacity=1)
    assert set(view.states) == {1, 2, 3, 5}


def test_ends_that_are_aspired_no_more_count_against_the_capacity() -> None:
    view = after({1, 2, 3}, (1, END), (2, END), (3, END), {3}, capacity=1)
    assert set(view.states) == {2, 3}


def test_forgetting_drops_ends_that_are_not_aspired() -> None:
    view = after({1}, (1, END), (2, END), (3, START)).without_ended()
    assert set(view.states) == {1, 3}
    assert view.aspired == frozenset({1})
    assert after((2, END)).without_ended().empty


def test_a_view_is_empty_while_nobody_has_told_anything_of_it() -> None:
    assert StreamView("m").empty
    assert not after(set()).empty
    assert not after({1}).empty
    assert not after((1, END)).empty
