from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from watchdog.events import DirDeletedEvent, FileClosedEvent, FileCreatedEvent

from servman.data import ServableData
from servman.flow import connect
from servman.sources import (
    Completeness,
    FileSystemStoragePathSource,
    ServableToMonitor,
    immediate,
    marker,
    settled,
)
from servman.sources.look import list_directory
from servman.sources.rounds import CALM
from servman.sources.stream import MOST_FOLLOWED
from servman.sources.watcher import RETRY, Watcher
from servman.testing import FakeClock, ManualPool, RecordingTarget
from tests.unit.sources.rig import FakeObserver


class Rig:
    """A source that watches, on real base paths, without threads: it polls only when told."""

    def __init__(
        self,
        *paths: Path,
        poll_interval: float = -1.0,
        limit: int = 8,
        kind: str = "",
        completeness: Completeness = immediate,
        pool: ManualPool | None = None,
    ) -> None:
        self.clock = clock = FakeClock()
        self.looks: list[str] = []
        self.observer = FakeObserver()
        self.watches = ManualPool()
        watcher = Watcher(limit, clock, self.watches, lambda: self.observer, lambda _: kind)
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            [ServableToMonitor(path.name, str(path), completeness=completeness) for path in paths],
            poll_interval=poll_interval,
            clock=clock,
            lister=self.entries,
            pool=pool,
            watcher=watcher,
        )
        connect(self.source, self.target)
        actor = self.source._actor
        watcher.start(actor.post, actor.look_at_path, actor.look_within)

    def entries(self, path: str) -> Iterable[tuple[str, bool]]:
        self.looks.append(Path(path).name)
        return list_directory(path)

    def rounds(self, count: int) -> list[list[str]]:
        """Let so many poll intervals pass; return what was looked at in each."""
        looked = []
        for _ in range(count):
            self.looks.clear()
            self.clock.advance(1.0)
            self.settle()
            looked.append(sorted(self.looks))
        return looked

    def poll(self) -> None:
        self.source.poll()
        self.settle()

    def settle(self) -> None:
        while self.watches.run_all() or self.source.step():
            pass


def test_a_version_that_appears_before_the_watch_is_in_place_is_found(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.source.poll()
    (tmp_path / "1").mkdir()
    rig.settle()
    assert rig.target.versions(tmp_path.name) == [1]
    assert rig.source.status(tmp_path.name).watched


def test_a_base_path_that_does_not_exist_is_not_watched_until_a_poll_finds_it(
    tmp_path: Path,
) -> None:
    base = tmp_path / "m"
    rig = Rig(base)
    rig.poll()
    assert rig.observer.placed == []
    base.mkdir()
    rig.poll()
    assert rig.observer.placed == [str(base)]


def test_a_base_path_that_can_no_longer_be_read_is_watched_anew_when_it_can(
    tmp_path: Path,
) -> None:
    base = tmp_path / "m"
    base.mkdir()
    rig = Rig(base)
    rig.poll()
    base.rmdir()
    rig.poll()
    assert not rig.source.status("m").watched
    assert rig.observer.handlers == {}
    base.mkdir()
    rig.poll()
    assert rig.source.status("m").watched


def test_a_base_path_is_watched_as_long_as_a_servable_uses_it(tmp_path: Path) -> None:
    rig = Rig()
    one, two = ServableToMonitor("one", str(tmp_path)), ServableToMonitor("two", str(tmp_path))
    watched = []
    for servables in ([one, two], [two], []):
        rig.source.update_config(servables)
        rig.settle()
        watched.append(len(rig.observer.handlers))
    assert watched == [1, 1, 0]
    assert rig.observer.placed == [str(tmp_path)]


def directories(base: Path, count: int) -> list[Path]:
    paths = [base / f"m{number:02}" for number in range(count)]
    for path in paths:
        (path / "1").mkdir(parents=True)
    return paths


def test_with_healthy_watches_each_is_polled_every_tenth_round_and_the_rounds_share_them_evenly(
    tmp_path: Path,
) -> None:
    rig = Rig(*directories(tmp_path, 40), poll_interval=1.0, limit=100)
    rig.settle()
    rounds = rig.rounds(10)
    assert {len(looked) for looked in rounds} == {4}
    assert Counter(name for looked in rounds for name in looked) == {
        f"m{number:02}": 1 for number in range(40)
    }


def test_beyond_max_watches_servables_are_polled_in_every_round(tmp_path: Path) -> None:
    paths = directories(tmp_path, 3)
    rig = Rig(*paths, poll_interval=1.0, limit=1)
    rig.settle()
    looks = Counter(name for looked in rig.rounds(10) for name in looked)
    assert looks == {"m00": 1, "m01": 10, "m02": 10}
    assert [rig.source.status(path.name).why_not_watched for path in paths] == [
        None,
        "max_watches is 1",
        "max_watches is 1",
    ]


@pytest.mark.parametrize("obstacle", ["the watch limit", "nfs4", "fuse.sshfs"])
def test_where_watching_is_not_possible_it_polls_and_status_and_log_say_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    """The refusal of the system, and the kinds of file systems, are the test's inventions."""
    paths = directories(tmp_path, 2)
    rig = Rig(*paths, poll_interval=1.0, kind=obstacle)
    if obstacle == "the watch limit":
        rig.observer.error = OSError(28, "the watch limit was reached")
    rig.settle()
    assert rig.rounds(3) == [["m00", "m01"]] * 3
    (paths[0] / "2").mkdir()
    rig.rounds(1)
    assert rig.target.versions("m00") == [2]
    for path in paths:
        status = rig.source.status(path.name)
        assert not status.watched
        assert obstacle in str(status.why_not_watched)
    assert len([record for record in caplog.records if obstacle in record.getMessage()]) == 1


def test_lost_events_are_made_good_by_a_poll(tmp_path: Path) -> None:
    """That events are lost is simulated: the observer never sends one."""
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, poll_interval=1.0)
    rig.settle()
    (path / "2").mkdir()
    rig.rounds(10)
    assert rig.target.versions("m00") == [2]
    (path / "3").mkdir()
    rig.poll()
    assert rig.target.versions("m00") == [3]


