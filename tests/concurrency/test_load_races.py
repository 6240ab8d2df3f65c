"""A load against whatever can be wanted while it runs, in every order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from servman.errors import LoadCancelledError, LoadFailedError, ServmanError
from servman.manager.tracker import ResourceTracker
from servman.resources import ResourceAllocation
from servman.state import ManagerState
from servman.testing import FakeClock, GatedLoader
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Bystander, Gate, Held, let_it_act, let_it_hear
from tests.unit.manager.live import Live
from tests.unit.manager.rig import ModelLoader, Rig, entry

NEVER_SERVED = ["START", "LOADING", "END"]
SERVED = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


@pytest.fixture
def live() -> Iterator[Live]:
    """Return a started manager that has a load thread left while one load is held, and close it."""
    live = Live(num_load_threads=2, num_unload_threads=1)
    yield live
    live.close()


class Weighed(ModelLoader):
    """A loader that is asked what it needs again when it has loaded, and waits before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = Gate(ResourceAllocation())

    def estimate_resources(self) -> ResourceAllocation:
        if self.models:
            self.loaded()
        return ResourceAllocation()


def cancelled(errors: list[ServmanError | None]) -> bool:
    """Return whether there was one END, by cancellation."""
    return [type(one) for one in errors] == [LoadCancelledError]


# ---- left out against success -------------------------------------------------------------------


def test_a_version_left_out_between_its_load_s_return_and_the_manager_s_hearing_never_serves() -> (
    None
):
    tracker = ResourceTracker(ResourceAllocation())
    live, loader = Live(resource_tracker=tracker), Weighed()
    live.aspire("m", entry("m:1", loader))
    loader.loaded.wait()
    live.aspire("m")
    assert loader.contexts[0].cancelled.wait(WATCHDOG)
    loader.loaded.open()
    live.wait_for("m:1", ManagerState.END)
    assert (live.states("m:1"), loader.unloads) == (NEVER_SERVED, 1)
    assert cancelled(live.ends("m:1"))
    live.close()


@pytest.mark.parametrize("returned_first", [True, False])
def test_a_load_s_return_and_a_list_without_its_version_count_in_the_order_of_their_coming(
    rig: Rig, returned_first: bool
) -> None:
    loader = ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    messages: list[Callable[[], object]] = [
        rig.loads.run,
        lambda: rig.manager.set_aspired_versions("m", []),
    ]
    for message in messages if returned_first else reversed(messages):
        message()
    rig.settle()
    assert rig.states("m:1") == (SERVED if returned_first else NEVER_SERVED)
    assert cancelled(rig.ends("m:1")) is not returned_first
    assert (loader.unloads, rig.serving()) == (1, [])


def test_a_version_left_out_while_it_becomes_available_goes_again(live: Live) -> None:
    loader = ModelLoader()
    Bystander(live, ManagerState.AVAILABLE, lambda: live.aspire("m"))
    live.aspire("m", entry("m:1", loader))
    live.wait_for("m:1", ManagerState.END)
    assert (live.states("m:1"), live.ends("m:1"), loader.unloads) == (SERVED, [None], 1)


def test_a_version_left_out_before_its_hook_returns_is_told_and_ends_as_cancelled() -> None:
    hook, loader = Gate(), ModelLoader()
    live = Live(pre_load_hook=hook)
    live.aspire("m", entry("m:1", loader))
    hook.wait()
    live.aspire("m")
    let_it_hear(live)
    hook.open()
    live.wait_for("m:1", ManagerState.END)
    assert loader.contexts[0].cancelled.is_set()
    assert (cancelled(live.ends("m:1")), loader.unloads) == (True, 1)
    live.close()


def test_a_version_left_out_while_it_is_asked_whether_to_retry_is_not_tried_again() -> None:
    ask, loader = Gate(answer=True), ModelLoader(ValueError("slow disk"))
    live = Live(should_retry=ask, load_retry_interval=0.0)
    live.aspire("m", entry("m:1", loader))
    ask.wait()
    live.aspire("m")
    assert loader.contexts[0].cancelled.wait(WATCHDOG)
    ask.open()
    live.wait_for("m:1", ManagerState.END)
    assert (cancelled(live.ends("m:1")), len(loader.contexts)) == (True, 1)
    live.close()


# ---- wanted anew, or from elsewhere, while a load runs ------------------------------------------


