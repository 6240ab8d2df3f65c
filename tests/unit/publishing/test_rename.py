"""A rename into place replaces nothing."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from servman.publishing import rename
from tests.unit.publishing.steps import CONTENT, read_content


@pytest.fixture(params=["at once", "look first", "unknown to the file system"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "look first":
        monkeypatch.setattr(rename, "_renameat2", lambda: None)
    if request.param == "unknown to the file system":

        def unknown(*_: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

        monkeypatch.setattr(rename, "_renameat2", lambda: unknown)
    return str(request.param)


@pytest.mark.parametrize(
    "there", ["an empty directory", "a directory", "a file", "a link to nowhere"]
)
def test_a_rename_replaces_nothing(there: str, way: str, source: Path, base: Path) -> None:
    target = base / "1"
    if there == "a file":
        target.touch()
    elif there == "a link to nowhere":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
        if there == "a directory":
            (target / "file").touch()
    before = target.lstat()
    with pytest.raises(FileExistsError):
        rename.rename_new(source, target)
    assert target.lstat() == before
    assert read_content(source) == CONTENT


def test_a_rename_to_a_free_name_moves_the_directory(way: str, source: Path, base: Path) -> None:
    rename.rename_new(source, base / "1")
    assert read_content(base / "1") == CONTENT
    assert not source.exists()


def test_what_else_is_wrong_with_a_rename_is_raised_as_it_is(way: str, base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rename.rename_new(base / "gone", base / "1")


@pytest.mark.parametrize("there", ["directory", "file"])
def test_what_comes_between_the_look_and_the_rename_is_not_replaced_if_it_has_content(
    there: str, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rename, "_renameat2", lambda: None)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    (base / "1").mkdir() if there == "directory" else (base / "1").touch()
    if there == "directory":
        (base / "1" / "file").touch()
    with pytest.raises(FileExistsError):
        rename.rename_new(source, base / "1")
    assert read_content(source) == CONTENT
