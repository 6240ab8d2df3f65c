from __future__ import annotations

import pytest

from servman.adapters.router import DynamicSourceRouter, StaticSourceRouter
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.flow import connect
from servman.ids import ServableId
from servman.testing import RecordingTarget


def connected(router: DynamicSourceRouter[str]) -> list[RecordingTarget[str]]:
    targets = [RecordingTarget[str]() for _ in router.ports]
    for port, target in zip(router.ports, targets, strict=True):
        connect(port, target)
    return targets


def names(target: RecordingTarget[str]) -> list[str]:
    return [name for name, _ in target.calls]


@pytest.mark.parametrize("num_ports", [0, -1, True, 1.0, "2"])
def test_a_router_has_a_whole_number_of_ports(num_ports: int) -> None:
    with pytest.raises(InvalidArgumentError, match="1 port or more"):
        DynamicSourceRouter(num_ports, {})


@pytest.mark.parametrize("port", [True, 0.0, "0", None])
def test_a_route_is_a_whole_number(port: int) -> None:
    with pytest.raises(InvalidArgumentError, match="servable 'm'"):
        DynamicSourceRouter(2, {"m": port})


@pytest.mark.parametrize("name", ["", "m:1", "m@stable"])
def test_a_route_is_for_a_name_that_a_stream_can_have(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a servable name"):
        DynamicSourceRouter(2, {name: 0})


def test_refused_routes_leave_the_old_ones_in_force() -> None:
    router: DynamicSourceRouter[str] = DynamicSourceRouter(2, {"m": 0})
    targets = connected(router)
    with pytest.raises(InvalidArgumentError):
        router.update_routes({"other": 0, "m": 1})
    assert router.routes == {"m": 0}
    router.set_aspired_versions("m", [])
    router.set_aspired_versions("other", [])
    assert [names(target) for target in targets] == [["m"], ["other"]]


def test_the_routes_are_copies_both_ways() -> None:
    given = {"m": 0}
    router: DynamicSourceRouter[str] = DynamicSourceRouter(2, given)
    given["m"] = 5
    router.routes["other"] = 0
    assert router.routes == {"m": 0}


def test_a_changed_route_does_not_withdraw_the_stream_from_its_old_port() -> None:
    router: DynamicSourceRouter[str] = DynamicSourceRouter(2, {"m": 0})
    old, new = connected(router)
    data = [ServableData(ServableId("m", 1), "/m/1")]
    router.set_aspired_versions("m", data)
    router.update_routes({})
    assert new.calls == []
    router.set_aspired_versions("m", data)
    assert old.calls == new.calls == [("m", tuple(data))]


def test_a_port_takes_one_target() -> None:
    router: DynamicSourceRouter[str] = DynamicSourceRouter(1, {})
    connected(router)
    with pytest.raises(FailedPreconditionError):
        connect(router.ports[0], RecordingTarget())


def test_a_static_router_has_a_port_for_each_substring_and_one_for_the_rest() -> None:
    assert len(StaticSourceRouter(["a", "b"]).ports) == 3
    assert len(StaticSourceRouter(iter(["a"])).ports) == 2


@pytest.mark.parametrize("substrings", ["a", None, 3, [""], ["a", 3]])
def test_substrings_are_texts_that_are_not_empty(substrings: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="substring"):
        StaticSourceRouter(substrings)
