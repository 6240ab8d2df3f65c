"""The paths that a command line names: one that cannot be read is bad usage, as a faulty file is."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from servman.core import read_model_config_file
from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.core import ServerConfig


def read_config(path: str) -> ServerConfig:
    """Return the configuration in the file *path*.

    Raises:
        InvalidArgumentError: It cannot be read, or holds none.
    """
    try:
        return read_model_config_file(path)
    except (NotFoundError, FailedPreconditionError) as error:
        raise InvalidArgumentError(str(error)) from error


@contextlib.contextmanager
def directories(*paths: str) -> Iterator[None]:
    """Take what is raised from within because one of *paths* is no directory for bad usage.

    Raises:
        InvalidArgumentError: As said.
    """
    try:
        yield
    except NotFoundError as error:
        raise InvalidArgumentError(str(error)) from error
    except FailedPreconditionError as error:
        if all(map(os.path.isdir, paths)):
            raise
        raise InvalidArgumentError(str(error)) from error


def read_text(path: str) -> str:
    """Return what the file *path* holds.

    Raises:
        InvalidArgumentError: It cannot be read, or holds no text.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- paths are texts
            return file.read()
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error}") from None
