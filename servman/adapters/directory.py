"""A version directory as it lies on disk: how large it is, and whether it has changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.errors import ServmanError
    from servman.ids import ServableId


@final
class VersionDirectory:
    """The files of one version, subdirectories included, read anew at each call.

    Links are followed, since published trees are made of them as often as not; a directory that is
    reached on two ways counts once.

    Threads: any.

    Raises:
        InvalidArgumentError: *path* is no text, or an empty one.
    """

    def __init__(self, id: ServableId, path: str) -> None:
        if not isinstance(path, str) or not path:
            raise InvalidArgumentError(f"{id}: not the path of a version directory: {path!r}")
        self.id = id
        self.path = path

    def join(self, name: str) -> str:
        """Return the path of the file *name*."""
        return os.path.join(self.path, name)  # noqa: PTH118 -- spelled as the source spelled it

    def size(self) -> int:
        """Return the bytes of all files together.

        Blocks: for the file system.

        Raises:
            ServmanError: The directory cannot be read.
        """
        return sum(size for _, size, _ in self._files())

    def revision(self) -> str:
        """Return a hash of the name, size and time of change of every file.

        Blocks: for the file system.

        Raises:
            ServmanError: The directory cannot be read.
        """
        from hashlib import sha256  # noqa: PLC0415 -- a worker process, which should be up soon, asks for none

        return sha256(repr(sorted(self._files())).encode()).hexdigest()

    def _files(self) -> list[tuple[str, int, int]]:
        try:
            return list(self._walk())
        except OSError as error:
            raise self.unreadable(error) from None

    def _walk(self) -> Iterator[tuple[str, int, int]]:
        seen = set()
        folders = [self.path]
        while folders:
            folder = folders.pop()
            status = os.stat(folder)  # noqa: PTH116 -- walked by text, which is quicker
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        yield os.path.relpath(entry.path, self.path), *_measured(entry)

    def unreadable(self, error: OSError) -> ServmanError:
        """Return the typed form of *error*, which reading the directory has raised."""
        if isinstance(error, FileNotFoundError):
            return NotFoundError(
                f"{self.id}: {error.filename or self.path} does not exist; copy the whole version"
                " directory and rename it into place"
            )
        return FailedPreconditionError(
            f"{self.id}: cannot read {error.filename or self.path}: {error.strerror or error}; it has"
            " to be a directory that this process may read"
        )


def _measured(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # removed since it was listed, or a link to nowhere
        return 0, 0
    return status.st_size, status.st_mtime_ns
