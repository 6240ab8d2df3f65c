"""A `BasicManager` that a test drives by hand, or that has threads of its own; a test asks both alike."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, final

from servman.data import ServableData
from servman.errors import ServmanError
from servman.events import Event, EventBus
from servman.loader import Loader
from servman.manager import BasicManager, HarnessState
from servman.manager.handle import ServableHandle
from servman.manager.messages import CloseRequested
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock, ManualPool
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import Model, entry, sid


@final
class BasicBench:
    """Asks a basic manager for something and waits until it is done. Close it.

    Attributes:
        loads, unloads, revisions: The pools of a manager without threads, which run a job when told to.
        clock: The time of a manager without threads.
    """

    def __init__(self, *, threads: tuple[int, int] | None = None, **options: Any) -> None:
        """Take so many threads for loads and unloads, or none and a clock that stands still."""
        self.clock = FakeClock()
        self.loads, self.unloads, self.revisions = ManualPool(), ManualPool(), ManualPool()
        self.stepped = threads is None
        options = {"max_num_load_retries": 10, "load_retry_interval": 0.0, **options}
        if threads is None:
            options |= {"clock": self.clock, "_pools": (self.loads, self.unloads, self.revisions)}
        else:
            options |= {"num_load_threads": threads[0], "num_unload_threads": threads[1]}
        self.bus = EventBus()
        self.manager = BasicManager(**{"event_bus": self.bus, **options})
        self._lock = threading.Lock()  # guards the events
        self._events: list[Event] = []
        self.bus.attach(self)
        if not self.stepped:
            self.manager.start()

    def record(self, event: Event) -> None:
        """Write *event* down; the bus calls it inside `publish`."""
        with self._lock:
            self._events.append(event)

    # ---- driving -------------------------------------------------------------------------------

    def step(self) -> None:
        """Let a manager without threads do what it can without a pool."""
        while self.manager.step():
            pass

    def settle(self) -> None:
        """Let a manager without threads do all that there is to do at this time."""
        if not self.stepped or self.manager._thread is not None:
            return
        self.step()
        while self.loads.run_all() + self.unloads.run_all() + self.revisions.run_all():
            self.step()

    def outcome(self, future: Future[None]) -> ServmanError | None:
        """Wait until *future* is done; return its error."""
        self.settle()
        error = future.exception(WATCHDOG)
        assert error is None or isinstance(error, ServmanError)
        return error

    def manage(self, *wanted: str | ServableData[Loader]) -> list[ServmanError | None]:
        """Have all of *wanted* taken up; texts get a loader that works."""
        data = [entry(one) if isinstance(one, str) else one for one in wanted]
        return [self.outcome(self.manager.manage(one)) for one in data]

    def load(self, id: str) -> ServmanError | None:
        """Load *id*; return the error of the future."""
        return self.outcome(self.manager.load(sid(id)))

    def unload(self, id: str) -> ServmanError | None:
        """Unload *id*; return the error of the future."""
        return self.outcome(self.manager.unload(sid(id)))

    def stop(self, id: str) -> ServmanError | None:
        """Stop managing *id*; return the error of the future."""
        return self.outcome(self.manager.stop_managing(sid(id)))

    def bring(self, *wanted: str | ServableData[Loader]) -> None:
        """Manage and load all of *wanted*, which must succeed."""
        assert self.manage(*wanted) == [None] * len(wanted)
        for one in wanted:
            assert self.load(one if isinstance(one, str) else str(one.id)) is None

    def begin_close(self, timeout: float | None = 30.0) -> None:
        """Do what `close` does before it waits, for a manager without threads."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        self.manager._closing = True
        self.manager._actor.post(CloseRequested(deadline))
        self.step()

    def close(self) -> None:
        """Close the manager, which must leave nothing."""
        if self.stepped:
            if not self.manager._closing:
                self.begin_close()
            self.settle()
        assert self.manager.close(WATCHDOG)

    # ---- looking -------------------------------------------------------------------------------

    def states(self, id: str) -> list[str]:
        """Return the names of the public states that *id* went through, oldest first."""
        return [one.manager_state.name for one in self._published(id)]

    def ends(self, id: str) -> list[ServmanError | None]:
        """Return the error of each END of *id*, oldest first."""
        told = self._published(id)
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

    def why(self, request: str) -> str:
        """Return the reason for *request*, which there must be."""
        reason = self.manager.explain(request)
        assert reason is not None
        return reason.text

    def _published(self, id: str) -> list[ServableState]:
        with self._lock:
            told = [one for one in self._events if isinstance(one, ServableState)]
        return [one for one in told if one.id == sid(id)]
