from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from servman.ids import ServableId
from servman.workers.logs import TAIL, LogFile, LogPipe, log_name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("m", "m-1-0.log"),
        ("größer_als.2", "größer_als.2-1-0.log"),
        ("a/b c", "a%2Fb%20c-1-0.log"),
        ("..", "..-1-0.log"),
    ],
)
def test_a_log_is_named_after_its_worker_with_what_is_unsafe_quoted(name: str, file: str) -> None:
    assert log_name(ServableId(name, 1), 0) == file


@pytest.fixture
def pipe() -> Iterator[LogPipe]:
    log = LogPipe()
    yield log
    log.close()


def test_a_line_is_read_when_it_is_finished(pipe: LogPipe) -> None:
    os.write(pipe.child_fd, b"one\ntw")
    assert pipe.read_lines() == ["one"]
    assert pipe.read_lines() == []
    os.write(pipe.child_fd, b"o\r\n\nthree")
    assert pipe.read_lines() == ["two", ""]


def test_at_the_end_the_rest_is_a_line(pipe: LogPipe) -> None:
    os.write(pipe.child_fd, b"rest")
    pipe.started()
    assert pipe.read_lines() == ["rest"]
    assert pipe.read_lines() is None


def test_what_is_no_text_is_read_all_the_same(pipe: LogPipe) -> None:
    os.write(pipe.child_fd, b"\xff\n")
    assert pipe.read_lines() == ["\ufffd"]


def test_a_line_without_an_end_fills_no_memory(pipe: LogPipe) -> None:
    longest = 0
    for _ in range(8):
        os.write(pipe.child_fd, b"x" * 30_000)
        longest = max([longest, *map(len, pipe.read_lines() or ())])
    assert longest == 90_000


def test_the_tail_is_the_last_of_it_and_takes_no_line_away(pipe: LogPipe) -> None:
    os.write(pipe.child_fd, b"first\n" + b"x" * TAIL)
    assert pipe.tail() == "x" * TAIL
    assert pipe.read_lines() == ["first"]


def test_a_file_quotes_what_was_written_since_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    for word in (b"one\n", b"two\n"):
        log = LogFile(str(path))
        os.write(log.child_fd, word)
        log.started()
        assert log.tail() == word.decode()
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_that_was_taken_away_or_cut_off_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    log = LogFile(str(path))
    path.write_bytes(b"")
    os.write(log.child_fd, b"after\n")
    log.close()
    assert log.tail() == "after\n"
    path.unlink()
    assert "the log cannot be read" in log.tail()
