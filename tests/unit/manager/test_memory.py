"""Loads that need memory, and have to share it."""

from __future__ import annotations

import types

import pytest

from servman.errors import ResourceExhaustedError
from servman.loader import LoadContext
from servman.manager import HarnessState
from servman.manager.tracker import ResourceTracker
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation
from tests.unit.manager.rig import Model, ModelLoader, Rig, entry, sid


class Hungry(ModelLoader):
    """A loader that needs memory: so much before its load, and so much after it."""

    def __init__(self, needs: int, *errors: BaseException, after: int | None = None) -> None:
        super().__init__(*errors)
        self.needs = needs
        self.after = after
        self.estimate_errors: list[BaseException] = []

    def estimate_resources(self) -> ResourceAllocation:
        if self.estimate_errors:
            raise self.estimate_errors.pop(0)
        return ResourceAllocation({MAIN_MEMORY: self.needs})

    def load(self, context: LoadContext) -> Model:
        model = super().load(context)
        self.needs = self.needs if self.after is None else self.after
        return model


@pytest.fixture
def rig() -> Rig:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    return Rig(resource_tracker=tracker, max_num_load_retries=0)


def used(rig: Rig) -> int:
    tracker = rig.manager._actor._reconciler._tracker
    assert tracker is not None
    return sum(tracker.used.quantities.values())


def test_what_is_needed_is_set_aside_before_the_load_and_returned_after_the_unload(
    rig: Rig,
) -> None:
    rig.aspire("m", entry("m:1", Hungry(6)))
    assert used(rig) == 0
    rig.loads.run()  # the estimate
    rig.step()
    assert (used(rig), rig.state("m:1")) == (6, HarnessState.LOADING)
    rig.settle()
    assert used(rig) == 6
    rig.aspire("m")
    assert used(rig) == 6, "until the unload has returned"
    rig.settle()
    assert used(rig) == 0


@pytest.mark.case("BM-47")
def test_two_loads_that_fit_together_run_together(rig: Rig) -> None:
    rig.aspire("a", entry("a:1", Hungry(5)))
    rig.aspire("b", entry("b:1", Hungry(5)))
    rig.loads.run()
    rig.loads.run()
    rig.step()
    assert (rig.state("a:1"), rig.state("b:1")) == (HarnessState.LOADING, HarnessState.LOADING)


@pytest.mark.case("BM-48")
def test_a_load_that_does_not_fit_fails_with_the_numbers_and_is_kept_on_record(rig: Rig) -> None:
    rig.bring("big", entry("big:1", Hungry(10)))
    rig.bring("m", entry("m:1", Hungry(1)))
    error = rig.end("m:1")
    assert isinstance(error, ResourceExhaustedError)
    assert "of 10 there are 10 in use (big:1 10)" in str(error)
    assert rig.state("m:1") is HarnessState.ERROR


@pytest.mark.case("BM-49")
def test_a_load_that_fails_returns_its_memory(rig: Rig) -> None:
    rig.bring("bad", entry("bad:1", Hungry(10, ValueError("corrupt"))))
    rig.bring("m", entry("m:1", Hungry(10)))
    assert rig.serving() == ["m:1"]


@pytest.mark.case("BM-50")
def test_what_is_needed_less_after_the_load_is_free_for_others(rig: Rig) -> None:
    rig.bring("a", entry("a:1", Hungry(10, after=5)))
    rig.bring("m", entry("m:1", Hungry(5)))
    assert rig.serving() == ["a:1", "m:1"]


@pytest.mark.case("BM-53")
def test_an_estimate_that_fails_ends_the_version_with_its_code_and_text(rig: Rig) -> None:
    loader = Hungry(1)
    loader.estimate_errors = [ResourceExhaustedError("no such device")]
    rig.bring("m", entry("m:1", loader))
    error = rig.end("m:1")
    assert isinstance(error, ResourceExhaustedError)
    assert str(error) == "m:1: what it will need cannot be estimated: no such device"


@pytest.mark.case("BM-55")
def test_an_estimate_is_tried_again_as_a_load_is() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, max_num_load_retries=1, load_retry_interval=0.0)
    once, twice = Hungry(1), Hungry(1)
    once.estimate_errors = [ValueError("busy")]
    twice.estimate_errors = [ValueError("busy"), ValueError("busy")]
    rig.bring("a", entry("a:1", once))
    rig.bring("b", entry("b:1", twice))
    assert rig.serving() == ["a:1"]
    assert "busy" in str(rig.end("b:1"))


def test_more_than_there_is_at_all_fails_and_is_not_tried_again(rig: Rig) -> None:
    rig.bring("a", entry("a:1", Hungry(5)))
    rig.bring("m", entry("m:1", Hungry(11)))
    assert isinstance(rig.end("m:1"), ResourceExhaustedError)
    rig.bring("a")
    assert len(rig.ends("m:1")) == 1


