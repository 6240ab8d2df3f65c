"""The file system source with its own threads, the machine's clock and its file events."""

from __future__ import annotations

import gc
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servman.clock import SystemClock
from servman.flow import connect
from servman.sources import FileSystemStoragePathSource, ServableToMonitor
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
    def __init__(self, base: Path, poll_interval: float) -> None:
        self.base = base
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            [ServableToMonitor("m", str(base))], poll_interval=poll_interval
        )
        connect(self.source, self.target)
        self.source.start()

    def publish(self, version: int) -> None:
        staged = self.base.parent / f"tmp-{version}"
        staged.mkdir()
        staged.rename(self.base / str(version))

    def wait_until_watched(self) -> None:
        eventually(lambda: self.source.status("m").watched)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[[float], Rig]]:
    rigs: list[Rig] = []

    def make(poll_interval: float) -> Rig:
        rigs.append(Rig(tmp_path / "m", poll_interval))
        return rigs[-1]

    yield make
    for one in rigs:
        one.source.close()


def test_a_rename_into_place_is_aspired_long_before_the_next_poll(
    tmp_path: Path, rig: Callable[[float], Rig]
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
    tmp_path: Path, rig: Callable[[float], Rig]
) -> None:
    (tmp_path / "m").mkdir()
    one = rig(3600.0)
    for version in range(1, 20):
        one.publish(version)
    one.target.wait_for("m", [19])


def test_a_base_path_that_appears_later_is_watched_from_then_on(
    tmp_path: Path, rig: Callable[[float], Rig]
) -> None:
    one = rig(0.02)
    eventually(lambda: one.source.status("m").error is not None)
    (tmp_path / "m").mkdir()
    one.wait_until_watched()
    one.publish(1)
    one.target.wait_for("m", [1])


def test_a_base_path_that_was_deleted_and_made_again_is_watched_again(
    tmp_path: Path, rig: Callable[[float], Rig]
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


def test_a_base_path_that_is_a_link_is_watched_where_it_leads(
    tmp_path: Path, rig: Callable[[float], Rig]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "m").symlink_to(tmp_path / "real")
    one = rig(3600.0)
    one.wait_until_watched()
    one.publish(1)
    one.target.wait_for("m", [1])


@linux
def test_closing_leaves_neither_threads_nor_file_descriptors(
    tmp_path: Path, rig: Callable[[float], Rig]
) -> None:
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
