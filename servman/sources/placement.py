"""Placing watches and taking them away, on a thread of its own: what hangs there holds up nobody."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from servman.sources.look import PATIENCE, identity
from servman.sources.mounts import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import ObservedWatch

    from servman.clock import Clock
    from servman.sources.observer import Observer
    from servman.threads import Pool

EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""What changes which versions there are. A link to a directory counts as a file here."""

VERSION_EVENTS: Final = [*EVENTS, FileClosedEvent]
"""What may make a version complete. Not each write: a file is worth a look when it has been closed."""


@final
@dataclass(slots=True, eq=False)
class Watch:
    """One directory to be watched: a base path, or a version in one that is not complete.

    The actor's, except `observed`, which is the watching thread's, and `is_told`, which is set by the observer's.

    Attributes:
        path: The directory.
        base_path: The base path that is looked at when something happens there.
        is_deep: Whether all below it is watched too.
        identity: That of the directory watched; None while there is no watch.
        direct: Whether the path has no link in it, which could be switched without an event.
        why_not: Why there is no watch, while there is none.
        retry_at: When it is to be tried again, where the system has refused it; None where it has not.
        is_retry: Whether the system has refused it before.
        is_told: Whether something has happened there that the actor has not been at yet.
        observed: What the observer knows it by.
    """

    path: str
    base_path: str
    is_deep: bool = False
    identity: tuple[int, int] | None = None
    direct: bool = False
    why_not: str = "the watch is being placed"
    retry_at: float | None = None
    is_retry: bool = False
    is_told: bool = False
    observed: ObservedWatch | None = None

    @property
    def is_version(self) -> bool:
        """Whether it is on a version, and not on a base path."""
        return self.path != self.base_path


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """A watch is in place.

    Attributes:
        identity: That of the directory watched.
        direct: Whether the path has no link in it.
    """

    identity: tuple[int, int]
    direct: bool


@final
@dataclass(frozen=True, slots=True)
class Unreliable:
    """A watch was not placed, because it would not tell of everything.

    Attributes:
        kind: The kind of the file system.
    """

    kind: str


Outcome = Placed | Unreliable | Exception
"""What comes of placing a watch; the exception is what the system, or watchdog, has raised."""


@final
class Placement:
    """Places watches and takes them away, in the order asked for.

    Args:
        clock: For waiting in `close`.
        pool: Runs jobs one by one, in order.
        observer: Makes the observer, when the first watch is placed.
        kind_of: Tells the kind of file system that a path is on.

    Threads: the actor's; `close` one that the actor has ended before.
    """

    def __init__(
        self,
        clock: Clock,
        pool: Pool,
        observer: Callable[[], Observer],
        kind_of: Callable[[str], str],
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._make_observer = observer
        self._kind_of = kind_of
        self._observer: Observer | None = None  # the watching thread's
        self._left_behind = False

    def place(
        self, watch: Watch, placed: Callable[[Outcome], None], changed: Callable[[bool], None]
    ) -> None:
        """Place *watch*.

        Args:
            watch: The watch.
            placed: Is told what comes of it, on the watching thread.
            changed: Is called on the observer's when something has happened there, with whether that is the end
                of the watched directory itself.
        """
        self._pool.submit(functools.partial(self._place, watch, placed, changed))

    def take_away(self, watch: Watch) -> None:
        """Take *watch* away again."""
        self._pool.submit(functools.partial(self._take_away, watch))

    def close(self, deadline: float | None) -> bool:
        """Take all watches away and end the watching threads; return False where placing one hangs.

        Blocks: until then, for `PATIENCE` or until *deadline* at most. Where placing a watch hangs, it is left
            behind, and takes the watches away should it ever return.
        """
        self._pool.close()
        patience = self._clock.monotonic() + PATIENCE
        if not self._pool.join(patience if deadline is None else min(patience, deadline)):
            self._left_behind = True
            return False
        self._stop_observer(deadline)
        return True

    def _stop_observer(self, deadline: float | None) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            observer.join(left)

    def _place(
        self, watch: Watch, placed: Callable[[Outcome], None], changed: Callable[[bool], None]
    ) -> None:
        try:
            outcome = self._observe(watch, changed)
        except Exception as error:  # noqa: BLE001 -- limits of the system, and whatever watchdog raises
            outcome = error
        placed(outcome)
        if self._left_behind:
            self._stop_observer(None)

    def _observe(self, watch: Watch, changed: Callable[[bool], None]) -> Outcome:
        path = watch.path
        found = identity(path)
        kind = self._kind_of(path)
        if is_remote(kind):
            return Unreliable(kind)
        if self._observer is None:
            self._observer = self._started_observer()
        watch.observed = self._observer.schedule(
            _Handler(path, changed),
            path,
            recursive=watch.is_deep,
            # Other ones, so that a base path which is also a version of another one is watched as both.
            event_filter=VERSION_EVENTS if watch.is_version else EVENTS,
            follow_symlink=True,
        )
        return Placed(found, direct=os.path.realpath(path) == path)

    def _started_observer(self) -> Observer:
        observer = self._make_observer()
        try:
            observer.start()
        except BaseException:
            observer.stop()  # it has threads and descriptors from the beginning
            raise
        return observer

    def _take_away(self, watch: Watch) -> None:
        if self._observer is not None and watch.observed is not None:
            self._observer.unschedule(watch.observed)


@final
class _Handler(FileSystemEventHandler):
    """Hands on that something happened; it runs under watchdog's own lock, so it does no more."""

    def __init__(self, path: str, changed: Callable[[bool], None]) -> None:
        self._path = path
        self._changed = changed

    def dispatch(self, event: FileSystemEvent) -> None:
        """Report *event*, and whether it is the end of the watched directory itself."""
        self._changed(isinstance(event, DirDeletedEvent) and event.src_path == self._path)