def test_a_load_waits_for_what_is_on_its_way_out(rig: Rig) -> None:
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.aspire("m", entry("m:1", Hungry(6)))
    rig.loads.run()
    rig.step()
    assert rig.state("m:1") is HarnessState.LOAD_REQUESTED
    assert rig.why("m").code is ReasonCode.WAITING_FOR_MEMORY
    assert "m:1 waits for memory: needs 6" in str(rig.why("m"))
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_nothing_that_fits_queues_behind_one_that_does_not(rig: Rig) -> None:
    rig = Rig(
        resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})), num_load_threads=1
    )
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.aspire("big", entry("big:1", Hungry(9)))
    rig.aspire("small", entry("small:1", Hungry(2)))
    while rig.loads.run_all():
        rig.step()
    assert rig.serving() == ["small:1"]


def test_a_version_that_failed_for_want_of_memory_is_tried_when_some_is_returned(rig: Rig) -> None:
    rig.bring("big", entry("big:1", Hungry(10)))
    rig.bring("m", entry("m:1", Hungry(3)))
    assert rig.state("m:1") is HarnessState.ERROR
    rig.bring("big")
    assert rig.serving() == ["m:1"]


def test_a_load_that_waits_for_memory_ends_at_once_when_it_is_no_longer_wanted(rig: Rig) -> None:
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.aspire("m", entry("m:1", Hungry(6)))
    rig.loads.run()
    rig.step()
    rig.aspire("m")
    assert len(rig.ends("m:1")) == 1
    rig.settle()
    assert (rig.serving(), used(rig)) == ([], 0)


def test_a_version_that_is_left_out_while_it_is_estimated_is_not_loaded(rig: Rig) -> None:
    loader = Hungry(6)
    rig.aspire("m", entry("m:1", loader))
    rig.aspire("m")
    rig.settle()
    assert (len(rig.ends("m:1")), loader.contexts, used(rig)) == (1, [], 0)


@pytest.mark.parametrize("needs", [None, ResourceAllocation({Resource("tpu", "cores"): 1})])
def test_an_estimate_that_makes_no_sense_is_the_error_of_its_version(
    rig: Rig, needs: ResourceAllocation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Hungry(1)
    monkeypatch.setattr(loader, "estimate_resources", lambda: needs)
    rig.bring("m", entry("m:1", loader))
    rig.bring("n", entry("n:1", Hungry(1)))
    assert "m:1: what it will need cannot be estimated" in str(rig.end("m:1"))
    assert rig.serving() == ["n:1"]


def test_an_estimate_that_fails_after_the_load_leaves_it_at_the_first(rig: Rig) -> None:
    loader = Hungry(4, after=-1)
    rig.bring("m", entry("m:1", loader))
    assert (rig.serving(), used(rig)) == (["m:1"], 4)


def test_what_a_load_given_up_holds_is_returned_when_it_comes_back() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, load_timeout=10.0)
    rig.aspire("m", entry("m:1", Hungry(6)))
    rig.loads.run()
    rig.step()
    rig.clock.advance(10.0)
    rig.step()
    assert (len(rig.ends("m:1")), used(rig)) == (1, 6)
    rig.settle()
    assert used(rig) == 0


def test_an_estimate_that_hangs_is_given_up_at_the_timeout() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, load_timeout=10.0)
    loader = Hungry(6)
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(10.0)
    rig.step()
    assert len(rig.ends("m:1")) == 1
    rig.settle()
    assert (loader.contexts, rig.serving(), used(rig)) == ([], [], 0)


def test_closing_cancels_a_load_that_waits_for_memory(rig: Rig) -> None:
    rig.bring("old", entry("old:1", Hungry(8)))
    handle = rig.handle("old")
    rig.aspire("old")
    rig.aspire("m", entry("m:1", Hungry(6)))
    rig.loads.run()
    rig.step()
    rig.begin_close()
    handle.close()
    rig.settle()
    assert rig.report()
    assert len(rig.ends("m:1")) == 1


def test_a_version_ends_even_if_logging_its_failed_estimate_raises(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("servman.manager.jobs._log", types.SimpleNamespace(warning=refuse))
    loader = Hungry(1)
    loader.estimate_errors = [ValueError("busy")]
    rig.bring("m", entry("m:1", loader))
    assert "m:1: its loader failed" in str(rig.end("m:1"))


def test_a_version_whose_estimate_does_not_return_is_left_behind_as_a_load(rig: Rig) -> None:
    rig.aspire("m", entry("m:1", Hungry(1)))
    rig.begin_close(0.0)
    assert "its load has not returned" in str(rig.end("m:1"))


def test_retries_cancelled_while_the_next_attempt_waits_for_memory_end_the_version() -> None:
    rig = Rig(resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})))
    loader = Hungry(6, ValueError("first"))
    rig.bring("m", entry("m:1", loader))  # has failed, pauses, holds nothing
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.clock.advance(60.0)
    rig.step()
    rig.load()  # its second estimate
    assert rig.snapshot("m:1").shortage is not None
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    assert len(loader.contexts) == 1
    assert "first" in str(rig.end("m:1"))


