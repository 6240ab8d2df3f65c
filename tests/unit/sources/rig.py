"""A file system source in the test's hands: base paths in memory, no threads, a fake clock."""

from __future__ import annotations

from collections.abc import Callable

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import ObservedWatch

from servman.flow import connect
from servman.ids import ServableRequest
from servman.reasons import ReasonCode
from servman.sources import (
    FileSystemStoragePathSource,
    Latest,
    ServableToMonitor,
    VersionPolicy,
)
from servman.testing import FakeClock, ManualPool, RecordingTarget


def quiet(path: str) -> None:
    """Do nothing while a base path is being listed."""


class Disk:
    """Base paths in memory: the names of directories in each, or an error."""

    def __init__(self) -> None:
        self.paths: dict[str, list[str] | Exception] = {}
        self.looks: list[str] = []
        self.during: Callable[[str], object] = quiet

    def entries(self, path: str) -> list[tuple[str, bool]]:
        self.looks.append(path)
        content = self.paths.get(path, FileNotFoundError(2, "No such file or directory"))
        names = [] if isinstance(content, Exception) else list(content)
        self.during(path)
        if isinstance(content, Exception):
            raise content
        return [(name, True) for name in names]

    def looked(self) -> list[str]:
        looks, self.looks = self.looks, []
        return looks


class FakeObserver:
    """An observer whose events the test makes."""

    def __init__(self) -> None:
        self.handlers: dict[str, FileSystemEventHandler] = {}
        self.placed: list[str] = []
        self.deep: list[str] = []
        self.error: Exception | None = None
        self.running = False

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str,
        *,
        recursive: bool = False,
        event_filter: list[type[FileSystemEvent]] | None = None,
        follow_symlink: bool = False,
    ) -> ObservedWatch:
        if recursive:
            self.deep.append(path)
        if self.error is not None:
            raise self.error
        assert path not in self.handlers
        self.placed.append(path)
        self.handlers[path] = event_handler
        return ObservedWatch(path, recursive=recursive)

    def unschedule(self, watch: ObservedWatch) -> None:
        del self.handlers[watch.path]

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def join(self, timeout: float | None = None) -> None:
        assert not self.running


class Rig:
    """A source without threads: the test is the actor, and the pool if it wants to be."""

    def __init__(
        self,
        *servables: ServableToMonitor,
        poll_interval: float = 1.0,
        keep_last: bool = False,
        pool: ManualPool | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.disk = Disk()
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            servables,
            poll_interval=poll_interval,
            watch=False,
            servable_versions_always_present=keep_last,
            clock=self.clock,
            lister=self.disk.entries,
            pool=pool,
        )
        connect(self.source, self.target)

    def sent(self) -> list[tuple[str, list[int]]]:
        """Return what was sent since the last call."""
        calls, self.target.calls = self.target.calls, []
        return [(name, [one.id.version for one in versions]) for name, versions in calls]

    def run(self) -> list[tuple[str, list[int]]]:
        while self.source.step():
            pass
        return self.sent()

    def explain(self, text: str) -> tuple[ReasonCode, str] | None:
        reason = self.source.explain(ServableRequest.parse(text))
        return None if reason is None else (reason.code, reason.text)


def servable(name: str, policy: VersionPolicy = Latest(1)) -> ServableToMonitor:  # noqa: B008 -- immutable
    return ServableToMonitor(name, f"/{name}", policy)


M, N = servable("m"), servable("n")
