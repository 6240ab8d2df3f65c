"""The options of the managers: their names, their defaults, and what can never be right."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from servman.clock import SystemClock
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.events import EventBus
from servman.ids import ServableRequest
from servman.loader import Loader
from servman.manager import (
    AspiredVersionsManager,
    BasicManager,
    CachingManager,
    ExponentialBackoff,
    Manager,
    ResourcePreservingPolicy,
    ResourceTracker,
    StaticManager,
)
from servman.manager.options import AspiredVersionsManagerOptions, ManagerOptions
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.unit.manager.rig import entry

TRACKER = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
NAN, HUGE = math.nan, 10**400


def caching(**options: Any) -> CachingManager:
    def make(request: ServableRequest) -> ServableData[Loader]:
        return entry(f"{request.name}:1")

    return CachingManager(make, **options)


MAKERS: dict[str, Callable[..., Manager]] = {
    "aspired": AspiredVersionsManager,
    "basic": BasicManager,
    "caching": caching,
}

DEFAULTS = {
    "policy": None,
    "event_bus": None,
    "num_load_threads": 4,
    "num_unload_threads": 2,
    "max_num_load_retries": 5,
    "load_retry_interval": 60.0,
    "should_retry": None,
    "load_timeout": None,
    "resource_tracker": None,
    "pre_load_hook": None,
    "sort_actions": None,
    "on_change": None,
    "revision_interval": 1.0,
    "clock": None,
}

WRONG: dict[str, list[Any]] = {
    "policy": [3, "", 0, False, object()],
    "event_bus": ["bus", 0, False, object()],
    "num_load_threads": [0, -1, 1.5, True, None, "4"],
    "num_unload_threads": [0, 2.0, None],
    "max_num_load_retries": [-1, None, 0.5, True],
    "load_retry_interval": [-0.1, NAN, "60", None, True, HUGE],
    "should_retry": [True, "no"],
    "load_timeout": [-1, NAN, "60", HUGE],
    "resource_tracker": [10, False, ResourceAllocation({MAIN_MEMORY: 10})],
    "pre_load_hook": [False, "hook"],
    "sort_actions": [False, [1]],
    "on_change": [False, "tell"],
    "revision_interval": [-1, 0, 0.0, None, NAN, HUGE],
    "clock": [0, 12.5, "now"],
}

RIGHT: dict[str, list[Any]] = {
    "policy": [None, ResourcePreservingPolicy()],
    "event_bus": [None, EventBus()],
    "num_load_threads": [1, 1000],
    "num_unload_threads": [1, 1000],
    "max_num_load_retries": [0, 10**6],
    "load_retry_interval": [0, 0.0, math.inf, ExponentialBackoff()],
    "should_retry": [None, lambda _: True],
    "load_timeout": [None, 0.5, math.inf],
    "resource_tracker": [None, TRACKER],
    "pre_load_hook": [None, print],
    "sort_actions": [None, list],
    "on_change": [None, print],
    "revision_interval": [0.001, 1, math.inf],
    "clock": [None, SystemClock()],
}

NOT_FOR_ALL = {"policy", "sort_actions"}


def cases(table: dict[str, list[Any]]) -> list[tuple[str, str, Any]]:
    """Return each manager with each option that it has and each of its values."""
    return [
        (kind, option, value)
        for kind in MAKERS
        for option, values in table.items()
        for value in values
        if kind == "aspired" or option not in NOT_FOR_ALL
    ]


def test_the_signature_shows_every_option_with_its_default() -> None:
    parameters = inspect.signature(AspiredVersionsManager).parameters
    assert {one: parameters[one].default for one in parameters if one[0] != "_"} == DEFAULTS
    assert {one.kind for one in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    documented = inspect.getdoc(AspiredVersionsManager) or ""
    assert [one for one in DEFAULTS if f"{one}: " not in documented] == []


def test_the_types_of_the_options_know_the_same_names() -> None:
    told = {one for one in AspiredVersionsManagerOptions.__annotations__ if one[0] != "_"}
    assert told == DEFAULTS.keys()
    common = {one for one in ManagerOptions.__annotations__ if one[0] != "_"}
    assert common == DEFAULTS.keys() - NOT_FOR_ALL


def test_every_option_is_tried_here() -> None:
    assert WRONG.keys() == RIGHT.keys() == DEFAULTS.keys()


@pytest.mark.parametrize(("kind", "option", "value"), cases(WRONG))
def test_what_can_never_be_right_is_refused_by_the_name_of_the_option(
    kind: str, option: str, value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=option):
        MAKERS[kind](**{option: value})


@pytest.mark.parametrize(("kind", "option", "value"), cases(RIGHT))
def test_what_can_be_right_is_taken(kind: str, option: str, value: Any) -> None:
    if isinstance(value, ResourceTracker):
        value = ResourceTracker(value.total)  # each manager takes one of its own
    MAKERS[kind](**{option: value})


def test_two_managers_cannot_share_a_tracker() -> None:
    """Its books go by the numbers of one manager's incarnations."""
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    AspiredVersionsManager(resource_tracker=tracker)
    with pytest.raises(FailedPreconditionError, match="belongs to another manager"):
        BasicManager(resource_tracker=tracker)


@pytest.mark.parametrize("option", sorted(NOT_FOR_ALL))
@pytest.mark.parametrize("kind", ["basic", "caching"])
def test_a_manager_that_is_told_what_to_do_has_no_policy_and_nothing_to_sort(
    kind: str, option: str
) -> None:
    with pytest.raises(TypeError, match=option):
        MAKERS[kind](**{option: RIGHT[option][1]})


@pytest.mark.parametrize("kind", [*MAKERS, "static"])
@pytest.mark.parametrize("option", ["num_threads", "poll_interval", "retries"])
def test_an_unknown_option_is_a_type_error(kind: str, option: str) -> None:
    make = {**MAKERS, "static": lambda **options: StaticManager({}, **options)}[kind]
    with pytest.raises(TypeError, match=option):
        make(**{option: 3})


@pytest.mark.parametrize("option", ["num_load_threads", "load_retry_interval", "policy"])
def test_a_static_manager_has_no_option_that_would_say_how_to_load(option: str) -> None:
    with pytest.raises(TypeError, match=option):
        StaticManager({}, **{option: RIGHT[option][1]})


def test_a_policy_that_counts_as_false_is_a_policy() -> None:
    class Empty(list[Any]):
        def next_action(self, snapshots: Any) -> None:
            asked.append(snapshots)

    asked: list[Any] = []
    manager = AspiredVersionsManager(policy=Empty())
    manager.set_aspired_versions("m", [entry("m:1")])
    while manager.step():
        pass
    assert len(asked) == 1
