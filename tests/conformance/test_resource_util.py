"""Section 5.17 of the catalogue: validity and arithmetic of allocations, on one machine with two GPUs.

TensorFlow Serving changes protos in place; here allocations are values, and operators make new ones.
"""

from __future__ import annotations

import pytest

from servman.errors import InvalidArgumentError
from servman.resources import Resource, ResourceAllocation

DEVICES = {"main": 1, "gpu": 2}

MAIN_CORES = Resource("main", "cores")
MAIN_CORES_0 = Resource("main", "cores", 0)
MAIN_RAM = Resource("main", "ram")
MAIN_RAM_0 = Resource("main", "ram", 0)
GPU_CORES = Resource("gpu", "cores")
GPU_CORES_0 = Resource("gpu", "cores", 0)
GPU_CORES_1 = Resource("gpu", "cores", 1)
GPU_RAM = Resource("gpu", "ram")
GPU_RAM_0 = Resource("gpu", "ram", 0)
GPU_RAM_1 = Resource("gpu", "ram", 1)
GPU_RAM_2 = Resource("gpu", "ram", 2)
TPU_RAM = Resource("tpu", "ram")

Alloc = ResourceAllocation
NOTHING = Alloc()


@pytest.mark.case("RU-01")
@pytest.mark.parametrize(
    "valid",
    [NOTHING, Alloc({MAIN_CORES: 100, GPU_RAM: 4}), Alloc({GPU_RAM_0: 4}), Alloc({GPU_RAM_1: 4})],
    ids=str,
)
def test_empty_unbound_and_bound_in_range_are_valid(valid: Alloc) -> None:
    assert valid.normalised(DEVICES).normalised(DEVICES) == valid.normalised(DEVICES)


@pytest.mark.case("RU-01")
@pytest.mark.parametrize(
    "invalid",
    [
        Alloc({TPU_RAM: 100}),
        Alloc({MAIN_CORES: 100, TPU_RAM: 4}),
        Alloc({GPU_RAM_2: 4}),
        Alloc({MAIN_RAM: 2, MAIN_RAM_0: 4}),
    ],
    ids=str,
)
def test_unknown_devices_unknown_instances_and_repeated_entries_are_invalid(invalid: Alloc) -> None:
    with pytest.raises(InvalidArgumentError):
        invalid.normalised(DEVICES)


@pytest.mark.case("RU-02")
def test_the_validity_of_a_single_resource() -> None:
    assert MAIN_CORES.normalised(DEVICES) == MAIN_CORES_0
    for valid in (MAIN_CORES_0, GPU_RAM, GPU_RAM_0, GPU_RAM_1):
        assert valid.normalised(DEVICES) == valid
    for invalid in (TPU_RAM, GPU_RAM_2, Resource("main", "ram", 1)):
        with pytest.raises(InvalidArgumentError):
            invalid.normalised(DEVICES)


@pytest.mark.case("RU-03")
def test_normalising_drops_zeros_and_binds_where_there_is_one_instance() -> None:
    assert NOTHING.normalised(DEVICES) == NOTHING
    mixed = Alloc({GPU_CORES: 100, GPU_RAM: 0}).normalised(DEVICES)
    assert mixed.quantities == {GPU_CORES: 100}
    assert Alloc({MAIN_RAM: 2}).normalised(DEVICES).quantities == {MAIN_RAM_0: 2}
    assert Alloc({MAIN_RAM_0: 2}).normalised(DEVICES).quantities == {MAIN_RAM_0: 2}


@pytest.mark.case("RU-04")
@pytest.mark.parametrize(
    ("allocation", "normal"),
    [
        (NOTHING, True),
        (Alloc({GPU_CORES: 100}), True),
        (Alloc({GPU_CORES_0: 100}), True),
        (Alloc({MAIN_CORES_0: 100}), True),
        (Alloc({MAIN_CORES: 100}), False),
    ],
    ids=str,
)
def test_an_allocation_is_normalised_when_normalising_changes_nothing(
    allocation: Alloc, *, normal: bool
) -> None:
    assert (allocation.normalised(DEVICES) == allocation) is normal


