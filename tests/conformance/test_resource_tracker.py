"""Section 5.16 of the catalogue: 16 units of memory on the machine itself and on each of two GPUs.

TensorFlow Serving computes what is used anew from the loaders; here each holder's share is kept, and
replaced or released when it changes.
"""

from __future__ import annotations

import pytest

from servman.errors import InvalidArgumentError
from servman.ids import ServableId
from servman.manager.tracker import ResourceTracker
from servman.resources import Resource, ResourceAllocation

MAIN = Resource("main", "ram")
MAIN_0 = Resource("main", "ram", 0)
GPU = Resource("gpu", "ram")
GPU_0 = Resource("gpu", "ram", 0)
GPU_1 = Resource("gpu", "ram", 1)

Alloc = ResourceAllocation
TOTAL = Alloc({MAIN_0: 16, GPU_0: 16, GPU_1: 16})
SMALL = Alloc({MAIN: 1, GPU_0: 3})
MIDDLE = Alloc({MAIN: 5, GPU_0: 7})
LARGE = Alloc({MAIN: 15})
UNBOUND = Alloc({GPU: 12})
BOGUS = Alloc({Resource("bogus", "ram", 0): 4})


@pytest.fixture
def tracker() -> ResourceTracker:
    return ResourceTracker(TOTAL)


def reserve(tracker: ResourceTracker, number: int, needs: Alloc) -> bool:
    return tracker.reserve(number, ServableId("m", number), needs)


@pytest.mark.case("RT-01")
def test_an_unbound_total_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="which instance"):
        ResourceTracker(TOTAL.with_quantity(Resource("gpu", "cores"), 12))


@pytest.mark.case("RT-02")
def test_a_total_on_the_only_device_of_its_kind_is_bound_to_it() -> None:
    assert ResourceTracker(Alloc({MAIN: 12})).total == Alloc({MAIN_0: 12})


@pytest.mark.case("RT-03")
def test_used_is_the_sum_of_the_holders_with_bound_and_unbound_apart(
    tracker: ResourceTracker,
) -> None:
    assert tracker.used == Alloc()
    for number, needs in enumerate((SMALL, Alloc(), Alloc())):
        assert reserve(tracker, number, needs)
    tracker.replace(1, MIDDLE)
    tracker.replace(2, UNBOUND)
    assert tracker.used == Alloc({MAIN_0: 6, GPU_0: 10, GPU: 12})
    tracker.release(1)
    tracker.release(2)
    assert tracker.used == Alloc({MAIN_0: 1, GPU_0: 3})
    assert tracker.total == TOTAL


@pytest.mark.case("RT-04")
def test_what_fits_beside_bound_holders_is_set_aside(tracker: ResourceTracker) -> None:
    assert reserve(tracker, 0, SMALL)
    assert reserve(tracker, 2, LARGE)
    assert tracker.used == Alloc({MAIN_0: 16, GPU_0: 3})
    assert tracker.total == TOTAL


@pytest.mark.case("RT-05")
def test_what_does_not_fit_is_no_error_and_changes_nothing(tracker: ResourceTracker) -> None:
    assert reserve(tracker, 1, MIDDLE)
    assert not reserve(tracker, 2, LARGE)
    assert tracker.used == Alloc({MAIN_0: 5, GPU_0: 7})
    assert tracker.total == TOTAL


def test_what_fits_beside_an_unbound_holder_wherever_that_is_is_set_aside(
    tracker: ResourceTracker,
) -> None:
    assert reserve(tracker, 3, UNBOUND)
    assert reserve(tracker, 0, SMALL)
    assert tracker.used == Alloc({MAIN_0: 1, GPU_0: 3, GPU: 12})


def test_an_unbound_holder_may_be_anywhere(tracker: ResourceTracker) -> None:
    assert reserve(tracker, 3, UNBOUND)
    assert not reserve(tracker, 1, MIDDLE)
    assert not reserve(tracker, 4, UNBOUND)
    assert tracker.used == UNBOUND


@pytest.mark.case("RT-08")
def test_a_device_that_does_not_exist_is_an_error_and_changes_nothing(
    tracker: ResourceTracker,
) -> None:
    with pytest.raises(InvalidArgumentError, match="bogus"):
        reserve(tracker, 0, BOGUS)
    assert tracker.used == Alloc()
    assert reserve(tracker, 0, SMALL)
    with pytest.raises(InvalidArgumentError, match="bogus"):
        tracker.replace(0, BOGUS)
    assert tracker.used == Alloc({MAIN_0: 1, GPU_0: 3})
