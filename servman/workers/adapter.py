"""Any platform, in processes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from servman.adapters.base import SourceAdapter
from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.loader import Loader
from servman.workers.loader import IsolatedLoader
from servman.workers.options import faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.flow import Target
    from servman.workers.options import Workers

T = TypeVar("T")


def isolated(adapter: SourceAdapter[T, Loader], workers: Workers) -> SourceAdapter[T, Loader]:
    """Return an adapter whose servables are those of *adapter*, each version in processes of its own.

    Args:
        adapter: Makes the loaders; it has no target yet, and belongs to the new adapter from now on. Its loaders
            have to be such as can be pickled.
        workers: How many processes each version gets, where, and how they are supervised.

    Raises:
        InvalidArgumentError: Something is wrong with *workers*; `faults` are all of it.
        FailedPreconditionError: *adapter* has a target already.
    """
    wrong = faults(workers)
    if wrong:
        raise InvalidArgumentError(f"Workers: {'; '.join(wrong)}", faults=wrong)
    return _IsolatedAdapter(adapter, _Isolation(workers))


@final
class _Isolation(SourceAdapter[Loader, Loader]):
    """Wraps loaders; behind an adapter."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def convert(self, data: ServableData[Loader]) -> ServableData[Loader]:
        loader = IsolatedLoader(data.id, data.payload, self._workers)
        return ServableData(data.id, loader, data.origin)


@final
class _IsolatedAdapter(SourceAdapter[T, Loader]):
    """An adapter with what wraps its loaders behind it: lists take their way through both.

    The adapter may hand its lists on later and on other threads, so it is asked for nothing but its lists.
    """

    def __init__(self, adapter: SourceAdapter[T, Loader], isolation: _Isolation) -> None:
        adapter.set_target(isolation)
        self._adapter = adapter
        self._isolation = isolation

    def convert(self, data: ServableData[T]) -> ServableData[Loader]:
        return self._isolation.adapt_one(self._adapter.adapt_one(data))

    def set_target(self, target: Target[Loader]) -> None:
        self._isolation.set_target(target)

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        self._adapter.set_aspired_versions(name, versions)
