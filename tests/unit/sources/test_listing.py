from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from servman.sources import listing
from servman.sources.listing import RELISTED, SETTLED, Listings
from servman.sources.look import list_directory
from servman.sources.mounts import Mount
from servman.testing import FakeClock


def wait_for_another_time(base: Path) -> None:
    """Wait for the tick of the file system's clock after which a change is told from the last; some ms."""
    probe = base.parent / "probe"
    while True:
        probe.touch()
        if probe.stat().st_ctime_ns != base.stat().st_ctime_ns:
            return
        probe.unlink()


class Rig:
    """Lists a real directory, by a fake clock, on a file system of a kind that the test names."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "ext4") -> None:
        self.base = base
        self.clock = FakeClock()
        self.listed = 0
        device = base.stat().st_dev
        self.mounts = [Mount(1, (os.major(device), os.minor(device)), "/", kind)]
        self.reads = 0
        self.listings = Listings(self.clock, self.read_mounts)
        monkeypatch.setattr(listing, "list_directory", self.read)

    def read(self, base_path: str) -> list[tuple[str, bool]]:
        self.listed += 1
        return list_directory(base_path)

    def read_mounts(self) -> list[Mount]:
        self.reads += 1
        return self.mounts

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.listings(str(self.base)))

    def settle(self) -> None:
        """Let it be listed when the time of change is settled; then nothing has been listed."""
        self.names()
        self.clock.advance(SETTLED)
        wait_for_another_time(self.base)
        self.names()
        self.listed = 0


def test_what_has_settled_and_not_changed_is_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "a file").touch()
    rig = Rig(tmp_path, monkeypatch)
    rig.settle()
    assert rig.names() == ["1", "a file"]
    assert rig.listed == 0


def test_it_is_listed_each_time_until_no_other_change_can_bear_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    for step in (0.0, SETTLED - 0.1, 0.1):
        rig.clock.advance(step)
        rig.names()
    assert rig.listed == 3
    rig.names()
    assert rig.listed == 3


def test_what_comes_and_goes_and_is_renamed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1").mkdir()
    rig = Rig(tmp_path, monkeypatch)
    rig.settle()
    (tmp_path / "2").mkdir()
    assert rig.names() == ["1", "2"]
    (tmp_path / "1").rmdir()
    assert rig.names() == ["2"]
    (tmp_path / "2").rename(tmp_path / "3")
    assert rig.names() == ["3"]


def test_a_program_that_sets_the_time_of_modification_back_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.settle()
    before = tmp_path.stat()
    (tmp_path / "1").mkdir()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tmp_path.stat().st_mtime_ns == before.st_mtime_ns
    assert rig.names() == ["1"]


def test_a_directory_put_in_the_place_of_another_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, other = tmp_path / "m", tmp_path / "other"
    base.mkdir()
    (other / "1").mkdir(parents=True)
    rig = Rig(base, monkeypatch)
    rig.settle()
    base.rename(tmp_path / "old")
    other.rename(base)
    assert rig.names() == ["1"]


@pytest.mark.parametrize("what", ["st_dev", "st_ino", "st_ctime_ns"])
def test_it_is_listed_when_anything_of_its_appearance_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What the system says of the directory is the test's invention."""
    rig = Rig(tmp_path, monkeypatch)
    said = {"st_dev": tmp_path.stat().st_dev, "st_ino": 2, "st_ctime_ns": 3}
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda _: SimpleNamespace(**said))
        rig.names()
        rig.clock.advance(SETTLED)
        rig.names()
        rig.names()
        assert rig.listed == 2
        said[what] += 1
        rig.names()
        assert rig.listed == 3


def test_it_is_listed_after_a_minute_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.settle()
    rig.clock.advance(RELISTED)
    rig.names()
    assert rig.listed == 1


@pytest.mark.parametrize("kind", ["nfs4", "fuse.gcsfuse", "vfat", ""])
def test_where_the_time_of_change_does_not_tell_it_is_listed_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The kind of file system is the test's invention."""
    rig = Rig(tmp_path, monkeypatch, kind)
    rig.settle()
    rig.names()
    assert rig.listed == 1


def test_what_a_link_that_could_be_a_version_leads_to_is_looked_at_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "m"
    base.mkdir()
    (base / "1").symlink_to(tmp_path / "target")
    rig = Rig(base, monkeypatch)
    rig.settle()
    assert dict(rig.listings(str(base))) == {"1": False}
    (tmp_path / "target").mkdir()
    assert dict(rig.listings(str(base))) == {"1": True}
    (tmp_path / "target").rmdir()
    assert dict(rig.listings(str(base))) == {"1": False}


def test_mounts_are_read_once_for_many_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch, "nfs4")
    rig.settle()
    for _ in range(10):
        rig.names()
    assert rig.listed == 10
    assert rig.reads == 1


def test_what_is_no_longer_in_use_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    rig.settle()
    rig.listings.retain({"/elsewhere"})
    rig.names()
    assert rig.listed == 1


def test_a_base_path_that_is_missing_or_a_file_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "m"
    base.mkdir()
    rig = Rig(base, monkeypatch)
    rig.settle()
    base.rmdir()
    with pytest.raises(FileNotFoundError):
        rig.names()
    base.touch()
    with pytest.raises(NotADirectoryError):
        rig.names()