@pytest.mark.case("RU-05")
def test_an_allocation_is_bound_when_every_entry_is() -> None:
    assert NOTHING.is_bound
    assert Alloc({GPU_CORES_0: 100}).is_bound
    assert Alloc({MAIN_RAM_0: 4, GPU_CORES_1: 100}).is_bound
    assert not Alloc({GPU_CORES: 100}).is_bound
    assert not Alloc({MAIN_RAM_0: 4, GPU_CORES: 100}).is_bound


@pytest.mark.departs("RU-06")
def test_a_resource_without_an_instance_is_unbound_until_it_is_normalised() -> None:
    assert Resource("gpu", "ram", 1) == GPU_RAM_1
    assert Resource("main", "ram").instance is None
    assert Resource("main", "ram").normalised(DEVICES) == MAIN_RAM_0


@pytest.mark.case("RU-07")
def test_a_quantity_is_found_by_the_normal_spelling_of_its_resource() -> None:
    allocation = Alloc({MAIN_RAM: 32, GPU_CORES_1: 100}).normalised(DEVICES)
    assert allocation.quantity(MAIN_RAM.normalised(DEVICES)) == 32
    assert allocation.quantity(MAIN_RAM_0) == 32
    assert allocation.quantity(GPU_CORES_1) == 100
    for absent in (GPU_CORES, GPU_CORES_0, GPU_RAM_1, MAIN_CORES_0):
        assert allocation.quantity(absent) == 0


@pytest.mark.departs("RU-08")
def test_a_quantity_replaces_the_entry_spelled_like_it_or_is_a_new_one() -> None:
    allocation = Alloc({MAIN_RAM: 32, GPU_CORES_1: 100})
    assert allocation.with_quantity(MAIN_RAM, 64) == Alloc({MAIN_RAM: 64, GPU_CORES_1: 100})
    assert allocation.with_quantity(GPU_CORES_1, 200) == Alloc({MAIN_RAM: 32, GPU_CORES_1: 200})
    more = allocation.with_quantity(GPU_RAM_1, 128)
    assert more == Alloc({MAIN_RAM: 32, GPU_CORES_1: 100, GPU_RAM_1: 128})
    # Without the devices at hand, another spelling is another entry; normalising tells.
    both = allocation.with_quantity(MAIN_RAM_0, 64)
    with pytest.raises(InvalidArgumentError, match="given twice"):
        both.normalised(DEVICES)


@pytest.mark.case("RU-09")
def test_nothing_and_nothing_is_nothing() -> None:
    assert NOTHING + NOTHING == NOTHING


@pytest.mark.case("RU-10")
def test_matching_entries_are_summed_and_others_joined() -> None:
    base = Alloc({MAIN_CORES_0: 100, MAIN_RAM_0: 8})
    added = base + Alloc({MAIN_CORES_0: 300, GPU_RAM: 4})
    assert added == Alloc({MAIN_CORES_0: 400, MAIN_RAM_0: 8, GPU_RAM: 4})


@pytest.mark.case("RU-11")
def test_bound_and_unbound_are_added_apart() -> None:
    base = Alloc({GPU_RAM: 8, GPU_RAM_0: 4})
    added = base + Alloc({GPU_RAM: 16, GPU_RAM_0: 2, GPU_RAM_1: 12})
    assert added == Alloc({GPU_RAM: 24, GPU_RAM_0: 6, GPU_RAM_1: 12})


@pytest.mark.case("RU-12")
def test_nothing_less_nothing_is_nothing() -> None:
    assert NOTHING - NOTHING == NOTHING


@pytest.mark.case("RU-13")
def test_matching_entries_are_subtracted_and_others_stay() -> None:
    base = Alloc({MAIN_CORES_0: 300, MAIN_RAM_0: 8, GPU_RAM: 16})
    left = base - Alloc({MAIN_CORES_0: 100, MAIN_RAM_0: 4})
    assert left == Alloc({MAIN_CORES_0: 200, MAIN_RAM_0: 4, GPU_RAM: 16})


