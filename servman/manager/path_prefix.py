"""`PathPrefixLoaderFactory`: what a `CachingManager` loads from a folder of servables."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, final

from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.ids import Selector, ServableId

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.ids import ServableRequest
    from servman.loader import Loader


@final
class PathPrefixLoaderFactory:
    """Makes the loader of a servable from its name, which is its path below a prefix.

    A servable has one version, 0, so that the latest, the earliest and the newest are that one. A path
    has one spelling, so that nothing is loaded twice under several names: "a/b", and not "a//b" or "./a/b".
    Links are followed, wherever they lead.

    Args:
        prefix: The folder.
        convert: Makes a loader of a path: the `convert` of an adapter, such as `SavedModelAdapter()`.

    Threads: any, as far as *convert* takes them.
    """

    def __init__(
        self,
        prefix: str | os.PathLike[str],
        convert: Callable[[ServableData[str]], ServableData[Loader]],
    ) -> None:
        self._prefix = os.fspath(prefix)
        self._convert = convert

    def __call__(self, request: ServableRequest) -> ServableData[Loader]:
        """Return the loader of the servable that is asked for.

        Raises:
            InvalidArgumentError: The name leads out of the prefix, or spells its path in another way.
            FailedPreconditionError: Another version than 0 is asked for.
        """
        if request.selector is Selector.SPECIFIC and request.version != 0:
            raise FailedPreconditionError(
                f"{request}: there is no version but 0 of what is loaded by its path; ask for"
                f' "{request.name}"'
            )
        name = PurePath(request.name)
        if name.anchor or ".." in name.parts:
            raise InvalidArgumentError(f"{request.name!r} leads out of {self._prefix}")
        if not name.parts or name.as_posix() != request.name:
            raise InvalidArgumentError(
                f'{request.name!r} is not how a path below {self._prefix} is spelled; write it as "a/b"'
            )
        path = os.path.join(self._prefix, request.name)  # noqa: PTH118 -- the spelling is kept, as a source does
        return self._convert(ServableData(ServableId(request.name, 0), path, path))
