"""The tracker: who holds what, what fits now or later, and the numbers when it does not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from servman.errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from servman.ids import ServableId
from servman.manager.tracker import ResourceTracker, Shortage
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation

GPU = Resource("gpu", "ram")
GPU_0 = Resource("gpu", "ram", 0)
GPU_1 = Resource("gpu", "ram", 1)
CORES = Resource("main", "cores")
M1, M2, X1, X2 = (ServableId(name, version) for name in "mx" for version in (1, 2))


def bytes_of(quantity: int) -> ResourceAllocation:
    return ResourceAllocation({MAIN_MEMORY: quantity})


def gpus(any: int = 0, first: int = 0, second: int = 0) -> ResourceAllocation:
    return ResourceAllocation({GPU: any, GPU_0: first, GPU_1: second})


@pytest.fixture
def tracker() -> ResourceTracker:
    """Return a tracker of 10 bytes, of which m:1 holds 4 and x:2 holds 3."""
    tracker = ResourceTracker(bytes_of(10))
    assert tracker.reserve(1, M1, bytes_of(4))
    assert tracker.reserve(2, X2, bytes_of(3))
    return tracker


@pytest.fixture
def two_gpus() -> ResourceTracker:
    """Return a tracker of two GPUs with 16 each."""
    return ResourceTracker(gpus(first=16, second=16))


def shortage(tracker: ResourceTracker, needs: ResourceAllocation) -> Shortage:
    found = tracker.shortage(needs)
    assert found is not None
    return found


# ---- the total -------------------------------------------------------------------------------------


def test_the_devices_are_those_of_the_total_and_as_many_as_its_highest_number_says() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 1, GPU_1: 5}))
    assert tracker.fits(gpus(any=5))
    assert not tracker.fits(gpus(first=1)), "there is such a device, but nothing on it"
    for stranger in (Resource("gpu", "ram", 2), Resource("main", "ram_bytes", 1)):
        with pytest.raises(InvalidArgumentError, match="1 main, 2 gpu"):
            tracker.fits(ResourceAllocation({stranger: 1}))


def test_a_total_that_gives_one_resource_twice_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="given twice"):
        ResourceTracker(ResourceAllocation({MAIN_MEMORY: 1, Resource("main", "ram_bytes", 0): 1}))


def test_needs_can_be_checked_before_they_are_reserved(tracker: ResourceTracker) -> None:
    bound = Resource("main", "ram_bytes", 0)
    assert tracker.normalised(bytes_of(99)) == ResourceAllocation({bound: 99})
    with pytest.raises(InvalidArgumentError, match="no ram on gpu"):
        tracker.normalised(gpus(any=1))


# ---- what fits -------------------------------------------------------------------------------------


def test_it_fits_to_the_last_byte_and_no_further(tracker: ResourceTracker) -> None:
    assert not tracker.fits(bytes_of(4))
    assert not tracker.reserve(3, X1, bytes_of(4))
    assert tracker.fits(bytes_of(3))
    assert tracker.reserve(3, X1, bytes_of(3))
    assert not tracker.fits(bytes_of(1))


def test_asking_whether_it_fits_sets_nothing_aside(tracker: ResourceTracker) -> None:
    before = tracker.used
    assert tracker.fits(bytes_of(3))
    assert tracker.fits(bytes_of(7), without=(1,))
    assert tracker.could_fit(bytes_of(10))
    assert tracker.shortage(bytes_of(10))
    assert tracker.used == before


def test_it_would_fit_once_those_on_their_way_out_have_gone(tracker: ResourceTracker) -> None:
    assert not tracker.fits(bytes_of(7))
    assert tracker.fits(bytes_of(7), without=(1,))
    assert not tracker.fits(bytes_of(7), without=(2,))
    assert not tracker.fits(bytes_of(8), without=(1,))
    assert tracker.fits(bytes_of(10), without=[1, 2, 2, 99])
    assert not tracker.fits(bytes_of(11), without=(1, 2))


def test_what_exceeds_the_total_could_never_fit(tracker: ResourceTracker) -> None:
    assert tracker.could_fit(bytes_of(10))
    assert not tracker.could_fit(bytes_of(11))
    assert not tracker.could_fit(ResourceAllocation({CORES: 1})), "a kind that the total has not"


def test_who_reserves_again_does_not_stand_in_its_own_way(tracker: ResourceTracker) -> None:
    assert tracker.reserve(1, M1, bytes_of(7))
    assert tracker.used.normalised({"main": 1}) == tracker.normalised(bytes_of(10))
    assert not tracker.reserve(1, M1, bytes_of(8))
    assert tracker.used == tracker.normalised(bytes_of(10)), "it keeps what it had"


def test_who_needs_nothing_always_fits(tracker: ResourceTracker) -> None:
    tracker.replace(1, bytes_of(99))
    assert tracker.reserve(3, X1, ResourceAllocation())
    assert not tracker.fits(bytes_of(1))


def test_an_overdrawn_device_refuses_nothing_on_another(two_gpus: ResourceTracker) -> None:
    assert two_gpus.reserve(1, M1, gpus(first=4))
    two_gpus.replace(1, gpus(first=20))
    assert not two_gpus.fits(gpus(first=1))
    assert two_gpus.reserve(2, M2, gpus(second=16))


def test_a_bound_and_an_unbound_need_of_one_load_may_go_to_two_devices(
    two_gpus: ResourceTracker,
) -> None:
    assert two_gpus.fits(gpus(any=16, first=16))
    assert not two_gpus.fits(gpus(any=16, first=1, second=1))


# ---- giving back -----------------------------------------------------------------------------------


def test_what_is_released_is_free_again_once(tracker: ResourceTracker) -> None:
    assert tracker.release(1)
    assert not tracker.release(1)
    assert not tracker.release(99)
    assert tracker.used == tracker.normalised(bytes_of(3))
    assert tracker.reserve(3, X1, bytes_of(7))


def test_releasing_nothing_gives_nothing_back(tracker: ResourceTracker) -> None:
    assert tracker.reserve(3, X1, ResourceAllocation())
    assert not tracker.release(3)


def test_an_estimate_that_shrinks_after_the_load_makes_room(tracker: ResourceTracker) -> None:
    assert tracker.replace(1, bytes_of(1))
    assert tracker.reserve(3, X1, bytes_of(6))


def test_an_estimate_that_grows_after_the_load_is_taken_as_it_is(tracker: ResourceTracker) -> None:
    assert not tracker.replace(1, bytes_of(9))
    assert tracker.used == tracker.normalised(bytes_of(12))
    assert shortage(tracker, bytes_of(1)).free == 0
    assert tracker.release(1)
    assert tracker.fits(bytes_of(7))


def test_an_estimate_that_settles_on_one_device_makes_room_on_the_others(
    two_gpus: ResourceTracker,
) -> None:
    assert two_gpus.reserve(1, M1, gpus(any=10))
    assert not two_gpus.fits(gpus(second=10))
    assert two_gpus.replace(1, gpus(first=10)), "something came back, though no less is held"
    assert two_gpus.fits(gpus(second=10))
    assert not two_gpus.replace(1, gpus(first=10))


def test_replacing_what_nobody_holds_is_a_fault_of_ours(tracker: ResourceTracker) -> None:
    with pytest.raises(InternalError, match="incarnation 99 holds nothing"):
        tracker.replace(99, bytes_of(1))
    assert tracker.used == tracker.normalised(bytes_of(7))


# ---- the numbers -----------------------------------------------------------------------------------


def test_a_refusal_tells_what_is_needed_what_is_in_use_and_by_whom(
    tracker: ResourceTracker,
) -> None:
    refusal = shortage(tracker, bytes_of(5))
    assert str(refusal) == ("needs 5 ram_bytes on main, of 10 there are 7 in use (m:1 4, x:2 3)")
    assert refusal == Shortage(MAIN_MEMORY, 5, 10, 7, ((M1, 4), (X2, 3)))
    assert refusal.free == 3


def test_the_error_names_the_servable_the_numbers_and_the_remedy(tracker: ResourceTracker) -> None:
    error = shortage(tracker, bytes_of(5)).error(M2)
    assert isinstance(error, ResourceExhaustedError)
    assert str(error).startswith("m:2: needs 5 ")
    assert str(error).endswith("(m:1 4, x:2 3); unload something, or raise the total")
    assert str(shortage(tracker, bytes_of(11)).error(M2)).endswith("; raise the total")


def test_where_it_fits_there_is_no_shortage(tracker: ResourceTracker) -> None:
    assert tracker.shortage(bytes_of(3)) is None


def test_with_nothing_in_use_nobody_is_blamed() -> None:
    refusal = shortage(ResourceTracker(bytes_of(10)), bytes_of(11))
    assert str(refusal) == "needs 11 ram_bytes on main, of 10 there are 0 in use"


def test_the_largest_holders_are_named_first_and_only_some() -> None:
    tracker = ResourceTracker(bytes_of(100))
    for number in range(1, 9):
        assert tracker.reserve(number, ServableId("m", number), bytes_of(number))
    refusal = shortage(tracker, bytes_of(99))
    assert len(refusal.held_by) == 8
    assert str(refusal).endswith("(m:8 8, m:7 7, m:6 6, m:5 5, m:4 4 and 3 more)")


def test_holders_of_other_resources_are_not_named() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10, CORES: 2}))
    assert tracker.reserve(1, M1, bytes_of(10))
    assert tracker.reserve(2, X1, ResourceAllocation({CORES: 1}))
    refusal = shortage(tracker, ResourceAllocation({CORES: 2, MAIN_MEMORY: 0}))
    assert str(refusal) == "needs 2 cores on main, of 2 there are 1 in use (x:1 1)"


def test_what_exceeds_the_total_is_told_before_what_is_only_in_use() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10, CORES: 2}))
    assert tracker.reserve(1, M1, bytes_of(10))
    both = ResourceAllocation({MAIN_MEMORY: 1, CORES: 3})
    refusal = shortage(tracker, both)
    assert (refusal.resource, refusal.exceeds_total) == (CORES, True)
    assert not shortage(tracker, bytes_of(1)).exceeds_total


def test_of_several_devices_the_roomiest_is_told(two_gpus: ResourceTracker) -> None:
    assert two_gpus.reserve(1, M1, gpus(first=8))
    assert two_gpus.reserve(2, X1, gpus(any=4))
    refusal = shortage(two_gpus, gpus(any=13))
    assert (refusal.resource, refusal.among, refusal.held_by) == (GPU_1, 2, ((X1, 4),))
    assert str(refusal) == (
        "needs 13 ram on gpu 1 (the roomiest of 2), of 16 there are 4 in use (x:1 4)"
    )


def test_a_device_that_was_named_is_told_as_named(two_gpus: ResourceTracker) -> None:
    assert two_gpus.reserve(1, M1, gpus(first=8))
    refusal = shortage(two_gpus, gpus(any=4, first=9))
    assert str(refusal) == "needs 9 ram on gpu 0, of 16 there are 8 in use (m:1 8)"


def test_what_a_load_binds_to_the_roomiest_device_is_needed_there_too(
    two_gpus: ResourceTracker,
) -> None:
    assert two_gpus.reserve(1, M1, gpus(second=10))
    refusal = shortage(two_gpus, gpus(any=14, first=4))
    assert (refusal.resource, refusal.needs, refusal.free) == (GPU_0, 18, 16)
    assert not refusal.exceeds_total


def test_holders_of_as_much_are_named_by_their_ids(tracker: ResourceTracker) -> None:
    assert tracker.reserve(3, M2, bytes_of(3))
    assert shortage(tracker, bytes_of(1)).held_by == ((M1, 4), (M2, 3), (X2, 3))


def test_small_devices_that_are_free_do_not_make_a_need_exceed_the_total() -> None:
    tracker = ResourceTracker(gpus(first=16, second=4))
    assert tracker.reserve(1, M1, gpus(first=16))
    assert tracker.could_fit(gpus(any=10))
    assert not shortage(tracker, gpus(any=10)).exceeds_total


# ---- against a model -------------------------------------------------------------------------------

amounts = st.builds(gpus, *[st.sampled_from([0, 0, 1, 4, 9])] * 3)
TOTAL = {GPU_0: 16, GPU_1: 12}


class TrackerMachine(RuleBasedStateMachine):
    """The tracker beside a dict of holders that also knows on which device each one sits."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = ResourceTracker(ResourceAllocation(TOTAL))
        self.held: dict[int, ResourceAllocation] = {}
        self.homes: dict[int, Resource] = {}

    def home(self, needs: ResourceAllocation, without: set[int]) -> Resource | None:
        """Return a device that the unbound part of *needs* can go to; None if it does not all fit."""
        holders = [amount for number, amount in self.held.items() if number not in without]
        left = {
            gpu: total - sum(_anywhere(gpu, one) for one in holders) - needs.quantity(gpu)
            for gpu, total in TOTAL.items()
        }
        if any(left[gpu] < 0 for gpu in left if needs.quantity(gpu)):
            return None
        if not needs.quantity(GPU):
            return GPU_0
        return next((gpu for gpu in left if left[gpu] >= needs.quantity(GPU)), None)

    @rule(number=st.integers(0, 4), needs=amounts)
    def reserve(self, number: int, needs: ResourceAllocation) -> None:
        home = self.home(needs, {number})
        assert self.tracker.reserve(number, ServableId("m", number), needs) is (home is not None)
        if home is not None:
            self.held[number] = needs
            self.homes[number] = home

    @rule(number=st.integers(0, 4), most=amounts)
    def shrink(self, number: int, most: ResourceAllocation) -> None:
        before = self.held.get(number)
        if before is not None:
            self.held[number] = before & most
            came_back = self.tracker.replace(number, before & most)
            assert came_back is (before & most != before)

    @rule(number=st.integers(0, 4))
    def release(self, number: int) -> None:
        held = self.held.pop(number, ResourceAllocation())
        self.homes.pop(number, None)
        assert self.tracker.release(number) is bool(held.quantities)

    @rule(needs=amounts, without=st.sets(st.integers(0, 4)))
    def ask(self, needs: ResourceAllocation, without: set[int]) -> None:
        fits_later = self.home(needs, without) is not None
        assert self.tracker.fits(needs, without=without) is fits_later
        everyone = set(self.held)
        assert self.tracker.could_fit(needs) is (self.home(needs, everyone) is not None)

    @rule(needs=amounts)
    def tell(self, needs: ResourceAllocation) -> None:
        refusal = self.tracker.shortage(needs)
        assert (refusal is None) is self.tracker.fits(needs)
        if refusal is not None:
            assert refusal.needs > refusal.free
            assert refusal.in_use == sum(quantity for _, quantity in refusal.held_by)
            assert refusal.exceeds_total is not self.tracker.could_fit(needs)

    @invariant()
    def used_is_the_sum_of_what_is_held(self) -> None:
        assert self.tracker.used == sum(self.held.values(), ResourceAllocation())

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        taken: Counter[Resource] = Counter()
        for number, amount in self.held.items():
            taken.update({gpu: amount.quantity(gpu) for gpu in TOTAL})
            taken[self.homes[number]] += amount.quantity(GPU)
        assert taken <= Counter(TOTAL)


def _anywhere(gpu: Resource, amount: ResourceAllocation) -> int:
    return amount.quantity(gpu) + amount.quantity(GPU)


TestTrackerMachine = TrackerMachine.TestCase
TestTrackerMachine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
