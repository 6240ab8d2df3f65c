"""Watches on base paths: a hint to look at once, never the only way to notice something.

A watch is not recursive, because a recursive one holds the first half of a move back until the other
comes. It is asked for only after a look has succeeded, so that nothing here touches a path whose
storage is known to hang or may not be read; and the path is looked at again once the watch is in place, so
that nothing slips through between the two.

Where there can be no watch that tells of everything, on file systems that other machines change too, none is placed:
it would only make the polls rarer.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

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

from servman.log import Log
from servman.sources.look import PATIENCE, identity
from servman.sources.mounts import is_remote, kind_of
from servman.sources.observer import native_observer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from watchdog.observers.api import ObservedWatch

    from servman.clock import Clock
    from servman.sources.observer import Observer
    from servman.threads import Pool

_log = Log(__name__)

EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""What changes which versions there are. A link to a directory counts as a file here."""


@final
@dataclass(slots=True, eq=False)
class _Watch:
    """One base path to be watched. The actor's, except `observed`, which is the watching thread's.

    Attributes:
        path: The base path.
        identity: That of the directory watched; None while there is no watch.
        direct: Whether the path has no link in it, which could be switched without an event.
        why_not: Why there is no watch, while there is none.
        is_obstructed: Whether there can be none.
        observed: What the observer knows it by.
    """

    path: str
    identity: tuple[int, int] | None = None
    direct: bool = False
    why_not: str = "the watch is being placed"
    is_obstructed: bool = False
    observed: ObservedWatch | None = None


_UNREAD: Final = "there is no directory there that could be read"
_TURNED_OFF: Final = "watching is turned off"
_NOT_STARTED: Final = "events are followed once the source is started"


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
        kind_of: Tells the kind of file system that a path is on, on the watching thread.

    Threads: the actor's; `why_not_watched` any, and `close` one that the actor has ended before.
    """

    def __init__(
        self,
        limit: int,
        clock: Clock,
        pool: Pool,
        observer: Callable[[], Observer] = native_observer,
        kind_of: Callable[[str], str] = kind_of,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._pool = pool
        self._make_observer = observer
        self._kind_of = kind_of
        self._observer: Observer | None = None  # the watching thread's
        self._watches: dict[str, _Watch] = {}
        self._complaints: set[str] = set()
        self._left_behind = False
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

    def why_not_watched(self, path: str) -> str | None:
        """Return why no watch on *path* is in place; None where one is."""
        watch = self._watches.get(path)
        if watch is not None:
            return watch.why_not if watch.identity is None else None
        if self._limit <= 0:
            return _TURNED_OFF
        if self._post is None:
            return _NOT_STARTED
        return self._beyond_limit() or _UNREAD

    def is_watched(self, path: str) -> bool:
        """Return whether a watch on *path* is in place."""
        watch = self._watches.get(path)
        return watch is not None and watch.identity is not None

    def tells_all(self, path: str) -> bool:
        """Return whether a watch is in place that tells of whatever may happen to *path*."""
        watch = self._watches.get(path)
        return watch is not None and watch.identity is not None and watch.direct

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

    def _beyond_limit(self) -> str | None:
        full = sum(not watch.is_obstructed for watch in self._watches.values()) >= self._limit
        return f"max_watches is {self._limit}" if full else None

    def _place(self, path: str) -> None:
        why_not = self._beyond_limit()
        if why_not is None:
            watch = self._watches[path] = _Watch(path)
            self._pool.submit(functools.partial(self._schedule, watch))
        elif self._limit > 0:
            self._complain("limit", path, why_not)

    def _complain(self, kind: str, path: str, why_not: str) -> None:
        """Say once for each kind of obstacle what it means."""
        if kind not in self._complaints:
            self._complaints.add(kind)
            _log.warning(
                "base path %s is polled and not watched: %s; the same may hold for others",
                path,
                why_not,
            )

    def _placed(self, watch: _Watch, identity: tuple[int, int], *, direct: bool) -> None:
        watch.identity = identity
        watch.direct = direct
        self._changed(watch, gone=False)

    def _obstructed(self, watch: _Watch, kind: str, why_not: str) -> None:
        # The entry stays, so that it is not tried again at every poll.
        watch.why_not = why_not
        watch.is_obstructed = True
        self._complain(kind, watch.path, why_not)

    def _failed(self, watch: _Watch, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):  # it went between the look and the watch
            if self._watches.get(watch.path) is watch:
                del self._watches[watch.path]
        else:
            self._obstructed(watch, "refused", f"the system refuses ({error})")

    def _changed(self, watch: _Watch, *, gone: bool) -> None:
        if self._watches.get(watch.path) is not watch:
            return
        if gone:
            self.release(watch.path)
        if self._on_change is not None:
            self._on_change(watch.path)

    def _schedule(self, watch: _Watch) -> None:
        try:
            report = self._observe(watch)
        except Exception as error:  # noqa: BLE001 -- limits of the system, and whatever watchdog raises
            report = functools.partial(self._failed, watch, error)
        self._report(report)
        if self._left_behind:
            self._stop_observer(None)

    def _observe(self, watch: _Watch) -> Callable[[], None]:
        """Place *watch*, and return what the actor is to know of it."""
        path = watch.path
        found = identity(path)
        kind = self._kind_of(path)
        if is_remote(kind):
            why_not = f"{kind} does not tell of what happens elsewhere"
            return functools.partial(self._obstructed, watch, kind, why_not)
        if self._observer is None:
            observer = self._make_observer()
            observer.start()
            self._observer = observer
        watch.observed = self._observer.schedule(
            _Handler(path, functools.partial(self._report_change, watch)),
            path,
            event_filter=EVENTS,
            follow_symlink=True,
        )
        direct = os.path.realpath(path) == path
        return functools.partial(self._placed, watch, found, direct=direct)

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
