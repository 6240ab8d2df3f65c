"""watchdog's observer for Linux, which holds nothing back and tells of what befalls the watch itself.

watchdog pairs the two halves of a move: it holds the first back, and whatever comes behind it on that
base path, until the other has come or half a second has passed. When the halves reach it in two reads it
waits in vain, once in some hundred renames. A hint to look at once needs no pairs.

And it keeps to itself that the watched directory was renamed away or unmounted, from where on the watch tells
of another place, or of none; and that the kernel had to drop events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from watchdog.events import DirCreatedEvent, DirDeletedEvent
from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, Mask
from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent

_LOST: Final = InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT


@final
class _PromptEmitter(InotifyEmitter):
    """Hands every event on as it comes.

    That the directory was renamed away or unmounted is handed on as its deletion, that events were dropped
    as its creation.
    """

    def on_thread_start(self) -> None:
        """Begin to follow the path."""
        super().on_thread_start()
        if self._inotify is not None:
            # There is no public switch. Were it renamed, placing a watch would fail, and the tests.
            self._inotify._move_event_grouper._queue.delay = 0.0  # noqa: SLF001 -- as said
            _call_too(self._inotify, self._report_overflow)

    def get_event_mask_from_filter(self) -> Mask:
        """Ask for what befalls the directory itself too."""
        return Mask(super().get_event_mask_from_filter() | InotifyConstants.IN_MOVE_SELF)

    def build_and_queue_event(
        self, event: GroupedInotifyEvent, *, full_events: bool = False
    ) -> None:
        """Hand *event* on."""
        super().build_and_queue_event(event, full_events=full_events)
        if isinstance(event, PathedInotifyEvent) and event.ev.mask & _LOST:
            self.queue_event(DirDeletedEvent(self.watch.path))

    def _report_overflow(self) -> None:
        self.queue_event(DirCreatedEvent(self.watch.path))


def _call_too(group: InotifyWatchGroup, report: Callable[[], None]) -> None:
    """Have *report* called whenever the kernel has dropped events of *group*; there is no public hook."""
    told = group.on_queue_overflow

    def on_queue_overflow() -> None:
        told()
        report()

    group.on_queue_overflow = on_queue_overflow  # type: ignore[method-assign] # as said


@final
class PromptObserver(InotifyObserver):
    """An observer whose emitters hold nothing back."""

    def __init__(self) -> None:
        super().__init__()
        self._emitter_class = _PromptEmitter
