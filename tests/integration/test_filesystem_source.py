"""The file system source with its own threads, the machine's clock and its file events."""

from __future__ import annotations

import gc
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from servman.clock import SystemClock
from servman.flow import connect
from servman.sources import (
    Completeness,
    FileSystemStoragePathSource,
    ServableToMonitor,
    immediate,
    marker,
)
from servman.testing import RecordingTarget
from servman.testing.clock import WATCHDOG

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts file descriptors in /proc")


def eventually(truth: Callable[[], bool]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + WATCHDOG
    pause = threading.Event()
    while not truth():
        assert clock.monotonic() < deadline, "it did not come to be"
        pause.wait(0.002)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Rig:
    def __init__(
        self, base: Path, poll_interval: float, completeness: Completeness, **options: bool
    ) -> None:
        self.base = base
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            [ServableToMonitor("m", str(base), completeness=completeness)],
            poll_interval=poll_interval,
            **options,  # type: ignore[arg-type] # all are flags
        )
        connect(self.source, self.target)
        self.source.start()

    def publish(self, version: int) -> None:
        staged = self.base.parent / f"tmp-{version}"
        staged.mkdir()
        staged.rename(self.base / str(version))

    def wait_until_watched(self) -> None:
        eventually(lambda: self.source.status("m").watched)

    def wait_for_error(self) -> str:
        eventually(lambda: self.source.status("m").error is not None)
        return str(self.source.status("m").error)

    def sent(self) -> list[list[int]]:
        return [[one.id.version for one in versions] for _, versions in self.target.calls]

    def assert_watched(self, *versions: int) -> None:
        """Assert that events are followed there: each version is seen though nobody polls."""
        self.wait_until_watched()
        for version in versions:
            self.publish(version)
            self.target.wait_for("m", [version])


class Make(Protocol):
    def __call__(
        self, poll_interval: float, completeness: Completeness = immediate, **options: bool
    ) -> Rig: ...


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Make]:
    rigs: list[Rig] = []

    def make(poll_interval: float, completeness: Completeness = immediate, **options: bool) -> Rig:
        rigs.append(Rig(tmp_path / "m", poll_interval, completeness, **options))
        return rigs[-1]

    yield make
    for one in rigs:
        one.source.close()


