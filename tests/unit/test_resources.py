"""Allocations: equal by what counts, immutable, and never negative."""

from __future__ import annotations

import copy
import pickle

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
