"""What is refused, and with which words."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from servman import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServableId,
    publish_version,
)
from tests.unit.publishing.steps import CONTENT, names, read_content, refusing


def test_a_source_that_is_missing_is_named(base: Path) -> None:
    with pytest.raises(NotFoundError, match=f"'m': there is no {base.parent / 'gone'} to publish"):
        publish_version(base.parent / "gone", base)
    assert names(base) == []


def test_a_source_that_is_a_file_is_refused(source: Path, base: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="weights is not a directory"):
        publish_version(source / "weights", base)


def test_a_source_without_a_file_is_refused(base: Path) -> None:
    (base.parent / "nothing" / "in" / "here").mkdir(parents=True)
    with pytest.raises(FailedPreconditionError, match=r"there is no file in .*nothing"):
        publish_version(base.parent / "nothing", base)
    assert names(base) == []


def test_a_base_path_that_is_missing_is_named_with_the_remedy_and_not_made(
    source: Path, base: Path
) -> None:
    with pytest.raises(NotFoundError, match=f"{base / 'x'} does not exist; create it"):
        publish_version(source, base / "x")
    assert names(base) == []


def test_a_base_path_is_made_when_that_is_asked_for(source: Path, base: Path) -> None:
    assert publish_version(source, base / "x" / "y", create=True) == ServableId("y", 1)
    assert read_content(base / "x" / "y" / "1") == CONTENT
    assert publish_version(source, base / "x" / "y", create=True) == ServableId("y", 2)


def test_a_base_path_that_is_a_file_is_refused(source: Path, base: Path) -> None:
    (base / "file").touch()
    with pytest.raises(FailedPreconditionError, match=r"m/file cannot be read \(Not a directory\)"):
        publish_version(source, base / "file")


@pytest.mark.parametrize("inside", [".", "assets"])
def test_a_base_path_in_the_source_is_refused(inside: str, source: Path) -> None:
    (source.parent / "link").symlink_to(source)
    with pytest.raises(InvalidArgumentError, match="is in the source"):
        publish_version(source, source.parent / "link" / inside)
    assert read_content(source) == CONTENT


@pytest.mark.parametrize(
    ("version", "name"), [(-1, None), (2**63, None), (True, None), (1, "a:b"), (1, "")]
)
def test_a_name_or_number_that_can_never_be_right_is_refused(
    version: int, name: str | None, source: Path, base: Path
) -> None:
    with pytest.raises(InvalidArgumentError):
        publish_version(source, base, version, name=name)
    assert names(base) == []


def test_a_link_to_nowhere_is_named(source: Path, base: Path) -> None:
    (source / "assets" / "lost").symlink_to("nowhere")
    with pytest.raises(FailedPreconditionError, match="assets/lost has vanished, or is a link"):
        publish_version(source, base)
    assert names(base) == []


@pytest.mark.parametrize("target", [".", "..", "../assets"])
def test_a_link_that_leads_back_is_named(target: str, source: Path, base: Path) -> None:
    (source / "assets" / "round").symlink_to(target)
    with pytest.raises(FailedPreconditionError, match="round is a link that leads back"):
        publish_version(source, base)
    assert names(base) == []


def test_a_pipe_is_refused_and_not_waited_for(source: Path, base: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(FailedPreconditionError, match="pipe is neither a file nor a directory"):
        publish_version(source, base)


def test_a_socket_is_refused(source: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        with pytest.raises(FailedPreconditionError, match="socket is neither"):
            publish_version(source, base)


def test_a_file_that_may_not_be_read_is_named(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "open", errno.EACCES, f"{source}/weights")  # root may read everything
    with pytest.raises(FailedPreconditionError, match="weights may not be read by this process"):
        publish_version(source, base)
    assert names(base) == []


def test_a_base_path_that_may_not_be_written_is_named(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "mkdir", errno.EROFS)
    with pytest.raises(FailedPreconditionError, match=r"may not write .*/m/.*grant it write permi"):
        publish_version(source, base)
    assert names(base) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_path_and_remedy_and_nothing_is_left(
    number: int, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "fsync", number, "tree/weights")
    with pytest.raises(ResourceExhaustedError) as raised:
        publish_version(source, base)
    assert "servable 'm': no space left to write" in str(raised.value)
    assert "/tree/weights" in str(raised.value)
    assert "free space on that file system" in str(raised.value)
    assert names(base) == []
