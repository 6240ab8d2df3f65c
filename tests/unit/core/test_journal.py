"""The history in a file and in the log: whole, in order, and no burden to anybody when the disk fails."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.core import journal as module
from servman.core.journal import AppendedFile, Journal
from servman.core.transition import Transition
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.core.rig import Rig


class Bench:
    """A journal that writes to a file in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.path = folder / "logs" / "history.jsonl"
        self.path.parent.mkdir()
        self.journal = Journal(str(self.path), self.clock)
        self.posted = 0

    def post(self, count: int = 1) -> None:
        """Post so many transitions, numbered on."""
        for number in range(self.posted, self.posted + count):
            self.journal.post(lambda number=number: Transition(float(number), "START"))  # type: ignore[misc] # bound
        self.posted += count

    def flush(self) -> None:
        """Return when all that was posted was written, or dropped."""
        written = threading.Event()
        self.journal._queue.put(lambda: written.set() or Transition(-1.0, "FLUSH"))  # type: ignore[func-returns-value] # one line
        assert written.wait(WATCHDOG)
        again = threading.Event()  # the thread has come back for more
        self.journal._queue.put(lambda: again.set() or Transition(-1.0, "FLUSH"))  # type: ignore[func-returns-value] # one line
        assert again.wait(WATCHDOG)

    def lines(self, path: Path | None = None) -> list[dict[str, Any]]:
        text = (path or self.path).read_text()
        assert text.endswith("\n")
        read = [json.loads(line) for line in text.splitlines() if line]
        return [line for line in read if line["event"] != "FLUSH"]

    def told(self, path: Path | None = None) -> list[int]:
        """Return the number of each line; of a gap, minus the number of lines that it tells to be missing."""
        return [
            -line["lines"] if line["event"] == "DROPPED" else int(line["time"])
            for line in self.lines(path)
        ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close(None)


def test_what_is_posted_after_closing_is_not_kept(bench: Bench) -> None:
    bench.journal.start()
    bench.post()
    bench.journal.close(None)
    bench.post()
    assert bench.journal._queue.empty()
    assert bench.told() == [0]


def test_each_transition_is_a_line_of_json_in_the_order_of_posting(bench: Bench) -> None:
    bench.journal.start()
    bench.journal.start()
    bench.post(2_500)
    bench.journal.close(None)
    assert bench.told() == list(range(2_500))


def test_what_was_posted_before_the_start_is_written_after_it(bench: Bench) -> None:
    bench.post(3)
    bench.journal.start()
    bench.journal.close(None)
    bench.journal.close(None)
    assert bench.told() == [0, 1, 2]


def test_a_journal_that_was_never_started_is_closed_at_once(bench: Bench) -> None:
    bench.post()
    bench.journal.close(None)
    assert not bench.path.exists()


def test_lines_are_appended_to_what_is_there(bench: Bench) -> None:
    bench.path.write_text('{"event": "OLD", "time": 7}\n')
    bench.journal.start()
    bench.post()
    bench.journal.close(None)
    assert bench.told() == [7, 0]


@pytest.mark.parametrize("how", ["rename", "unlink"])
def test_a_file_that_was_moved_away_or_removed_is_begun_anew(bench: Bench, how: str) -> None:
    bench.journal.start()
    bench.post()
    bench.flush()
    rotated = bench.path.with_suffix(".1")
    if how == "rename":
        bench.path.rename(rotated)
    else:
        bench.path.unlink()
    bench.post()
    bench.journal.close(None)
    assert bench.told() == [1]
    if how == "rename":
        assert bench.told(rotated) == [0]


def test_a_folder_that_is_gone_is_logged_once_and_the_next_line_tells_what_is_missing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.path.parent.rmdir()
    bench.journal.start()
    for _ in range(3):
        bench.post(2)
        bench.flush()
    bench.path.parent.mkdir()
    bench.post()
    bench.journal.close(None)
    *before, last = bench.told()
    assert last == 6
    missing = -sum(before)
    assert missing in (6 + 4, 6 + 5, 6 + 6)  # with the flushes, as far as they were lost
    logged = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(logged) == 1
    assert f"history file {bench.path} cannot be written" in logged[0]


class Full:
    """A file on a disk that takes so many bytes, and no more."""

    def __init__(self, path: str, room: int) -> None:
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115, PTH123 -- closed below
        self.room = room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


def test_a_line_torn_by_a_full_disk_spoils_no_other_and_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [170, 0]

    def opened(path: str, *_: object, **__: object) -> Full:
        return Full(path, rooms.pop(0) if rooms else 10_000)

    monkeypatch.setattr(module, "open", opened, raising=False)
    file = AppendedFile(str(bench.path))
    journal = bench.journal
    journal._file = file
    lines = [Transition(float(number), "START") for number in range(4)]  # of 49 bytes
    renders = [lambda line=line: line for line in lines]
    journal._write(renders)
    assert bench.path.read_text().count("\n") == 3
    journal._write(renders[:2])  # there is still no room
    journal._write(renders[1:])
    file.close()
    texts = bench.path.read_text().splitlines()
    with pytest.raises(json.JSONDecodeError):
        json.loads(texts[3])
    after = [json.loads(text) for text in texts[4:]]
    assert [one["event"] for one in after] == ["DROPPED", "START", "START", "START"]
    assert (after[0]["lines"], after[0]["text"]) == (3, "3 lines are missing here")


def test_more_lines_than_a_slow_disk_can_take_are_dropped_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_QUEUED", 5)
    entered, let_go = threading.Event(), threading.Event()

    def stuck() -> Transition:
        entered.set()
        assert let_go.wait(WATCHDOG)
        return Transition(100.0, "START")

    bench.journal.start()
    bench.journal.post(stuck)
    assert entered.wait(WATCHDOG)
    bench.post(8)
    let_go.set()
    bench.journal.close(None)
    # The gap is told with the first line that is written after it.
    assert bench.told() == [-3, 100, 0, 1, 2, 3, 4]


def test_closing_leaves_a_disk_that_hangs_at_the_deadline_and_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hang() -> Transition:
        entered.set()
        assert let_go.wait(WATCHDOG)
        return Transition(0.0, "START")

    bench.journal.start()
    bench.journal.post(hang)
    assert entered.wait(WATCHDOG)
    Spawned(lambda: bench.journal.close(bench.clock.monotonic())).result()
    assert f"history file {bench.path} hangs, and is left behind" in caplog.text
    let_go.set()


def test_a_line_that_cannot_be_made_harms_no_later_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Transition:
        raise ValueError("no words")

    bench.journal.start()
    bench.journal.post(broken)
    bench.post()
    bench.journal.close(None)
    assert bench.told() == [-1, 0]
    assert "a line of the history could not be made" in caplog.text


def test_text_that_is_no_unicode_is_written_all_the_same(bench: Bench) -> None:
    bench.journal.start()
    bench.journal.post(lambda: Transition(0.0, "END", error="\udc80 é", facts={"what": {1}}))
    bench.journal.close(None)
    (line,) = bench.lines()
    assert (line["error"], line["what"]) == ("\udc80 é", "{1}")


# ---- the log ---------------------------------------------------------------------------------


def test_the_log_gets_the_same_lines_where_somebody_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal(None, FakeClock())
    with caplog.at_level(logging.INFO, "servman.history"):
        journal.post(lambda: Transition(1.0, "START", "m", 1))
        journal.start()
        journal.close(None)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("servman.history", logging.INFO)
    assert json.loads(record.getMessage()) == Transition(1.0, "START", "m", 1).as_dict()


def test_without_a_file_and_a_listener_nothing_is_queued() -> None:
    journal = Journal(None, FakeClock())
    journal.post(lambda: Transition(1.0, "START"))
    assert journal._queue.empty()


# ---- in a core -------------------------------------------------------------------------------


def test_a_core_writes_its_history_down_to_the_last_end(rig: Rig) -> None:
    path = rig.folder / "history.jsonl"
    core = rig.build(history_file=str(path))
    core._stages.journal.start()
    core._started = True
    rig.bring(1)
    assert Spawned(core.close).result()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        *("CONFIG", "ASPIRED", "START", "LOADING", "AVAILABLE", "ASPIRED", "UNLOADING", "END")
    ]
    assert [one.as_dict() for one in core.history()] == lines
