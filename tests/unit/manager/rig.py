"""A manager on a test bench: a fake clock, pools that run on request, and every event on record."""

from __future__ import annotations

from typing import Any, final

from servman.data import ServableData
from servman.errors import ServmanError
from servman.events import Event, EventBus
from servman.ids import ServableId
from servman.loader import LoadContext, Loader
from servman.manager import AspiredVersionsManager, CloseReport, HarnessState
from servman.manager.base import Manager
from servman.manager.handle import ServableHandle
from servman.manager.harness import ServableStateSnapshot
from servman.manager.messages import CloseRequested
from servman.reasons import Reason
from servman.resources import ResourceAllocation
from servman.state import ManagerState, ServableState, StreamAspiration
from servman.testing import FakeClock, ManualPool


@final
class Model:
    """A servable that knows whether it may still be used."""

    def __init__(self, id: ServableId) -> None:
        self.id = id
        self.loaded = True


class ModelLoader:
    """A loader that keeps count; its first loads raise the given errors, one each."""

    def __init__(self, *errors: BaseException, unload_error: BaseException | None = None) -> None:
        self.errors = list(errors)
        self.unload_error = unload_error
        self.contexts: list[LoadContext] = []
        self.models: list[Model] = []
        self.unloads = 0

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation()

    def load(self, context: LoadContext) -> Model:
        assert all(not model.loaded for model in self.models), "loaded twice at once"
        self.contexts.append(context)
        if self.errors:
            raise self.errors.pop(0)
        self.models.append(Model(context.id))
        return self.models[-1]

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Model)
        assert servable is self.models[-1]
        assert servable.loaded, "unloaded twice"
        servable.loaded = False
        self.unloads += 1
        if self.unload_error is not None:
            raise self.unload_error


def failing(count: int = 99) -> ModelLoader:
    """Make a loader whose first *count* attempts fail."""
    return ModelLoader(*[ValueError(f"attempt {n} failed") for n in range(1, count + 1)])


class FileLoader(ModelLoader):
    """A `ModelLoader` that can tell what its files look like."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__(*errors)
        self.files: object = 0
        self.asked = 0

    def revision(self) -> Any:
        self.asked += 1
        if isinstance(self.files, BaseException):
            raise self.files
        return self.files


def entry(
    id: str, loader: Loader | None = None, *, origin: str | None = None
) -> ServableData[Loader]:
    """Make an aspiration of "name:version", with a loader that works unless told otherwise."""
    return ServableData(sid(id), loader or ModelLoader(), origin)


def errored(id: str, error: BaseException | None = None) -> ServableData[Loader]:
    """Make an aspiration whose loader could not be made."""
    return ServableData.from_error(sid(id), error or ValueError("cannot be converted"))


def sid(text: str) -> ServableId:
    name, _, version = text.partition(":")
    return ServableId(name, int(version))


def kept(manager: Manager) -> set[int]:
    """Return the incarnations of which the actor of *manager* keeps anything."""
    actor = manager._actor
    return {*actor._servables, *actor._crew._attempts, *actor.drains._signals}


@final
class Rig:
    """Drives a manager that was not started, step by step, on the thread of the test.

    Attributes:
        events: What was published, oldest first.
        loads, unloads, revisions: The pools, which run a job when told to.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.bus = EventBus(clock=self.clock)
        self.events: list[Event] = []
        self.loads, self.unloads, self.revisions = ManualPool(), ManualPool(), ManualPool()
        options.setdefault("event_bus", self.bus)
        self.manager = AspiredVersionsManager(
            clock=self.clock, _pools=(self.loads, self.unloads, self.revisions), **options
        )
        self.bus.attach(self)

    # ---- driving -------------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Write *event* down; the bus calls it inside `publish`."""
        self.events.append(event)

    def aspire(self, name: str, *wanted: int | ServableData[Loader]) -> None:
        """Aspire exactly *wanted*; numbers get a loader that works. Takes up the list, runs no job."""
        versions = [entry(f"{name}:{one}") if isinstance(one, int) else one for one in wanted]
        self.manager.set_aspired_versions(name, versions)
        self.step()

    def step(self) -> None:
        """Let the manager do what it can without a pool."""
        while self.manager.step():
            pass

    def settle(self) -> None:
        """Step and run jobs until there is nothing left to do at this time."""
        self.step()
        while self.loads.run_all() + self.unloads.run_all() + self.revisions.run_all():
            self.step()

    def bring(self, name: str, *wanted: int | ServableData[Loader]) -> None:
        """Aspire *wanted* and settle."""
        self.aspire(name, *wanted)
        self.settle()

    def load(self, index: int = 0) -> None:
        """Run one load and let the manager hear of it."""
        self.loads.run(index)
        self.step()

    def unload(self) -> None:
        """Run one unload and let the manager hear of it."""
        self.unloads.run()
        self.step()

    def advance(self, seconds: float) -> None:
        """Move the time on and settle."""
        self.clock.advance(seconds)
        self.settle()

    def begin_close(self, timeout: float | None = 30.0) -> None:
        """Do what `close` does before it waits."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        self.manager._closing = True
        self.manager._actor.post(CloseRequested(deadline))
        self.step()

    def report(self) -> CloseReport:
        """Return how the manager closed, which it must have."""
        assert self.manager._actor._left is not None, "the manager has not closed yet"
        return self.manager.close(0)

    # ---- looking -------------------------------------------------------------------------------

    def states(self, id: str) -> list[str]:
        """Return the names of the public states that *id* went through, oldest first."""
        return [event.manager_state.name for event in self.published(id)]

    def published(self, id: str) -> list[ServableState]:
        """Return the states published of *id*, oldest first."""
        return [one for one in self.events if isinstance(one, ServableState) and one.id == sid(id)]

    def aspirations(self, name: str) -> list[set[int]]:
        """Return what was published as aspired of *name*, oldest first."""
        told = [one for one in self.events if isinstance(one, StreamAspiration)]
        return [set(one.versions) for one in told if one.name == name]

    def ends(self, id: str) -> list[ServmanError | None]:
        """Return the error of each END of *id*, oldest first."""
        ends = [one for one in self.published(id) if one.manager_state is ManagerState.END]
        return [one.error for one in ends]

    def end(self, id: str) -> ServmanError:
        """Return the error of the only END of *id*."""
        (error,) = self.ends(id)
        assert error is not None
        return error

    def serving(self) -> list[str]:
        """Return what lookups find."""
        return [str(one) for one in self.manager.list_available_ids()]

    def snapshot(self, id: str) -> ServableStateSnapshot:
        """Return what is known of *id*, which must be managed."""
        (one,) = [one for one in self.manager.snapshots(sid(id).name) if one.id == sid(id)]
        return one

    def state(self, id: str) -> HarnessState | None:
        """Return the manager's own state of *id*, or None where it knows of no such version."""
        found = [one.state for one in self.manager.snapshots(sid(id).name) if one.id == sid(id)]
        return found[0] if found else None

    def handle(self, request: str) -> ServableHandle[Model]:
        """Take a handle."""
        return self.manager.get_servable_handle(request, Model)

    def why(self, request: str) -> Reason:
        """Return the reason for *request*, which there must be."""
        reason = self.manager.explain(request)
        assert reason is not None
        return reason
