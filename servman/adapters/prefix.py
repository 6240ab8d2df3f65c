"""The adapter that puts a prefix before storage paths."""

from __future__ import annotations

from typing import final

from servman.adapters.base import SourceAdapter
from servman.data import ServableData
from servman.errors import InvalidArgumentError


@final
class PrefixStoragePathAdapter(SourceAdapter[str, str]):
    """Puts a prefix before the path of every version, and before its origin, where it has one.

    The two are joined by one slash; an empty prefix changes nothing. For where the storage is seen under
    another path by whoever loads than by whoever looks.

    Args:
        prefix: The path of a folder, or the beginning of an address such as "s3://bucket".

    Attributes:
        prefix: It; another one counts for the lists that come then.

    Threads: any; one at a time for one stream.

    Raises:
        InvalidArgumentError: *prefix* is no text.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        if not isinstance(prefix, str):
            raise InvalidArgumentError(f"a prefix of paths is a text, not {prefix!r}")
        self.prefix = prefix

    def convert(self, data: ServableData[str]) -> ServableData[str]:
        """Return the entry with the prefix before its path.

        Raises:
            InvalidArgumentError: The payload is no text.
        """
        path: object = data.payload
        if not isinstance(path, str):
            raise InvalidArgumentError(
                f"{data.id}: a prefix goes before a path, not before {path!r}; put the prefix adapter"
                " between the source and what makes loaders"
            )
        origin = None if data.origin is None else self._joined(data.origin)
        return ServableData(data.id, self._joined(path), origin)

    def _joined(self, path: str) -> str:
        if not self.prefix or not path:
            return self.prefix or path
        return f"{self.prefix.removesuffix('/')}/{path.removeprefix('/')}"
