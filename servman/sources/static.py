"""A source of one version that never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.data import ServableData
from servman.errors import FailedPreconditionError
from servman.ids import ServableId

if TYPE_CHECKING:
    from servman.flow import Target


@final
class StaticStoragePathSource:
    """Aspires one version, once, when it is connected. It looks at nothing and has no thread.

    Args:
        name: The stream.
        version: The version.
        path: Where its files are; handed on as it is.

    Threads: any.

    Raises:
        InvalidArgumentError: *name* or *version* cannot be one.
    """

    def __init__(self, name: str, version: int, path: str) -> None:
        self._data = ServableData(ServableId(name, version), path, origin=path)
        self._connected = False

    def set_target(self, target: Target[str]) -> None:
        """Send the version to *target*, once, on the calling thread.

        Raises:
            FailedPreconditionError: There is a target already.
        """
        if self._connected:
            raise FailedPreconditionError(
                f"the source of {self._data.id} has a target already; make a source for each target"
            )
        self._connected = True
        target.set_aspired_versions(self._data.id.name, [self._data])
