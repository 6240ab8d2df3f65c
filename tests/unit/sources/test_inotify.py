from __future__ import annotations

import platform
import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from servman.sources.observer import Observer, native_observer
from servman.sources.watcher import EVENTS
from servman.testing.clock import WATCHDOG

if platform.system() == "Linux":  # elsewhere it does not import
    from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="inotify is Linux's")


class Told(FileSystemEventHandler):
    def __init__(self) -> None:
        self.events: queue.SimpleQueue[FileSystemEvent] = queue.SimpleQueue()

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.events.put(event)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def observer() -> Iterator[Observer]:
    one = native_observer()
    one.start()
    yield one
    one.stop()
    one.join()


def follow(observer: Observer, told: Told, base: Path) -> None:
    """Watch as the watcher does."""
    base.mkdir(parents=True, exist_ok=True)
    observer.schedule(told, str(base), event_filter=EVENTS, follow_symlink=True)


def hand_in(observer: Observer, mask: int, *, all_watches: bool = False) -> None:
    """Have the observer meet an event that the kernel did not send."""
    (emitter,) = getattr(observer, "emitters")  # noqa: B009 -- no part of what the watcher uses
    (descriptor,) = emitter._inotify._active_callbacks_by_watch
    wd = WatchDescriptor(-1) if all_watches else descriptor
    emitter._inotify_fd.handle_event(InotifyEvent(wd, Mask(mask), 0, b""))


def test_that_the_directory_was_renamed_away_is_told_as_its_deletion(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    follow(observer, told, tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    event = told.events.get(timeout=WATCHDOG)
    assert (type(event), event.src_path) == (DirDeletedEvent, str(tmp_path / "base"))


def test_that_it_was_unmounted_is_told_as_its_deletion(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    """The unmounting is simulated by handing in the event that the kernel would send."""
    follow(observer, told, tmp_path)
    hand_in(observer, InotifyConstants.IN_UNMOUNT)
    event = told.events.get(timeout=WATCHDOG)
    assert (type(event), event.src_path) == (DirDeletedEvent, str(tmp_path))


def test_that_the_kernel_dropped_events_is_told_as_something_having_come(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    """The overflow is simulated by handing in the event that the kernel would send."""
    follow(observer, told, tmp_path)
    hand_in(observer, InotifyConstants.IN_Q_OVERFLOW, all_watches=True)
    event = told.events.get(timeout=WATCHDOG)
    assert (type(event), event.src_path) == (DirCreatedEvent, str(tmp_path))


def test_what_is_in_a_version_and_who_reads_it_is_not_told(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    (tmp_path / "1").mkdir()
    follow(observer, told, tmp_path)
    (tmp_path / "1" / "file").write_text("text")
    list(tmp_path.iterdir())
    (tmp_path / "2").mkdir()
    assert told.events.get(timeout=WATCHDOG).src_path == str(tmp_path / "2")


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
