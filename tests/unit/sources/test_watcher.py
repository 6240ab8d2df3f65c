from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    FileCreatedEvent,
)

from servman.sources.look import PATIENCE, identity
from servman.sources.observer import native_observer
from servman.sources.watcher import RETRY, Watcher
from servman.testing import FakeClock, ManualPool, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import CallingThread, WorkerPool
from tests.unit.sources.rig import FakeObserver


class Rig:
    def __init__(self, limit: int = 8) -> None:
        self.observer = FakeObserver()
        self.pool = ManualPool()
        self.kinds: dict[str, str] = {}
        self.posted: list[Callable[[], None]] = []
        self.changes: list[str] = []
        self.stirs: list[str] = []
        self.clock = FakeClock()
        self.watcher = Watcher(
            limit,
            self.clock,
            self.pool,
            lambda: self.observer,
            lambda path: self.kinds.get(path, ""),
        )
        self.watcher.start(self.posted.append, self.changes.append, self.stirs.append)

    def settle(self) -> list[str]:
        """Run what was submitted and posted; return the base paths to be looked at."""
        self.pool.run_all()
        while self.posted:
            self.posted.pop(0)()
        changes, self.changes[:] = list(self.changes), []
        return changes

    def attend(self, path: Path) -> list[str]:
        self.watcher.attend(str(path), identity(str(path)))
        return self.settle()


def test_a_path_is_looked_at_again_once_its_watch_is_in_place(tmp_path: Path) -> None:
    rig = Rig()
    rig.watcher.attend(str(tmp_path), None)
    assert not rig.watcher.is_watched(str(tmp_path))
    assert rig.settle() == [str(tmp_path)]
    assert rig.watcher.is_watched(str(tmp_path))
    assert rig.attend(tmp_path) == []
    assert rig.observer.placed == [str(tmp_path)]


def test_an_event_asks_for_a_look_through_the_mailbox_alone(tmp_path: Path) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    rig.observer.handlers[str(tmp_path)].dispatch(DirCreatedEvent(str(tmp_path / "3")))
    assert rig.changes == []  # not on the observer's thread
    assert rig.settle() == [str(tmp_path)]


def test_nothing_is_watched_before_start(tmp_path: Path) -> None:
    pool = ManualPool()
    Watcher(8, FakeClock(), pool).attend(str(tmp_path), None)
    assert pool.jobs == []


def test_a_watch_on_a_directory_that_was_replaced_is_renewed(tmp_path: Path) -> None:
    base = tmp_path / "m"
    base.mkdir()
    rig = Rig()
    rig.attend(base)
    base.rename(tmp_path / "old")
    base.mkdir()
    assert rig.attend(base) == [str(base)]
    assert rig.observer.placed == [str(base), str(base)]
    assert rig.attend(base) == []


def test_a_watch_whose_directory_was_deleted_is_given_up_and_the_path_looked_at(
    tmp_path: Path,
) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    rig.observer.handlers[str(tmp_path)].dispatch(DirDeletedEvent(str(tmp_path)))
    assert rig.settle() == [str(tmp_path)]
    assert not rig.watcher.is_watched(str(tmp_path))
    assert rig.attend(tmp_path) == [str(tmp_path)]  # placed anew, though the inode is the same


def test_the_deletion_of_a_version_does_not_end_the_watch(tmp_path: Path) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    rig.observer.handlers[str(tmp_path)].dispatch(DirDeletedEvent(str(tmp_path / "3")))
    assert rig.settle() == [str(tmp_path)]
    assert rig.watcher.is_watched(str(tmp_path))


def test_events_of_a_watch_that_was_released_are_dropped(tmp_path: Path) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    handler = rig.observer.handlers[str(tmp_path)]
    rig.watcher.release(str(tmp_path))
    handler.dispatch(DirCreatedEvent(str(tmp_path / "3")))
    assert rig.settle() == []
    assert rig.observer.handlers == {}


def test_releasing_and_attending_again_ends_with_one_watch(tmp_path: Path) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    rig.watcher.release(str(tmp_path))
    rig.watcher.attend(str(tmp_path), None)
    assert rig.settle() == [str(tmp_path)]
    assert list(rig.observer.handlers) == [str(tmp_path)]


def test_no_more_paths_are_watched_than_allowed_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(limit=1)
    paths = [tmp_path / name for name in "abc"]
    with caplog.at_level(logging.INFO, logger="servman"):
        for path in paths:
            path.mkdir()
            rig.attend(path)
    assert [rig.watcher.is_watched(str(path)) for path in paths] == [True, False, False]
    assert len(caplog.records) == 1
    assert "max_watches is 1" in caplog.text


