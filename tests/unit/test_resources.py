"""Allocations: equal by what counts, immutable, never negative, and their arithmetic."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servman.errors import InvalidArgumentError
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation

resources = st.builds(
    Resource,
    st.sampled_from(["main", "gpu"]),
    st.sampled_from(["ram_bytes", "threads"]),
    st.none() | st.integers(0, 2),
)
quantities = st.dictionaries(resources, st.integers(0, 2**70), max_size=3)
# Few resources and small numbers, so that two of them meet.
allocations = st.dictionaries(
    st.builds(Resource, st.just("gpu"), st.sampled_from("ab"), st.none() | st.integers(0, 1)),
    st.integers(0, 6),
    max_size=5,
).map(ResourceAllocation)
GPU = Resource("gpu", "ram")
GPU_0 = Resource("gpu", "ram", 0)
GPU_1 = Resource("gpu", "ram", 1)
DEVICES = {"main": 1, "gpu": 2}


def counted(allocation: ResourceAllocation) -> Counter[Resource]:
    return Counter(allocation.quantities)


def fits_somehow(needs: ResourceAllocation, room: ResourceAllocation) -> bool:
    """Try every way of putting each unbound entry into one entry of the room."""
    bound = Counter(
        {one: held for one, held in needs.quantities.items() if one.instance is not None}
    )
    unbound = [one for one in needs.quantities if one.instance is None]
    homes = [
        [home for home in room.quantities if (home.device, home.kind) == (one.device, one.kind)]
        for one in unbound
    ]
    for chosen in product(*homes):
        placed = bound.copy()
        for one, home in zip(unbound, chosen, strict=True):
            placed[home] += needs.quantity(one)
        if placed <= counted(room):
            return True
    return False


@given(quantities)
def test_entries_of_zero_do_not_count(given: dict[Resource, int]) -> None:
    allocation = ResourceAllocation(given)
    without = ResourceAllocation({which: amount for which, amount in given.items() if amount})
    assert allocation == without
    assert hash(allocation) == hash(without)
    assert 0 not in allocation.quantities.values()


@given(quantities)
def test_allocations_survive_pickling_and_copying(given: dict[Resource, int]) -> None:
    allocation = ResourceAllocation(given)
    assert pickle.loads(pickle.dumps(allocation)) == allocation
    assert copy.deepcopy(allocation) == allocation


@given(quantities, quantities)
def test_allocations_are_equal_exactly_when_what_counts_is(
    one: dict[Resource, int], other: dict[Resource, int]
) -> None:
    same = all(one.get(which, 0) == other.get(which, 0) for which in {*one, *other})
    assert (ResourceAllocation(one) == ResourceAllocation(other)) is same


def test_an_allocation_does_not_change_with_the_dict_it_was_made_from() -> None:
    given = {MAIN_MEMORY: 1}
    allocation = ResourceAllocation(given)
    given[MAIN_MEMORY] = 2
    assert allocation.quantities == {MAIN_MEMORY: 1}
    with pytest.raises(TypeError):
        allocation.quantities[MAIN_MEMORY] = 3  # type: ignore[index] # the point


@pytest.mark.parametrize("quantity", [-1, 1.5, "10", None, float("nan")])
def test_a_quantity_that_is_negative_or_no_int_is_refused_with_its_resource(quantity: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"ram_bytes.*round up"):
        ResourceAllocation({MAIN_MEMORY: quantity})


def test_a_resource_of_one_device_is_not_that_of_any() -> None:
    assert Resource("gpu", "ram_bytes") != Resource("gpu", "ram_bytes", 0)


@pytest.mark.parametrize(
    ("device", "kind", "instance"),
    [
        ("", "ram", None),
        ("gpu", "", None),
        (0, "ram", None),
        ("gpu", "ram", -1),
        ("gpu", "ram", "0"),
        ("gpu", "ram", True),
    ],
)
def test_a_resource_that_cannot_be_is_refused(device: str, kind: str, instance: int) -> None:
    with pytest.raises(InvalidArgumentError, match="not a resource"):
        Resource(device, kind, instance)


def test_a_key_that_is_no_resource_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'ram'.*MAIN_MEMORY"):
        ResourceAllocation({"ram": 1})  # type: ignore[dict-item] # the point


def test_resources_and_allocations_read_as_people_say_them() -> None:
    assert str(MAIN_MEMORY) == "ram_bytes on main"
    assert str(GPU_1) == "ram on gpu 1"
    assert str(ResourceAllocation({MAIN_MEMORY: 5, GPU_1: 2})) == (
        "5 ram_bytes on main, 2 ram on gpu 1"
    )
    assert str(ResourceAllocation()) == "nothing"


@given(allocations, allocations)
def test_arithmetic_is_that_of_a_counter(
    one: ResourceAllocation, other: ResourceAllocation
) -> None:
    assert counted(one + other) == counted(one) + counted(other)
    assert counted(one | other) == counted(one) | counted(other)
    assert counted(one & other) == counted(one) & counted(other)
    assert one * 3 == one + one + one
    assert one * 0 == ResourceAllocation()


@given(allocations, allocations)
def test_a_difference_is_the_inverse_of_a_sum_or_refused(
    one: ResourceAllocation, other: ResourceAllocation
) -> None:
    assert (one + other) - other == one
    if counted(other) <= counted(one):
        assert (one - other) + other == one
    else:
        with pytest.raises(InvalidArgumentError, match="cannot take"):
            one - other


@given(allocations, allocations)
def test_it_fits_exactly_when_each_unbound_entry_finds_one_home(
    needs: ResourceAllocation, room: ResourceAllocation
) -> None:
    assert (needs <= room) is fits_somehow(needs, room)
    misfit = needs.misfit(room)
    assert misfit is None or misfit in needs.quantities


@given(allocations, allocations, allocations)
def test_fitting_is_an_order(
    one: ResourceAllocation, other: ResourceAllocation, third: ResourceAllocation
) -> None:
    assert one <= one  # noqa: PLR0124 -- the point
    assert one <= one + other
    if one <= other <= third:
        assert one <= third
    if one <= other <= one:
        assert one == other


def test_the_entry_that_does_not_fit_is_named() -> None:
    room = ResourceAllocation({GPU_0: 4, GPU_1: 4})
    assert ResourceAllocation({GPU: 5}).misfit(room) == GPU
    assert ResourceAllocation({GPU_0: 5, GPU: 4}).misfit(room) == GPU_0
    assert ResourceAllocation({GPU: 4, GPU_0: 2, GPU_1: 2}).misfit(room) == GPU
    assert ResourceAllocation({GPU_0: 4, GPU: 4}).misfit(room) is None


def test_one_resource_spelled_in_both_ways_is_refused_rather_than_guessed_at() -> None:
    twice = ResourceAllocation({MAIN_MEMORY: 3, Resource("main", "ram_bytes", 0): 4})
    with pytest.raises(InvalidArgumentError, match=r"given twice.*give it once"):
        twice.normalised(DEVICES)


def test_a_device_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"no ram on tpu; the devices are: 1 main, 2 gpu"
    ):
        ResourceAllocation({Resource("tpu", "ram"): 1}).normalised(DEVICES)
    with pytest.raises(InvalidArgumentError, match=r"no ram on gpu 2; .* 2 gpu"):
        Resource("gpu", "ram", 2).normalised(DEVICES)
    with pytest.raises(InvalidArgumentError, match="devices are: none"):
        GPU.normalised({})


def test_normalising_twice_is_normalising_once() -> None:
    once = ResourceAllocation({MAIN_MEMORY: 3, GPU: 1, GPU_1: 2}).normalised(DEVICES)
    assert once.normalised(DEVICES) == once


def test_arithmetic_leaves_its_operands_as_they_were() -> None:
    one, other = ResourceAllocation({GPU: 2}), ResourceAllocation({GPU: 1, GPU_0: 1})
    for made in (one + other, one | other, one & other, one * 2, one.with_quantity(GPU, 9)):
        assert made.quantities is not one.quantities
    assert one.quantities == {GPU: 2}
    assert other.quantities == {GPU: 1, GPU_0: 1}


def test_an_allocation_times_a_fraction_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="round up"):
        ResourceAllocation({GPU: 1}) * 1.5  # type: ignore[operator] # the point
