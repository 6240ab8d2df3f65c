"""Loads and unloads that do not return."""

from __future__ import annotations

import pytest

from servman.errors import InvalidArgumentError, LoadCancelledError, LoadFailedError
from servman.manager import AspiredVersionsManager, HarnessState
from servman.reasons import ReasonCode
from tests.unit.manager.rig import ModelLoader, Rig, entry, kept


def test_a_load_that_hangs_gives_its_place_to_the_next_after_a_minute() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("hangs", 1)
    rig.aspire("m", 1)
    rig.clock.advance(59.0)
    rig.step()
    assert (len(rig.loads.jobs), rig.loads.size) == (1, 1)
    rig.clock.advance(1.0)
    rig.step()
    assert rig.loads.size == 2, "a thread more, for the one that hangs keeps its own"
    rig.loads.run(1)
    rig.step()
    assert rig.serving() == ["m:1"]
    rig.settle()
    assert rig.serving() == ["hangs:1", "m:1"]
    assert rig.loads.size == 1, "it has come back"


def test_a_queued_version_says_which_load_has_run_for_longest() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("hangs", 1)
    rig.aspire("m", 1)
    assert "hangs:1 has run for longest" in str(rig.why("m"))


def test_a_load_that_nobody_wants_any_more_gives_its_place_after_a_second() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("hangs", 1)
    rig.aspire("m", 1)
    rig.aspire("hangs")
    assert len(rig.loads.jobs) == 1
    rig.clock.advance(1.0)
    rig.step()
    assert len(rig.loads.jobs) == 2


def test_an_unload_that_hangs_gives_its_place_to_the_next_after_a_minute() -> None:
    rig = Rig(num_unload_threads=1)
    rig.bring("hangs", 1)
    rig.bring("m", 1)
    rig.aspire("hangs")
    rig.aspire("m")
    assert len(rig.unloads.jobs) == 1
    rig.clock.advance(60.0)
    rig.step()
    assert (len(rig.unloads.jobs), rig.unloads.size) == (2, 2)
    rig.settle()
    assert (len(rig.ends("hangs:1")), len(rig.ends("m:1"))) == (1, 1)
    assert rig.unloads.size == 1


def test_a_load_that_outlasts_its_timeout_ends_its_version() -> None:
    rig = Rig(load_timeout=10.0)
    rig.aspire("m", 1)
    rig.clock.advance(9.0)
    rig.step()
    assert rig.state("m:1") is HarnessState.LOADING
    rig.clock.advance(1.0)
    rig.step()
    assert isinstance(rig.end("m:1"), LoadFailedError)
    assert "m:1: its load has not returned within 10 s" in str(rig.end("m:1"))
    assert rig.why("m").code is ReasonCode.FAILED


def test_what_a_load_brings_after_its_timeout_is_unloaded_and_never_served() -> None:
    rig = Rig(load_timeout=10.0)
    loader = ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(10.0)
    rig.step()
    assert rig.loads.size == 5
    rig.settle()
    assert rig.serving() == []
    assert (len(loader.models), loader.unloads) == (1, 1)
    assert rig.states("m:1") == ["START", "LOADING", "END"]
    assert rig.loads.size == 4
    assert kept(rig.manager) == set()


def test_after_a_timeout_the_version_can_be_tried_again_beside_the_load_that_hangs() -> None:
    rig = Rig(load_timeout=10.0)
    rig.aspire("m", entry("m:1", ModelLoader(), origin="/a"))
    rig.clock.advance(10.0)
    rig.step()
    rig.aspire("m", entry("m:1", ModelLoader(), origin="/b"))
    rig.loads.run(1)
    rig.step()
    assert rig.serving() == ["m:1"]
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_a_load_that_is_cancelled_ends_at_its_timeout_at_the_latest() -> None:
    rig = Rig(load_timeout=10.0)
    rig.aspire("m", 1)
    rig.aspire("m")
    assert rig.ends("m:1") == []
    rig.clock.advance(10.0)
    rig.step()
    assert isinstance(rig.end("m:1"), LoadCancelledError)
    rig.settle()
    assert len(rig.ends("m:1")) == 1


def given_up(loader: ModelLoader) -> Rig:
    rig = Rig(load_timeout=10.0)
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(10.0)
    rig.step()
    rig.begin_close(30.0)
    assert rig.manager._actor._left is None, "closed before the load that was given up has returned"
    return rig


def test_what_was_given_up_and_returns_while_the_manager_closes_is_unloaded() -> None:
    loader = ModelLoader()
    rig = given_up(loader)
    rig.settle()
    assert rig.report()
    assert (loader.unloads, len(rig.ends("m:1"))) == (1, 1)


def test_what_was_given_up_and_does_not_return_is_named_in_the_report() -> None:
    rig = given_up(ModelLoader())
    rig.clock.advance(30.0)
    rig.step()
    assert str(rig.report()) == "left: m:1 (loading)"
    assert len(rig.ends("m:1")) == 1


def test_a_load_timeout_that_can_never_be_right_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="load_timeout"):
        AspiredVersionsManager(load_timeout=-1.0)


def test_a_loader_that_says_cancelled_although_it_was_wanted_has_failed(rig: Rig) -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(LoadCancelledError("m:1: I give up"))))
    assert isinstance(rig.end("m:1"), LoadFailedError)
    assert "I give up" in str(rig.end("m:1"))


def test_the_minute_of_an_unload_begins_with_the_unload() -> None:
    rig = Rig(num_unload_threads=1)
    rig.bring("m", 1)
    rig.clock.advance(59.0)
    rig.aspire("m")
    rig.clock.advance(1.0)  # a minute since the load began, a second since the unload did
    rig.step()
    assert rig.unloads.size == 1
