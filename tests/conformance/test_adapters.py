"""Catalogue 5.8: routers and adapters."""

from __future__ import annotations

import pytest

from servman.adapters.base import SourceAdapter
from servman.adapters.prefix import PrefixStoragePathAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.adapters.router import DynamicSourceRouter, StaticSourceRouter
from servman.data import ServableData
from servman.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from servman.flow import connect
from servman.ids import ServableId
from servman.testing import RecordingTarget, Spawned

Router = DynamicSourceRouter[str] | StaticSourceRouter[str]


class Lengths(SourceAdapter[str, int]):
    """Makes the length of the path of every path."""

    def convert(self, data: ServableData[str]) -> ServableData[int]:
        return ServableData(data.id, len(data.payload), data.origin)


def paths(name: str, *versions: int) -> list[ServableData[str]]:
    return [ServableData(ServableId(name, version), f"/{name}/{version}") for version in versions]


def connected(router: Router) -> list[RecordingTarget[str]]:
    targets = [RecordingTarget[str]() for _ in router.ports]
    for port, target in zip(router.ports, targets, strict=True):
        connect(port, target)
    return targets


def routed(router: Router, *names: str) -> list[list[str]]:
    """Return which of the names came out of which port."""
    targets = connected(router)
    for name in names:
        router.set_aspired_versions(name, paths(name, 1))
    return [[name for name, _ in target.calls] for target in targets]


@pytest.mark.case("SR-01")
@pytest.mark.case("DR-03")
def test_each_stream_goes_to_the_port_of_its_route_and_any_other_to_the_last() -> None:
    router: DynamicSourceRouter[str] = DynamicSourceRouter(3, {"foo": 0, "bar": 1})
    assert routed(router, "foo", "bar", "other") == [["foo"], ["bar"], ["other"]]


@pytest.mark.case("DR-03")
def test_the_routes_are_returned_as_they_were_given() -> None:
    routes = {"foo": 0, "bar": 1}
    router: DynamicSourceRouter[str] = DynamicSourceRouter(3, routes)
    assert router.routes == routes


@pytest.mark.case("SR-02")
@pytest.mark.parametrize("router", [DynamicSourceRouter[str](1, {}), StaticSourceRouter[str]([])])
def test_a_router_with_one_port_sends_everything_there(router: Router) -> None:
    assert routed(router, "foo", "bar") == [["foo", "bar"]]


@pytest.mark.case("SR-01")
@pytest.mark.case("SS-01")
def test_the_first_substring_in_the_name_decides_and_none_means_the_last_port() -> None:
    router: StaticSourceRouter[str] = StaticSourceRouter(["0th", "1st"])
    names = ("0th_foo_1st", "1st_foo_0th", "foo_1st", "foo")
    assert routed(router, *names) == [["0th_foo_1st", "1st_foo_0th"], ["foo_1st"], ["foo"]]


@pytest.mark.departs("SR-03")
@pytest.mark.departs("SR-04")
@pytest.mark.parametrize(
    "router", [DynamicSourceRouter[str](2, {"foo": 0}), StaticSourceRouter[str](["fo"])]
)
def test_a_list_for_a_port_without_a_target_waits_there_and_blocks_nobody(router: Router) -> None:
    Spawned(lambda: router.set_aspired_versions("foo", paths("foo", 1))).result()
    Spawned(lambda: router.set_aspired_versions("foo", paths("foo", 2, 3))).result()
    foo, other = connected(router)
    assert [versions for _, versions in foo.calls] == [tuple(paths("foo", 2, 3))]
    assert other.calls == []


@pytest.mark.case("DR-01")
@pytest.mark.parametrize("port", [-1, 3, 2])
def test_a_router_cannot_be_made_with_a_route_out_of_range(port: int) -> None:
    with pytest.raises(InvalidArgumentError, match="'foo' cannot be routed to port"):
        DynamicSourceRouter(3, {"bar": 0, "foo": port})


@pytest.mark.case("DR-04")
def test_new_routes_replace_all_old_ones_at_once() -> None:
    router: DynamicSourceRouter[str] = DynamicSourceRouter(3, {"foo": 0, "bar": 1})
    router.update_routes({"foo": 1})
    assert router.routes == {"foo": 1}
    assert routed(router, "foo", "bar") == [[], ["foo"], ["bar"]]


@pytest.mark.case("SA-01")
def test_an_adapter_keeps_the_id_and_changes_the_payload() -> None:
    adapter, target = Lengths(), RecordingTarget[int]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", [ServableData(ServableId("m", 7), "/m/7", "/origin")])
    assert target.calls == [("m", (ServableData(ServableId("m", 7), 4, "/origin"),))]


@pytest.mark.case("SA-01")
def test_one_version_is_adapted_by_itself() -> None:
    adapter, target = Lengths(), RecordingTarget[int]()
    connect(adapter, target)
    adapted = adapter.adapt_one(ServableData(ServableId("m", 7), "/m/7", "/origin"))
    assert adapted == ServableData(ServableId("m", 7), 4, "/origin")
    assert target.calls == []


@pytest.mark.departs("SA-02")
def test_an_adapter_without_a_target_keeps_what_it_made_and_blocks_nobody() -> None:
    adapter, target = Lengths(), RecordingTarget[int]()
    Spawned(lambda: adapter.set_aspired_versions("m", paths("m", 1))).result()
    Spawned(lambda: adapter.set_aspired_versions("m", paths("m", 2))).result()
    connect(adapter, target)
    assert target.calls == [("m", (ServableData(ServableId("m", 2), 4),))]


@pytest.mark.case("SA-04")
def test_the_rejecting_adapter_puts_its_error_where_there_is_none_yet() -> None:
    adapter = ErrorInjectingAdapter(ResourceExhaustedError("no room"))
    target: RecordingTarget[object] = RecordingTarget()
    connect(adapter, target)
    broken: ServableData[object] = ServableData.from_error(
        ServableId("m", 1), NotFoundError("gone")
    )
    adapter.set_aspired_versions("m", [broken, ServableData(ServableId("m", 2), "/m/2")])
    ((_, (kept, injected)),) = target.calls
    assert kept is broken
    assert isinstance(injected.error, ResourceExhaustedError)
    assert str(injected.error) == "no room"


@pytest.mark.case("SA-04")
def test_the_rejecting_adapter_passes_an_empty_list_on() -> None:
    adapter = ErrorInjectingAdapter(ResourceExhaustedError("no room"))
    target: RecordingTarget[object] = RecordingTarget()
    connect(adapter, target)
    adapter.set_aspired_versions("m", [])
    assert target.calls == [("m", ())]


@pytest.mark.case("PX-01")
@pytest.mark.parametrize(
    ("prefix", "joined"), [("", "bar"), ("/baz", "/baz/bar"), ("/baz/", "/baz/bar")]
)
def test_a_prefix_and_a_path_are_joined_by_one_slash(prefix: str, joined: str) -> None:
    adapter, target = PrefixStoragePathAdapter(prefix), RecordingTarget[str]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", [ServableData(ServableId("m", 1), "bar")])
    assert target.calls == [("m", (ServableData(ServableId("m", 1), joined),))]
