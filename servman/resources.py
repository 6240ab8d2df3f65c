"""What a servable needs: quantities of named resources on named devices.

A resource may be *bound* to one instance of its device ("gpu 1") or *unbound*, where any instance will do.
The arithmetic keeps the two apart: they are different entries, added and subtracted on their own.
Only an allocation that is *normalised* against the devices there are spells each resource in one way.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@final
@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of resource on a device, such as bytes of memory of the machine itself.

    Attributes:
        device: The kind of device, such as "main" or "gpu".
        kind: What is counted there, such as "ram_bytes".
        instance: Which device of that kind, from 0; None where any will do.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: A name is empty or no `str`, or the instance no `int` from 0.
    """

    device: str
    kind: str
    instance: int | None = None

    def __post_init__(self) -> None:
        for name in (self.device, self.kind):
            if not isinstance(name, str) or not name:
                raise InvalidArgumentError(
                    f"not a resource: {self!r}; its device and its kind are texts that are not empty"
                )
        if self.instance is not None and (type(self.instance) is not int or self.instance < 0):
            raise InvalidArgumentError(f"not a resource: {self!r}; its instance is an int from 0")

    def normalised(self, devices: Mapping[str, int]) -> Resource:
        """Return the one spelling of this resource where *devices* are all there is.

        Args:
            devices: The number of instances of each device. Where it is 1, that one is meant.

        Raises:
            InvalidArgumentError: There is no such device, or no such instance of it.
        """
        count = devices.get(self.device, 0)
        if count < 1 or (self.instance is not None and self.instance >= count):
            known = ", ".join(f"{number} {device}" for device, number in devices.items())
            raise InvalidArgumentError(f"there is no {self}; the devices are: {known or 'none'}")
        return Resource(self.device, self.kind, 0) if count == 1 else self

    def __str__(self) -> str:
        where = self.device if self.instance is None else f"{self.device} {self.instance}"
        return f"{self.kind} on {where}"


MAIN_MEMORY: Final = Resource("main", "ram_bytes")
"""Bytes of memory of the machine that the process runs on."""


@final
@dataclass(frozen=True, slots=True)
class ResourceAllocation:
    """How much of each resource. Entries of zero are left out, so equality is by what counts.

    `+` and `-` work entry by entry; `|` and `&` take the larger and the smaller of each entry, as
    those of `collections.Counter` do; `* n` is n times as much; `a <= b` tells whether *a* fits into *b*.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: A key is no `Resource`, or a quantity is negative or no `int`.
    """

    quantities: Mapping[Resource, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for resource, quantity in self.quantities.items():
            if not isinstance(resource, Resource):
                raise InvalidArgumentError(
                    f"not a resource: {resource!r}; write Resource(device, kind), or MAIN_MEMORY"
                )
            if not isinstance(quantity, int) or quantity < 0:
                raise InvalidArgumentError(
                    f"{resource} cannot have the quantity {quantity!r}; round up to an int from 0"
                )
        kept = {resource: quantity for resource, quantity in self.quantities.items() if quantity}
        object.__setattr__(self, "quantities", MappingProxyType(kept))

    @property
    def is_bound(self) -> bool:
        """Whether every entry names the instance of its device."""
        return all(resource.instance is not None for resource in self.quantities)

    def quantity(self, resource: Resource) -> int:
        """Return the quantity of exactly this entry; 0 where there is none."""
        return self.quantities.get(resource, 0)

    def with_quantity(self, resource: Resource, quantity: int) -> ResourceAllocation:
        """Return this allocation with *quantity* in place of what exactly this entry had.

        Raises:
            InvalidArgumentError: The quantity is negative, or no `int`.
        """
        return ResourceAllocation({**self.quantities, resource: quantity})

    def normalised(self, devices: Mapping[str, int]) -> ResourceAllocation:
        """Return this allocation with each resource in its one spelling; see `Resource.normalised`.

        Raises:
            InvalidArgumentError: A device or an instance does not exist, or one resource is spelled in
                both ways, so that it would count twice or not.
        """
        spelled: dict[Resource, int] = {}
        for resource, quantity in self.quantities.items():
            one = resource.normalised(devices)
            if one in spelled:
                raise InvalidArgumentError(
                    f"{one} is given twice, with and without its number; there is only one"
                    f" {one.device}, so give it once"
                )
            spelled[one] = quantity
        return ResourceAllocation(spelled)

    def misfit(self, room: ResourceAllocation) -> Resource | None:
        """Return an entry that does not fit into *room*; None where all of them do together.

        A bound entry takes from its like in *room*. An unbound one fits if a single entry of its device
        and kind, bound or not, has enough after that: it is never split among devices.
        """
        left = dict(room.quantities)
        for resource, quantity in self.quantities.items():
            if resource.instance is not None:
                left[resource] = left.get(resource, 0) - quantity
                if left[resource] < 0:
                    return resource
        for resource, quantity in self.quantities.items():
            if resource.instance is None and quantity > _most(left, resource):
                return resource
        return None

    def __add__(self, other: ResourceAllocation) -> ResourceAllocation:
        return self._by_entry(operator.add, other)

    def __sub__(self, other: ResourceAllocation) -> ResourceAllocation:
        for resource, quantity in other.quantities.items():
            if quantity > self.quantity(resource):
                raise InvalidArgumentError(
                    f"cannot take {quantity} {resource} from {self.quantity(resource)};"
                    " a quantity is never negative"
                )
        return self._by_entry(operator.sub, other)

    def __mul__(self, times: int) -> ResourceAllocation:
        return ResourceAllocation({one: held * times for one, held in self.quantities.items()})

    def __or__(self, other: ResourceAllocation) -> ResourceAllocation:
        return self._by_entry(max, other)

    def __and__(self, other: ResourceAllocation) -> ResourceAllocation:
        return self._by_entry(min, other)

    def __le__(self, other: ResourceAllocation) -> bool:
        return self.misfit(other) is None

    def __hash__(self) -> int:
        return hash(frozenset(self.quantities.items()))

    def __reduce__(self) -> tuple[type[ResourceAllocation], tuple[dict[Resource, int]]]:
        return ResourceAllocation, (dict(self.quantities),)  # a mapping proxy cannot be pickled

    def __str__(self) -> str:
        entries = (f"{quantity} {resource}" for resource, quantity in self.quantities.items())
        return ", ".join(entries) or "nothing"

    def _by_entry(
        self, combine: Callable[[int, int], int], other: ResourceAllocation
    ) -> ResourceAllocation:
        either = {**self.quantities, **other.quantities}  # in the order of the entries
        return ResourceAllocation(
            {one: combine(self.quantity(one), other.quantity(one)) for one in either}
        )


def _most(left: Mapping[Resource, int], unbound: Resource) -> int:
    """Return what the instance with most of *unbound* left has."""
    like = (quantity for one, quantity in left.items() if _is_like(one, unbound))
    return max(like, default=0)


def _is_like(one: Resource, other: Resource) -> bool:
    return (one.device, one.kind) == (other.device, other.kind)
