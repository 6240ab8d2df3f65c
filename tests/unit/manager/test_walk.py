"""Random histories of a manager: whatever is wanted, held, delayed or broken, the promises hold."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from typing import final

import pytest

from servman.data import ServableData
from servman.errors import LoadFailedError, NotFoundError, ServmanError
from servman.events import Event
from servman.ids import ServableId
from servman.loader import Loader
from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
    ServableHandle,
)
from servman.state import ManagerState, ServableState
from tests.unit.manager.rig import FileLoader, Model, ModelLoader, Rig, entry, errored

STREAMS = ("a", "b", "c")
VERSIONS = (1, 2, 3)
STEPS = 60


@final
class Walk:
    """One history, from a seed, with what has to hold after every step of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a history, not a secret
        policies = (AvailabilityPreservingPolicy(), ResourcePreservingPolicy())
        self.rig = Rig(
            policy=policies[seed % 2],
            num_load_threads=2,
            num_unload_threads=1,
            max_num_load_retries=1,
            load_retry_interval=5.0,
        )
        self.rig.bus.attach(self)
        self.handles: list[ServableHandle[Model]] = []
        self.loaders: dict[ServableId, list[ModelLoader]] = defaultdict(list)
        self.last: dict[ServableId, ManagerState] = {}
        self.wanted: dict[str, dict[int, ServableData[Loader]]] = {}

    # ---- what may happen -----------------------------------------------------------------------

    def act(self) -> None:
        acts = (
            (self.aspire, 3),
            (self.take_handle, 4),
            (self.close_handle, 3),
            (self.advance, 2),
            (self.step, 8),
            (self.run_job, 8),
            (self.meddle, 1),
        )
        (act,) = self.random.choices([one for one, _ in acts], [weight for _, weight in acts])
        act()

    def aspire(self) -> None:
        name = self.random.choice(STREAMS)
        versions = self.random.sample(VERSIONS, self.random.randint(0, 3))
        self.wanted[name] = {version: self.make(name, version) for version in versions}
        self.rig.manager.set_aspired_versions(name, list(self.wanted[name].values()))

    def make(self, name: str, version: int, origin: str | None = None) -> ServableData[Loader]:
        which = f"{name}:{version}"
        kind = self.random.choice(("good", "good", "good", "once", "never", "files", "error"))
        if kind == "error":
            return errored(which, ValueError("planted"))
        errors = [ValueError("planted")] * {"once": 1, "never": 99, "files": 2}.get(kind, 0)
        loader = FileLoader(*errors) if kind == "files" else ModelLoader(*errors)
        self.loaders[ServableId(name, version)].append(loader)
        return entry(which, loader, origin=origin or self.random.choice((None, None, "/a", "/b")))

    def take_handle(self) -> None:
        selector = self.random.choice(("", ":1", ":2", ":3", ":earliest", ":newest"))
        with contextlib.suppress(NotFoundError):
            self.handles.append(self.rig.handle(self.random.choice(STREAMS) + selector))

    def close_handle(self) -> None:
        if self.handles:
            self.handles.pop(self.random.randrange(len(self.handles))).close()

    def advance(self) -> None:
        self.rig.clock.advance(self.random.choice((0.1, 0.5, 1.0, 5.0)))

    def step(self) -> None:
        self.rig.manager.step()

    def run_job(self) -> None:
        pools = [one for one in (self.rig.loads, self.rig.unloads, self.rig.revisions) if one.jobs]
        if pools:
            pool = self.random.choice(pools)
            pool.run(self.random.randrange(len(pool.jobs)))

    def meddle(self) -> None:
        which = ServableId(self.random.choice(STREAMS), self.random.choice(VERSIONS))
        manager = self.rig.manager
        with contextlib.suppress(ServmanError):  # there may be nothing to meddle with
            match self.random.randrange(4):
                case 0:
                    manager.retry(which)
                case 1:
                    manager.cancel_retry(which)
                case 2:
                    manager.num_load_threads = self.random.randint(1, 3)
                case _:
                    for loader in self.loaders[which]:
                        if isinstance(loader, FileLoader):
                            loader.files = self.random.randrange(3)

    # ---- what must hold ------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Check each event as it is published; a recorder sees it before anybody else."""
        if not isinstance(event, ServableState):
            return
        state, before = event.manager_state, self.last.get(event.id, ManagerState.END)
        if state is ManagerState.START:
            assert before is ManagerState.END, f"{event} after {before.name}"
        else:
            assert state > before, f"{event} after {before.name}"
        if state in (ManagerState.AVAILABLE, ManagerState.UNLOADING):
            assert event.id in self.rig.manager.list_available_ids(), f"{event} but not found"
        if state is ManagerState.END:
            assert all(not one.loaded for one in self.models(event.id)), f"{event} but loaded"
        self.last[event.id] = state

    def check(self) -> None:
        assert all(handle.servable.loaded for handle in self.handles), "a handle is on nothing"
        for which in self.loaders:
            assert sum(one.loaded for one in self.models(which)) <= 1, f"{which} is loaded twice"
        served = self.rig.manager.list_available_ids()
        snapshots = self.rig.manager.snapshots()
        assert served == [one.id for one in snapshots if one.state is HarnessState.READY]
        available = [which for which, state in self.last.items() if state is ManagerState.AVAILABLE]
        assert served == sorted(available)
        begun = {which for which, state in self.last.items() if state is not ManagerState.END}
        ended = (HarnessState.ERROR, HarnessState.DISABLED)
        assert begun == {one.id for one in snapshots if one.state not in ended}

    def models(self, id: ServableId) -> list[Model]:
        return [model for loader in self.loaders[id] for model in loader.models]

    # ---- how it ends ---------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        while self.handles:
            self.close_handle()
        for _ in range(4):
            self.rig.advance(5.0)
        self.check()

    def check_at_rest(self) -> None:
        """What is wanted serves or has failed for a planted reason; nothing is on its way."""
        for one in self.rig.manager.snapshots():
            assert one.aspired == (one.id.version in self.wanted[one.id.name])
            if one.aspired:
                assert one.state in (HarnessState.READY, HarnessState.ERROR), one
            else:
                assert one.state is HarnessState.READY, one
                assert isinstance(
                    self.rig.manager._actor._reconciler._options.policy,
                    AvailabilityPreservingPolicy,
                )
                assert not self.serving(one.id.name, aspired=True), "old and new serve"
            if one.state is HarnessState.ERROR:
                assert isinstance(one.error, LoadFailedError)
                assert "planted" in str(one.error)
        managed = {one.id for one in self.rig.manager.snapshots() if one.aspired}
        wanted = {
            ServableId(name, version) for name in self.wanted for version in self.wanted[name]
        }
        assert managed == wanted

    def serving(self, name: str, *, aspired: bool) -> list[ServableId]:
        return [
            one.id
            for one in self.rig.manager.snapshots(name)
            if one.state is HarnessState.READY and one.aspired == aspired
        ]

    def check_that_the_good_serve(self) -> None:
        """Want everything anew, and see exactly what can be loaded serve."""
        good = []
        for name in STREAMS:
            self.wanted[name] = {version: self.make(name, version) for version in VERSIONS}
            data = list(self.wanted[name].values())
            good += [one.id for one in data if one.error is None and self.can_load(one.id)]
            self.rig.manager.set_aspired_versions(name, data)
        self.come_to_rest()
        assert set(self.rig.manager.list_available_ids()) == set(good)

    def can_load(self, id: ServableId) -> bool:
        return len(self.loaders[id][-1].errors) <= 1  # of two attempts

    def check_that_nothing_is_left(self) -> None:
        for name in STREAMS:
            self.wanted[name] = {}
            self.rig.manager.set_aspired_versions(name, [])
        self.come_to_rest()
        assert self.rig.manager.snapshots() == ()
        assert set(self.last.values()) <= {ManagerState.END}
        assert self.rig.manager._actor._kept == {}
        for loaders in self.loaders.values():
            assert all(loader.unloads == len(loader.models) for loader in loaders)


@pytest.mark.parametrize("seed", range(200))
def test_the_promises_hold_in_every_history(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.act()
        walk.check()
    walk.come_to_rest()
    walk.check_at_rest()
    walk.check_that_nothing_is_left()
    walk.check_that_the_good_serve()
    walk.check_that_nothing_is_left()
