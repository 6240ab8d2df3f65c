"""The history as lines of JSON: in a file, and in the log."""

from __future__ import annotations

import collections
import json
import logging
import os
import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from servman.core.transition import Transition
from servman.log import Log
from servman.threads import join, spawn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO

    from servman.clock import Clock
    from servman.threads import Thread

_log = Log(__name__)
_history = Log("servman.history")
_level = logging.getLogger("servman.history").getEffectiveLevel

MOST_QUEUED: Final = 10_000
"""Lines that may wait for a disk; more are dropped, and counted."""

_BATCH: Final = 1_000

Render = Callable[[], Transition]
"""Makes what is to be written. It is called on the journal's thread: whoever posts pays for no text."""


@final
class Journal:
    """Writes transitions down, in the order in which they were posted, on a thread of its own.

    1. Each is a line of JSON, appended to the file, if there is one, and logged at INFO by the logger
       "servman.history".
    2. A disk that is full, slow or gone harms nobody. What could not be written is dropped; that is logged once,
       and the next line that can be written tells how many are missing.
    3. A file that was moved away or removed, as logrotate does, is begun anew.

    Args:
        path: The file; None for the log alone.
        clock: The time.

    Threads: any.
    """

    def __init__(self, path: str | None, clock: Clock) -> None:
        self._clock = clock
        self._file = None if path is None else AppendedFile(path)
        self._queue: queue.SimpleQueue[Render | None] = queue.SimpleQueue()
        self._closing = False
        self._thread: Thread | None = None
        self._overflow = 0  # lines that found the queue full; written by who posts
        # The thread's own: how many of those it has seen, how many the file lacks, whether it fails.
        self._seen = 0
        self._missing = 0
        self._failing = False

    def start(self) -> None:
        """Start writing. Starting twice does nothing."""
        if self._thread is None:
            self._thread = spawn("history", self._run, owner=self)

    def post(self, render: Render) -> None:
        """Write a line, some time; not after `close`. Never blocks.

        Threads: one at a time.
        """
        # The level is asked for in a way that takes no lock of the logging package's.
        if self._closing or (self._file is None and _level() > logging.INFO):
            return
        if self._queue.qsize() < MOST_QUEUED:
            self._queue.put(render)
        else:
            self._overflow += 1

    def close(self, deadline: float | None) -> None:
        """Write what was posted, then stop. Idempotent.

        Blocks: until that is done, or until *deadline* (None: for ever). A disk that hangs is named in the
            log and left behind.
        """
        self._closing = True
        self._queue.put(None)
        if self._thread is not None and not join(self._thread, self._clock, deadline):
            _log.warning("%s hangs, and is left behind with what was not written", self._file)

    def _run(self) -> None:
        while not (self._closing and self._queue.empty()):
            self._write(self._next_batch())
        if self._file is not None:
            self._file.close()

    def _next_batch(self) -> list[Render]:
        batch = [self._clock.receive(self._queue, None)]
        while len(batch) < _BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return [render for render in batch if render is not None]

    def _write(self, renders: Iterable[Render]) -> None:
        lines: collections.deque[str] = collections.deque()
        for render in renders:
            try:
                lines.append(_line(render()))
            except Exception:  # noqa: BLE001 -- texts of errors are foreign code
                self._missing += 1
                _log.exception("a line of the history could not be made")
        for line in lines:
            _history.info("%s", line)
        if self._file is not None and lines:
            self._append(self._file, lines)

    def _append(self, file: AppendedFile, lines: collections.deque[str]) -> None:
        overflow = self._overflow
        self._missing, self._seen = self._missing + overflow - self._seen, overflow
        try:
            file.open()
            if self._missing:
                file.append(_line(self._gap()))
                self._missing = 0
            while lines:
                file.append(lines[0])
                lines.popleft()
        except OSError as error:
            self._missing += len(lines)
            if not self._failing:
                _log.warning("%s cannot be written (%s); until it can, lines are lost", file, error)
        self._failing = bool(lines)

    def _gap(self) -> Transition:
        text = f"{self._missing} lines are missing here"
        return Transition(self._clock.wall(), "DROPPED", text=text, facts={"lines": self._missing})


@final
class AppendedFile:
    """A file to which lines are appended, and which others may move away meanwhile.

    Threads: one at a time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._torn = False

    def open(self) -> FileIO:
        """Open the file, unless it is open and still there, and return it.

        Raises:
            OSError: It cannot be opened.
        """
        if self._file is not None and not self._is_there(self._file):
            self.close()
            self._torn = False
        if self._file is None:
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115, PTH123 -- kept, and raw
        return self._file

    def append(self, line: str) -> None:
        """Append *line*, or nothing but a beginning of it, which the next call then ends.

        Raises:
            OSError: The file cannot be written. The next `open` opens it anew.
        """
        file = self._file or self.open()
        start = b"\n" if self._torn else b""  # after a full disk, so that what follows can be read
        data = start + line.encode(errors="replace") + b"\n"
        try:
            while data:
                written = file.write(data) or 0
                data = data[written:]
                self._torn = bool(data)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _is_there(self, file: FileIO) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file.fileno()))  # noqa: PTH116 -- each time
        except OSError:
            return False

    def __str__(self) -> str:
        return f"history file {self._path}"


def _line(transition: Transition) -> str:
    return json.dumps(transition.as_dict(), default=str)
