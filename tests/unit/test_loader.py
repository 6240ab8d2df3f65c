"""Loaders made of functions, and what a loader is told."""

from __future__ import annotations

from servman.ids import ServableId
from servman.loader import CancelEvent, LoadContext, RevisedLoader, SimpleLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import FailingLoader, GatedLoader

CONTEXT = LoadContext(ServableId("m", 1), "/models/m/1")


def test_create_gets_the_context_and_makes_the_servable() -> None:
    loader = SimpleLoader(lambda context: [context])
    assert loader.load(CONTEXT) == [CONTEXT]


def test_destroy_gets_the_servable_and_may_be_left_out() -> None:
    destroyed: list[object] = []
    loader = SimpleLoader(lambda _: "servable", destroy=destroyed.append)
    loader.unload("servable")
    SimpleLoader(lambda _: "servable").unload("servable")
    assert destroyed == ["servable"]


def test_the_estimate_is_asked_once_and_nothing_without_one() -> None:
    def estimate() -> ResourceAllocation:
        asked.append(1)
        return ResourceAllocation({MAIN_MEMORY: 7})

    asked: list[int] = []
    loader = SimpleLoader(lambda _: "servable", estimate=estimate)
    assert loader.estimate_resources() == loader.estimate_resources()
    assert len(asked) == 1
    assert SimpleLoader(lambda _: 0).estimate_resources() == ResourceAllocation()


def test_an_estimate_that_raised_is_asked_again() -> None:
    def estimate() -> ResourceAllocation:
        if faults:
            raise faults.pop()
        return ResourceAllocation()

    faults = [OSError("not there yet")]
    loader = SimpleLoader(lambda _: 0, estimate=estimate)
    try:
        loader.estimate_resources()
    except OSError:
        assert loader.estimate_resources() == ResourceAllocation()


def test_each_load_has_a_cancel_flag_of_its_own() -> None:
    other = LoadContext(CONTEXT.id)
    other.cancelled.set()
    assert not CONTEXT.cancelled.is_set()


def test_a_context_counts_attempts_from_one_and_need_not_have_a_path() -> None:
    context = LoadContext(CONTEXT.id)
    assert (context.attempt, context.path) == (1, None)


def test_a_loader_with_a_revision_is_told_from_one_without() -> None:
    assert isinstance(FailingLoader(), RevisedLoader)
    assert not isinstance(GatedLoader(), RevisedLoader)


def test_who_asks_to_be_called_is_called_once_when_a_load_is_cancelled() -> None:
    cancelled, calls = CancelEvent(), list[str]()
    cancelled.call_when_set(lambda: calls.append("first"))
    cancelled.call_when_set(lambda: calls.append("second"))
    assert calls == []
    cancelled.set()
    cancelled.set()
    assert calls == ["first", "second"]


def test_who_asks_when_it_is_cancelled_already_is_called_at_once() -> None:
    cancelled, calls = CancelEvent(), list[str]()
    cancelled.set()
    cancelled.call_when_set(lambda: calls.append("called"))
    assert calls == ["called"]


def test_a_callback_that_raises_harms_neither_who_cancels_nor_the_others() -> None:
    cancelled, calls = CancelEvent(), list[str]()
    cancelled.call_when_set(lambda: 1 / 0)
    cancelled.call_when_set(lambda: calls.append("called"))
    cancelled.set()
    assert (cancelled.is_set(), calls) == (True, ["called"])


def test_a_failure_that_is_reported_to_nobody_is_no_fault() -> None:
    LoadContext(ServableId("m", 1)).report_failure(ValueError("gone"))