@pytest.mark.case("RU-14")
def test_less_than_nothing_is_refused_and_the_base_stays_as_it_was() -> None:
    base = Alloc({MAIN_CORES_0: 100, MAIN_RAM_0: 4, GPU_RAM: 16})
    with pytest.raises(InvalidArgumentError, match="cannot take 6 ram on main 0 from 4"):
        base - Alloc({MAIN_CORES_0: 50, MAIN_RAM_0: 6})
    assert base == Alloc({MAIN_CORES_0: 100, MAIN_RAM_0: 4, GPU_RAM: 16})
    with pytest.raises(InvalidArgumentError, match="from 0"):
        base - Alloc({GPU_RAM_1: 1})


@pytest.mark.case("RU-15")
def test_what_is_used_up_vanishes() -> None:
    assert not (Alloc({MAIN_CORES_0: 10}) - Alloc({MAIN_CORES_0: 10})).quantities


@pytest.mark.case("RU-16")
def test_bound_and_unbound_are_subtracted_apart() -> None:
    base = Alloc({GPU_RAM: 16, GPU_RAM_0: 4, GPU_RAM_1: 12})
    left = base - Alloc({GPU_RAM: 8, GPU_RAM_0: 2})
    assert left == Alloc({GPU_RAM: 8, GPU_RAM_0: 2, GPU_RAM_1: 12})


@pytest.mark.case("RU-17")
def test_any_number_of_nothing_is_nothing() -> None:
    assert NOTHING * 2 == NOTHING


@pytest.mark.case("RU-18")
def test_every_entry_is_multiplied() -> None:
    assert Alloc({MAIN_CORES_0: 300, GPU_RAM: 4}) * 2 == Alloc({MAIN_CORES_0: 600, GPU_RAM: 8})


@pytest.mark.case("RU-19")
def test_allocations_are_equal_when_all_their_entries_are() -> None:
    different = [
        NOTHING,
        Alloc({MAIN_CORES_0: 100}),
        Alloc({MAIN_CORES_0: 101}),
        Alloc({GPU_RAM: 100}),
        Alloc({GPU_RAM_0: 100}),
        Alloc({MAIN_CORES_0: 100, GPU_RAM_0: 4}),
    ]
    for row, one in enumerate(different):
        for column, other in enumerate(different):
            assert (one == Alloc(other.quantities)) is (row == column)


@pytest.mark.case("RU-20")
def test_the_order_of_entries_does_not_count() -> None:
    assert Alloc({MAIN_CORES_0: 1, GPU_RAM: 4}) == Alloc({GPU_RAM: 4, MAIN_CORES_0: 1})


@pytest.mark.case("RU-21")
def test_resources_are_the_same_when_their_normal_spellings_are() -> None:
    assert MAIN_RAM.normalised(DEVICES) == MAIN_RAM_0.normalised(DEVICES)
    assert GPU_RAM_1.normalised(DEVICES) == Resource("gpu", "ram", 1)
    for other in (GPU_CORES_1, GPU_RAM_0, GPU_RAM, MAIN_RAM_0):
        assert GPU_RAM_1.normalised(DEVICES) != other.normalised(DEVICES)


@pytest.mark.case("RU-22")
def test_nothing_fits_into_nothing() -> None:
    assert NOTHING <= NOTHING  # noqa: PLR0124 -- the point


@pytest.mark.case("RU-22")
@pytest.mark.parametrize("some", [Alloc({GPU_RAM: 1}), Alloc({GPU_RAM_0: 1})], ids=str)
def test_nothing_fits_into_anything_and_nothing_else_into_nothing(some: Alloc) -> None:
    nothing = Alloc()
    assert nothing <= some
    assert not some <= nothing


@pytest.mark.case("RU-23")
def test_one_entry_fits_into_as_much_or_more() -> None:
    less, more = Alloc({GPU_CORES_1: 10}), Alloc({GPU_CORES_1: 20})
    assert less <= Alloc({GPU_CORES_1: 10})
    assert less <= more
    assert not more <= less


@pytest.mark.case("RU-24")
def test_of_two_entries_both_have_to_fit() -> None:
    more = Alloc({GPU_CORES_0: 10, GPU_RAM_1: 4})
    less = Alloc({GPU_CORES_0: 5, GPU_RAM_1: 4})
    assert less <= more
    assert not more <= less


