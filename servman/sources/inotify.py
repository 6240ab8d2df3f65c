"""watchdog's observer for Linux, without the half second for which it holds events back.

watchdog pairs the two halves of a move: it holds the first back, and whatever comes behind it on that
base path, until the other has come or half a second has passed. When the halves reach it in two reads it
waits in vain, once in some hundred renames. A hint to look at once needs no pairs.
"""

from __future__ import annotations

from typing import final

from watchdog.observers.inotify import InotifyEmitter, InotifyObserver


@final
class _PromptEmitter(InotifyEmitter):
    """Hands every event on as it comes."""

    def on_thread_start(self) -> None:
        """Begin to follow the path."""
        super().on_thread_start()
        if self._inotify is not None:
            # There is no public switch. Were it renamed, placing a watch would fail, and the tests.
            self._inotify._move_event_grouper._queue.delay = 0.0  # noqa: SLF001 -- as said


@final
class PromptObserver(InotifyObserver):
    """An observer whose emitters hold nothing back."""

    def __init__(self) -> None:
        super().__init__()
        self._emitter_class = _PromptEmitter
