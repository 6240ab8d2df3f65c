"""What a servable needs: quantities of named resources on named devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping


@final
@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of resource on a device, such as bytes of memory of the machine itself.

    Attributes:
        device: The kind of device, such as "main" or "gpu".
        kind: What is counted there, such as "ram_bytes".
        instance: Which device of that kind; None where any will do.

    Threads: immutable; any thread.
    """

    device: str
    kind: str
    instance: int | None = None


MAIN_MEMORY: Final = Resource("main", "ram_bytes")
"""Bytes of memory of the machine that the process runs on."""


@final
@dataclass(frozen=True, slots=True)
class ResourceAllocation:
    """How much of each resource. Entries of zero are left out, so equality is by what counts.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: A quantity is negative, or no `int`.
    """

    quantities: Mapping[Resource, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for resource, quantity in self.quantities.items():
            if not isinstance(quantity, int) or quantity < 0:
                raise InvalidArgumentError(
                    f"{resource} cannot have the quantity {quantity!r}; round up to an int from 0"
                )
        kept = {resource: quantity for resource, quantity in self.quantities.items() if quantity}
        object.__setattr__(self, "quantities", MappingProxyType(kept))

    def __hash__(self) -> int:
        return hash(frozenset(self.quantities.items()))

    def __reduce__(self) -> tuple[type[ResourceAllocation], tuple[dict[Resource, int]]]:
        return ResourceAllocation, (dict(self.quantities),)  # a mapping proxy cannot be pickled
