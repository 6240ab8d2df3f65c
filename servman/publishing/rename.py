"""Renaming a directory into place without ever replacing what is there."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_UNKNOWN: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_THERE: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


def rename_new(source: Path, target: Path) -> None:
    """Rename the directory *source* to *target*, where nothing may be.

    Linux does both in one step on its own file systems. Elsewhere (NFS, some FUSE file systems, other
    systems) it is looked first: what has content is never replaced there either, but an empty directory
    that somebody makes between the look and the rename is.

    Raises:
        FileExistsError: Something is at *target*; nothing was changed.
        OSError: As for `os.rename`.
    """
    if _rename_at_once(source, target):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in _THERE:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def _rename_at_once(source: Path, target: Path) -> bool:
    """Rename as said, in one step; return whether this system and file system know how to."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    ctypes.set_errno(0)
    names = os.fsencode(source), os.fsencode(target)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(target))


def _renameat2() -> Any:
    """Return the function of the C library; None where it has none."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