def test_retries_cancelled_while_the_next_attempt_is_estimated_and_then_starves_end_the_version() -> (
    None
):
    rig = Rig(resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})))
    loader = Hungry(6, ValueError("first"))
    rig.bring("m", entry("m:1", loader))
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.clock.advance(60.0)
    rig.step()
    rig.manager.cancel_retry(sid("m:1"))
    rig.load()  # its second estimate
    rig.settle()
    assert len(loader.contexts) == 1
    assert "first" in str(rig.end("m:1"))


def restarted(loader: Hungry) -> Rig:
    """Return a rig on which "m:1" waits for a thread: tried once, ended for want of memory, begun anew."""
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, num_load_threads=1)
    rig.bring("m", entry("m:1", loader))
    rig.bring("big", entry("big:1", Hungry(10)))
    rig.advance(60.0)
    assert isinstance(rig.end("m:1"), ResourceExhaustedError)
    rig.aspire("big")
    rig.aspire("busy", entry("busy:1", Hungry(5)))  # takes the only thread
    rig.unload()
    assert rig.state("m:1") is HarnessState.LOAD_REQUESTED
    assert (rig.snapshot("m:1").attempts, rig.snapshot("m:1").error) == (1, None)
    return rig


def test_retries_cancelled_before_a_version_begun_anew_has_failed_leave_it_its_attempt() -> None:
    rig = restarted(Hungry(5, ValueError("first")))
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    assert rig.serving() == ["busy:1", "m:1"]


def test_retries_cancelled_while_a_version_begun_anew_is_estimated_leave_it_waiting_for_memory() -> (
    None
):
    loader = Hungry(6, ValueError("first"))
    rig = restarted(loader)
    while rig.state("busy:1") is not HarnessState.READY:
        rig.load()
    rig.aspire("busy")
    rig.manager.cancel_retry(sid("m:1"))
    rig.step()
    rig.load()  # its estimate
    assert rig.snapshot("m:1").shortage is not None
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_an_estimate_that_can_never_be_right_is_not_tried_again(rig: Rig) -> None:
    class Elsewhere(ModelLoader):
        def estimate_resources(self) -> ResourceAllocation:
            return ResourceAllocation({Resource("tpu", "ram_bytes"): 1})

    rig = Rig(resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})))
    rig.bring("m", entry("m:1", Elsewhere()))
    assert rig.snapshot("m:1").attempts == 1
    assert "there is no ram_bytes on tpu" in str(rig.end("m:1"))


def test_should_retry_is_asked_about_estimates_too() -> None:
    rig = Rig(
        resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})),
        should_retry=lambda error: "torn" in str(error),
    )
    torn, gone = Hungry(1), Hungry(1)
    torn.estimate_errors = [ValueError("torn")]
    gone.estimate_errors = [ValueError("gone")]
    rig.bring("m", entry("m:1", torn), entry("m:2", gone))
    assert (rig.ends("m:1"), len(rig.ends("m:2"))) == ([], 1)


def test_a_version_whose_estimate_failed_says_when_it_is_tried_again() -> None:
    rig = Rig(resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})))
    loader = Hungry(1)
    loader.estimate_errors = [ValueError("torn")]
    rig.bring("m", entry("m:1", loader))
    assert rig.why("m").code is ReasonCode.RETRYING
    assert "m:1 is tried again in 60.0 s; attempt 1 of 6 failed" in str(rig.why("m"))


def test_an_estimate_beyond_all_numbers_ends_its_version(rig: Rig) -> None:
    rig.bring("m", entry("m:1", Hungry(10**5000)))
    assert "more ram_bytes on main than can be counted" in str(rig.end("m:1"))


class HungryFiles(Hungry):
    """A `Hungry` loader that can tell what its files look like."""

    files = 0

    def revision(self) -> int:
        return self.files


@pytest.mark.parametrize("loader", [Hungry(1), HungryFiles(1)])
def test_an_estimate_for_which_no_thread_is_to_be_had_is_tried_again_after_the_pause(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, loader: Hungry
) -> None:
    def refuse(_: object) -> bool:
        raise ResourceExhaustedError("no thread")

    rig = Rig(resource_tracker=ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10})))
    with monkeypatch.context() as patch:
        patch.setattr(rig.loads, "submit", refuse)
        rig.bring("m", entry("m:1", loader))
    for _ in range(3):
        rig.advance(1.0)
    assert rig.serving() == [], "files that nobody has looked at have not changed"
    rig.advance(57.0)
    assert rig.serving() == ["m:1"]


def test_an_estimate_that_comes_back_late_is_no_change_of_files() -> None:
    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(resource_tracker=tracker, load_timeout=10.0, max_num_load_retries=0)
    loader = HungryFiles(6)
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(10.0)
    rig.settle()
    for _ in range(3):
        rig.advance(1.0)
    assert rig.states("m:1") == ["START", "END"]
    loader.files = 1
    rig.advance(1.0)
    assert rig.serving() == ["m:1"]