def test_a_limit_of_the_system_means_polling_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    rig.observer.error = OSError(28, "inotify watch limit reached")
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.mkdir()
        assert rig.attend(path) == []
        assert rig.attend(path) == []
        assert not rig.watcher.is_watched(str(path))
    assert len(caplog.records) == 1
    assert "inotify watch limit reached" in caplog.text


def test_a_path_that_goes_before_its_watch_is_placed_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tmp_path / "m"
    rig = Rig()
    rig.watcher.attend(str(base), None)
    assert rig.settle() == []
    base.mkdir()
    assert rig.attend(base) == [str(base)]
    assert caplog.records == []


def test_only_the_paths_in_use_stay_watched(tmp_path: Path) -> None:
    rig = Rig()
    for name in "ab":
        (tmp_path / name).mkdir()
        rig.attend(tmp_path / name)
    rig.watcher.retain({("m", str(tmp_path / "b"))})
    rig.settle()
    assert list(rig.observer.handlers) == [str(tmp_path / "b")]


def test_closing_stops_the_observer(tmp_path: Path) -> None:
    rig = Rig()
    rig.attend(tmp_path)
    running = [rig.observer.running]
    assert rig.watcher.close(None)
    running.append(rig.observer.running)
    assert running == [True, False]
    assert rig.watcher.close(None)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.gcsfuse", "virtiofs"])
def test_where_other_machines_change_files_too_there_is_no_watch_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The kind of file system is the test's invention."""
    rig = Rig()
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.mkdir()
        rig.kinds[str(path)] = kind
        for _ in range(3):
            assert rig.attend(path) == []
        assert rig.watcher.why_not_watched(str(path)) == (
            f"{kind} does not tell of what happens elsewhere"
        )
    assert rig.observer.placed == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{paths[0]} is polled and not watched: {kind}" in caplog.text


def test_each_kind_of_obstacle_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kinds of file systems and the refusal of the system are the test's inventions."""
    rig = Rig()
    for name, kind in (("a", "nfs4"), ("b", "cifs"), ("c", ""), ("d", "nfs4"), ("e", "")):
        (tmp_path / name).mkdir()
        rig.kinds[str(tmp_path / name)] = kind
        rig.observer.error = OSError(28, "inotify watch limit reached")
        rig.attend(tmp_path / name)
    said = [record.getMessage() for record in caplog.records]
    assert ["nfs4" in said[0], "cifs" in said[1], "limit reached" in said[2], len(said)] == [
        *(True, True, True),
        3,
    ]


def test_what_cannot_be_watched_takes_nobody_the_place(tmp_path: Path) -> None:
    """The kind of file system is the test's invention."""
    rig = Rig(limit=1)
    for name, kind in (("far", "nfs4"), ("near", "ext4")):
        (tmp_path / name).mkdir()
        rig.kinds[str(tmp_path / name)] = kind
        rig.attend(tmp_path / name)
    assert rig.watcher.is_watched(str(tmp_path / "near"))


def test_a_place_that_becomes_free_is_taken_by_the_next_that_is_looked_at(tmp_path: Path) -> None:
    rig = Rig(limit=1)
    for name in "ab":
        (tmp_path / name).mkdir()
        rig.attend(tmp_path / name)
    rig.watcher.release(str(tmp_path / "a"))
    assert rig.attend(tmp_path / "b") == [str(tmp_path / "b")]


def test_it_tells_why_a_path_is_not_watched(tmp_path: Path) -> None:
    path = str(tmp_path)
    assert Watcher(0, FakeClock(), ManualPool()).why_not_watched(path) == "watching is turned off"
    unstarted = Watcher(8, FakeClock(), ManualPool())
    assert unstarted.why_not_watched(path) == "events are followed once the source is started"
    rig = Rig(limit=1)
    said = [rig.watcher.why_not_watched(path)]
    rig.watcher.attend(path, None)
    said.append(rig.watcher.why_not_watched(path))
    rig.settle()
    said.append(rig.watcher.why_not_watched(path))
    said.append(rig.watcher.why_not_watched("/elsewhere"))
    assert said == [
        "there is no directory there that could be read",
        "the watch is being placed",
        None,
        "max_watches is 1",
    ]


def test_a_path_with_a_link_in_it_is_watched_but_its_events_do_not_tell_all(tmp_path: Path) -> None:
    (tmp_path / "real" / "m").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    rig = Rig()
    told = []
    for path in (tmp_path / "real" / "m", tmp_path / "link" / "m"):
        told.append(rig.watcher.tells_all(str(path)))
        rig.attend(path)
        told.append(rig.watcher.tells_all(str(path)))
    assert told == [False, True, False, False]
    assert rig.watcher.is_watched(str(tmp_path / "link" / "m"))


