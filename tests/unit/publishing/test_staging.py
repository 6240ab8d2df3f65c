"""What killed publishers have left is removed, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
from io import FileIO
from pathlib import Path

import pytest

from servman import (
    FailedPreconditionError,
    ServableId,
    publish_version,
)
from servman.publishing import staging
from tests.unit.publishing.steps import CONTENT, names, read_content, refusing, write_source


@pytest.mark.parametrize("has_lock", [False, True])
def test_what_a_dead_publisher_left_is_removed(has_lock: bool, source: Path, base: Path) -> None:
    left = base / ".3.publishing-ab"
    write_source(left / "tree")
    (left / "tree").chmod(0o500)
    if has_lock:
        (left / "lock").touch()
    write_source(base / f".discarded-{'ab' * 16}")
    assert publish_version(source, base, 3) == ServableId("m", 3)
    assert names(base) == ["3"]
    assert read_content(base / "3") == CONTENT


@pytest.mark.parametrize(
    "name",
    [".3.publishing", ".x.publishing-ab", ".3.publishing-ab.txt", ".3", ".discarded-models"],
)
def test_what_is_not_certainly_a_publishers_is_left_alone(
    name: str, source: Path, base: Path
) -> None:
    (base / name).mkdir()
    publish_version(source, base, 3)
    assert names(base) == [name, "3"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF])
def test_where_the_file_system_has_no_locks_nothing_is_taken_for_left_behind(
    number: int, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = base / ".3.publishing-ab"
    left.mkdir()
    (left / "lock").touch()

    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert publish_version(source, base).version == 4
    with pytest.raises(FailedPreconditionError, match=f"in {left}.*if no publisher is at work"):
        publish_version(source, base, 3)
    assert names(base) == [left.name, "4"]


def test_what_belongs_to_another_user_is_not_taken_for_left_behind(
    source: Path, base: Path, living: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def refuse(self: Path, *rest: object, **more: object) -> object:
        if self == living / "lock":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    assert publish_version(source, base).version == 8
    assert living.exists()


def test_what_cannot_be_removed_is_named_and_in_nobodys_way(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    discarded = f".discarded-{'ab' * 16}"
    (base / discarded).mkdir()
    refusing(monkeypatch, "rmdir", errno.EACCES, discarded)
    assert publish_version(source, base, 1).version == 1
    assert f"{base / discarded} could not be removed; remove it by hand" in caplog.text


@pytest.mark.parametrize("has_lock", [False, True])
def test_nobody_comes_to_own_what_is_being_removed(
    has_lock: bool, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that has made its directory, and perhaps the lock in it, but has not locked that yet."""
    new = base / ".3.publishing-ab"
    new.mkdir()
    lock = (new / "lock").open("xb", buffering=0) if has_lock else None
    set_aside, owned = staging._set_aside, []

    def go_on_with_it(path: Path) -> Path:
        if path == new:
            owned.append(staging._lock(lock, exclusive=True) if lock else staging._own(new))
        return set_aside(path)

    monkeypatch.setattr(staging, "_set_aside", go_on_with_it)
    assert publish_version(source, base, 3) == ServableId("m", 3)
    assert owned == [False if has_lock else None]
    if lock is not None:
        lock.close()


def test_who_has_just_made_the_lock_is_left_alone(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = base / ".3.publishing-ab"
    new.mkdir()
    open_ = Path.open
    owners: list[int] = []

    def be_quicker(path: Path, mode: str = "r", buffering: int = -1) -> object:
        if path == new / "lock" and mode == "xb" and not owners:
            owners.append(os.open(path, os.O_CREAT | os.O_RDWR))
            fcntl.flock(owners[0], fcntl.LOCK_EX)
        return open_(path, mode, buffering)

    monkeypatch.setattr(Path, "open", be_quicker)
    assert publish_version(source, base).version == 4
    assert names(base) == [new.name, "4"]
    os.close(owners[0])


def test_a_staging_that_was_taken_for_left_behind_is_made_anew(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = staging._own, []

    def robbed(path: Path) -> object:
        calls.append(path)
        if len(calls) == 1:
            staging.remove(staging._set_aside(path))
        return real(path)

    monkeypatch.setattr(staging, "_own", robbed)
    assert publish_version(source, base).version == 1
    assert len(calls) == 2
    assert names(base) == ["1"]


def test_a_staging_that_is_taken_away_before_it_is_locked_is_made_anew(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = staging._lock
    robbed: list[Path] = []

    def be_slower(file: FileIO, *, exclusive: bool) -> bool | None:
        if not robbed:
            robbed.append(Path(str(file.name)).parent)
            staging.remove(staging._set_aside(robbed[0]))
        return real(file, exclusive=exclusive)

    monkeypatch.setattr(staging, "_lock", be_slower)
    assert publish_version(source, base).version == 1
    assert names(base) == ["1"]
