from __future__ import annotations

import os
from pathlib import Path

import pytest

from servman.adapters.directory import VersionDirectory
from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.ids import ServableId

M1 = ServableId("m", 1)


@pytest.fixture
def files(tmp_path: Path) -> VersionDirectory:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 10)
    (tmp_path / "variables" / "data").write_bytes(b"y" * 32)
    return VersionDirectory(M1, str(tmp_path))


@pytest.mark.parametrize("path", ["", None, 3, b"/m/1"])
def test_a_path_is_a_text(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="m:1: not the path"):
        VersionDirectory(M1, path)


def test_the_size_counts_all_files_in_all_folders(files: VersionDirectory) -> None:
    assert files.size() == 42


def test_the_revision_stays_while_nothing_changes(files: VersionDirectory) -> None:
    assert files.revision() == files.revision()


def test_the_revision_tells_of_a_new_file(files: VersionDirectory) -> None:
    before = files.revision()
    Path(files.join("assets")).touch()
    assert files.revision() != before


def test_the_revision_tells_of_a_new_name(files: VersionDirectory) -> None:
    before = files.revision()
    Path(files.join("variables/data")).rename(files.join("variables/datb"))
    assert files.revision() != before


def test_the_revision_tells_of_a_new_size(files: VersionDirectory) -> None:
    data = Path(files.join("variables/data"))
    before, times = files.revision(), data.stat()
    data.write_bytes(b"y" * 33)
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files.revision() != before


def test_the_revision_tells_of_a_change_by_its_time_alone(files: VersionDirectory) -> None:
    data = Path(files.join("variables/data"))
    before, times = files.revision(), data.stat()
    os.utime(data, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000))
    assert files.revision() != before


def test_links_are_followed_and_circles_end(files: VersionDirectory, tmp_path: Path) -> None:
    Path(files.join("again")).symlink_to(tmp_path)
    Path(files.join("variables/up")).symlink_to(tmp_path)
    Path(files.join("linked.pb")).symlink_to(files.join("saved_model.pb"))
    assert files.size() == 52


def test_a_link_to_nowhere_counts_nothing_and_is_a_name(files: VersionDirectory) -> None:
    before = files.revision()
    Path(files.join("lost")).symlink_to("nowhere")
    assert files.size() == 42
    assert files.revision() != before


def test_a_missing_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    files = VersionDirectory(M1, str(tmp_path / "absent"))
    for call in (files.size, files.revision):
        with pytest.raises(NotFoundError, match=r"m:1: .*/absent does not exist; copy the whole"):
            call()


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    with pytest.raises(FailedPreconditionError, match=r"m:1: cannot read .*Not a directory"):
        VersionDirectory(M1, str(tmp_path / "1")).size()