@pytest.mark.case("RU-25")
def test_what_is_absent_on_the_right_is_zero() -> None:
    more = Alloc({GPU_CORES_0: 10, GPU_RAM_1: 4})
    less = Alloc({GPU_CORES_0: 5})
    assert less <= more
    assert not more <= less
    assert not Alloc({GPU_RAM: 1}) <= less


@pytest.mark.parametrize(
    ("needs", "fits"),
    [
        (NOTHING, True),
        (Alloc({MAIN_CORES_0: 100, GPU_RAM: 4}), True),
        (Alloc({GPU_RAM: 4}), True),
        (Alloc({GPU_RAM: 5}), False),
        (Alloc({GPU_CORES: 50, GPU_RAM: 4}), True),
        (Alloc({GPU_CORES: 101, GPU_RAM: 4}), False),
        (Alloc({GPU_CORES_0: 90, GPU_CORES_1: 40, GPU_CORES: 10}), True),
        (Alloc({GPU_CORES_0: 90, GPU_CORES_1: 40, GPU_CORES: 20}), False),
    ],
    ids=str,
)
def test_an_unbound_entry_fits_where_one_instance_has_room_after_the_bound_ones(
    needs: Alloc, *, fits: bool
) -> None:
    room = {MAIN_CORES_0: 1000, GPU_CORES_0: 100, GPU_CORES_1: 50, GPU_RAM_0: 2, GPU_RAM_1: 4}
    assert (needs <= Alloc(room)) is fits


@pytest.mark.case("RU-28")
@pytest.mark.case("RU-32")
def test_the_larger_and_the_smaller_with_nothing() -> None:
    some = Alloc({MAIN_CORES_0: 10})
    assert NOTHING | NOTHING == NOTHING & NOTHING == NOTHING
    assert some | NOTHING == NOTHING | some == some
    assert some & NOTHING == NOTHING & some == NOTHING


@pytest.mark.case("RU-29")
@pytest.mark.case("RU-33")
def test_the_larger_and_the_smaller_of_bound_entries() -> None:
    one = Alloc({MAIN_CORES_0: 10, GPU_RAM_0: 4})
    other = Alloc({MAIN_CORES_0: 7, GPU_RAM_0: 6, GPU_RAM_1: 2})
    assert one | other == Alloc({MAIN_CORES_0: 10, GPU_RAM_0: 6, GPU_RAM_1: 2})
    assert one & other == Alloc({MAIN_CORES_0: 7, GPU_RAM_0: 4})


@pytest.mark.case("RU-30")
@pytest.mark.case("RU-34")
def test_bound_and_unbound_entries_are_compared_apart() -> None:
    one, other = Alloc({GPU_RAM: 8, GPU_RAM_0: 1}), Alloc({GPU_RAM_0: 4})
    assert one | other == Alloc({GPU_RAM: 8, GPU_RAM_0: 4})
    assert one & other == Alloc({GPU_RAM_0: 1})


@pytest.mark.case("RU-31")
@pytest.mark.case("RU-35")
def test_the_larger_and_the_smaller_of_unbound_entries() -> None:
    one, other = Alloc({GPU_RAM: 8}), Alloc({GPU_RAM: 5, GPU_CORES: 3})
    assert one | other == Alloc({GPU_RAM: 8, GPU_CORES: 3})
    assert one & other == Alloc({GPU_RAM: 5})


@pytest.mark.case("RU-36")
def test_the_devices_are_told_with_each_call() -> None:
    wider = {"main": 2, "gpu": 1, "tpu": 1}
    assert Alloc({TPU_RAM: 1}).normalised(wider) == Alloc({Resource("tpu", "ram", 0): 1})
    assert Alloc({MAIN_RAM: 1, GPU_RAM: 1}).normalised(wider) == Alloc({MAIN_RAM: 1, GPU_RAM_0: 1})
    with pytest.raises(InvalidArgumentError):
        Alloc({GPU_RAM_1: 1}).normalised(wider)
