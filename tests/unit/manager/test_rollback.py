"""A version that is wanted again while its earlier incarnation is still on its way out."""

from __future__ import annotations

import pytest

from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
)
from servman.reasons import ReasonCode
from tests.unit.manager.rig import ModelLoader, Rig, entry


def test_rolling_back_to_a_version_that_still_drains_drops_no_request(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        rig.bring("m", 1)
        assert rig.serving() == ["m:2"]
    rig.settle()
    assert rig.serving() == ["m:1"]
    assert rig.state("m:2") is None


def test_a_new_origin_of_a_version_that_loads_takes_nothing_out(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m", entry("m:2", origin="/a"))
    rig.aspire("m", entry("m:2", origin="/b"))
    assert rig.serving() == ["m:1"]
    rig.settle()
    assert rig.serving() == ["m:2"]


def test_why_a_version_that_is_to_come_back_is_not_there_is_told(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        rig.bring("m", 1)
        for request in ("m:1", "m:newest"):
            assert rig.why(request).code is ReasonCode.WAITING_FOR_HANDLES


def test_a_snapshot_says_that_its_version_is_wanted_again(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        assert [one.wanted_again for one in rig.manager.snapshots("m")] == [False, False]
        rig.bring("m", 1)
        assert [one.wanted_again for one in rig.manager.snapshots("m")] == [True, False]


def test_resources_are_preserved_all_the_same() -> None:
    rig = Rig(policy=ResourcePreservingPolicy())
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        assert rig.serving() == []
        rig.bring("m", 1)
        assert rig.serving() == []
    rig.settle()
    assert rig.serving() == ["m:1"]


@pytest.mark.parametrize("wanted_again", [False, True])
def test_the_last_version_stays_only_while_another_is_to_come(rig: Rig, wanted_again: bool) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.bring("m", 2)
        if wanted_again:
            rig.bring("m", 1)
        else:
            rig.bring("m")
        action = AvailabilityPreservingPolicy().next_action(rig.manager.snapshots("m"))
        assert action is None
        assert (rig.state("m:2") is HarnessState.READY) is wanted_again


def test_a_stream_of_many_versions_costs_a_snapshot_for_each_change_and_no_more(rig: Rig) -> None:
    loaders = [entry(f"m:{version}", ModelLoader()) for version in range(1, 40)]
    rig.bring("m", *loaders)
    before = {one.id: one for one in rig.manager._actor._reconciler.snapshots("m")}
    rig.bring("m", *loaders[:-1])
    after = {one.id: one for one in rig.manager._actor._reconciler.snapshots("m")}
    assert all(after[one] is before[one] for one in after)
