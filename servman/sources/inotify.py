"""watchdog's observer for Linux, which holds nothing back and tells of what befalls the watch itself.

watchdog pairs the two halves of a move: it holds the first back, and whatever comes behind it on that
base path, until the other has come or half a second has passed. When the halves reach it in two reads it
waits in vain, once in some hundred renames. A hint to look at once needs no pairs.

And it keeps to itself that the watched directory was renamed away or unmounted, from where on the watch tells
of another place, or of none; and that the kernel had to drop events.

Where directories come and go quickly below one that is watched as a whole, watchdog meets some twice, warns of that,
and may end its reading thread over one that it has forgotten.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from watchdog.events import DirCreatedEvent, DirDeletedEvent
from watchdog.observers.api import DEFAULT_OBSERVER_TIMEOUT, BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyFD, Mask
from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_c import CallbackId, WatchCallback, WatchDescriptor
    from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent

_LOST: Final = InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT


@final
class _Descriptor(InotifyFD):
    """An inotify instance, where to place a watch twice is no fault."""

    def _add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd


@final
@dataclass
class _Group(InotifyWatchGroup):
    """The watches on one directory, or on all below it.

    Attributes:
        report: Is called whenever the kernel has dropped events.
    """

    report: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        # There is no public switch. Were it renamed, placing a watch would fail, and the tests.
        self._move_event_grouper._queue.delay = 0.0  # noqa: SLF001 -- as said
        super().__post_init__()
        # watchdog passes over EACCES, and then takes what it got, -1, for a watch.
        if self._active_callbacks_by_path.get(self.path) == -1:
            self.deactivate()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(self.path))

    def on_queue_overflow(self) -> None:
        """Have the directory looked at."""
        super().on_queue_overflow()
        self.report()

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


@final
class _PromptEmitter(InotifyEmitter):
    """Hands every event on as it comes.

    That the directory was renamed away or unmounted is handed on as its deletion, that events were dropped
    as its creation.
    """

    def on_thread_start(self) -> None:
        """Begin to follow the path."""
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            self.get_event_mask_from_filter(),
            self.watch.is_recursive,
            self.watch.follow_symlink,
            self._report_overflow,
        )

    def get_event_mask_from_filter(self) -> Mask:
        """Ask for what befalls the directory itself too."""
        return Mask(super().get_event_mask_from_filter() | InotifyConstants.IN_MOVE_SELF)

    def build_and_queue_event(
        self, event: GroupedInotifyEvent, *, full_events: bool = False
    ) -> None:
        """Hand *event* on."""
        super().build_and_queue_event(event, full_events=full_events)
        root = os.fsencode(self.watch.path)
        # One below it may be renamed too.
        if isinstance(event, PathedInotifyEvent) and event.path == root and event.ev.mask & _LOST:
            self.queue_event(DirDeletedEvent(self.watch.path))

    def _report_overflow(self) -> None:
        self.queue_event(DirCreatedEvent(self.watch.path))


@final
class PromptObserver(BaseObserver):
    """An observer whose emitters hold nothing back."""

    def __init__(self) -> None:
        self._inotify_fd = _Descriptor()
        self._inotify_fd.start()
        super().__init__(
            _PromptEmitter, timeout=DEFAULT_OBSERVER_TIMEOUT, inotify_fd=self._inotify_fd
        )

    def on_thread_stop(self) -> None:
        """End the reading thread."""
        super().on_thread_stop()
        self._inotify_fd.stop()
        self._inotify_fd.join()
