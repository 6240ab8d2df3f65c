"""Lookups: which version a request finds, and what a request that finds none is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servman.errors import InvalidArgumentError, NotFoundError
from servman.ids import ServableId, ServableRequest
from servman.reasons import ReasonCode
from tests.unit.manager.rig import Rig, sid

FINDS = [
    ("m", 3),
    ("m:3", 3),
    ("m:03", 3),
    ("m:2", 2),
    ("m:latest", 3),
    ("m:earliest", 1),
    ("m:newest", 3),
    (ServableRequest.latest("m"), 3),
    (ServableRequest.earliest("m"), 1),
    (ServableRequest.newest("m"), 3),
    (ServableRequest.specific("m", 2), 2),
    (ServableId("m", 1), 1),
]


@pytest.mark.parametrize(("request_", "version"), FINDS)
def test_every_spelling_of_a_request_finds_its_version(
    rig: Rig, request_: ServableRequest | ServableId | str, version: int
) -> None:
    rig.bring("m", 1, 2, 3)
    with rig.manager.get_servable_handle(request_) as handle:
        assert handle.id.version == version


def test_the_newest_is_found_only_once_the_highest_wanted_version_is_there(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", 1, 2)
    with pytest.raises(NotFoundError, match="m:newest"):
        rig.handle("m:newest")
    with rig.handle("m") as handle:
        assert handle.id.version == 1
    rig.settle()
    with rig.handle("m:newest") as handle:
        assert handle.id.version == 2


def test_the_newest_is_the_highest_wanted_even_where_a_higher_one_still_serves(rig: Rig) -> None:
    rig.bring("m", 1, 3)
    rig.aspire("m", 1, 2)
    with pytest.raises(NotFoundError):
        rig.handle("m:newest")
    rig.settle()
    with rig.handle("m:newest") as handle:
        assert handle.id.version == 2


@pytest.mark.parametrize("request_", ["x", "x:1", "m:2", ServableId("m", 2)])
def test_what_is_not_there_is_not_found(rig: Rig, request_: str | ServableId) -> None:
    rig.bring("m", 1)
    with pytest.raises(NotFoundError, match=f"{request_}.*nothing of it is aspired") as caught:
        rig.manager.get_servable_handle(request_)
    assert caught.value.reason is None


def test_what_is_not_there_yet_says_why(rig: Rig) -> None:
    rig.aspire("m", 1)
    with pytest.raises(NotFoundError, match="m: m:1 has been loading") as caught:
        rig.handle("m")
    assert caught.value.reason is not None
    assert caught.value.reason.code is ReasonCode.LOADING


@pytest.mark.parametrize(
    "request_",
    [
        "",
        ":",
        ":1",
        "m:",
        "m:-1",
        "m:1:2",
        "m:x",
        "m@stable",
        f"m:{2**63}",
        None,
        7,
        [],
        {},
        object(),
    ],
)
def test_what_is_no_request_is_refused(rig: Rig, request_: object) -> None:
    rig.bring("m", 1)
    calls: tuple[Callable[[Any], object], ...] = (
        rig.manager.get_servable_handle,
        rig.manager.explain,
    )
    for call in calls:
        with pytest.raises(InvalidArgumentError):
            call(request_)


def test_all_that_is_available_is_listed_in_order(rig: Rig) -> None:
    rig.bring("b", 2, 1)
    rig.bring("a", 10, 9)
    assert rig.serving() == ["a:9", "a:10", "b:1", "b:2"]


def test_handles_on_all_that_is_available_hold_all_of_it(rig: Rig) -> None:
    rig.bring("a", 1)
    rig.bring("b", 1)
    handles = rig.manager.get_available_handles()
    assert list(handles) == [sid("a:1"), sid("b:1")]
    rig.bring("a")
    rig.bring("b")
    assert (rig.ends("a:1"), rig.ends("b:1")) == ([], [])
    for handle in handles.values():
        handle.close()
    rig.settle()
    assert (rig.ends("a:1"), rig.ends("b:1")) == ([None], [None])


def test_handles_of_another_type_are_left_out_and_hold_nothing(rig: Rig) -> None:
    rig.bring("a", 1)
    assert rig.manager.get_available_handles(str) == {}
    rig.bring("a")
    assert rig.ends("a:1") == [None]