def test_a_target_that_raised_is_told_again_in_the_next_round_though_events_are_followed(
    tmp_path: Path,
) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, poll_interval=1.0)
    rig.settle()
    record, faults = rig.target.set_aspired_versions, [RuntimeError("not now")]

    def take(name: str, versions: Sequence[ServableData[str]]) -> None:
        if faults:
            raise faults.pop()
        record(name, versions)

    rig.target.set_aspired_versions = take  # type: ignore[method-assign] # a target that fails once
    (path / "2").mkdir()
    rig.poll()
    assert rig.target.versions("m00") == [1]
    rig.rounds(1)
    assert rig.target.versions("m00") == [2]


def test_a_link_that_is_switched_is_followed_by_the_next_round_and_by_the_watch(
    tmp_path: Path,
) -> None:
    blue, green = directories(tmp_path / "real", 2)
    (green / "2").mkdir()
    link, fresh = tmp_path / "m", tmp_path / "fresh"
    link.symlink_to(blue)
    rig = Rig(link, poll_interval=1.0)
    rig.settle()
    fresh.symlink_to(green)
    fresh.replace(link)
    rig.rounds(1)
    assert rig.target.versions("m") == [2]
    assert rig.observer.placed == [str(link), str(link)]
    assert list(rig.observer.handlers) == [str(link)]


def test_a_base_path_that_another_takes_the_place_of_is_followed_by_the_watch_too(
    tmp_path: Path,
) -> None:
    """Unmounting and mounting again looks the same: another inode, and no event. It is simulated so."""
    base, other = directories(tmp_path, 2)
    (other / "2").mkdir()
    rig = Rig(base, poll_interval=1.0)
    rig.settle()
    base.rename(tmp_path / "old")
    other.rename(base)
    rig.rounds(10)
    assert rig.target.versions("m00") == [2]
    assert rig.observer.placed == [str(base), str(base)]


def test_what_another_file_system_is_mounted_over_is_polled_where_that_cannot_be_watched(
    tmp_path: Path,
) -> None:
    """Mounting is simulated by another inode, and its kind is the test's invention."""
    base, other = directories(tmp_path, 2)
    kinds = ["ext4", "nfs4"]
    rig = Rig(base, poll_interval=1.0)
    rig.source._watcher._placement._kind_of = lambda _: kinds.pop(0)
    rig.settle()
    base.rename(tmp_path / "old")
    other.rename(base)
    rig.rounds(10)
    status = rig.source.status("m00")
    assert status.why_not_watched == "nfs4 does not tell of what happens elsewhere"
    assert rig.rounds(2) == [["m00"], ["m00"]]


def test_why_it_is_not_watched_is_told_in_the_status_and_before_the_first_look_nothing(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path / "m")
    assert rig.source.status("m").why_not_watched is None
    rig.poll()
    assert rig.source.status("m").why_not_watched == (
        "there is no directory there that could be read"
    )


# ---- versions that are not complete, and watches that are refused ----------------------------


def why_unwatched(rig: Rig) -> list[str | None]:
    return [one.why_not_watched for one in rig.source.status("m00").incomplete]


def test_a_version_without_its_marker_is_watched_until_the_marker_is_there(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=marker("DONE"))
    rig.poll()
    version = path / "1"
    assert rig.observer.placed == [str(path), str(version)]
    assert rig.observer.deep == []
    assert why_unwatched(rig) == [None]
    (version / "DONE").touch()
    rig.clock.advance(CALM)
    rig.observer.handlers[str(version)].dispatch(FileCreatedEvent(str(version / "DONE")))
    rig.settle()
    assert rig.target.versions("m00") == [1]
    assert list(rig.observer.handlers) == [str(path)]
    assert rig.source.status("m00").versions_cause == "file event"


