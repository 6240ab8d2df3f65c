"""A copy of a tree that is on the disk and was read back before anybody relies on it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from io import FileIO
from typing import TYPE_CHECKING, Final, final

from servman.publishing.tree import Entry, difference, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from servman.publishing.faults import Faults

_CHUNK: Final = 1 << 20
"""Bytes that are read at once, and after which progress is told."""

_OWNER: Final = 0o700
"""What the owner may always do in a directory of a copy, or could not remove the version again."""

_NOT_OF_DIRECTORIES: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS})
"""What a file system says that syncs files and not directories."""

_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
"""A pipe that has taken the place of a file is opened at once, and found out, instead of waited for."""


@final
class Copy:
    """One copy of the tree *source* at *target*, which must not be there yet.

    Call `write`, then `verify`.

    Args:
        source: The tree.
        target: Where the copy goes.
        entries: What is in the source.
        faults: Makes the errors.
        progress: Is told how many bytes are through, of how many. A byte counts half when it is
            written, and whole when it has been read back.

    Threads: one at a time.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        entries: tuple[Entry, ...],
        faults: Faults,
        progress: Callable[[int, int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._entries = entries
        self._faults = faults
        self._progress = progress
        self._total = sum(entry.size for entry in entries)
        self._handled = 0  # bytes, of which each is handled twice
        self._digests: dict[str, bytes] = {}

    def write(self) -> None:
        """Copy everything, and wait until it is on the disk.

        Blocks: for the file systems.

        Raises:
            ServmanError: Something cannot be read, or written.
        """
        self._progress(0, self._total)
        for entry in self._entries:
            if entry.is_directory:
                with self._faults.writing(self._target / entry.path):
                    (self._target / entry.path).mkdir(_OWNER)
            else:
                self._digests[entry.path] = self._write_file(entry)
        # From the leaves up: the permissions of a directory must not get in the way before.
        for entry in reversed(self._entries):
            if entry.is_directory:
                place = self._target / entry.path
                with self._faults.writing(place):
                    # Some file systems have no such bits, and say so in this way.
                    with contextlib.suppress(PermissionError):
                        place.chmod(entry.mode | _OWNER)
                    sync_directory(place)

    def verify(self) -> None:
        """Make sure that the source is what it was, and that the copy is the same.

        Blocks: for the file systems.

        Raises:
            FailedPreconditionError: The source is not.
            DataLossError: The copy is not.
        """
        changed = difference(self._entries, read_tree(self._source, self._faults))
        if changed is not None:
            raise self._faults.precondition(
                f"{self._source / changed} has changed while it was copied, so nothing was published;"
                " publish when the source is finished"
            )
        wrong = self._misread()
        if wrong is not None:
            raise self._faults.damage(
                f"{self._target / wrong} reads back other than it was written, so nothing was"
                " published; check the storage"
            )
        self._progress(self._total, self._total)

    def _misread(self) -> str | None:
        there = read_tree(self._target, self._faults, self._faults.writing)
        shapes = {entry.shape for entry in there} ^ {entry.shape for entry in self._entries}
        if shapes:
            return min(shapes)[0]
        files = (entry for entry in self._entries if not entry.is_directory)
        return next((entry.path for entry in files if not self._reads_back(entry)), None)

    def _write_file(self, entry: Entry) -> bytes:
        place, digest = self._target / entry.path, hashlib.sha256()
        with self._faults.writing(place):
            file = place.open("xb", buffering=0)
        with file, contextlib.closing(self._chunks(self._source, entry)) as chunks:
            for chunk in chunks:
                with self._faults.writing(place):
                    _write_all(file, chunk)
                digest.update(chunk)
                self._tell(chunk)
            with self._faults.writing(place):
                with contextlib.suppress(PermissionError):  # as above
                    os.fchmod(file.fileno(), entry.mode)
                os.fsync(file.fileno())
        return digest.digest()

    def _reads_back(self, entry: Entry) -> bool:
        digest = hashlib.sha256()
        with contextlib.closing(self._chunks(self._target, entry)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                self._tell(chunk)
        return digest.digest() == self._digests[entry.path]

    def _chunks(self, root: Path, entry: Entry) -> Generator[bytes, None, None]:
        """Yield the file in pieces, and no more of it than there was: it may be growing."""
        place = root / entry.path
        guard = self._faults.reading if root == self._source else self._faults.writing
        left = entry.size
        with guard(place), FileIO(place, opener=_open_at_once) as file:
            while chunk := file.read(min(_CHUNK, left)):
                left -= len(chunk)
                yield chunk

    def _tell(self, chunk: bytes) -> None:
        self._handled += len(chunk)
        self._progress(self._handled // 2, self._total)


def sync_directory(path: Path) -> None:
    """Wait until the names in *path* are on the disk, where the file system can.

    Raises:
        OSError: They cannot be brought there.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OF_DIRECTORIES:
            raise
    finally:
        os.close(descriptor)


def _write_all(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # a disk that is nearly full takes a part
        rest = rest[file.write(rest) :]


def _open_at_once(name: str, flags: int) -> int:
    return os.open(name, flags | _NO_WAIT)
