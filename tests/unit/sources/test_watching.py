from __future__ import annotations

from pathlib import Path

from servman.flow import connect
from servman.sources import FileSystemStoragePathSource, ServableToMonitor
from servman.sources.watcher import Watcher
from servman.testing import FakeClock, ManualPool, RecordingTarget
from tests.unit.sources.rig import FakeObserver


class Rig:
    """A source that watches, on real base paths, without threads: it polls only when told."""

    def __init__(self, *paths: Path) -> None:
        clock = FakeClock()
        self.observer = FakeObserver()
        self.watches = ManualPool()
        watcher = Watcher(8, clock, self.watches, lambda: self.observer)
        self.target = RecordingTarget[str]()
        self.source = FileSystemStoragePathSource(
            [ServableToMonitor(path.name, str(path)) for path in paths],
            poll_interval=-1.0,
            clock=clock,
            watcher=watcher,
        )
        connect(self.source, self.target)
        watcher.start(self.source._actor.post, self.source._actor.look_at_path)

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
