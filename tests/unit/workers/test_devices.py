"""Where workers are put, what they are told of their devices, and which devices are taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servman.errors import FailedPreconditionError
from servman.ids import ServableId
from servman.workers import devices
from servman.workers.devices import Lease, Placement, lease, plan, worker_environment
from servman.workers.options import Workers

ONE = ServableId("one", 1)
TWO = ServableId("two", 7)
MINE = Workers(devices=(90, 91), exclusive_devices=True)


@pytest.fixture(autouse=True)
def leases() -> Iterator[set[Lease]]:
    """Return the leases held, and let those go that a test has left."""
    before = set(devices._leases)
    yield devices._leases
    for held in devices._leases - before:
        held.release()


def test_replicas_are_put_on_the_devices_in_turn_and_extra_workers_on_none() -> None:
    placed = plan(Workers(3, devices=(4, 5), num_parallel_workers=5))
    assert [(one.index, one.kind, one.device) for one in placed] == [
        (0, "device", 4),
        (1, "device", 5),
        (2, "device", 4),
        (3, "extra", None),
        (4, "extra", None),
    ]
    assert [one.extra for one in placed] == [False, False, False, True, True]


def test_without_devices_replicas_are_plain() -> None:
    assert [one.kind for one in plan(Workers(2, num_parallel_workers=3))] == [
        "plain",
        "plain",
        "extra",
    ]


def test_a_worker_is_told_its_device() -> None:
    told = Placement(0, "device", 4).environment()
    assert told == {"CUDA_VISIBLE_DEVICES": "4", "SERVMAN_DEVICE_ID": "4"}


def test_an_extra_worker_sees_no_device() -> None:
    assert Placement(3, "extra", None).environment() == {"CUDA_VISIBLE_DEVICES": "-1"}


def test_a_plain_worker_sees_what_its_host_sees() -> None:
    assert Placement(0, "plain", None).environment() == {}


def test_the_platform_has_the_last_word_on_the_environment_and_the_user_the_first() -> None:
    workers = Workers(devices=(4,), environment={"A": "1", "CUDA_VISIBLE_DEVICES": "7"})
    (placement,) = plan(workers)
    assert worker_environment(workers, placement, {"SERVMAN_DEVICE_ID": "npu4"}) == {
        "A": "1",
        "CUDA_VISIBLE_DEVICES": "4",
        "SERVMAN_DEVICE_ID": "npu4",
    }


def test_a_device_held_exclusively_is_refused_to_others_and_its_holder_is_named() -> None:
    held = lease(ONE, MINE)
    with pytest.raises(
        FailedPreconditionError, match=r"two:7: device 91 is held by one:1 for itself"
    ):
        lease(TWO, Workers(devices=(91, 92)))
    held.release()
    lease(TWO, Workers(devices=(91, 92)))


def test_a_device_that_others_share_is_refused_to_who_wants_it_for_itself() -> None:
    lease(ONE, Workers(devices=(90,)))
    lease(TWO, Workers(devices=(90,)))
    with pytest.raises(FailedPreconditionError, match="this one wants it for itself"):
        lease(ServableId("three", 1), MINE)


def test_what_was_refused_holds_nothing(leases: set[Lease]) -> None:
    lease(ONE, MINE)
    before = set(leases)
    with pytest.raises(FailedPreconditionError):
        lease(TWO, MINE)
    assert leases == before


def test_a_lease_is_released_once_and_only_it() -> None:
    first = lease(ONE, MINE)
    first.release()
    lease(ONE, MINE)
    first.release()
    with pytest.raises(FailedPreconditionError):
        lease(TWO, MINE)


def test_servables_without_devices_are_in_nobodys_way() -> None:
    lease(ONE, MINE)
    lease(TWO, Workers())
