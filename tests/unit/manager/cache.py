"""A caching manager with a thread of its own, a fake clock, and a factory that keeps count."""

from __future__ import annotations

import threading
from typing import Any, final

import pytest

from servman.clock import SystemClock
from servman.data import ServableData
from servman.errors import NotFoundError
from servman.events import Event, EventBus
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.loader import LoadContext, Loader
from servman.manager import CachingManager, HarnessState
from servman.manager.handle import ServableHandle
from servman.manager.messages import Event as ManagerEvent
from servman.manager.messages import Obtain, StopManaging
from servman.manager.replies import Rendezvous
from servman.manager.tracker import ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState, ServableState
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import Model, kept, sid


@final
class Shelf:
    """What is in memory, over all loaders.

    Attributes:
        loads: Which ids were loaded, in the order of their loads.
        most: How many were in memory at the worst moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._there: set[ServableId] = set()
        self.loads: list[str] = []
        self.most = 0

    def put(self, id: ServableId) -> None:
        with self._lock:
            assert id not in self._there, f"{id} is in memory twice"
            self._there.add(id)
            self.loads.append(str(id))
            self.most = max(self.most, len(self._there))

    def take(self, id: ServableId) -> None:
        with self._lock:
            self._there.remove(id)

    def there(self) -> list[str]:
        """Return what is in memory, in ascending order."""
        with self._lock:
            return [str(one) for one in sorted(self._there)]


class ShelfLoader:
    """Puts a `Model` on the shelf, and takes it off again."""

    def __init__(self, shelf: Shelf, size: int = 0) -> None:
        self._shelf = shelf
        self._size = size

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: self._size})

    def load(self, context: LoadContext) -> Model:
        self._shelf.put(context.id)
        return Model(context.id)

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Model)
        assert servable.loaded, "unloaded twice"
        servable.loaded = False
        self._shelf.take(servable.id)


@final
class Cache:
    """A started manager. Close it.

    Attributes:
        requests: What the factory was asked, in the form of a text.
        latest: The version that the factory names where a request names none.
        loaders: Name or "name:version" to the loader that the factory gives next, and from then on; else
            it gives a `ShelfLoader`.
        sizes: Name to the memory that its `ShelfLoader` says it needs.
        events: What was published, oldest first.
    """

    def __init__(self, *, memory: int | None = None, **options: Any) -> None:
        self.requests: list[str] = []
        self.latest = 1
        self.loaders: dict[str, Loader | BaseException] = {}
        self.sizes: dict[str, int] = {}
        self.shelf = Shelf()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self._changed = threading.Condition(threading.Lock())  # guards `events` and `_obtained`
        self.bus = EventBus(clock=self.clock)
        if memory is not None:
            options["resource_tracker"] = ResourceTracker(ResourceAllocation({MAIN_MEMORY: memory}))
        options.setdefault("max_num_load_retries", 0)
        self.manager = CachingManager(self.make, clock=self.clock, event_bus=self.bus, **options)
        self.bus.attach(self)
        self._obtained = 0
        self._post = self.manager._actor.post
        self.manager._actor.post = self._listen  # type: ignore[method-assign] # the way into the manager
        self.manager.start()

    def make(self, request: ServableRequest) -> ServableData[Loader]:
        """Answer the manager; the factory of this test."""
        self.requests.append(str(request))
        version = self.latest if request.version is None else request.version
        which = ServableId(request.name, version)
        loader = self.loaders.get(str(which), self.loaders.get(which.name))
        if isinstance(loader, BaseException):
            return ServableData.from_error(which, loader)
        return ServableData(which, loader or ShelfLoader(self.shelf, self.sizes.get(which.name, 0)))

    def record(self, event: Event) -> None:
        """Write *event* down; the bus calls it inside `publish`."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def get(self, request: AnyRequest, timeout: float | None = 60.0) -> ServableHandle[Model]:
        """Take a handle."""
        return self.manager.get_servable_handle(request, timeout=timeout)

    def use(self, *requests: str) -> None:
        """Look each up, and close the handle at once."""
        for request in requests:
            self.get(request).close()

    def asking(self, request: str, timeout: float | None = 60.0) -> Spawned[ServableHandle[Model]]:
        """Look up in a thread."""
        return Spawned(lambda: self.get(request, timeout))

    def waiting(self, request: str, timeout: float | None = 60.0) -> Spawned[ServableHandle[Model]]:
        """Look up what is not there in a thread; return once the manager has heard of it."""
        before = self._obtained
        asking = self.asking(request, timeout)
        self.heard(before + 1)
        return asking

    def heard(self, count: int) -> None:
        """Wait until the manager has taken up so many lookups of what was not there."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._obtained >= count, WATCHDOG)
        self.flush()

    def flush(self) -> None:
        """Wait until the manager has taken up all that it was told."""
        reply: Rendezvous[None] = Rendezvous(lambda: None)
        self.manager._actor.post(StopManaging(sid("nothing:0"), reply))
        with pytest.raises(NotFoundError):
            reply.wait(SystemClock(), None)

    def wait_for(self, id: str, state: ManagerState, times: int = 1) -> None:
        """Wait until *id* has come into *state* so many times."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._names_locked(id).count(state.name) >= times, WATCHDOG
            )

    def states(self, id: str) -> list[str]:
        """Return the names of the public states that *id* went through, oldest first."""
        with self._changed:
            return self._names_locked(id)

    def ends(self, id: str) -> list[BaseException | None]:
        """Return the error of each END of *id*, oldest first."""
        with self._changed:
            told = [one for one in self.events if isinstance(one, ServableState)]
        ends = [one for one in told if one.manager_state is ManagerState.END]
        return [one.error for one in ends if one.id == sid(id)]

    def serving(self) -> list[str]:
        """Return what lookups find."""
        return [str(one) for one in self.manager.list_available_ids()]

    def state(self, id: str) -> HarnessState | None:
        """Return the manager's own state of *id*, or None where it knows of no such version."""
        found = [one.state for one in self.manager.snapshots(sid(id).name) if one.id == sid(id)]
        return found[0] if found else None

    def records(self) -> int:
        """Return how much the manager has on record, of whatever kind."""
        actor = self.manager._actor
        reconciler = actor._reconciler
        records: tuple[Any, ...] = (
            *(actor.snapshots, actor.serving.streams, kept(self.manager)),
            *(reconciler._streams, reconciler._incarnations, reconciler._replies),
            *(reconciler._wanting, reconciler._given_up, reconciler._to_serve),
            *(reconciler._lookups, *reconciler._lookups.values()),
        )
        return sum(map(len, records))

    def close(self) -> None:
        """Close the manager, which must leave nothing."""
        closing = Spawned(
            lambda: self.manager.close(None)
        )  # the watchdog's time is real, ours is not
        assert closing.result()
        assert self.shelf.there() == []

    def _listen(self, event: ManagerEvent) -> None:
        self._post(event)
        if isinstance(event, Obtain):
            with self._changed:
                self._obtained += 1
                self._changed.notify_all()

    def _names_locked(self, id: str) -> list[str]:
        told = [one for one in self.events if isinstance(one, ServableState)]
        return [one.manager_state.name for one in told if one.id == sid(id)]
