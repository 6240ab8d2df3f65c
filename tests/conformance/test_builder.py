"""Section 5.6 of the catalogue: a manager that is built together with what feeds it."""

from __future__ import annotations

import pytest

from servman.adapters import SourceAdapter
from servman.data import ServableData
from servman.events import EventBus
from servman.flow import Target
from servman.ids import ServableId
from servman.loader import Loader, SimpleLoader
from servman.manager import AspiredVersionsManagerBuilder
from servman.monitor import ServableStateMonitor
from servman.sources import StaticStoragePathSource
from servman.testing.clock import WATCHDOG


class LoaderSource:
    """A source of a loader, that tells when it is closed."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def set_target(self, target: Target[Loader]) -> None:
        loader = SimpleLoader(lambda _: "servable")
        target.set_aspired_versions("m", [ServableData(ServableId("m", 7), loader)])

    def close(self, timeout: float | None) -> None:
        self.told.append("source")


class Appending(SourceAdapter[str, str]):
    """Appends its name to the path."""

    def __init__(self, name: str, told: list[str]) -> None:
        super().__init__()
        self.name = name
        self.told = told

    def convert(self, data: ServableData[str]) -> ServableData[str]:
        return ServableData(data.id, f"{data.payload} {self.name}", data.origin)

    def close(self, timeout: float | None) -> None:
        self.told.append(self.name)


class Loading(SourceAdapter[str, Loader]):
    """Makes a loader whose servable is the path, and tells when it is closed and when it unloads."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        path, told = data.payload, self.told
        loader = SimpleLoader(lambda _: path, destroy=lambda _: told.append("manager"))
        return ServableData(data.id, loader, data.origin)

    def close(self, timeout: float | None) -> None:
        self.told.append("loading")


@pytest.mark.case("AB-01")
def test_what_a_single_source_brings_is_loaded() -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    builder = AspiredVersionsManagerBuilder(event_bus=bus).add_source(LoaderSource([]))
    with builder.build() as manager:
        monitor.wait_until_available("m:7", timeout=WATCHDOG)
        with manager.get_servable_handle("m", str) as handle:
            assert handle.servable == "servable"
    monitor.close()


@pytest.mark.case("AB-02")
@pytest.mark.case("AB-03")
def test_a_chain_hands_on_in_order_and_closes_in_order_the_manager_last() -> None:
    bus, told = EventBus(), list[str]()
    monitor = ServableStateMonitor(bus)
    source = StaticStoragePathSource("m", 7, "path")
    chain = [Appending("first", told), Appending("second", told), Loading(told)]
    builder = AspiredVersionsManagerBuilder(event_bus=bus).add_source_chain(source, *chain)
    with builder.build() as manager:
        monitor.wait_until_available("m:7", timeout=WATCHDOG)
        with manager.get_servable_handle("m", str) as handle:
            assert handle.servable == "path first second"
        assert told == []
    assert told == ["first", "second", "loading", "manager"]
    monitor.close()
