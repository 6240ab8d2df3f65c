"""A core without threads: real folders, a fake clock, and pools that run when the test says so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytest

from servman.adapters import SourceAdapter, platforms
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions, stages
from servman.core.configuration import Configuration
from servman.core.noticeboard import Listener
from servman.data import ServableData
from servman.ids import ServableId, ServableRequest
from servman.loader import Loader
from servman.manager import AspiredVersionsManager
from servman.manager.replies import Callbacks, FutureReply
from servman.reasons import Reason
from servman.testing import FailingLoader, FakeClock, ManualPool
from servman.threads import CallingThread


@final
class BenchAdapter(SourceAdapter[str, Loader]):
    """Gives each version the loader that the test has laid out for it, or one that works."""

    def __init__(self, loaders: dict[str, Loader]) -> None:
        super().__init__()
        self._loaders = loaders

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        return ServableData(data.id, self._loaders.get(str(data.id)) or FailingLoader())


@final
class Rig:
    """Builds a core of the platform "bench" and drives its stages on the thread of the test.

    Attributes:
        loaders: What loads a version, by the text of its id; fill it before `look`.
        loads: The load pool, which runs a job when told to; unloads run at once.
        base: The base path of the model "m", which exists.
        meanwhile: What happens while a reload waits, one at each of its waits; then all that can be done is
            done, and then its time is up.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.loaders: dict[str, Loader] = {}
        self.loads = ManualPool()
        self.folder, self.base = folder, folder / "m"
        self.base.mkdir()
        self.meanwhile: list[Callable[[], object]] = []
        self._patch_pools(monkeypatch)
        self._patch_waits(monkeypatch)
        self.factory = functools.partial(BenchAdapter, self.loaders)
        monkeypatch.setattr(platforms, "_factories", platforms._factories | {"bench": self.factory})

    def _patch_pools(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pools = (self.loads, CallingThread(), ManualPool())
        manager = functools.partial(AspiredVersionsManager, _pools=pools)
        monkeypatch.setattr(stages, "AspiredVersionsManager", manager)
        monkeypatch.setattr(Callbacks, "reply", lambda _: FutureReply(CallingThread()))

    def _patch_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the thread that waits for a reload do what others would do meanwhile."""
        wait, wait_for_commit = Listener.wait, Configuration.wait_for_commit

        def drive(listener: Listener, deadline: float | None) -> set[str]:
            if self.meanwhile:
                self.meanwhile.pop(0)()
            elif not self.work():
                assert deadline is not None, "the wait would never end"
                self.clock.advance(max(0.0, deadline - self.clock.monotonic()))
            return wait(listener, self.clock.monotonic())

        def settle_and_wait(configuration: Configuration, deadline: float | None) -> None:
            self.settle()
            wait_for_commit(configuration, deadline)

        monkeypatch.setattr(Listener, "wait", drive)
        monkeypatch.setattr(Configuration, "wait_for_commit", settle_and_wait)

    def model(self, name: str = "m", **fields: Any) -> ModelConfig:
        """Return a model on the bench whose base path is named like it."""
        fields.setdefault("platform", "bench")
        return ModelConfig(name, fields.pop("base_path", str(self.folder / name)), **fields)

    def build(self, *models: ModelConfig, **options: Any) -> ServerCore:
        """Make a core that is not started."""
        options.setdefault("platforms", ("bench",))
        settings = ServerCoreOptions(clock=self.clock, watch=False, **options)
        self.core = ServerCore(ServerConfig(models or (self.model(),)), options=settings)
        return self.core

    def run(self, *models: ModelConfig, **options: Any) -> ServerCore:
        """Make a core, and treat it as started, but for its threads."""
        core = self.build(*models, **options)
        core._started = core._pipeline._started = True
        return core

    def serve(self, *models: ModelConfig, **options: Any) -> ServerCore:
        """Make a core and bring in what its models have on disk."""
        core = self.run(*models, **options)
        self.look()
        self.load()
        return core

    def publish(self, *versions: int | str, name: str = "m") -> None:
        """Make version directories of the model *name*."""
        for version in versions:
            (self.folder / name / str(version)).mkdir(parents=True)

    def look(self) -> None:
        """Look at every base path, and let the manager take up what was found."""
        self.core._pipeline.source.poll()
        self.settle()

    def keep_source_busy(self) -> Callable[[], None]:
        """Let the source take up nothing before what is returned was called."""
        source = self.core._pipeline.source
        source._at_work = True

        def go_on() -> None:
            source._at_work = False
            source._actor.work_off()

        return go_on

    def settle(self) -> bool:
        """Let the manager do all that it can do without a pool; return whether that was anything."""
        worked = False
        while self.core.manager.step():
            worked = True
        return worked

    def work(self) -> bool:
        """Do what can be done without a look; return whether that was anything."""
        return self.settle() or self.loads.run_all() > 0

    def load(self) -> None:
        """Run every load that was asked for, and do what follows from it."""
        while self.loads.run_all():
            self.settle()

    def finish(self) -> None:
        """Do all that can be done without a look."""
        while self.work():
            pass

    def bring(self, *versions: int) -> None:
        """Publish *versions* and bring them in."""
        self.publish(*versions)
        self.look()
        self.load()

    def why(self, request: str) -> Reason:
        """Return the reason that a wait on *request* gives when its time is up."""
        result = self.core.wait_until(request, timeout=0)
        return result.reasons[ServableRequest.parse(request)]


def sid(version: int) -> ServableId:
    """Return the id of that version of the model "m"."""
    return ServableId("m", version)
