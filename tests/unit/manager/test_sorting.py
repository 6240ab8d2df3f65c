"""`sort_actions`: what goes first where several things are to be done at one moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.loader import Loader
from servman.manager import ActionKind, ServableAction, ServableStateSnapshot
from servman.manager.policy import AvailabilityPreservingPolicy
from servman.state import ServableState
from tests.unit.manager.rig import ModelLoader, Rig, entry, sid

LOAD, UNLOAD = ActionKind.LOAD, ActionKind.UNLOAD


class Sorter:
    """Sorts by a key, and remembers what it was given."""

    def __init__(self, key: Callable[[ServableAction], Any]) -> None:
        self.key = key
        self.given: list[Sequence[ServableAction]] = []

    def __call__(self, actions: Sequence[ServableAction]) -> Sequence[ServableAction]:
        self.given.append(actions)
        return sorted(actions, key=self.key)


class Gated:
    """A policy that asks for nothing before it is let, so that several streams ask at one moment."""

    def __init__(self) -> None:
        self.open = False

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        return AvailabilityPreservingPolicy().next_action(snapshots) if self.open else None


def at_once(rig: Rig, policy: Gated, **wanted: Sequence[int | ServableData[Loader]]) -> None:
    """Aspire *wanted*, and have the policy asked for all of it in one turn."""
    for name, versions in wanted.items():
        rig.aspire(name, *versions)
    policy.open = True
    rig.manager._actor._reconciler._unsettled.update(wanted)
    rig.clock.advance(0.0)
    rig.step()


def told(rig: Rig) -> list[str]:
    return [
        f"{one.id} {one.manager_state.name}"
        for one in rig.events
        if isinstance(one, ServableState) and one.manager_state.name in ("LOADING", "UNLOADING")
    ]


def prepared(sort_actions: Any, **options: Any) -> tuple[Rig, Gated]:
    """Make a manager that serves one:1 and whose policy waits."""
    policy = Gated()
    policy.open = True
    rig = Rig(policy=policy, sort_actions=sort_actions, **options)
    rig.bring("one", 1)
    policy.open = False
    rig.events.clear()
    return rig, policy


# ---- what policies ask for -------------------------------------------------------------------------


def test_by_default_unloads_go_first() -> None:
    rig, policy = prepared(None)
    at_once(rig, policy, alpha=[1], one=[], two=[1])
    assert told(rig) == ["one:1 UNLOADING", "alpha:1 LOADING", "two:1 LOADING"]


def test_actions_are_taken_in_the_order_of_the_users() -> None:
    sort = Sorter(lambda action: (action.kind is UNLOAD, action.id.name != "two"))
    rig, policy = prepared(sort)
    at_once(rig, policy, alpha=[1], one=[], two=[1])
    assert told(rig) == ["two:1 LOADING", "alpha:1 LOADING", "one:1 UNLOADING"]
    expected = ((LOAD, "alpha:1"), (UNLOAD, "one:1"), (LOAD, "two:1"))
    assert sort.given == [tuple(ServableAction(kind, sid(which)) for kind, which in expected)]
    assert isinstance(sort.given[0], tuple)


def test_one_action_alone_is_not_sorted(rig: Rig) -> None:
    sort = Sorter(str)
    rig = Rig(sort_actions=sort)
    rig.bring("m", 1)
    rig.bring("m", 2)
    assert sort.given == []


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="sort_actions"):
        Rig(sort_actions="by name")


# ---- what it can do wrong --------------------------------------------------------------------------


def raising(_: object) -> Any:
    raise SystemExit(3)


def lengthened(actions: Sequence[ServableAction]) -> Any:
    return [*actions, ServableAction(LOAD, sid("stranger:1"))]


def exchanged(actions: Sequence[ServableAction]) -> Any:
    return [*actions[1:], ServableAction(LOAD, sid("stranger:1"))]


WRONG: list[Callable[[Sequence[ServableAction]], Any]] = [
    raising,
    lambda actions: actions[1:],
    lambda actions: [actions[0], *actions],
    lambda actions: [actions[0], *actions[1:-1], actions[0]],
    lengthened,
    exchanged,
    lambda _: None,
    lambda _: 3,
    lambda actions: [[one] for one in actions],
    lambda _: [],
]


@pytest.mark.parametrize("wrong", WRONG)
def test_where_it_fails_the_default_order_holds_and_nothing_is_lost(
    wrong: Callable[[Sequence[ServableAction]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    rig, policy = prepared(wrong, num_load_threads=1)
    at_once(rig, policy, alpha=[1], one=[], two=[1], zeta=[1])
    assert told(rig)[:2] == ["one:1 UNLOADING", "alpha:1 LOADING"]
    assert caplog.text.count("sort_actions failed") == 1
    rig.settle()
    assert rig.serving() == ["alpha:1", "two:1", "zeta:1"]


def test_a_failing_order_is_logged_once_a_turn_and_harms_no_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig, policy = prepared(raising, num_load_threads=1)
    wanted = {f"stream{number}": range(1, 6) for number in range(10)}
    at_once(rig, policy, **wanted)
    assert caplog.text.count("sort_actions failed") == 1
    rig.settle()
    assert len(rig.serving()) == 51


# ---- loads that wait for a thread ------------------------------------------------------------------


def loaded(rig: Rig) -> list[str]:
    """Let all loads run one by one; return what came in, in order."""
    rig.settle()
    states = [one for one in rig.events if isinstance(one, ServableState)]
    return [str(one.id) for one in states if one.manager_state.name == "AVAILABLE"]


def test_a_stream_that_comes_later_is_loaded_before_others_that_wait() -> None:
    sort = Sorter(lambda action: action.id.name != "urgent")
    rig = Rig(sort_actions=sort, num_load_threads=1)
    for name in ("first", "second", "third", "urgent", "fourth"):
        rig.aspire(name, 1)
    assert loaded(rig) == ["first:1", "urgent:1", "second:1", "third:1", "fourth:1"]


def test_without_it_loads_wait_in_the_order_in_which_they_were_asked_for() -> None:
    rig = Rig(num_load_threads=1)
    for name in ("first", "zeta", "alpha"):
        rig.aspire(name, 1)
    assert loaded(rig) == ["first:1", "zeta:1", "alpha:1"]


@pytest.mark.parametrize("wrong", WRONG)
def test_where_it_fails_loads_wait_in_the_order_in_which_they_were_asked_for(
    wrong: Callable[[Sequence[ServableAction]], Any],
) -> None:
    rig = Rig(sort_actions=wrong, num_load_threads=1)
    for name in ("first", "zeta", "alpha"):
        rig.aspire(name, 1)
    assert loaded(rig) == ["first:1", "zeta:1", "alpha:1"]


def test_what_is_cancelled_while_it_waits_is_not_sorted_any_more() -> None:
    sort = Sorter(lambda action: action.id)
    rig = Rig(sort_actions=sort, num_load_threads=1)
    for name in ("first", "zeta", "alpha", "beta"):
        rig.aspire(name, 1)
    rig.aspire("beta")
    assert loaded(rig) == ["first:1", "alpha:1", "zeta:1"]
    assert [[str(one.id) for one in each] for each in sort.given] == [["zeta:1", "alpha:1"]]


def test_a_version_that_waits_for_its_next_attempt_is_sorted_among_the_others() -> None:
    sort = Sorter(lambda action: action.id.name != "again")
    rig = Rig(sort_actions=sort, num_load_threads=1, load_retry_interval=5.0)
    rig.bring("again", entry("again:1", ModelLoader(ValueError("planted"))))
    for name in ("first", "second"):
        rig.aspire(name, 1)
    rig.clock.advance(5.0)
    rig.step()
    assert loaded(rig) == ["first:1", "again:1", "second:1"]


def test_loads_that_wait_are_sorted_when_others_have_come_and_not_before() -> None:
    sort = Sorter(str)
    rig = Rig(sort_actions=sort, num_load_threads=4)
    for number in range(300):
        rig.aspire(f"stream{number}", 1)
    for _ in range(100):
        rig.load()
    assert len(sort.given) == 1
    rig.aspire("another", 1)
    rig.aspire("yet another", 1)
    assert len(sort.given) == 1
    for _ in range(100):
        rig.load()
    assert len(sort.given) == 2


def test_while_no_thread_is_free_nothing_is_sorted() -> None:
    sort = Sorter(str)
    rig = Rig(sort_actions=sort, num_load_threads=1)
    for number in range(50):
        rig.aspire(f"stream{number}", 1)
    assert sort.given == []
    rig.manager.num_load_threads = 2
    rig.step()
    assert [len(each) for each in sort.given] == [49]
