"""What a worker process writes to its standard output and error: to a file, or through a pipe."""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, final

if TYPE_CHECKING:
    from servman.ids import ServableId

TAIL: Final = 8192
"""Bytes at the end of a log that the error of a dead process quotes."""

_CHUNK: Final = 65536  # what a pipe holds
_LONGEST_LINE: Final = 65536
"""Bytes after which a line is taken to end, so that what never ends it fills no memory."""


class WorkerLog(Protocol):
    """Where the output of one process goes. Closed by `WorkerProcess.close`.

    Threads: one at a time.
    """

    @property
    def path(self) -> str | None:
        """The file, or None for a pipe."""
        ...

    @property
    def child_fd(self) -> int:
        """What the process writes to; closed here by `started`."""
        ...

    def started(self) -> None:
        """Close what only the process needs, now that it has it."""
        ...

    def fileno(self) -> int | None:
        """Return what becomes readable when there are lines to read; None for a file."""
        ...

    def read_lines(self) -> list[str] | None:
        """Return the lines that have come since the last call, without their ends; None at the end.

        Never blocks. What is unfinished is kept for the next call.
        """
        ...

    def tail(self) -> str:
        """Return the last 8 KiB. Takes nothing away from `read_lines`."""
        ...

    def close(self) -> None:
        """Close the host's side. Idempotent."""
        ...


def log_name(id: ServableId, replica: int) -> str:
    """Return the name of a log file, "name-version-replica.log", with what is unsafe in it quoted."""
    # "." alone is harmless inside a name, and so are the letters of all languages.
    safe = "".join(
        letter if letter.isalnum() or letter in "_.-" else urllib.parse.quote(letter, safe="")
        for letter in id.name
    )
    return f"{safe}-{id.version}-{replica}.log"


def open_log(path: str | None) -> WorkerLog:
    """Open the log file *path* for appending, with the folders that it needs, or a pipe for None.

    Raises:
        OSError: The file cannot be opened, or there is no descriptor left.
    """
    return LogPipe() if path is None else LogFile(path)


@final
class LogFile:
    """A file that the process appends to itself; see `WorkerLog`."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path: str | None = path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.child_fd = os.open(path, flags, 0o644)
        self._beginning = os.fstat(self.child_fd).st_size

    def started(self) -> None:
        """Close the file; see `WorkerLog`."""
        if self.child_fd >= 0:
            os.close(self.child_fd)
            self.child_fd = -1

    def fileno(self) -> int | None:
        """Return None: there is nothing to read here."""
        return None

    def read_lines(self) -> list[str] | None:
        """Return None: who wants the lines reads the file."""
        return None

    def tail(self) -> str:
        """Return the end of what this process, and none before it, has written. Blocks: for the file."""
        try:
            with open(self.path or "", "rb") as file:  # noqa: PTH123 -- a text, as it was given
                size = file.seek(0, os.SEEK_END)
                beginning = self._beginning if self._beginning <= size else 0  # cut off meanwhile
                file.seek(max(beginning, size - TAIL))
                return file.read(TAIL).decode(errors="replace")
        except OSError as error:
            return f"(the log cannot be read: {error})"

    def close(self) -> None:
        """Close the file; see `WorkerLog`."""
        self.started()


@final
class LogPipe:
    """A pipe that the host reads; see `WorkerLog`."""

    def __init__(self) -> None:
        self.path: str | None = None
        self._fd, self.child_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._unread = bytearray()  # what has come and was not yet returned as lines
        self._last = bytearray()
        self._ended = False

    def started(self) -> None:
        """Close the end that the process writes to; see `WorkerLog`."""
        if self.child_fd >= 0:
            os.close(self.child_fd)
            self.child_fd = -1

    def fileno(self) -> int | None:
        """Return the end that is read."""
        return self._fd

    def read_lines(self) -> list[str] | None:
        """Return the lines that have come, None at the end; see `WorkerLog`."""
        self._take()
        *lines, rest = bytes(self._unread).split(b"\n")
        if rest and (self._ended or len(rest) > _LONGEST_LINE):
            lines.append(rest)
            rest = b""
        self._unread = bytearray(rest)
        if self._ended and not lines:
            return None
        return [line.removesuffix(b"\r").decode(errors="replace") for line in lines]

    def tail(self) -> str:
        """Return the last 8 KiB that have come until now."""
        self._take()
        return self._last.decode(errors="replace")

    def close(self) -> None:
        """Close both ends; see `WorkerLog`."""
        self.started()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._ended = True

    def _take(self) -> None:
        """Read what is there, and no more than a pipe holds: whoever never stops writing is not waited for."""
        for _ in range(2):  # what is there, and the end, where it is there as well
            if self._ended:
                return
            try:
                chunk = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return
            self._ended = not chunk
            self._unread += chunk
            self._last = (self._last + chunk)[-TAIL:]
