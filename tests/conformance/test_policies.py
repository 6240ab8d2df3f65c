"""Section 5.5 of the catalogue: the policies of TensorFlow Serving."""

from __future__ import annotations

import pytest

from servman.ids import ServableId
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
    ServableStateSnapshot,
)

S = HarnessState
AVAILABILITY = AvailabilityPreservingPolicy()
RESOURCE = ResourcePreservingPolicy()

Version = tuple[int, HarnessState, bool]


def wanted(version: int, state: HarnessState) -> Version:
    return version, state, True


def unwanted(version: int, state: HarnessState) -> Version:
    return version, state, False


def answer(policy: AspiredVersionPolicy, *versions: Version) -> str | None:
    """Return what *policy* asks for in a stream of *versions*."""
    snapshots = [
        ServableStateSnapshot(ServableId("test", version), state, aspired)
        for version, state, aspired in versions
    ]
    action = policy.next_action(snapshots)
    return None if action is None else f"{action.kind.value} {action.id.version}"


@pytest.mark.case("AP-01")
def test_availability_loads_the_highest_new_version_where_nothing_can_be_unloaded() -> None:
    versions = (
        unwanted(1, S.UNLOADING),
        unwanted(2, S.DISABLED),
        unwanted(3, S.ERROR),
        wanted(4, S.NEW),
        wanted(5, S.NEW),
        unwanted(6, S.UNLOAD_REQUESTED),
    )
    assert answer(AVAILABILITY, *versions) == "load 5"


@pytest.mark.case("AP-03")
def test_availability_unloads_where_nothing_is_wanted() -> None:
    versions = (unwanted(1, S.DISABLED), unwanted(2, S.READY), unwanted(3, S.DISABLED))
    assert answer(AVAILABILITY, *versions) == "unload 2"


@pytest.mark.case("AP-04")
def test_availability_does_nothing_where_nothing_can_be_loaded_or_unloaded() -> None:
    versions = (unwanted(1, S.UNLOADING), wanted(3, S.READY), unwanted(4, S.DISABLED))
    assert answer(AVAILABILITY, *versions) is None


@pytest.mark.case("AP-05")
def test_availability_keeps_the_only_ready_version_while_the_new_one_loads() -> None:
    assert answer(AVAILABILITY, unwanted(1, S.READY), wanted(2, S.LOADING)) is None


@pytest.mark.case("AP-06")
def test_availability_keeps_the_only_ready_version_when_the_new_one_has_failed() -> None:
    assert answer(AVAILABILITY, unwanted(1, S.READY), wanted(2, S.ERROR)) is None


@pytest.mark.case("AP-07")
def test_availability_unloads_the_old_one_beside_a_ready_one_while_another_loads() -> None:
    versions = (unwanted(1, S.READY), wanted(2, S.READY), wanted(3, S.LOADING))
    assert answer(AVAILABILITY, *versions) == "unload 1"


@pytest.mark.case("AP-08")
def test_availability_unloads_the_old_one_beside_a_ready_one_when_another_has_failed() -> None:
    versions = (unwanted(1, S.READY), wanted(2, S.READY), wanted(3, S.ERROR))
    assert answer(AVAILABILITY, *versions) == "unload 1"


@pytest.mark.case("RP-01")
def test_resource_unloads_the_first_of_two_unwanted_versions() -> None:
    versions = (
        wanted(1, S.READY),
        unwanted(3, S.READY),
        wanted(4, S.NEW),
        unwanted(5, S.READY),
    )
    assert answer(RESOURCE, *versions) == "unload 3"


@pytest.mark.case("RP-02")
def test_resource_loads_the_highest_new_version_beside_a_disabled_leftover() -> None:
    versions = (
        wanted(1, S.READY),
        unwanted(2, S.DISABLED),
        wanted(3, S.NEW),
        wanted(5, S.NEW),
    )
    assert answer(RESOURCE, *versions) == "load 5"


@pytest.mark.case("RP-03")
def test_resource_does_nothing_where_there_is_nothing_to_do() -> None:
    assert answer(RESOURCE, wanted(1, S.READY), unwanted(2, S.DISABLED)) is None


@pytest.mark.case("RP-04")
def test_resource_waits_for_an_unwanted_version_on_its_way_out() -> None:
    assert answer(RESOURCE, unwanted(1, S.UNLOAD_REQUESTED), wanted(2, S.NEW)) is None


@pytest.mark.case("RP-05")
def test_resource_loads_beside_an_unwanted_version_that_failed() -> None:
    assert answer(RESOURCE, unwanted(1, S.ERROR), wanted(2, S.NEW)) == "load 2"


@pytest.mark.case("RP-07")
def test_resource_loads_beside_failed_and_disabled_versions() -> None:
    versions = (unwanted(1, S.ERROR), unwanted(2, S.DISABLED), wanted(3, S.NEW))
    assert answer(RESOURCE, *versions) == "load 3"


@pytest.mark.case("PB-01")
@pytest.mark.parametrize("policy", [AVAILABILITY, RESOURCE])
def test_a_new_version_that_is_not_wanted_is_never_loaded(policy: AspiredVersionPolicy) -> None:
    versions = (unwanted(10, S.NEW), wanted(2, S.UNLOADING), wanted(1, S.UNLOADING))
    assert answer(policy, *versions) is None


@pytest.mark.case("PB-02")
def test_the_highest_wanted_new_version_is_loaded_first() -> None:
    versions = (
        unwanted(10, S.NEW),
        wanted(9, S.UNLOADING),
        wanted(1, S.NEW),
        wanted(5, S.NEW),
    )
    assert answer(AVAILABILITY, *versions) == "load 5"
    assert answer(RESOURCE, *versions[1:]) == "load 5"