@pytest.mark.parametrize("fails", [True, False], ids=["its load fails", "its load succeeds"])
def test_a_version_wanted_anew_while_its_cancelled_load_runs_loads_once_more_by_its_last_loader(
    live: Live, fails: bool
) -> None:
    old, never, new = Held(ValueError("torn") if fails else None), ModelLoader(), ModelLoader()
    live.aspire("m", entry("m:1", old))
    old.gate.wait()
    live.aspire("m")
    assert old.contexts[0].cancelled.wait(WATCHDOG)
    live.aspire("m", entry("m:1", never))
    let_it_act(live)
    live.aspire("m", entry("m:1", new))
    let_it_act(live)
    assert new.contexts == [], "not before the old load has returned"
    old.gate.open()
    live.wait_for("m:1", ManagerState.AVAILABLE)
    assert (len(old.contexts), len(never.contexts), len(new.contexts)) == (1, 0, 1)
    assert (old.unloads, new.unloads) == (0 if fails else 1, 0)
    assert live.states("m:1") == [*NEVER_SERVED, "START", "LOADING", "AVAILABLE"]
    assert cancelled(live.ends("m:1"))


def test_a_version_that_moves_while_it_loads_ends_up_at_its_last_place(live: Live) -> None:
    first, elsewhere, back = Held(), ModelLoader(), ModelLoader()
    live.aspire("m", entry("m:1", first, origin="/a"))
    first.gate.wait()
    live.aspire("m", entry("m:1", elsewhere, origin="/b"))
    assert first.contexts[0].cancelled.wait(WATCHDOG)
    live.aspire("m", entry("m:1", back, origin="/a"))
    let_it_act(live)
    assert back.contexts == []
    first.gate.open()
    live.wait_for("m:1", ManagerState.AVAILABLE)
    assert (first.unloads, elsewhere.contexts, back.contexts[0].path) == (1, [], "/a")


def test_a_version_that_moves_while_it_loads_and_is_left_out_after_all_does_not_load_again(
    live: Live,
) -> None:
    first, elsewhere = Held(), ModelLoader()
    live.aspire("m", entry("m:1", first, origin="/a"))
    first.gate.wait()
    live.aspire("m", entry("m:1", elsewhere, origin="/b"))
    assert first.contexts[0].cancelled.wait(WATCHDOG)
    live.aspire("m")
    let_it_act(live)
    first.gate.open()
    live.wait_for("m:1", ManagerState.END)
    let_it_act(live)
    assert (first.unloads, elsewhere.contexts) == (1, [])
    assert live.states("m:1") == NEVER_SERVED


# ---- a load's timeout against its return ---------------------------------------------------------


@pytest.mark.parametrize("returned_first", [True, False])
def test_a_load_that_returns_at_the_very_moment_of_its_timeout_serves_or_has_failed(
    returned_first: bool,
) -> None:
    rig, loader = Rig(load_timeout=10.0), ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.clock.advance(10.0)
    if returned_first:
        rig.loads.run()
    rig.settle()
    assert rig.serving() == (["m:1"] if returned_first else [])
    assert len(rig.ends("m:1")) == loader.unloads == (0 if returned_first else 1)
    rig.bring("m")
    assert len(rig.ends("m:1")) == loader.unloads == 1


def test_a_load_whose_return_is_heard_of_after_its_timeout_has_failed(rig: Rig) -> None:
    rig, loader = Rig(load_timeout=10.0), ModelLoader()
    rig.aspire("m", entry("m:1", loader))
    rig.manager.set_aspired_versions("n", [])  # heard of first, and by then it is too late
    rig.loads.run()
    rig.clock.advance(10.0)
    rig.settle()
    assert isinstance(rig.end("m:1"), LoadFailedError)
    assert (rig.states("m:1"), loader.unloads, rig.serving()) == (NEVER_SERVED, 1, [])


@pytest.mark.parametrize("again", [True, False], ids=["meanwhile wanted from elsewhere", "alone"])
def test_what_returns_after_its_timeout_is_unloaded_and_disturbs_nobody(again: bool) -> None:
    clock = FakeClock()
    live = Live(load_timeout=10.0, clock=clock, num_load_threads=1, num_unload_threads=1)
    late, next_one = GatedLoader(), ModelLoader()
    live.aspire("m", entry("m:1", late, origin="/a"))
    assert late.load_entered.wait(WATCHDOG)
    clock.advance(10.0)
    live.wait_for("m:1", ManagerState.END)
    if again:
        live.bring("m", entry("m:1", next_one, origin="/b"))
    late.let_load.set()
    assert late.unload_entered.wait(WATCHDOG)
    let_it_act(live)
    assert live.serving() == (["m:1"] if again else [])
    assert (len(late.unloaded), next_one.unloads, len(live.ends("m:1"))) == (1, 0, 1)
    live.close()