def test_a_rename_into_place_is_aspired_long_before_the_next_poll(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(3600.0)
    one.wait_until_watched()
    one.publish(2)
    one.target.wait_for("m", [2])
    (tmp_path / "m" / "tmp-3").mkdir()
    (tmp_path / "m" / "tmp-3").rename(tmp_path / "m" / "3")
    one.target.wait_for("m", [3])


def test_versions_that_appear_while_the_watch_is_being_placed_are_not_missed(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m").mkdir()
    one = rig(3600.0)
    for version in range(1, 20):
        one.publish(version)
    one.target.wait_for("m", [19])


def test_a_base_path_that_appears_later_is_watched_from_then_on(tmp_path: Path, rig: Make) -> None:
    one = rig(0.02)
    eventually(lambda: one.source.status("m").error is not None)
    (tmp_path / "m").mkdir()
    one.wait_until_watched()
    one.publish(1)
    one.target.wait_for("m", [1])


def test_a_base_path_that_was_deleted_and_made_again_is_watched_again(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(0.02)
    one.wait_until_watched()
    shutil.rmtree(tmp_path / "m")
    eventually(lambda: not one.source.status("m").watched)
    (tmp_path / "m").mkdir()
    one.wait_until_watched()
    one.publish(2)
    one.target.wait_for("m", [2])


def test_a_base_path_that_is_a_link_is_watched_where_it_leads(tmp_path: Path, rig: Make) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "m").symlink_to(tmp_path / "real")
    one = rig(3600.0)
    one.wait_until_watched()
    one.publish(1)
    one.target.wait_for("m", [1])


def test_a_version_that_fills_slowly_is_aspired_once_and_not_again_for_each_file(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(0.01)
    one.target.wait_for("m", [1])
    version = tmp_path / "m" / "2"
    version.mkdir()
    one.target.wait_for("m", [2])
    for number in range(20):
        (version / f"part-{number}").write_text("text")
        one.source.poll()
    one.publish(3)
    one.target.wait_for("m", [3])
    assert one.sent() == [[1], [2], [3]]


def test_a_writer_that_dies_half_way_and_resumes_is_waited_for_where_a_marker_is_asked_for(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "DONE").touch()
    one = rig(0.01, marker("DONE"))
    one.target.wait_for("m", [1])
    version = tmp_path / "m" / "2"
    version.mkdir()
    (version / "half").write_text("half")
    eventually(lambda: [v.version for v in one.source.status("m").incomplete] == [2])
    (version / "half").write_text("whole")
    (version / "DONE").touch()
    eventually(lambda: one.source.status("m").incomplete == ())
    one.target.wait_for("m", [2])
    assert one.sent() == [[1], [2]]


@pytest.mark.parametrize("depth", [".", "variables/shards"])
def test_a_version_is_aspired_when_its_last_file_is_written_long_before_the_next_poll(
    tmp_path: Path, rig: Make, depth: str
) -> None:
    (tmp_path / "m").mkdir()
    last = tmp_path / "m" / "1" / depth / "DONE"

    def is_done(path: str) -> bool:
        return last.exists() and last.read_text() == "done"

    one = rig(3600.0, marker("DONE") if depth == "." else is_done)
    one.wait_until_watched()
    (tmp_path / "m" / "1").mkdir()
    eventually(lambda: [v.version for v in one.source.status("m").incomplete] == [1])
    eventually(lambda: one.source.status("m").incomplete[0].why_not_watched is None)
    last.parent.mkdir(parents=True, exist_ok=True)
    last.write_text("done")
    one.target.wait_for("m", [1])


def test_a_version_that_is_renamed_away_and_back_is_followed(tmp_path: Path, rig: Make) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(3600.0)
    one.wait_until_watched()
    (tmp_path / "m" / "1").rename(tmp_path / "away")
    one.target.wait_for("m", [])
    (tmp_path / "away").rename(tmp_path / "m" / "1")
    one.target.wait_for("m", [1])
    assert one.sent() == [[1], [], [1]]


def test_a_version_that_is_renamed_away_and_back_stays_where_versions_are_always_present(
    tmp_path: Path, rig: Make
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(3600.0, servable_versions_always_present=True)
    one.wait_until_watched()
    (tmp_path / "m" / "1").rename(tmp_path / "away")
    assert "servable_versions_always_present" in one.wait_for_error()
    (tmp_path / "away").rename(tmp_path / "m" / "1")
    eventually(lambda: one.source.status("m").error is None)
    assert one.sent() == [[1]]


def test_names_that_copiers_and_editors_make_for_a_while_are_no_versions(
    tmp_path: Path, rig: Make
) -> None:
    base = tmp_path / "m"
    (base / "1").mkdir(parents=True)
    one = rig(0.01)
    one.wait_until_watched()
    for name in (".2.Ab3dEf", ".~tmp~", "2.part", "2.tmp", "tmp-2", "2~", ".2", "#2#", "2 (copy)"):
        (base / name).mkdir()
    for name in (".2.swp", "4913", "2.filepart", ".nfs0000000200000001"):  # 4913 is vim's
        (base / name).touch()
    one.source.poll()
    eventually(lambda: len(one.source.status("m").ignored) == 13)
    (base / "tmp-2").rename(base / "2")
    one.target.wait_for("m", [2])
    assert one.sent() == [[1], [2]]


def test_a_base_path_that_vanishes_becomes_a_file_and_comes_back_keeps_what_it_had(
    tmp_path: Path, rig: Make
) -> None:
    base = tmp_path / "m"
    (base / "1").mkdir(parents=True)
    one = rig(0.01)
    one.wait_until_watched()
    shutil.rmtree(base)
    assert "does not exist" in one.wait_for_error()
    base.touch()
    eventually(lambda: "is not a directory" in str(one.source.status("m").error))
    base.unlink()
    (base / "1").mkdir(parents=True)
    eventually(lambda: one.source.status("m").error is None)
    one.assert_watched(2)
    # A look between the deletion of the version and that of the base path has seen it empty.
    assert [versions for versions in one.sent() if versions] in ([[1], [2]], [[1], [1], [2]])


@pytest.mark.parametrize("names", [("1", "01"), ("01", "001")])
def test_two_names_for_one_version_are_one(
    tmp_path: Path, rig: Make, names: tuple[str, str]
) -> None:
    for name in names:
        (tmp_path / "m" / name).mkdir(parents=True)
    one = rig(3600.0)
    one.target.wait_for("m", [1])
    assert [version.origin for version in one.target.calls[0][1]] == [
        str(tmp_path / "m" / names[0])
    ]


def test_a_base_path_in_whose_place_another_was_put_is_followed_and_watched(
    tmp_path: Path, rig: Make
) -> None:
    """Mounting another file system there looks the same: another inode. It is simulated so."""
    base, other = tmp_path / "m", tmp_path / "other"
    (base / "1").mkdir(parents=True)
    (other / "2").mkdir(parents=True)
    one = rig(-1.0)
    one.source.poll()
    one.wait_until_watched()
    base.rename(tmp_path / "old")
    assert "does not exist" in one.wait_for_error()  # the watch tells
    other.rename(base)
    one.source.poll()
    one.target.wait_for("m", [2])
    (tmp_path / "old" / "9").mkdir()
    one.assert_watched(3, 4)


def test_a_link_that_is_switched_is_followed_and_watched_where_it_leads_now(
    tmp_path: Path, rig: Make
) -> None:
    for name, version in (("blue", "1"), ("green", "2")):
        (tmp_path / name / version).mkdir(parents=True)
    (tmp_path / "m").symlink_to("blue")
    one = rig(-1.0)
    one.source.poll()
    one.wait_until_watched()
    (tmp_path / "fresh").symlink_to("green")
    (tmp_path / "fresh").replace(tmp_path / "m")
    one.source.poll()
    one.target.wait_for("m", [2])
    (tmp_path / "blue" / "9").mkdir()
    one.assert_watched(3, 4)


def test_events_that_are_lost_are_made_good_by_the_next_poll(tmp_path: Path, rig: Make) -> None:
    """The loss is simulated: the observer is told, behind the source's back, to watch nothing."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(-1.0)
    one.source.poll()
    one.wait_until_watched()
    observer = one.source._watcher._placement._observer
    assert observer is not None
    observer.unschedule_all()  # type: ignore[attr-defined] # no part of what the watcher uses
    one.publish(2)
    one.source.poll()
    one.target.wait_for("m", [2])


@linux
def test_an_overflow_of_the_kernel_makes_it_look_at_once(tmp_path: Path, rig: Make) -> None:
    """The loss is simulated as above, and the kernel's word of it handed in."""
    from watchdog.observers.inotify_c import (  # noqa: PLC0415 -- elsewhere it does not import
        InotifyConstants,
        InotifyEvent,
        WatchDescriptor,
    )

    (tmp_path / "m" / "1").mkdir(parents=True)
    one = rig(3600.0)
    one.wait_until_watched()
    (emitter,) = one.source._watcher._placement._observer.emitters  # type: ignore[union-attr] # as above
    group, descriptor = emitter._inotify, emitter._inotify_fd
    told = group.on_event
    group.on_event = lambda _: None
    one.publish(2)
    overflow = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
    descriptor.handle_event(overflow)
    one.target.wait_for("m", [2])
    group.on_event = told
    one.assert_watched(3)


@linux
def test_closing_leaves_neither_threads_nor_file_descriptors(tmp_path: Path, rig: Make) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    rig(3600.0).source.close()  # what is made once for the process is made now
    gc.collect()
    threads, descriptors = threading.active_count(), open_descriptors()
    for _ in range(3):
        one = rig(3600.0)
        one.wait_until_watched()
        one.source.close()
    gc.collect()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors
