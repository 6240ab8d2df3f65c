"""What is set aside for whom: whether a load fits, what it waits for, and the numbers if it does not.

Pure: no thread, no lock, no clock. The reconciler reserves before a load starts and releases once the
unload has returned; which holders are on their way out is its knowledge, and is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from servman.resources import Resource, ResourceAllocation

if TYPE_CHECKING:
    from collections.abc import Collection

    from servman.ids import ServableId

SERVABLES: Final = Resource("manager", "servables")
"""What a limit to the number of servables counts."""

_NAMED: Final = 5
"""How many holders a text names; a machine may hold thousands."""


@final
@dataclass(frozen=True, slots=True)
class Shortage:
    """Why an allocation does not fit, told by one resource of which it needs more than is free.

    Attributes:
        resource: What there is too little of. Where any instance would have done, the one with
            most room.
        needs: How much of it is needed there.
        total: How much of it there is.
        in_use: How much is set aside for others. What may go to any instance counts on each.
        held_by: Those others, the largest first.
        among: How many instances were tried.
        exceeds_total: Whether what is needed would not fit even if nothing were in use.

    Threads: immutable; any thread.
    """

    resource: Resource
    needs: int
    total: int
    in_use: int
    held_by: tuple[tuple[ServableId, int], ...]
    among: int = 1
    exceeds_total: bool = False

    @property
    def free(self) -> int:
        """How much is left; 0 where more is in use than there is."""
        return max(0, self.total - self.in_use)

    def error(self, id: ServableId) -> ResourceExhaustedError:
        """Return the error of *id*, which does not fit: with the numbers, and what to do."""
        remedy = "raise the total" if self.exceeds_total else "unload something, or raise the total"
        if self.resource == SERVABLES:
            remedy = "none of them can be spared: close handles, or raise max_servables"
        return ResourceExhaustedError(f"{id}: {self}; {remedy}")

    def __str__(self) -> str:
        if self.resource == SERVABLES:
            servables = "servable" if self.total == 1 else "servables"
            return f"the limit of {self.total} {servables} is reached{self._holders()}"
        tried = f" (the roomiest of {self.among})" if self.among > 1 else ""
        return (
            f"needs {self.needs} {self.resource}{tried}, of {self.total} there are {self.in_use}"
            f" in use{self._holders()}"
        )

    def _holders(self) -> str:
        if not self.held_by:
            return ""
        each = "{}" if self.resource == SERVABLES else "{} {}"
        named = ", ".join(each.format(*one) for one in self.held_by[:_NAMED])
        more = len(self.held_by) - _NAMED
        return f" ({named} and {more} more)" if more > 0 else f" ({named})"


@final
@dataclass(frozen=True, slots=True)
class _Holding:
    id: ServableId
    amount: ResourceAllocation


@final
class ResourceTracker:
    """Sets aside what loads need, so that together they never need more than there is.

    What may go to any instance of a device counts on each of them, for nobody knows where it will
    be. So nothing is ever promised twice, at the price of room that may turn out to be free.

    Args:
        total: What there is. Its entries tell which devices exist, and how many of each: one that is
            never given a number is the only one of its kind, else there are as many as the highest
            number says. Where there are several, each entry says which it means.

    Raises:
        InvalidArgumentError: An entry of *total* on a device of several instances names none, or
            one resource is given twice.

    Threads: one manager's, which confines it to its actor. `total` and `normalised` take any thread.
    """

    __slots__ = ("_claimed", "_devices", "_holdings", "_total", "_used")

    def __init__(self, total: ResourceAllocation) -> None:
        self._devices = _devices(total)
        self._total = total.normalised(self._devices)
        if not self._total.is_bound:
            raise InvalidArgumentError(
                f"the total ({total}) leaves open which instance has what; say how much each one has"
            )
        self._claimed = False
        self._holdings: dict[int, _Holding] = {}
        self._used = ResourceAllocation()

    def claim(self) -> None:
        """Let a manager have it for itself; what it sets aside is told by that manager's own numbers.

        Raises:
            FailedPreconditionError: Another manager has it.
        """
        if self._claimed:
            raise FailedPreconditionError(
                "this ResourceTracker belongs to another manager; make one for each, and divide the total"
            )
        self._claimed = True

    @property
    def total(self) -> ResourceAllocation:
        """What there is, normalised."""
        return self._total

    @property
    def used(self) -> ResourceAllocation:
        """What is set aside, as it was asked for: what may go anywhere is an entry of its own."""
        return self._used

    def normalised(self, needs: ResourceAllocation) -> ResourceAllocation:
        """Return *needs* in the spelling of the total. Every method below does so itself.

        Raises:
            InvalidArgumentError: It names a device or an instance that the total does not have, or
                one resource twice.
        """
        return needs.normalised(self._devices)

    def reserve(self, incarnation: int, id: ServableId, needs: ResourceAllocation) -> bool:
        """Set *needs* aside, if that fits now; return whether it did. If not, nothing has changed.

        What *incarnation* holds already is replaced, and does not stand in its own way.

        Raises:
            InvalidArgumentError: See `normalised`.
        """
        if not self.fits(needs, without=(incarnation,)):
            return False
        self.release(incarnation)
        self._hold(incarnation, _Holding(id, self.normalised(needs)))
        return True

    def replace(self, incarnation: int, needs: ResourceAllocation) -> bool:
        """Hold *needs* from now on, known better after the load; return whether some came back.

        It is taken as it is: a servable that needs more than it said is there all the same, and
        what it takes above the total is free for nobody.

        Raises:
            InvalidArgumentError: See `normalised`; it holds what it held.
            InternalError: *incarnation* holds nothing.
        """
        now = self.normalised(needs)
        if incarnation not in self._holdings:
            raise InternalError(f"incarnation {incarnation} holds nothing; reserve before a load")
        holding = self._holdings[incarnation]
        self.release(incarnation)
        self._hold(incarnation, _Holding(holding.id, now))
        return (holding.amount | now) != now  # some entry was larger than it is

    def release(self, incarnation: int) -> bool:
        """Give back what *incarnation* holds, if anything; return whether something came back."""
        holding = self._holdings.pop(incarnation, None)
        if holding is None:
            return False
        self._used -= holding.amount
        return bool(holding.amount.quantities)

    def fits(self, needs: ResourceAllocation, *, without: Collection[int] = ()) -> bool:
        """Return whether *needs* fits now, or would once the incarnations *without* have gone.

        Raises:
            InvalidArgumentError: See `normalised`.
        """
        used = self._used
        for incarnation in set(without) & self._holdings.keys():
            used -= self._holdings[incarnation].amount
        return self.normalised(needs) <= self._room(used)

    def could_fit(self, needs: ResourceAllocation) -> bool:
        """Return whether *needs* would fit if nothing else were there.

        Raises:
            InvalidArgumentError: See `normalised`.
        """
        return self.normalised(needs) <= self._total

    def shortage(self, needs: ResourceAllocation) -> Shortage | None:
        """Return why *needs* does not fit now; None where it does.

        It looks at every holder: decide with the methods above, and tell people with this one.

        Raises:
            InvalidArgumentError: See `normalised`.
        """
        needs = self.normalised(needs)
        room = self._room(self._used)
        above_total = needs.misfit(self._total)
        misfit = above_total or needs.misfit(room)
        if misfit is None:
            return None
        tried = self._instances(misfit)
        where = max(tried, key=lambda one: room.quantity(one) - needs.quantity(one))
        return Shortage(
            resource=self._plain(where),
            needs=sum(needs.quantity(one) for one in {misfit, where}),
            total=self._total.quantity(where),
            in_use=_charge(self._used, where),
            held_by=self._held_by(where),
            among=len(tried),
            exceeds_total=above_total is not None,
        )

    def _hold(self, incarnation: int, holding: _Holding) -> None:
        self._holdings[incarnation] = holding
        self._used += holding.amount

    def _room(self, used: ResourceAllocation) -> ResourceAllocation:
        # Never below zero: what is overdrawn on one device refuses nothing on another.
        return ResourceAllocation(
            {
                where: max(0, quantity - _charge(used, where))
                for where, quantity in self._total.quantities.items()
            }
        )

    def _instances(self, resource: Resource) -> list[Resource]:
        """Return where *resource* may be: on its instance, or on any that there is."""
        if resource.instance is not None:
            return [resource]
        count = self._devices[resource.device]
        return [Resource(resource.device, resource.kind, number) for number in range(count)]

    def _plain(self, where: Resource) -> Resource:
        """Return *where* as people call it: the only one of its kind has no number."""
        return where if self._devices[where.device] > 1 else Resource(where.device, where.kind)

    def _held_by(self, where: Resource) -> tuple[tuple[ServableId, int], ...]:
        charges = ((one.id, _charge(one.amount, where)) for one in self._holdings.values())
        largest_first = sorted(charges, key=lambda each: (-each[1], each[0]))
        return tuple(each for each in largest_first if each[1])


def _devices(total: ResourceAllocation) -> dict[str, int]:
    devices: dict[str, int] = {}
    for resource in total.quantities:
        number = resource.instance or 0
        devices[resource.device] = max(devices.get(resource.device, 0), number + 1)
    return devices


def _charge(allocation: ResourceAllocation, where: Resource) -> int:
    """Return what *allocation* may take from one instance: what is bound there, and what is not bound."""
    unbound = Resource(where.device, where.kind)
    return allocation.quantity(where) + allocation.quantity(unbound)
