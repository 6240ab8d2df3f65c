"""Where a version is written before it is there: hidden names in the base path, and whose they are.

A publisher works in a directory of its own, `.3.publishing-<unique>`, and holds an exclusive lock on the
file `lock` in it. The system lets go of the lock when the process ends, however it ends: so what is locked
belongs to a publisher at work, and what is not locked was left behind, and may be removed. What is
removed is first renamed to `.discarded-<unique>`, so that a publisher which lives after all (locks of some
network file systems hold on one machine only) fails instead of publishing half of its tree.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.ids import MAX_VERSION
from servman.log import Log

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

    from servman.publishing.faults import Faults

_log = Log(__name__)

_STAGED: Final = re.compile(r"\.([0-9]+)\.publishing-[0-9a-f]+")
_DISCARDED: Final = re.compile(r"\.discarded-[0-9a-f]{32}")


@final
@dataclass(frozen=True, slots=True)
class Survey:
    """What the names in a base path say.

    Attributes:
        versions: Each number that is taken, by a version or by a file of that name, with the name.
        publishing: The hidden directories in which somebody is publishing, each with its number.
    """

    versions: Mapping[int, str]
    publishing: Mapping[str, int]

    @property
    def highest(self) -> int:
        """The highest number that is taken; -1 where none is."""
        return max(self.versions, default=-1)

    @property
    def next(self) -> int:
        """The number after all that are taken, or being published; 1 where none is."""
        return max(self.highest, *self.publishing.values(), 0) + 1


def survey(base_path: Path, faults: Faults, own: Staging | None = None) -> Survey:
    """Read the names in *base_path*, and remove what dead publishers have left there.

    Args:
        base_path: Where to look.
        faults: Makes the errors.
        own: The caller's, which is passed over.

    Blocks: for the file system.

    Raises:
        NotFoundError, FailedPreconditionError: It is missing, or cannot be read.
    """
    with faults.listing(base_path):
        names = os.listdir(base_path)  # noqa: PTH208 -- names are all that is wanted
    # By length last: of two spellings of one number a source takes the one with the fewest zeros.
    numbers = sorted(filter(_is_number, names), key=len, reverse=True)
    staged = {name: int(match[1]) for name in names if (match := _STAGED.fullmatch(name))}
    if own is not None:
        staged.pop(own.path.name, None)
    dead = {name for name in sorted(staged) if _clear(base_path / name)}
    for name in names:
        if _DISCARDED.fullmatch(name):
            remove(base_path / name)
    return Survey(
        versions={int(name): name for name in numbers},
        publishing={name: number for name, number in staged.items() if name not in dead},
    )


@final
class Staging:
    """A hidden directory in a base path, which belongs to this publisher until its `with` is left.

    Threads: one at a time.

    Attributes:
        path: The directory.
        tree: Where in it the version is written.
    """

    def __init__(self, path: Path, lock: FileIO) -> None:
        self.path = path
        self.tree = path / "tree"
        self._lock = lock

    @classmethod
    def create(cls, base_path: Path, number: int, faults: Faults) -> Staging:
        """Make one in *base_path*, for the version *number*.

        Raises:
            ServmanError: It cannot be written.
        """
        while True:
            path = base_path / f".{number}.publishing-{uuid.uuid4().hex}"
            with faults.writing(path):
                path.mkdir(0o700)
                try:
                    lock = _own(path)
                except BaseException:
                    remove(path)
                    raise
            if lock is not None:
                return cls(path, lock)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        path = _set_aside(self.path)
        self._lock.close()  # before its file is removed, or NFS keeps that under another name
        remove(path)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and int(name) <= MAX_VERSION


def _own(path: Path) -> FileIO | None:
    """Lock the new staging directory *path*; return None if somebody took it for a left-over."""
    try:
        lock = (path / "lock").open("xb", buffering=0)
    except (FileNotFoundError, FileExistsError):
        return None
    try:
        owned = _lock(lock, exclusive=True) is not False and (path / "lock").exists()
    except BaseException:
        lock.close()
        raise
    if owned:
        return lock
    lock.close()
    return None


def _clear(path: Path) -> bool:
    """Remove the staging directory *path* if certainly nobody is at work in it; return whether it is gone."""
    claim = _claim(path)
    if claim is None:
        return not os.path.lexists(path)
    with claim:  # until its name is taken away: so nobody comes to own it in between
        _log.info("removing %s, which a dead publisher has left behind", path)
        aside = _set_aside(path)
    remove(aside)
    return True


def _claim(path: Path) -> FileIO | None:
    """Keep *path* from being owned by anybody while what is returned is open; None if somebody may own it."""
    try:
        # To read, which is all that another user may, and enough for a lock that is shared.
        lock = (path / "lock").open("rb", buffering=0)
    except FileNotFoundError:
        # Killed before it had its lock, or so new that it is about to make it: whoever makes it has it.
        with contextlib.suppress(OSError):
            return (path / "lock").open("xb", buffering=0)
        return None
    except OSError:
        return None
    if _lock(lock, exclusive=False) is True:
        return lock
    lock.close()
    return None


def _lock(file: FileIO, *, exclusive: bool) -> bool | None:
    """Lock *file* and return whether that succeeded; None where the file system has no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _set_aside(path: Path) -> Path:
    """Take the name of *path* away, and return what it is called from now on."""
    with contextlib.suppress(OSError):
        return path.rename(discarded(path))
    return path


def discarded(path: Path) -> Path:
    """Return a name for *path* by which a publisher knows that it is to be removed."""
    return path.with_name(f".discarded-{uuid.uuid4().hex}")


def remove(path: Path) -> None:
    """Remove the tree at *path*; the log tells where that cannot be done. Blocks: for the file system."""
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _log.warning("%s could not be removed; remove it by hand", path)
