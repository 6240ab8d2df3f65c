"""The adapter that makes nothing: it stands for a platform that cannot be used here."""

from __future__ import annotations

from typing import Never, final

from servman.adapters.base import SourceAdapter
from servman.data import ServableData
from servman.errors import settled


@final
class ErrorInjectingAdapter(SourceAdapter[object, Never]):
    """Puts one error in the place of every payload; entries that have an error keep theirs.

    Args:
        error: What is wrong with every version that comes this way.

    Threads: any; one at a time for one stream.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = settled(error)

    def convert(self, data: ServableData[object]) -> ServableData[Never]:
        """Return the entry with the error in the payload's place."""
        return ServableData.from_error(data.id, self._error)
