from __future__ import annotations

import platform
import queue
from typing import TYPE_CHECKING

import pytest
from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler

from servman.sources.observer import native_observer
from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="inotify is Linux's")


class Told(FileSystemEventHandler):
    def __init__(self) -> None:
        self.events: queue.SimpleQueue[FileSystemEvent] = queue.SimpleQueue()

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.events.put(event)


def test_half_a_move_is_not_held_back_for_the_other_half(tmp_path: Path) -> None:
    base, elsewhere = tmp_path / "base", tmp_path / "elsewhere"
    (base / "1").mkdir(parents=True)
    told, observer = Told(), native_observer()
    observer.start()
    try:
        watch = observer.schedule(told, str(base))
        (emitter,) = getattr(observer, "emitters")  # noqa: B009 -- no part of what the watcher uses
        assert emitter.watch == watch
        assert emitter._inotify._move_event_grouper._queue.delay == 0
        (base / "1").rename(elsewhere)
        event = told.events.get(timeout=WATCHDOG)
        assert isinstance(event, DirDeletedEvent)
    finally:
        observer.stop()
        observer.join()
