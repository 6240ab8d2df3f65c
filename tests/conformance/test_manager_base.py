"""Section 5.6 of the catalogue: what every manager does, whoever says what is to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from servman.data import ServableData
from servman.errors import InvalidArgumentError, NotFoundError
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.loader import SimpleLoader
from servman.manager import (
    AspiredVersionsManager,
    BasicManager,
    CachingManager,
    Manager,
    StaticManager,
)
from servman.monitor import ServableStateMonitor
from servman.testing.clock import WATCHDOG


class Model:
    """A servable that knows which it is."""

    def __init__(self, id: ServableId) -> None:
        self.id = id


IDS = [ServableId("m", 1), ServableId("m", 2), ServableId("n", 0)]


def data(id: ServableId) -> ServableData[SimpleLoader[Model]]:
    return ServableData(id, SimpleLoader(lambda context: Model(context.id)))


def aspired() -> Manager:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    for name in ("m", "n"):
        manager.set_aspired_versions(name, [data(one) for one in IDS if one.name == name])
    monitor.wait_until_available(*IDS, timeout=WATCHDOG)
    monitor.close()
    return manager


def basic() -> Manager:
    manager = BasicManager()
    manager.start()
    for one in IDS:
        manager.manage(data(one))
        manager.load(one).result(WATCHDOG)
    return manager


def caching() -> Manager:
    def make(request: ServableRequest) -> ServableData[SimpleLoader[Model]]:
        versions = [one for one in IDS if one.name == request.name]
        wanted = [one for one in versions if request.version in (None, one.version)]
        if not wanted:
            raise NotFoundError(f"{request}: no such version")
        return data(wanted[-1])

    manager = CachingManager(make)
    manager.start()
    for one in IDS:
        manager.get_servable_handle(one).close()
    return manager


def static() -> Manager:
    return StaticManager({one: Model(one) for one in IDS})


MANAGERS: Mapping[str, Callable[[], Manager]] = {
    "aspired": aspired,
    "basic": basic,
    "caching": caching,
    "static": static,
}


@pytest.fixture(params=list(MANAGERS))
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    """Return a manager that serves versions 1 and 2 of "m", and version 0 of "n"."""
    made = MANAGERS[request.param]()
    yield made
    assert made.close(WATCHDOG)


@pytest.mark.case("MG-01")
def test_a_lookup_with_the_right_type_gives_a_handle(manager: Manager) -> None:
    with manager.get_servable_handle("m:1", Model) as handle:
        assert handle.servable.id == IDS[0]


@pytest.mark.case("MG-02")
def test_a_lookup_with_a_wrong_type_is_an_error_and_holds_nothing(manager: Manager) -> None:
    with pytest.raises(InvalidArgumentError, match="m:1 is a Model, not the int") as caught:
        manager.get_servable_handle("m:1", int)
    assert {one.handles for one in manager.snapshots()} == {0}
    assert caught.value.__traceback__ is not None, "it is kept, with all its frames"


@pytest.mark.case("MG-03")
def test_there_are_handles_on_everything_of_the_right_type(manager: Manager) -> None:
    handles = manager.get_available_handles(Model)
    assert list(handles) == IDS
    for key, handle in handles.items():
        with handle:
            assert isinstance(handle.servable, Model)
            assert (handle.id, handle.servable.id) == (key, key)


@pytest.mark.case("MG-04")
def test_of_a_wrong_type_there_are_none_and_nothing_is_held(manager: Manager) -> None:
    assert manager.get_available_handles(int) == {}
    assert {one.handles for one in manager.snapshots()} == {0}


@pytest.mark.case("MG-08")
@pytest.mark.parametrize(
    ("request_", "version"),
    [
        ("m", 2),
        ("m:1", 1),
        ("m:newest", 2),
        (ServableId("m", 1), 1),
        (ServableRequest.latest("m"), 2),
        (ServableRequest.specific("m", 2), 2),
    ],
)
def test_a_handle_knows_its_id(
    manager: Manager, request_: str | ServableId | ServableRequest, version: int
) -> None:
    with manager.get_servable_handle(request_) as handle:
        assert handle.id == ServableId("m", version)


def test_an_unknown_name_is_not_found(manager: Manager) -> None:
    with pytest.raises(NotFoundError):
        manager.get_servable_handle("unknown")


def test_what_serves_is_listed_in_order(manager: Manager) -> None:
    assert manager.list_available_ids() == IDS


def test_whatever_was_closed_serves_nothing_and_says_so(manager: Manager) -> None:
    assert manager.close(WATCHDOG)
    with pytest.raises(Exception, match="the manager was closed"):
        manager.get_servable_handle("m:1")
    assert (manager.get_available_handles(), manager.list_available_ids()) == ({}, [])
    assert manager.close(0)


@pytest.mark.parametrize("option", ["polcy", "policies", "retries"])
@pytest.mark.parametrize(
    "make",
    [
        AspiredVersionsManager,
        BasicManager,
        lambda **options: CachingManager(lambda _: data(IDS[0]), **options),
        lambda **options: StaticManager({}, **options),
    ],
)
def test_an_unknown_option_is_a_type_error(make: Callable[..., Manager], option: str) -> None:
    with pytest.raises(TypeError, match=option):
        make(**{option: 3})
