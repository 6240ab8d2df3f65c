"""What is in a directory tree: read before anything is written, and again to see that it was so."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servman.publishing.faults import Faults, Guard


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a directory of a tree.

    Attributes:
        path: Below the root; "" for the root itself.
        is_directory: Whether it is one, or a link to one.
        size: Bytes of a file; 0 for a directory.
        mode: The permission bits.
        stamp: Differs once a file has been written to, or another has taken its place.
    """

    path: str
    is_directory: bool
    size: int
    mode: int
    stamp: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[str, bool, int]:
        """What a copy has in common with its original."""
        return self.path, self.is_directory, self.size


def read_tree(root: Path, faults: Faults, guard: Guard | None = None) -> tuple[Entry, ...]:
    """Return every file and directory of the tree at *root*, parents before what is in them.

    Links are followed, since what they lead to may be gone tomorrow.

    Args:
        root: The tree.
        faults: Makes the errors.
        guard: Makes the error of what cannot be read; by default as of a source.

    Raises:
        ServmanError: Something cannot be read, is neither file nor directory, or is a link that leads
            back to a directory which it is in.
    """
    return tuple(_walk(root, faults, guard or faults.reading))


def difference(before: tuple[Entry, ...], after: tuple[Entry, ...]) -> str | None:
    """Return the path of an entry in which two readings of one tree differ; None where they do not."""
    changed = set(before) ^ set(after)
    return min((entry.path for entry in changed), default=None)


def _walk(root: Path, faults: Faults, guard: Guard) -> Iterator[Entry]:
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        path, above = pending.pop()
        place = root / path
        with guard(place):
            status = place.stat()
        yield _entry(path, place, status, faults)
        if stat.S_ISDIR(status.st_mode):
            key = status.st_dev, status.st_ino
            if key in above:
                raise faults.precondition(
                    f"{place} is a link that leads back to a directory which it is in; remove the link"
                )
            with guard(place):
                names = os.listdir(place)  # noqa: PTH208 -- names are all that is wanted
            below = above | {key}
            pending += [(os.path.join(path, name), below) for name in sorted(names, reverse=True)]  # noqa: PTH118 -- relative


def _entry(path: str, place: Path, status: os.stat_result, faults: Faults) -> Entry:
    mode = stat.S_IMODE(status.st_mode) & 0o777  # who runs as whom is no part of a model
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, True, 0, mode)  # noqa: FBT003 -- in the order of the fields
    if not stat.S_ISREG(status.st_mode):
        raise faults.precondition(
            f"{place} is neither a file nor a directory (a pipe, a socket or a device), and cannot be"
            " published; remove it from the source"
        )
    # The time of change, unlike that of modification, cannot be set back.
    stamp = status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return Entry(path, False, status.st_size, mode, stamp)  # noqa: FBT003 -- as above
