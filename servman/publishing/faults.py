"""What the file system refuses while a version is published, as typed errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, final

from servman.errors import (
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    ServmanError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Guard = Callable[[Path], AbstractContextManager[None]]
    """Turns an `OSError` met at a path into a typed error."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@final
class Faults:
    """Makes errors that name the servable *name*.

    Threads: any.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Turn an `OSError` from within, met in reading *path* of the source, into a typed one."""
        try:
            yield
        except OSError as error:
            raise self.precondition(_why_unread(path, error)) from error

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Turn an `OSError` from within, met in writing *path*, into a typed one."""
        try:
            yield
        except OSError as error:
            raise self._unwritten(path, error) from error

    @contextlib.contextmanager
    def listing(self, base_path: Path) -> Iterator[None]:
        """Turn an `OSError` from within, met in listing *base_path*, into a typed one."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError(
                f"servable {self._name!r}: base path {base_path} does not exist; create it (create=True,"
                " or --create), or correct the path"
            ) from error
        except OSError as error:
            raise self.precondition(
                f"base path {base_path} cannot be read ({_said(error)}); it has to be a directory that"
                " this process may read and write"
            ) from error

    def precondition(self, text: str) -> FailedPreconditionError:
        """Return the error that says *text* of the servable."""
        return FailedPreconditionError(f"servable {self._name!r}: {text}")

    def damage(self, text: str) -> DataLossError:
        """Return the error that says *text* of what was written."""
        return DataLossError(f"servable {self._name!r}: {text}")

    def _unwritten(self, path: Path, error: OSError) -> ServmanError:
        if error.errno in _FULL:
            return ResourceExhaustedError(
                f"servable {self._name!r}: no space left to write {path} ({_said(error)}), so nothing was"
                " published; free space on that file system, or raise the quota, and publish again"
            )
        if error.errno in _FORBIDDEN:
            return self.precondition(
                f"this process may not write {path} ({_said(error)}), so nothing was published; grant it"
                " write permission on the base path"
            )
        return self.precondition(
            f"{path} cannot be written ({_said(error)}), so nothing was published; check the storage, and"
            " that nobody else removes it meanwhile"
        )


def _why_unread(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            f"{path} has vanished, or is a link to what is not there; publish when the source is finished"
            " and whole"
        )
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this process; grant it read permission"
    return f"{path} cannot be read ({_said(error)}); check the source"


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
