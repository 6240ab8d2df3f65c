"""The storage of a simulated core: base paths that hang, flap and vanish, and the models in them."""

from __future__ import annotations

import errno
from collections import defaultdict
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, final

from servman.adapters import SourceAdapter
from servman.data import ServableData
from servman.loader import Loader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.simulation.core_callers import Caller
from tests.simulation.ledger import Ledger, Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.loader import LoadContext

PLANTED: Final = "planted"
"""What is in the text of every error that a model or a base path is made to raise."""


class Kind(StrEnum):
    """What a version is like."""

    GOOD = "good"
    ONCE = "fails once"
    NEVER = "fails until it is repaired"


class Health(StrEnum):
    """What a base path is like."""

    WELL = "well"
    HANGS = "hangs"
    SLOW = "tells late what was there"
    MISSING = "missing"
    BROKEN = "cannot be read"


@final
class Storage:
    """Base paths, each with its versions, as a source would list them.

    Attributes:
        versions: Base path to version to what it is like.
        health: Base path to what that is like.
        looks: Base path to what each look has come back with, oldest first.
    """

    def __init__(self) -> None:
        self.versions: defaultdict[str, dict[int, Kind]] = defaultdict(dict)
        self.health: defaultdict[str, Health] = defaultdict(lambda: Health.WELL)
        self.looks: defaultdict[str, list[frozenset[int]]] = defaultdict(list)
        self._failed: set[str] = set()
        self._revisions: defaultdict[str, int] = defaultdict(int)

    @property
    def hangs(self) -> bool:
        """Whether a look may have to wait."""
        return any(one in (Health.HANGS, Health.SLOW) for one in self.health.values())

    def list(self, base: str) -> list[tuple[str, bool]]:
        """Be the lister of a source."""
        self._hang(base, Health.HANGS)
        health = self.health[base]
        if health is Health.MISSING:
            raise FileNotFoundError(errno.ENOENT, PLANTED, base)
        if health is Health.BROKEN:
            raise OSError(errno.EIO, PLANTED, base)
        found = frozenset(self.versions[base])
        self._hang(base, Health.SLOW)
        self.looks[base].append(found)
        return [(str(version), True) for version in sorted(found)]

    def repair(self, base: str, version: int) -> None:
        """Replace the files of a version by ones that can be loaded."""
        if version in self.versions[base]:
            self.versions[base][version] = Kind.GOOD
            self._revisions[f"{base}/{version}"] += 1

    def heal(self) -> None:
        """Let everything answer again."""
        for base, health in self.health.items():
            if health is not Health.MISSING:
                self.health[base] = Health.WELL

    def revision(self, path: str) -> int:
        """Return what the files of a version look like."""
        return self._revisions[path]

    def read(self, path: str) -> None:
        """Read the files of a version.

        Raises:
            OSError: They cannot be loaded.
        """
        where = PurePosixPath(path)
        kind = self.versions[str(where.parent)].get(int(where.name), Kind.NEVER)
        if kind is Kind.NEVER or (kind is Kind.ONCE and path not in self._failed):
            self._failed.add(path)
            raise OSError(errno.EIO, PLANTED, path)

    def _hang(self, base: str, health: Health) -> None:
        caller = Caller.current()
        while caller is not None and self.health[base] is health:
            caller.park(None, lambda: self.health[base] is not health)


@final
class StoredLoader:
    """Loads a version of a `Storage`, and keeps the books.

    Attributes:
        path: Where it is.
    """

    def __init__(self, storage: Storage, path: str, ledger: Ledger) -> None:
        self.path = path
        self._storage = storage
        self._ledger = ledger

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: int(PurePosixPath(self.path).name)})

    def load(self, context: LoadContext) -> Model:
        self._storage.read(self.path)
        model = Model(context.id, self, context.id.version)
        self._ledger.loaded(model, late=False)
        return model

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Model)
        self._ledger.unloaded(servable)

    def revision(self) -> int:
        return self._storage.revision(self.path)


@final
class StoredAdapter(SourceAdapter[str, Loader]):
    """Makes the loaders of one platform."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        super().__init__()
        self._storage = storage
        self._ledger = ledger

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        return ServableData(data.id, StoredLoader(self._storage, data.payload, self._ledger))


@final
class LookPool:
    """Runs looks: those of a source when the world lets them, those of a plan at once.

    Attributes:
        jobs: What has not begun.
        hung: What has begun, and waits for its storage.
    """

    def __init__(self, storage: Storage, *, at_once: bool) -> None:
        self._storage = storage
        self._at_once = at_once
        self.jobs: list[Callable[[], None]] = []
        self.hung: list[Caller] = []

    def submit(self, job: Callable[[], None]) -> bool:
        self.jobs.append(job)
        if self._at_once:
            self.run(0)
        return True

    def run(self, index: int) -> None:
        """Let one begin, if there is one."""
        if not self.jobs:
            return
        job = self.jobs.pop(index % len(self.jobs))
        if not self._storage.hangs:  # the usual case needs no thread
            job()
            return
        look = Caller("a look", job)
        look.resume()
        if not look.done:
            self.hung.append(look)

    def go_on(self) -> bool:
        """Let those go on whose storage answers; return whether there were any."""
        ready = [one for one in self.hung if one.ready(0.0)]
        for one in ready:
            one.resume()
        self.hung = [one for one in self.hung if not one.done]
        return bool(ready)

    def resize(self, size: int) -> None:
        """Be asked for more threads; whoever has a job here has one."""

    def close(self) -> None:
        self.jobs.clear()

    def join(self, deadline: float | None) -> bool:
        return not self.hung
