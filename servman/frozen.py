"""Mappings that cannot be changed, for plain data that is hashed, compared and pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar, final

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


@final
class FrozenMapping(Mapping[K, V_co]):
    """A copy of a mapping that cannot be changed. Equal to any mapping of the same.

    Threads: immutable; any thread.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V_co]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenMapping):
            return self._items == other._items
        return isinstance(other, Mapping) and self._items == dict(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __reduce__(self) -> tuple[type[FrozenMapping[K, V_co]], tuple[dict[K, V_co]]]:
        return FrozenMapping, (self._items,)

    def __repr__(self) -> str:
        return repr(self._items)
