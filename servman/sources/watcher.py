"""Watches on base paths: a hint to look at once, never the only way to notice something.

A watch is not recursive, because a recursive one holds the first half of a move back until the other
comes. It is asked for only after a look has succeeded, so that nothing here ever touches a path whose
storage hangs or may not be read; and the path is looked at again once the watch is in place, so that
nothing slips through between the two.
"""

from __future__ import annotations

import functools
import logging
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from servman.sources import look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from watchdog.observers.api import ObservedWatch

    from servman.clock import Clock
    from servman.threads import Pool

_log = logging.getLogger(__name__)

# What changes which versions there are. A link to a directory counts as a file here.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]


class Observer(Protocol):
    """What is used of a watchdog observer."""

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str,
        *,
        recursive: bool = False,
        event_filter: list[type[FileSystemEvent]] | None = None,
        follow_symlink: bool = False,
    ) -> ObservedWatch:
        """Place a watch."""
        ...

    def unschedule(self, watch: ObservedWatch) -> None:
        """Take a watch away."""
        ...

    def start(self) -> None:
        """Begin to deliver events."""
        ...

    def stop(self) -> None:
        """Take all watches away and deliver no more events."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait for the observer's thread to end."""
        ...


def native_observer() -> Observer:
    """Return an observer of the operating system's own file events. It has started a thread."""
    if platform.system() == "Linux":
        from servman.sources.inotify import PromptObserver  # noqa: PLC0415 -- costs 60 ms

        return PromptObserver()
    from watchdog.observers import Observer as NativeObserver  # noqa: PLC0415 -- as above

    return NativeObserver()


@final
@dataclass(slots=True, eq=False)
class _Watch:
    """One watched base path. The actor's, except `observed`, which is the watching thread's."""

    path: str
    identity: tuple[int, int] | None = (
        None  # of the directory watched; None while there is no watch
    )
    observed: ObservedWatch | None = None


@final
class Watcher:
    """Keeps a watch on each of a set of base paths and reports when something happens in one.

    Placing and removing watches is done on a thread of its own, in the order asked for.

    Args:
        limit: How many base paths are watched at most, for watchdog starts a thread for each; 0 for
            none.
        clock: For waiting in `close`.
        pool: Runs jobs one by one, in order.
        observer: Makes the observer, on the watching thread, when the first watch is asked for.

    Threads: the actor's; `is_watched` any, and `close` one that the actor has ended before.
    """

    def __init__(
        self,
        limit: int,
        clock: Clock,
        pool: Pool,
        observer: Callable[[], Observer] = native_observer,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._pool = pool
        self._make_observer = observer
        self._observer: Observer | None = None
        self._watches: dict[str, _Watch] = {}
        self._complained = False
        self._post: Callable[[Callable[[], None]], None] | None = None
        self._on_change: Callable[[str], None] | None = None

    def start(
        self,
        post: Callable[[Callable[[], None]], None],
        on_change: Callable[[str], None],
    ) -> None:
        """Place watches from now on.

        Args:
            post: Takes what is to be run by the actor. Called from watching threads.
            on_change: Called by the actor with a base path that should be looked at.
        """
        self._post = post
        self._on_change = on_change

    def is_watched(self, path: str) -> bool:
        """Return whether a watch on *path* is in place."""
        watch = self._watches.get(path)
        return watch is not None and watch.identity is not None

    def attend(self, path: str, identity: tuple[int, int] | None) -> None:
        """Note that a look at *path* succeeded: place a watch, or renew one on what is gone.

        Args:
            path: The base path.
            identity: What the look has found it to be, if it was asked to find out.
        """
        if self._post is None:
            return
        watch = self._watches.get(path)
        if watch is None:
            self._place(path)
        elif watch.identity is not None and identity is not None and identity != watch.identity:
            self.release(path)
            self._place(path)

    def release(self, path: str) -> None:
        """Take the watch on *path* away, if there is one."""
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._pool.submit(functools.partial(self._remove, watch))

    def retain(self, paths: Collection[str]) -> None:
        """Take away the watches on all but *paths*."""
        for path in [path for path in self._watches if path not in paths]:
            self.release(path)

    def close(self, deadline: float | None) -> bool:
        """Take all watches away and end the watching threads; return whether they have ended.

        Blocks: until then, or until *deadline*.
        """
        self._pool.close()
        if not self._pool.join(deadline):
            return False
        if self._observer is not None:
            self._observer.stop()
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            self._observer.join(left)
            self._observer = None
        return True

    def _place(self, path: str) -> None:
        if len(self._watches) < self._limit:
            watch = self._watches[path] = _Watch(path)
            self._pool.submit(functools.partial(self._schedule, watch))
        elif self._limit > 0 and not self._complained:
            self._complained = True
            _log.info(
                "base path %s and others are polled, not watched: max_watches is %d",
                path,
                self._limit,
            )

    def _placed(self, watch: _Watch, identity: tuple[int, int]) -> None:
        watch.identity = identity
        self._changed(watch, gone=False)

    def _failed(self, watch: _Watch, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):  # it went between the look and the watch
            self._watches.pop(watch.path, None)
            return
        # The entry stays, so that it is not tried again at every poll.
        if not self._complained:
            self._complained = True
            _log.warning(
                "base path %s cannot be watched (%s), so it is polled; the same may hold for others",
                watch.path,
                error,
            )

    def _changed(self, watch: _Watch, *, gone: bool) -> None:
        if self._watches.get(watch.path) is not watch:
            return
        if gone:
            self.release(watch.path)
        if self._on_change is not None:
            self._on_change(watch.path)

    def _schedule(self, watch: _Watch) -> None:
        try:
            identity = look.identity(watch.path)
            if self._observer is None:
                observer = self._make_observer()
                observer.start()
                self._observer = observer
            watch.observed = self._observer.schedule(
                _Handler(watch.path, functools.partial(self._report_change, watch)),
                watch.path,
                event_filter=_EVENTS,
                follow_symlink=True,
            )
        except Exception as error:  # noqa: BLE001 -- limits of the system, and whatever watchdog raises
            self._report(functools.partial(self._failed, watch, error))
        else:
            self._report(functools.partial(self._placed, watch, identity))

    def _remove(self, watch: _Watch) -> None:
        if self._observer is not None and watch.observed is not None:
            self._observer.unschedule(watch.observed)

    def _report_change(self, watch: _Watch, *, gone: bool) -> None:
        self._report(functools.partial(self._changed, watch, gone=gone))

    def _report(self, event: Callable[[], None]) -> None:
        if self._post is not None:
            self._post(event)


@final
class _Handler(FileSystemEventHandler):
    """Hands on that something happened; it runs under watchdog's own lock, so it does no more."""

    def __init__(self, path: str, report: Callable[..., None]) -> None:
        self._path = path
        self._report = report

    def dispatch(self, event: FileSystemEvent) -> None:
        """Report *event*, and whether it is the end of the watched directory itself."""
        gone = isinstance(event, DirDeletedEvent) and event.src_path == self._path
        self._report(gone=gone)
