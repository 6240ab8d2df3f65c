from __future__ import annotations

import ctypes
import errno
import os
import platform
import queue
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from servman.sources.observer import Observer, native_observer
from servman.sources.placement import EVENTS, VERSION_EVENTS
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


def test_a_directory_that_may_not_be_watched_is_refused(
    tmp_path: Path, observer: Observer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is simulated: the tests may run as somebody who may watch everything."""

    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EACCES)
        return -1

    monkeypatch.setattr("watchdog.observers.inotify_c.inotify_add_watch", refuse)
    with pytest.raises(PermissionError):
        follow(observer, told, tmp_path)


def follow_deep(observer: Observer, told: Told, version: Path) -> None:
    observer.schedule(
        told, str(version), recursive=True, event_filter=VERSION_EVENTS, follow_symlink=True
    )


def test_below_a_version_that_is_not_complete_it_is_told_what_comes_goes_and_is_closed(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    (tmp_path / "old").mkdir()
    follow_deep(observer, told, tmp_path)

    def wait_for(kind: type[FileSystemEvent], path: Path) -> None:
        while True:
            event = told.events.get(timeout=WATCHDOG)
            if (type(event), event.src_path) == (kind, str(path)):
                return

    with (tmp_path / "old" / "file").open("w") as file:
        wait_for(FileCreatedEvent, tmp_path / "old" / "file")
        file.write("text")
    wait_for(FileClosedEvent, tmp_path / "old" / "file")
    (tmp_path / "new" / "deep").mkdir(parents=True)
    wait_for(DirCreatedEvent, tmp_path / "new" / "deep")
    (tmp_path / "new" / "deep" / "file").write_text("text")
    # Its end may come before the watch on the new directory: then what it holds is told as created.
    wait_for(FileCreatedEvent, tmp_path / "new" / "deep" / "file")
    (tmp_path / "old" / "file").unlink()
    wait_for(FileDeletedEvent, tmp_path / "old" / "file")


def test_a_directory_that_is_met_twice_is_no_fault(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    """It is when it comes while what is in the one above it is being read. That moment is simulated."""
    follow_deep(observer, told, tmp_path)
    (emitter,) = getattr(observer, "emitters")  # noqa: B009 -- no part of what the watcher uses
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        emitter._inotify._add_all_callbacks(os.fsencode(tmp_path))


def test_below_a_version_directories_may_come_and_go_quickly(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    """A directory that watchdog has forgotten would end its reading thread."""
    version, away = tmp_path / "1", tmp_path / "away"
    version.mkdir()
    follow_deep(observer, told, version)
    for number in range(20):
        (version / "x" / "y" / "z").mkdir(parents=True)
        (version / "x").rename(away)
        (version / "x").mkdir()
        (version / "x").rmdir()
        shutil.rmtree(away)
        (version / f"end-{number}").touch()
        while told.events.get(timeout=WATCHDOG).src_path != str(version / f"end-{number}"):
            pass


def test_that_a_directory_below_a_version_was_renamed_is_not_the_end_of_the_version(
    tmp_path: Path, observer: Observer, told: Told
) -> None:
    (tmp_path / "tmp").mkdir()
    follow_deep(observer, told, tmp_path)
    (tmp_path / "tmp").rename(tmp_path / "variables")
    (tmp_path / "end").touch()
    seen: list[FileSystemEvent] = []
    while not seen or seen[-1].src_path != str(tmp_path / "end"):
        seen.append(told.events.get(timeout=WATCHDOG))
    assert DirDeletedEvent(str(tmp_path)) not in seen


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
