"""Section 5.1 of the catalogue, as far as the situations exist with a list of aspired versions.

The lookups and the states of BM-01 to BM-33 that both suites assert are in
`test_aspired_versions_manager.py`, and the retries of BM-43 too.
"""

from __future__ import annotations

import threading

import pytest

from servman.errors import NotFoundError, ResourceExhaustedError
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import HarnessState
from servman.state import ManagerState
from servman.testing.clock import WATCHDOG
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, Rig, entry, errored, sid

S = HarnessState


@pytest.fixture
def rig() -> Rig:
    """Return a manager that serves versions 1 and 2 of two streams."""
    rig = Rig(max_num_load_retries=10, load_retry_interval=0.0)
    rig.bring("one", 1, 2)
    rig.bring("two", 1, 2)
    return rig


def failing(*errors: BaseException) -> ModelLoader:
    return ModelLoader(*(errors or [ValueError("load error")] * 99))


@pytest.mark.case("BM-03")
def test_the_earliest_is_the_lowest_version(rig: Rig) -> None:
    with rig.handle("one:earliest") as handle:
        assert handle.id == sid("one:1")


@pytest.mark.case("BM-05")
@pytest.mark.case("BM-20")
def test_a_second_loader_for_a_loaded_version_is_not_taken(rig: Rig) -> None:
    bad = failing()
    rig.bring("one", entry("one:1", bad), errored("one:2"))
    assert rig.serving() == ["one:1", "one:2", "two:1", "two:2"]
    assert bad.contexts == []


@pytest.mark.case("BM-09")
def test_loaded_unloaded_and_left_out_a_version_is_forgotten(rig: Rig) -> None:
    rig.bring("three", 1)
    rig.bring("three")
    assert rig.ends("three:1") == [None]
    assert rig.manager.snapshots("three") == ()


@pytest.mark.case("BM-13")
@pytest.mark.case("BM-14")
def test_one_failing_load_and_two_unloads_leave_the_other_stream(rig: Rig) -> None:
    assert len(rig.manager.get_available_handles(Model)) == 4
    rig.bring("one", entry("one:3", failing()))
    rig.bring("one")
    assert rig.serving() == ["two:1", "two:2"]
    handles = rig.manager.get_available_handles(Model)
    assert [str(one) for one in handles] == ["two:1", "two:2"]


@pytest.mark.case("BM-16")
def test_the_names_that_are_managed(rig: Rig) -> None:
    assert sorted({one.id.name for one in rig.manager.snapshots()}) == ["one", "two"]


@pytest.mark.case("BM-17")
@pytest.mark.case("BM-18")
def test_snapshots_of_what_is_managed(rig: Rig) -> None:
    assert [one.state for one in rig.manager.snapshots("one")] == [S.READY, S.READY]
    assert rig.snapshot("one:1").state is S.READY
    assert rig.state("one:99") is None


@pytest.mark.case("BM-26")
@pytest.mark.case("BM-27")
@pytest.mark.case("BM-29")
@pytest.mark.case("BM-40")
def test_what_is_asked_for_again_happens_once(rig: Rig) -> None:
    loader = ModelLoader()
    for _ in range(4):
        rig.aspire("three", entry("three:1", loader))
    rig.settle()
    for _ in range(2):
        rig.aspire("three")
    rig.settle()
    assert (len(loader.models), loader.unloads) == (1, 1)
    assert len(rig.ends("three:1")) == 1


@pytest.mark.case("BM-25")
@pytest.mark.case("BM-28")
def test_what_is_not_managed_cannot_be_retried(rig: Rig) -> None:
    for call in (rig.manager.retry, rig.manager.cancel_retry):
        with pytest.raises(NotFoundError, match="three:1 is not managed"):
            call(sid("three:1"))


@pytest.mark.case("BM-35")
def test_many_versions_come_and_go_beside_each_other() -> None:
    live = Live()
    try:
        for number in range(20):
            live.aspire(f"stream-{number}", 1)
        for number in range(20):
            live.bring(f"stream-{number}", 2)
            live.bring(f"stream-{number}")
            assert live.ends(f"stream-{number}:2") == [None]
    finally:
        live.close()


@pytest.mark.case("BM-36")
def test_the_number_of_load_threads_can_be_changed_between_loads() -> None:
    live = Live(num_load_threads=1)
    try:
        for count in (1, 2, 1):
            live.manager.num_load_threads = count
            assert live.manager.num_load_threads == count
            live.bring(f"with-{count}-{len(live.serving())}", 1)
    finally:
        live.close()


@pytest.mark.departs("BM-37")
@pytest.mark.departs("BM-38")
def test_changing_the_number_of_load_threads_waits_for_no_load() -> None:
    live = Live(num_load_threads=32)
    let = threading.Event()
    try:
        for number in range(20):
            loader = SimpleLoader(lambda _: let.wait(WATCHDOG))
            live.aspire(f"stream-{number}", entry(f"stream-{number}:1", loader))
        live.manager.num_load_threads = 1  # returns although twenty loads run
        assert live.serving() == []
    finally:
        let.set()
        live.close()


@pytest.mark.case("BM-45")
def test_a_version_that_failed_is_not_loaded_again_by_wanting_it_again() -> None:
    rig = Rig(max_num_load_retries=0)
    loader = failing()
    rig.bring("one", entry("one:1", loader))
    rig.bring("one", 1)
    assert (len(loader.contexts), rig.state("one:1")) == (1, S.ERROR)


@pytest.mark.case("BM-46")
def test_the_hook_is_called_once_with_the_id_before_the_load() -> None:
    calls: list[object] = []
    rig = Rig(pre_load_hook=calls.append)

    def create(_: object) -> str:
        calls.append("load")
        return "servable"

    rig.bring("one", entry("one:1", SimpleLoader(create)))
    assert calls == [ServableId("one", 1), "load"]


@pytest.mark.case("BM-47")
def test_two_loads_run_at_the_same_time() -> None:
    live = Live(num_load_threads=2)
    both = threading.Barrier(2)
    try:
        for name in ("one", "two"):
            loader = SimpleLoader(lambda _: f"met as {both.wait(WATCHDOG)}")
            live.aspire(name, entry(f"{name}:1", loader))
        for name in ("one", "two"):
            live.wait_for(f"{name}:1", ManagerState.AVAILABLE)
    finally:
        live.close()


@pytest.mark.case("BM-56")
def test_an_error_that_the_predicate_rejects_ends_the_version_at_once() -> None:
    rig = Rig(
        max_num_load_retries=10,
        load_retry_interval=100.0,
        should_retry=lambda error: not isinstance(error, ResourceExhaustedError),
    )
    rig.bring("one", entry("one:1", failing(ResourceExhaustedError("one:1: no room"))))
    assert rig.states("one:1") == ["START", "LOADING", "END"]
    assert str(rig.end("one:1")) == "one:1: no room"
