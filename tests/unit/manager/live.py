"""A manager with threads of its own, which a test waits for instead of driving it."""

from __future__ import annotations

import threading
from typing import Any, final

from servman.data import ServableData
from servman.errors import ServmanError
from servman.events import Event, EventBus
from servman.loader import Loader
from servman.manager import AspiredVersionsManager, HarnessState
from servman.manager.handle import ServableHandle
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import Model, entry, sid

_AT_REST = {
    HarnessState.READY: ManagerState.AVAILABLE,
    HarnessState.ERROR: ManagerState.END,
    HarnessState.DISABLED: ManagerState.END,
    None: ManagerState.END,
}


@final
class Live:
    """Asks a started manager what a `Rig` asks one on the bench. Close it."""

    def __init__(self, **options: Any) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._states: list[ServableState] = []
        self._aspired: dict[str, frozenset[int]] = {}
        self.bus = EventBus()
        options.setdefault("event_bus", self.bus)
        self.manager = AspiredVersionsManager(**options)
        self.bus.attach(self)
        self.manager.start()

    def record(self, event: Event) -> None:
        """Write *event* down; the bus calls it inside `publish`."""
        with self._changed:
            if isinstance(event, StreamAspiration):
                self._aspired[event.name] = event.versions
            elif isinstance(event, ServableState):
                self._states.append(event)
            self._changed.notify_all()

    def aspire(self, name: str, *wanted: int | ServableData[Loader]) -> frozenset[int]:
        """Aspire exactly *wanted* and wait for nothing; return the versions."""
        data = [entry(f"{name}:{one}") if isinstance(one, int) else one for one in wanted]
        self.manager.set_aspired_versions(name, data)
        return frozenset(one.id.version for one in data)

    def bring(self, name: str, *wanted: int | ServableData[Loader]) -> None:
        """Aspire exactly *wanted*, which differs from before, and wait until the stream rests."""
        versions = self.aspire(name, *wanted)
        with self._changed:
            assert self._changed.wait_for(lambda: self._rests_locked(name, versions), WATCHDOG)

    def wait_for(self, id: str, state: ManagerState) -> None:
        """Wait until *id* has been in *state*."""
        with self._changed:
            assert self._changed.wait_for(lambda: state.name in self._names_locked(id), WATCHDOG)

    def states(self, id: str) -> list[str]:
        """Return the names of the public states that *id* went through, oldest first."""
        with self._changed:
            return self._names_locked(id)

    def ends(self, id: str) -> list[ServmanError | None]:
        """Return the error of each END of *id*, oldest first."""
        with self._changed:
            told = [one for one in self._states if one.id == sid(id)]
        return [one.error for one in told if one.manager_state is ManagerState.END]

    def serving(self) -> list[str]:
        """Return what lookups find."""
        return [str(one) for one in self.manager.list_available_ids()]

    def handle(self, request: str) -> ServableHandle[Model]:
        """Take a handle."""
        return self.manager.get_servable_handle(request, Model)

    def state(self, id: str) -> HarnessState | None:
        """Return the manager's own state of *id*, or None where it knows of no such version."""
        found = [one.state for one in self.manager.snapshots(sid(id).name) if one.id == sid(id)]
        return found[0] if found else None

    def close(self) -> None:
        """Close the manager, which must leave nothing."""
        assert self.manager.close(WATCHDOG)

    def _names_locked(self, id: str) -> list[str]:
        return [one.manager_state.name for one in self._states if one.id == sid(id)]

    def _rests_locked(self, name: str, versions: frozenset[int]) -> bool:
        # A step of the manager changes the snapshots first and publishes then: it is over when both
        # agree.
        told = {one.id.version: one.manager_state for one in self._states if one.id.name == name}
        known = {one.id.version: one.state for one in self.manager.snapshots(name)}
        serving = {version for version, state in told.items() if state is ManagerState.AVAILABLE}
        return (
            self._aspired.get(name) == versions
            # Once a wanted version serves, the policy takes the unwanted ones out.
            and (serving <= versions or not serving & versions)
            and versions <= known.keys() <= told.keys()
            and all(_AT_REST.get(known.get(version)) is state for version, state in told.items())
        )
