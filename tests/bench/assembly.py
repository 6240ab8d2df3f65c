"""What the benchmarks run: a manager with its bus and its monitor, for as long as is measured."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servman import (
    AspiredVersionsManager,
    EventBus,
    ManagerState,
    ServableData,
    ServableId,
    ServableState,
    ServableStateMonitor,
    SimpleLoader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servman import LoadContext, Loader
    from servman.events import Event

WATCHDOG = 60.0
"""Seconds after which a measurement that does not come to its end is given up."""


@dataclass(frozen=True)
class Assembly:
    """A manager that runs, and what listens to it."""

    bus: EventBus
    monitor: ServableStateMonitor
    manager: AspiredVersionsManager


@contextmanager
def running() -> Iterator[Assembly]:
    """Run a manager with the default options, told to a monitor."""
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    manager = AspiredVersionsManager(event_bus=bus)
    manager.start()
    try:
        yield Assembly(bus, monitor, manager)
    finally:
        manager.close()
        monitor.close()


def trivial(
    name: str, version: int, create: Callable[[LoadContext], object] = lambda _: object()
) -> ServableData[Loader]:
    """Return a version whose load costs next to nothing."""
    loader: Loader = SimpleLoader(create)
    return ServableData(ServableId(name, version), loader)


class Arrivals:
    """Counts the versions that become available, inside `publish`.

    Attributes:
        count: How many there were.
    """

    def __init__(self, bus: EventBus, awaited: int = 0) -> None:
        self.count = 0
        self._awaited = awaited
        self._complete = threading.Event()
        bus.attach(self)

    def record(self, event: Event) -> None:
        """Count *event* if it is one; called by the bus."""
        if isinstance(event, ServableState) and event.manager_state is ManagerState.AVAILABLE:
            self.count += 1
            if self.count == self._awaited:
                self._complete.set()

    def wait(self) -> None:
        """Wait until as many have come as are awaited.

        Raises:
            TimeoutError: They did not.
        """
        if not self._complete.wait(WATCHDOG):
            raise TimeoutError(f"{self.count} of {self._awaited} versions became available")