def test_all_below_a_version_is_watched_where_a_callable_decides(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=lambda path: (Path(path) / "variables" / "index").exists())
    rig.poll()
    assert rig.observer.deep == [str(path / "1")]


def test_what_settles_when_it_is_let_alone_needs_no_watch(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=settled(5))
    rig.poll()
    assert rig.observer.placed == [str(path)]
    assert why_unwatched(rig) == [None]


def test_what_changes_in_a_version_without_end_is_looked_at_now_and_then(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=marker("DONE"))
    rig.poll()
    handler = rig.observer.handlers[str(path / "1")]
    rig.looks.clear()
    for _ in range(95):
        handler.dispatch(FileClosedEvent(str(path / "1" / "shard")))
        rig.settle()
        rig.clock.advance(CALM / 10)
    assert 8 <= len(rig.looks) <= 11
    assert rig.source._actor._deadline() is not None  # it wakes for the last change, too
    rig.clock.advance(10 * CALM)
    rig.settle()
    assert rig.source._actor._deadline() is None
    rig.clock.advance(CALM)
    rig.looks.clear()
    handler.dispatch(FileClosedEvent(str(path / "1" / "shard")))
    rig.settle()
    assert rig.looks == ["m00"]  # after a pause at once


def test_what_changes_while_a_version_is_being_checked_has_it_checked_again(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    pool, checks = ManualPool(), list[str]()

    def check(path: str) -> bool:
        checks.append(path)
        if len(checks) == 4:
            handler.dispatch(FileCreatedEvent(f"{path}/other"))
            rig.clock.advance(CALM)
            for _ in range(3):
                rig.source.step()
        return False

    rig = Rig(path, completeness=check, pool=pool)
    rig.source.poll()

    def settle() -> None:
        while pool.run_all() or rig.watches.run_all() or rig.source.step():
            pass

    settle()
    assert len(checks) == 3  # again once each of the two watches was in place
    handler = rig.observer.handlers[str(path / "1")]
    rig.clock.advance(CALM)
    handler.dispatch(FileCreatedEvent(str(path / "1" / "one")))
    settle()
    assert len(checks) == 5


def test_what_has_changed_in_a_version_of_a_servable_that_is_let_go_is_no_matter(
    tmp_path: Path,
) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=marker("DONE"))
    rig.poll()
    rig.observer.handlers[str(path / "1")].dispatch(FileCreatedEvent(str(path / "1" / "one")))
    rig.settle()
    rig.source.update_config([])
    rig.looks.clear()
    rig.clock.advance(CALM)
    rig.settle()
    assert rig.looks == []


def test_the_status_tells_why_a_version_is_not_watched(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, limit=1, completeness=marker("DONE"))
    rig.poll()
    assert why_unwatched(rig) == ["max_watches is 1"]
    for version in range(2, MOST_FOLLOWED + 3):
        (path / str(version)).mkdir()
    rig = Rig(path, limit=100, completeness=marker("DONE"))
    rig.poll()
    beyond = f"only the newest {MOST_FOLLOWED} are watched"
    assert why_unwatched(rig) == [beyond] * 2 + [None] * MOST_FOLLOWED


def test_versions_are_watched_no_longer_when_the_base_path_fails_or_is_let_go(
    tmp_path: Path,
) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=marker("DONE"))
    left = []
    for end in ("failure", "reconfiguration"):
        rig.poll()
        left.append(len(rig.observer.handlers))
        if end == "failure":
            path.rename(tmp_path / "away")
            rig.poll()
        else:
            rig.source.update_config([])
            rig.settle()
        left.append(len(rig.observer.handlers))
        if end == "failure":
            (tmp_path / "away").rename(path)
    assert left == [2, 0, 2, 0]


def test_a_version_that_is_deleted_while_it_is_waited_for_is_forgotten(tmp_path: Path) -> None:
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, completeness=marker("DONE"))
    rig.poll()
    (path / "1").rmdir()
    rig.observer.handlers[str(path / "1")].dispatch(DirDeletedEvent(str(path / "1")))
    rig.settle()
    assert rig.source.status("m00").incomplete == ()
    assert list(rig.observer.handlers) == [str(path)]


@pytest.mark.parametrize("interval", [-1.0, 0.0, 3600.0])
def test_a_watch_that_the_system_refuses_is_tried_again_though_no_poll_comes(
    tmp_path: Path, interval: float
) -> None:
    """The refusal is the test's invention."""
    (path,) = directories(tmp_path, 1)
    rig = Rig(path, poll_interval=interval)
    rig.observer.error = OSError(28, "inotify watch limit reached")
    rig.poll()
    assert "tried again in 60 s" in str(rig.source.status("m00").why_not_watched)
    rig.observer.error = None
    rig.clock.advance(RETRY - 0.1)
    rig.settle()
    assert not rig.source.status("m00").watched
    assert rig.source._actor._deadline() is not None
    rig.clock.advance(0.1)
    rig.settle()
    assert rig.source.status("m00").watched
