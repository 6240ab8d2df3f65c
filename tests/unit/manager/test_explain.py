"""Why a request finds nothing: one text for each state, with the facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import pytest

from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
    ServableAction,
    ServableStateSnapshot,
)
from servman.reasons import Reason, ReasonCode
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored


def test_what_is_not_aspired_has_no_reason_here(rig: Rig) -> None:
    rig.bring("m", 1)
    assert rig.manager.explain("x") is None
    assert rig.manager.explain("m:2") is None


def test_a_version_that_serves_is_available(rig: Rig) -> None:
    rig.bring("m", 1)
    for request in ("m", "m:1", "m:newest", "m:earliest"):
        assert rig.why(request).code is ReasonCode.AVAILABLE
        assert str(rig.why(request)) == "m:1 is available"


def test_a_queued_version_says_how_much_is_before_it() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("a", 1, 2)
    rig.aspire("m", 1)
    why = rig.why("m")
    assert (why.code, why.facts["others"]) == (ReasonCode.QUEUED, 2)
    assert (
        str(why) == "m:1 is queued for a load thread, with 2 other loads; a:2 has run for longest"
    )


def test_a_loading_version_says_since_when_and_which_attempt(rig: Rig) -> None:
    rig.aspire("m", 1)
    rig.clock.advance(2.5)
    why = rig.why("m")
    assert (why.code, why.facts["attempts"]) == (ReasonCode.LOADING, 1)
    assert str(why) == "m:1 has been loading for 2.5 s (attempt 1 of 6)"


def test_a_version_that_loads_again_says_what_failed_before(rig: Rig) -> None:
    rig.bring("m", entry("m:1", ModelLoader(ValueError("slow disk"))))
    rig.clock.advance(60.0)
    rig.step()
    why = rig.why("m")
    assert (why.code, why.facts["attempts"]) == (ReasonCode.LOADING, 2)
    assert str(why) == (
        "m:1 has been loading for 0.0 s (attempt 2 of 6); the one before failed: ValueError: slow disk"
    )


def test_a_version_that_is_queued_again_tells_how_often_it_was_tried() -> None:
    rig = Rig(num_load_threads=1)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("slow disk"))))
    rig.aspire("a", 1, 2)
    rig.clock.advance(60.0)
    rig.step()
    why = rig.why("m")
    assert (why.code, why.facts["attempts"]) == (ReasonCode.QUEUED, 1)


def test_a_pausing_version_says_when_it_is_tried_again_and_what_failed(rig: Rig) -> None:
    rig.bring("m", entry("m:1", ModelLoader(ValueError("slow disk"))))
    rig.clock.advance(20.0)
    why = rig.why("m")
    assert (why.code, why.facts["retry_in"]) == (ReasonCode.RETRYING, 40.0)
    assert str(why) == (
        "m:1 is tried again in 40.0 s; attempt 1 of 6 failed: ValueError: slow disk"
    )
    assert str(why.error) == "ValueError: slow disk"


def test_a_version_that_waits_for_a_thread_after_its_pause_is_queued_again() -> None:
    rig = Rig(num_load_threads=1)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("slow disk"))))
    rig.aspire("n", 1)
    rig.clock.advance(60.0)
    rig.step()
    assert rig.snapshot("m:1").state is HarnessState.LOADING
    assert rig.why("m").code is not ReasonCode.RETRYING


def test_a_version_that_waits_for_another_to_go_names_it() -> None:
    rig = Rig(policy=ResourcePreservingPolicy())
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.aspire("m", 2)
        why = rig.why("m")
        assert why.code is ReasonCode.WAITING
        assert str(why) == "m:2 is not loading yet: the policy lets m:1 (quiescing) go first"


@pytest.mark.parametrize(("count", "text"), [(1, "1 handle"), (3, "about 3 handles")])
def test_a_version_on_its_way_out_says_what_it_waits_for(rig: Rig, count: int, text: str) -> None:
    rig.bring("m", 1)
    handles = [rig.handle("m") for _ in range(count)]
    rig.bring("m")
    rig.clock.advance(4.0)
    why = rig.why("m:1")
    assert (why.code, why.facts["handles"]) == (ReasonCode.WAITING_FOR_HANDLES, len(handles))
    assert str(why) == f"m:1 is on its way out and has waited 4.0 s for {text} to close"
    assert rig.manager.explain("m") is None


def test_an_unloading_version_says_since_when(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.aspire("m")
    rig.clock.advance(3.0)
    assert rig.why("m:1").code is ReasonCode.UNLOADING
    assert str(rig.why("m:1")) == "m:1 has been unloading for 3.0 s"


def test_a_failed_version_says_how_often_it_was_tried_and_what_failed() -> None:
    rig = Rig(max_num_load_retries=1, load_retry_interval=0.0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("one"), ValueError("two"))))
    why = rig.why("m")
    assert why.code is ReasonCode.FAILED
    assert str(why) == "m:1 failed after 2 attempts: ValueError: two"
    assert why.error is rig.end("m:1")


def test_a_version_that_was_tried_once_failed_after_one_attempt() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("one"))))
    assert str(rig.why("m")) == "m:1 failed after 1 attempt: ValueError: one"


def test_a_version_that_was_never_tried_just_failed(rig: Rig) -> None:
    rig.bring("m", errored("m:1"))
    assert str(rig.why("m")) == "m:1 failed: ValueError: cannot be converted"


def test_the_latest_is_explained_by_the_version_nearest_to_serving() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", errored("m:2"))
    rig.aspire("m", 1, errored("m:2"))
    assert rig.why("m").code is ReasonCode.LOADING
    assert rig.why("m:newest").code is ReasonCode.FAILED
    assert rig.why("m:2").code is ReasonCode.FAILED


def test_a_closing_manager_says_so(rig: Rig) -> None:
    rig.bring("m", 1)
    with rig.handle("m"):
        rig.begin_close()
        assert rig.why("m").code is ReasonCode.CLOSED
        assert rig.why("never heard of").code is ReasonCode.CLOSED


def test_a_version_whose_pause_is_over_is_queued_until_its_attempt_begins() -> None:
    rig = Rig(num_load_threads=1, load_retry_interval=30.0)
    rig.bring("m", entry("m:1", ModelLoader(ValueError("slow disk"))))
    rig.aspire("busy", 1)
    rig.clock.advance(30.0)
    rig.step()
    assert rig.why("m").code is ReasonCode.QUEUED
    assert "m:1 is queued for a load thread, with 1 other loads; busy:1" in str(rig.why("m"))


def test_a_version_that_waits_for_an_unload_thread_says_so() -> None:
    rig = Rig(num_unload_threads=1)
    rig.bring("m", 1, 2)
    rig.aspire("m")
    assert "m:2 has waited 0.0 s for an unload thread" in str(rig.why("m:2"))


def test_a_request_that_finds_something_is_explained_by_what_it_finds() -> None:
    """The newest has failed, and is not what a lookup by name gives."""
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", 1)
    rig.bring("m", entry("m:2", ModelLoader(ValueError("corrupt"))))
    for request in ("m", "m:earliest"):
        assert str(rig.handle(request).id) == "m:1"
        assert str(rig.why(request)) == "m:1 is available"
    assert rig.why("m:newest").code is ReasonCode.FAILED


@final
class Slow:
    """A policy that asks, while time passes during its answer on "slow", why things are as they are."""

    def __init__(self) -> None:
        self.rig = Rig(policy=self)
        self.told: list[Reason | None] = []

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        if snapshots[0].id.name == "slow" and not self.told:
            for seconds, request in ((4.9, "slow:1"), (0.1, "slow:1"), (0.0, "m:1"), (0.0, "x")):
                self.rig.clock.advance(seconds)
                self.told.append(self.rig.manager.explain(request))
        return AvailabilityPreservingPolicy().next_action(snapshots)


def test_a_step_that_does_not_end_is_told_of_what_it_holds_up_and_of_nothing_else() -> None:
    slow = Slow()
    slow.rig.bring("m", 1)
    slow.rig.aspire("slow", 1)
    assert ["at one step" in str(one) for one in slow.told] == [False, True, False, False]
    assert str(slow.told[1]).startswith(
        "slow:1: the manager's thread has been at one step for 5.0 s, and nothing changes before"
    )
    assert "at one step" not in str(slow.rig.why("slow:1"))
