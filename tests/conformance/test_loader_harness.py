"""Section 5.3 of the catalogue: the life of one version.

The harness is pure here and the reconciler drives it; where TensorFlow Serving's harness calls the
loader itself, the case is asserted on a manager.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from servman.data import ServableData
from servman.errors import FailedPreconditionError, LoadCancelledError, LoadFailedError
from servman.ids import ServableId
from servman.loader import Loader
from servman.manager import ActionKind, HarnessState, ServableAction, ServableStateSnapshot
from servman.manager.harness import LoaderHarness
from servman.state import ManagerState
from servman.testing import GatedLoader
from servman.testing.clock import WATCHDOG
from tests.unit.manager.live import Live
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored, sid

S = HarnessState
ID = ServableId("test", 0)


@pytest.fixture
def harness() -> LoaderHarness:
    return LoaderHarness(entry("test:0"), 1, 0.0)


def load(harness: LoaderHarness) -> None:
    harness.request_load(0.0)
    harness.move(S.LOAD_APPROVED, 0.0)
    harness.move(S.LOADING, 0.0)
    harness.begin_attempt(0.0)
    harness.succeed(0.0)


def failing(*texts: str) -> ModelLoader:
    return ModelLoader(*[ValueError(text) for text in texts])


@pytest.mark.case("LH-01")
def test_a_fresh_harness_is_new(harness: LoaderHarness) -> None:
    assert (harness.id, harness.state, harness.error) == (ID, S.NEW, None)
    snapshot = harness.snapshot()
    assert (snapshot.id, snapshot.state, snapshot.error) == (ID, S.NEW, None)


@pytest.mark.case("LH-02")
def test_a_load_that_was_asked_for(harness: LoaderHarness) -> None:
    harness.request_load(0.0)
    assert harness.snapshot().state is S.LOAD_REQUESTED


@pytest.mark.case("LH-03")
def test_quiescing(harness: LoaderHarness) -> None:
    load(harness)
    harness.request_unload(0.0)
    for state in (S.QUIESCING, S.QUIESCED, S.UNLOADING, S.DISABLED):
        harness.move(state, 0.0)
        assert harness.snapshot().state is state


class LoadThenUnload:
    """A policy that takes every version in and out again, wanted as it is."""

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        for one in snapshots:
            if one.state is S.NEW:
                return ServableAction(ActionKind.LOAD, one.id)
            if one.state is S.READY:
                return ServableAction(ActionKind.UNLOAD, one.id)
        return None


@pytest.mark.case("LH-04")
def test_it_is_loading_until_the_load_on_another_thread_has_returned_and_then_ready() -> None:
    live = Live()
    loader = GatedLoader()
    try:
        live.aspire("test", entry("test:0", loader))
        assert loader.load_entered.wait(WATCHDOG)
        assert live.state("test:0") is S.LOADING
        loader.let_load.set()
        live.wait_for("test:0", ManagerState.AVAILABLE)
        assert live.state("test:0") is S.READY
    finally:
        loader.let_load.set()
        live.close()


@pytest.mark.case("LH-05")
def test_it_is_unloading_until_the_unload_on_another_thread_has_returned_and_then_disabled() -> (
    None
):
    live = Live(policy=LoadThenUnload())
    loader = GatedLoader(gate_load=False, gate_unload=True)
    try:
        live.aspire("test", entry("test:0", loader))
        assert loader.unload_entered.wait(WATCHDOG)
        assert live.state("test:0") is S.UNLOADING
        loader.let_unload.set()
        live.wait_for("test:0", ManagerState.END)
        assert (live.state("test:0"), live.ends("test:0")) == (S.DISABLED, [None])
        assert len(loader.unloaded) == 1
    finally:
        loader.let_unload.set()
        live.close()


@pytest.mark.case("LH-06")
def test_an_unload_that_was_asked_for(harness: LoaderHarness) -> None:
    load(harness)
    harness.request_unload(0.0)
    assert harness.state is S.UNLOAD_REQUESTED


@pytest.mark.case("LH-07")
def test_a_load_that_was_approved(harness: LoaderHarness) -> None:
    harness.request_load(0.0)
    harness.move(S.LOAD_APPROVED, 0.0)
    assert harness.state is S.LOAD_APPROVED


@pytest.mark.case("LH-08")
def test_a_load_that_fails_is_an_error() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("test", entry("test:0", failing("test load error")))
    assert rig.state("test:0") is S.ERROR
    assert "test load error" in str(rig.snapshot("test:0").error)


@pytest.mark.case("LH-09")
def test_an_error_from_outside_without_a_loader_is_kept() -> None:
    error = LoadFailedError("no loader for it")
    data: ServableData[Loader] = ServableData.from_error(ID, error)
    harness = LoaderHarness(data, 1, 0.0)
    harness.fail(error, 0.0)
    assert (harness.state, harness.error) == (S.ERROR, error)


@pytest.mark.case("LH-10")
def test_an_error_is_told_with_the_id() -> None:
    rig = Rig()
    rig.bring("test", errored("test:0", ValueError("no loader for it")))
    (_, end) = rig.published("test:0")
    assert end.id == ID
    assert "no loader for it" in str(end.error)


@pytest.mark.case("LH-13")
def test_a_second_load_cannot_be_asked_for(harness: LoaderHarness) -> None:
    harness.request_load(0.0)
    with pytest.raises(FailedPreconditionError, match="duplicate load request"):
        harness.request_load(0.0)
    assert harness.state is S.LOAD_REQUESTED


@pytest.mark.case("LH-14")
def test_a_second_unload_cannot_be_asked_for(harness: LoaderHarness) -> None:
    load(harness)
    harness.request_unload(0.0)
    with pytest.raises(
        FailedPreconditionError,
        match="servable not loaded, or unload already requested or ongoing",
    ):
        harness.request_unload(0.0)
    assert harness.state is S.UNLOAD_REQUESTED


@pytest.mark.case("LH-15")
def test_one_retry_is_enough_after_one_error() -> None:
    rig = Rig(max_num_load_retries=1, load_retry_interval=0.0)
    rig.bring("test", entry("test:0", failing("test load error")))
    assert rig.state("test:0") is S.READY


@pytest.mark.case("LH-16")
def test_one_retry_makes_two_loads_and_the_last_error_stands() -> None:
    rig = Rig(max_num_load_retries=1, load_retry_interval=0.0)
    loader = failing("one", "two", "three")
    rig.bring("test", entry("test:0", loader))
    assert len(loader.contexts) == 2
    assert "two" in str(rig.end("test:0"))


@pytest.mark.case("LH-17")
def test_retries_that_were_cancelled_before_the_load_leave_one_attempt() -> None:
    rig = Rig(max_num_load_retries=10, load_retry_interval=0.0)
    loader = failing("one", "two")
    rig.aspire("test", entry("test:0", loader))
    rig.manager.cancel_retry(sid("test:0"))
    rig.settle()
    assert len(loader.contexts) == 1
    assert "one" in str(rig.end("test:0"))


@pytest.mark.departs("LH-17")
def test_a_load_that_succeeds_after_its_retries_were_cancelled_is_kept() -> None:
    rig = Rig()
    rig.aspire("test", 0)
    rig.manager.cancel_retry(sid("test:0"))
    rig.settle()
    assert rig.serving() == ["test:0"]
    rig.aspire("test", 0, 1)
    rig.aspire("test", 0)  # to leave a version out is what cancels its load
    rig.settle()
    assert isinstance(rig.end("test:1"), LoadCancelledError)


@pytest.mark.case("LH-19")
def test_an_error_that_the_predicate_rejects_is_final_at_once() -> None:
    rig = Rig(
        max_num_load_retries=10,
        load_retry_interval=100.0,
        should_retry=lambda error: not isinstance(error, ValueError),
    )
    loader = failing("test load error")
    rig.bring("test", entry("test:0", loader))
    assert len(loader.contexts) == 1
    assert "test load error" in str(rig.end("test:0"))
