"""What is published is what the source was, and on the disk."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import pytest

from servman import (
    DataLossError,
    FailedPreconditionError,
    publish_version,
)
from servman.publishing import copy, publication, rename
from tests.unit.publishing.steps import CONTENT, names, refusing

# ---- a source that changes -----------------------------------------------------------------------


def meddle(source: Path, what: str) -> None:
    weights = source / "weights"
    if what == "added":
        (source / "assets" / "late").touch()
    elif what == "vanished":
        weights.unlink()
    elif what == "grown":
        weights.write_bytes(b"w" * 101)
    elif what == "replaced":
        (source / "other").write_bytes(b"v" * 100)
        (source / "other").rename(weights)
    else:
        before = weights.stat()
        weights.write_bytes(b"v" * 100)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "what", ["added", "vanished", "grown", "replaced", "rewritten, time set back"]
)
@pytest.mark.parametrize("when", [0, 50])
def test_a_source_that_changes_while_it_is_copied_is_not_published(
    what: str, when: int, source: Path, base: Path
) -> None:
    done_it: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= when and not done_it:
            done_it.append(done)
            meddle(source, what)

    with pytest.raises(FailedPreconditionError, match=r"has changed|has vanished"):
        publish_version(source, base, progress=progress)
    assert done_it
    assert names(base) == []


def test_a_file_that_keeps_growing_ends_all_the_same(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "_CHUNK", 10)

    def grow(done: int, total: int) -> None:
        assert done <= total == 105
        with (source / "weights").open("ab") as file:
            file.write(b"w" * 20)

    with pytest.raises(FailedPreconditionError, match="weights has changed"):
        publish_version(source, base, progress=grow)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(source: Path, base: Path) -> None:
    def swap(done: int, total: int) -> None:
        if done == 0:
            (source / "weights").unlink(missing_ok=True)
            os.mkfifo(source / "weights")

    with pytest.raises(FailedPreconditionError, match="weights is neither a file nor a directory"):
        publish_version(source, base, progress=swap)
    assert names(base) == []


@pytest.mark.parametrize("damage", [b"x" * 100, b"w" * 99, None])
def test_a_copy_that_reads_back_otherwise_is_not_published(
    damage: bytes | None, source: Path, base: Path
) -> None:
    def spoil(done: int, total: int) -> None:
        if done == total // 2:
            (weights,) = base.glob(".1.publishing-*/tree/weights")
            weights.unlink() if damage is None else weights.write_bytes(damage)

    with pytest.raises(DataLossError, match="weights reads back other than it was"):
        publish_version(source, base, progress=spoil)
    assert names(base) == []


# ---- the disk ------------------------------------------------------------------------------------


def test_everything_is_on_the_disk_before_the_rename_and_the_base_path_after_it(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename_new = os.fsync, rename.rename_new

    def note(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        inside = place.parts[place.parts.index("tree") + 1 :] if "tree" in place.parts else None
        done.append(str(place) if inside is None else "/".join(inside))
        fsync(descriptor)

    def move(tree: Path, target: Path) -> None:
        done.append("rename")
        rename_new(tree, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(publication, "rename_new", move)
    publish_version(source, base)
    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert sorted(before) == sorted([*CONTENT, "", "assets", "empty"])
    assert before.index("assets") > before.index("assets/words")
    assert before[-1] == ""
    assert after == [str(base)]


def test_a_base_path_that_was_made_is_on_the_disk_too(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(publication, "sync_directory", synced.append)
    publish_version(source, base / "x" / "y", create=True)
    assert synced == [base / "x", base, base / "x" / "y"]


def test_a_file_system_that_does_not_sync_directories_will_do(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert publish_version(source, base).version == 1


def test_a_file_system_without_permission_bits_will_do(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "chmod", errno.EPERM)
    refusing(monkeypatch, "fchmod", errno.EPERM)
    assert publish_version(source, base).version == 1


def test_a_version_that_is_seen_counts_though_the_base_path_cannot_be_synced(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(publication, "sync_directory", fail)
    with caplog.at_level(logging.WARNING):
        assert publish_version(source, base).version == 1
    assert "was published, but may not survive a power failure: [Errno 5]" in caplog.text


def test_a_disk_that_takes_a_part_of_what_it_is_given_is_given_the_rest() -> None:
    class Slow:
        taken = b""

        def write(self, data: memoryview) -> int:
            self.taken += bytes(data[:3])
            return len(data[:3])

    slow = Slow()
    copy._write_all(slow, b"0123456789")  # type: ignore[arg-type] # all of a file that is used
    assert slow.taken == b"0123456789"