def test_closing_does_not_wait_for_a_watch_that_cannot_be_placed_and_is_cleared_up_behind(
    tmp_path: Path,
) -> None:
    """That the storage hangs is simulated by asking for its kind, which hangs."""
    entered, release = threading.Event(), threading.Event()

    def kind_of(path: str) -> str:
        if path == str(tmp_path / "dead"):
            entered.set()
            assert release.wait(WATCHDOG)
        return ""

    clock, observer = FakeClock(), FakeObserver()
    pool = WorkerPool("watch", 1, clock)
    watcher = Watcher(8, clock, pool, lambda: observer, kind_of)
    watcher.start(lambda _: None, lambda _: None, lambda _: None)
    for name in ("well", "dead"):
        (tmp_path / name).mkdir()
        watcher.attend(str(tmp_path / name), None)
    assert entered.wait(WATCHDOG)
    closing = Spawned(lambda: watcher.close(None))
    clock.wait_until_parked(1)
    clock.advance(PATIENCE)
    assert closing.result() is False
    assert observer.running
    release.set()
    assert pool.join(None)
    assert not observer.running


# ---- what the system refuses is tried again --------------------------------------------------


class Refused(Rig):
    """A watcher whose one base path the system has refused to watch. The refusal is the test's invention."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)
        self.observer.error = OSError(28, "inotify watch limit reached")
        self.attend(path)


def test_what_the_system_refuses_is_tried_again_after_a_while_and_status_and_log_say_when(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Refused(tmp_path)
    assert "inotify watch limit reached); it is tried again every 60 s" in caplog.text
    rig.clock.advance(RETRY - 18)
    assert rig.watcher.why_not_watched(rig.path) == (
        "the system refuses ([Errno 28] inotify watch limit reached); it is tried again in 18 s"
    )
    rig.observer.error = None
    assert (rig.attend(tmp_path), rig.watcher.refused_paths()) == ([], set())
    rig.clock.advance(18)
    assert rig.watcher.refused_paths() == {rig.path}
    with caplog.at_level(logging.INFO, logger="servman"):
        assert rig.attend(tmp_path) == [rig.path]
    assert rig.watcher.is_watched(rig.path)
    assert caplog.messages[-1] == f"{rig.path} is watched now"
    assert rig.watcher.next_attempt is None


def test_what_the_system_refuses_again_is_said_once_and_tried_once_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Refused(tmp_path)
    for _ in range(3):
        rig.clock.advance(RETRY)
        assert rig.watcher.refused_paths() == {rig.path}
        assert rig.watcher.next_attempt is None  # until the look that was asked for has succeeded
        assert rig.attend(tmp_path) == []
        assert rig.watcher.next_attempt == rig.clock.monotonic() + RETRY
    assert len(caplog.records) == 1


def test_each_refused_path_has_its_own_time(tmp_path: Path) -> None:
    rig = Refused(tmp_path)
    (tmp_path / "later").mkdir()
    rig.clock.advance(1.0)
    rig.attend(tmp_path / "later")
    rig.clock.advance(RETRY - 1.0)
    assert rig.watcher.refused_paths() == {rig.path}
    assert rig.watcher.next_attempt == rig.clock.monotonic() + 1.0
    rig.clock.advance(1.0)
    assert rig.watcher.refused_paths() == {rig.path, str(tmp_path / "later")}


def test_an_observer_that_cannot_be_started_is_stopped_for_it_holds_what_it_was_made_with(
    tmp_path: Path,
) -> None:
    rig = Rig()
    stopped: list[str] = []

    def fail() -> None:
        raise RuntimeError("can't start new thread")

    rig.observer.start = fail  # type: ignore[method-assign] # the fault
    rig.observer.stop = lambda: stopped.append("stopped")  # type: ignore[method-assign] # as above
    rig.attend(tmp_path)
    assert stopped == ["stopped"]
    assert "can't start new thread" in str(rig.watcher.why_not_watched(str(tmp_path)))


# ---- versions that are not complete ----------------------------------------------------------


class Following(Rig):
    """A watcher of versions in a base path."""

    def __init__(self, base: Path, *names: str, limit: int = 8) -> None:
        super().__init__(limit)
        self.base = base
        self.paths = [str(base / name) for name in names]
        for name in names:
            (base / name).mkdir()

    def follow(self, *paths: str, servable: str = "m", is_deep: bool = False) -> list[str]:
        self.watcher.attend_versions((servable, str(self.base)), dict.fromkeys(paths, is_deep))
        return self.settle()

    def stirred(self) -> list[str]:
        assert self.settle() == []
        stirs, self.stirs[:] = list(self.stirs), []
        return stirs


def test_a_version_is_watched_as_deep_as_it_matters_and_looked_at_once_that_is_in_place(
    tmp_path: Path,
) -> None:
    rig = Following(tmp_path, "1", "2")
    assert rig.follow(rig.paths[0]) == [str(tmp_path)]
    assert rig.follow(rig.paths[1], is_deep=True) == [str(tmp_path)]
    assert rig.observer.deep == [rig.paths[1]]
    assert list(rig.observer.handlers) == [rig.paths[1]]  # the other one is no longer asked for


def test_changes_in_a_version_are_told_once_until_they_have_been_taken_up(tmp_path: Path) -> None:
    rig = Following(tmp_path, "1")
    rig.follow(*rig.paths)
    told = []
    for _ in range(2):
        for name in ("a", "b", "c"):
            event = FileCreatedEvent(f"{rig.paths[0]}/{name}")
            rig.observer.handlers[rig.paths[0]].dispatch(event)
        told.append(len(rig.posted))
        assert rig.stirred() == [str(tmp_path)]
    assert told == [1, 1]


def test_a_version_that_goes_is_followed_by_a_look_at_the_base_path_and_may_come_again(
    tmp_path: Path,
) -> None:
    rig = Following(tmp_path, "1")
    rig.follow(*rig.paths)
    rig.observer.handlers[rig.paths[0]].dispatch(FileCreatedEvent(f"{rig.paths[0]}/a"))
    rig.observer.handlers[rig.paths[0]].dispatch(DirDeletedEvent(rig.paths[0]))
    assert rig.settle() == [str(tmp_path)]
    rig.settle()
    assert rig.observer.handlers == {}
    assert rig.follow(*rig.paths) == [str(tmp_path)]


def test_a_version_is_watched_as_long_as_a_servable_waits_for_it(tmp_path: Path) -> None:
    rig = Following(tmp_path, "1")
    rig.follow(*rig.paths, servable="m")
    rig.follow(*rig.paths, servable="n")
    assert rig.observer.placed == rig.paths
    rig.follow(servable="m")
    assert list(rig.observer.handlers) == rig.paths
    rig.watcher.retain({("m", str(tmp_path))})
    rig.settle()
    assert rig.observer.handlers == {}


def test_versions_count_for_the_limit_and_it_is_told_which_are_beyond(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Following(tmp_path, "1", "2", limit=1)
    rig.follow(*rig.paths)
    assert [rig.watcher.why_version_not_watched(path, False) for path in rig.paths] == [  # noqa: FBT003 -- the key
        None,
        "max_watches is 1",
    ]
    assert f"version {rig.paths[1]} is polled and not watched: max_watches is 1" in caplog.text
    rig.follow(rig.paths[1])
    assert rig.watcher.why_version_not_watched(rig.paths[1], False) is None  # noqa: FBT003 -- as above


def test_a_version_that_the_system_refuses_to_watch_is_tried_again(tmp_path: Path) -> None:
    """The refusal is the test's invention."""
    rig = Following(tmp_path, "1")
    rig.observer.error = OSError(28, "inotify watch limit reached")
    assert rig.follow(*rig.paths) == []
    rig.observer.error = None
    assert rig.follow(*rig.paths) == []
    rig.clock.advance(RETRY)
    assert rig.watcher.refused_paths() == {str(tmp_path)}
    assert rig.follow(*rig.paths) == [str(tmp_path)]


def test_a_base_path_that_is_a_version_of_another_is_watched_as_both(tmp_path: Path) -> None:
    native = native_observer()
    watcher = Watcher(8, FakeClock(), CallingThread(), lambda: native)
    looks: queue.SimpleQueue[str] = queue.SimpleQueue()
    watcher.start(lambda event: event(), looks.put, looks.put)
    version = tmp_path / "1"
    version.mkdir()
    watcher.attend(str(version), None)
    watcher.attend_versions(("m", str(tmp_path)), {str(version): False})
    assert [looks.get(timeout=WATCHDOG) for _ in range(2)] == [str(version), str(tmp_path)]
    watcher.attend_versions(("m", str(tmp_path)), {})
    (version / "7").mkdir()
    assert looks.get(timeout=WATCHDOG) == str(version)
    assert watcher.close(None)
