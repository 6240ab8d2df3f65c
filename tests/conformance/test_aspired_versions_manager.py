"""Section 5.2 of the catalogue: managers of aspired versions, on the bench and with threads."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest

from servman.errors import InvalidArgumentError, LoadFailedError, NotFoundError
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ServableAction,
    ServableStateSnapshot,
)
from servman.state import ManagerState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, Rig, entry, errored, sid

Bench = Rig | Live

OPTIONS = {"max_num_load_retries": 1, "load_retry_interval": 0.0}
LIFE = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]


@pytest.fixture(params=["bench", "threads"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Return a manager that serves versions 0 and 1 of two streams."""
    made: Bench
    if request.param == "bench":
        made = Rig(**OPTIONS)
        prepare(made)
        yield made
        return
    made = Live(**OPTIONS)
    try:
        prepare(made)
        yield made
    finally:
        made.close()


def prepare(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.bring(name, 0, 1)


def failing(count: int = 99) -> ModelLoader:
    return ModelLoader(*[ValueError(f"load error {n}") for n in range(1, count + 1)])


@pytest.mark.case("AV-01")
@pytest.mark.case("BM-01")
def test_an_unknown_name_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        bench.handle("three")


@pytest.mark.case("AV-02")
@pytest.mark.case("BM-02")
def test_an_unknown_version_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        bench.handle("one:99")


@pytest.mark.case("AV-03")
def test_a_servable_of_another_type_is_an_invalid_argument(bench: Bench) -> None:
    with pytest.raises(InvalidArgumentError):
        bench.manager.get_servable_handle("one", int)


@pytest.mark.case("BM-04")
def test_the_latest_is_the_highest_of_the_versions_that_serve(bench: Bench) -> None:
    bench.bring("one", 0, 1, 9)
    assert bench.serving() == ["one:0", "one:1", "one:9", "two:0", "two:1"]
    with bench.handle("one") as handle:
        assert (handle.id, handle.servable.id) == (sid("one:9"), sid("one:9"))


@pytest.mark.case("AV-04")
def test_the_latest_is_the_higher_version_that_was_aspired(bench: Bench) -> None:
    bench.bring("one", 9)
    with bench.handle("one") as handle:
        assert (handle.id, handle.servable.id) == (sid("one:9"), sid("one:9"))
    assert "one:9" in bench.serving()
    assert "one:1" not in bench.serving()


@pytest.mark.case("AV-05")
@pytest.mark.case("BM-06")
def test_version_zero_of_a_new_stream_loads_and_is_its_latest(bench: Bench) -> None:
    bench.bring("three", 0)
    with bench.handle("three") as handle:
        assert (handle.id, handle.servable.id) == (sid("three:0"), sid("three:0"))


@pytest.mark.case("AV-07")
@pytest.mark.case("BM-11")
def test_a_version_is_found_by_its_id(bench: Bench) -> None:
    with bench.manager.get_servable_handle(ServableId("one", 1), Model) as handle:
        assert (handle.id, handle.servable.id) == (sid("one:1"), sid("one:1"))


@pytest.mark.case("AV-08")
def test_what_failed_and_what_was_unloaded_is_not_listed(bench: Bench) -> None:
    bench.bring("one", entry("one:7", failing()))
    bench.bring("one")
    assert bench.serving() == ["two:0", "two:1"]
    assert (bench.ends("one:0"), bench.ends("one:1")) == ([None], [None])


@pytest.mark.case("AV-09")
def test_handles_on_everything_follow_what_is_served(bench: Bench) -> None:
    def all_handles() -> dict[str, ServableId]:
        found = {}
        for key, handle in bench.manager.get_available_handles(Model).items():
            with handle:
                assert isinstance(handle.servable, Model)
                found[str(key)] = handle.servable.id
        return found

    assert all_handles() == {one: sid(one) for one in ("one:0", "one:1", "two:0", "two:1")}
    bench.bring("one", entry("one:7", failing()))
    bench.bring("one")
    assert all_handles() == {one: sid(one) for one in ("two:0", "two:1")}


@pytest.mark.case("AV-10")
@pytest.mark.case("BM-15")
def test_handles_on_everything_of_another_type_are_none(bench: Bench) -> None:
    assert bench.manager.get_available_handles(int) == {}


@pytest.mark.case("AV-11")
def test_a_stream_that_nobody_wants_is_unloaded_and_forgotten(bench: Bench) -> None:
    loaders = [ModelLoader(), ModelLoader()]
    bench.bring("three", entry("three:0", loaders[0]), entry("three:1", loaders[1]))
    bench.bring("three")
    assert (bench.ends("three:0"), bench.ends("three:1")) == ([None], [None])
    assert bench.manager.snapshots("three") == ()
    assert [loader.unloads for loader in loaders] == [1, 1]
    with pytest.raises(NotFoundError):
        bench.handle("three")


@pytest.mark.case("AV-11")
def test_the_loaders_of_what_is_forgotten_are_freed() -> None:
    rig = Rig(**OPTIONS)
    prepare(rig)
    loaders = [ModelLoader(), ModelLoader()]
    rig.bring("three", entry("three:0", loaders[0]), entry("three:1", loaders[1]))
    freed = [weakref.ref(loader) for loader in loaders]
    loaders.clear()
    assert None not in [one() for one in freed]
    rig.bring("three")
    assert [one() for one in freed] == [None, None]


@pytest.mark.case("AV-12")
def test_the_version_that_is_left_out_goes_and_the_other_serves_on(bench: Bench) -> None:
    bench.bring("one", 0)
    assert bench.ends("one:1") == [None]
    with pytest.raises(NotFoundError):
        bench.handle("one:1")
    with bench.handle("one") as handle:
        assert handle.id == sid("one:0")


@pytest.mark.case("AV-14")
def test_a_version_is_found_once_it_is_available(bench: Bench) -> None:
    with pytest.raises(NotFoundError):
        bench.handle("one:2")
    bench.bring("one", 2)
    assert bench.states("one:2") == LIFE[:3]
    with bench.handle("one:2") as handle:
        assert handle.servable.loaded


@pytest.mark.case("AV-14")
def test_a_version_is_not_found_before_its_load_has_returned() -> None:
    rig = Rig(**OPTIONS)
    prepare(rig)
    rig.aspire("one", 2)
    assert rig.states("one:2") == LIFE[:2]
    with pytest.raises(NotFoundError):
        rig.handle("one:2")
    with rig.handle("one") as handle:
        assert handle.id == sid("one:1")
    rig.settle()
    with rig.handle("one") as handle:
        assert handle.id == sid("one:2")


@pytest.mark.case("AV-15")
def test_what_is_unloaded_has_ended_and_is_not_found(bench: Bench) -> None:
    bench.bring("one")
    for one in ("one:0", "one:1"):
        assert bench.states(one) == LIFE
        with pytest.raises(NotFoundError):
            bench.handle(one)


@pytest.mark.case("AV-17")
def test_an_order_of_ones_own_loads_in_one_stream_before_it_unloads_in_another() -> None:
    policy = Patient()
    rig = Rig(policy=policy, sort_actions=by_name_descending)
    for name in ("one", "two"):
        rig.bring(name, 0)
    policy.waits = True
    rig.aspire("one")
    rig.aspire("two", 0, 1)
    rig.events.clear()
    policy.waits = False
    rig.manager.cancel_retry(sid("one:0"))  # any event: in its turn both streams are asked for
    rig.manager._actor._reconciler._unsettled |= {"one", "two"}
    rig.step()
    told = [str(event) for event in rig.events]
    assert told == ["two:1 LOADING", "one:0 UNLOADING"]


class Patient:
    """A policy that waits while it is told to."""

    waits = False

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        return None if self.waits else AvailabilityPreservingPolicy().next_action(snapshots)


def by_name_descending(actions: Sequence[ServableAction]) -> Sequence[ServableAction]:
    return sorted(actions, key=lambda action: action.id.name, reverse=True)


@pytest.mark.case("AV-18")
@pytest.mark.case("BM-21")
def test_an_errored_entry_is_never_loaded_nor_served(bench: Bench) -> None:
    bench.bring("one", errored("one:7", ValueError("no loader for it")))
    assert "LOADING" not in bench.states("one:7")
    with pytest.raises(NotFoundError, match="no loader for it"):
        bench.handle("one:7")


@pytest.mark.case("AV-19")
def test_nothing_is_unloaded_on_the_thread_that_closes_the_handle() -> None:
    live = Live()
    unloaded_on: list[str] = []

    def destroy(_: object) -> None:
        unloaded_on.append(threading.current_thread().name)

    try:
        live.bring("three", entry("three:0", SimpleLoader(lambda _: "servable", destroy=destroy)))
        handle = live.manager.get_servable_handle("three")
        live.aspire("three")
        live.wait_for("three:0", ManagerState.UNLOADING)
        assert unloaded_on == []
        Spawned(handle.close).result()
        live.wait_for("three:0", ManagerState.END)
    finally:
        live.close()
    assert [name.partition("-")[0] for name in unloaded_on] == ["unload"]


@pytest.mark.case("AV-20")
@pytest.mark.case("BM-30")
def test_an_errored_entry_ends_with_its_error(bench: Bench) -> None:
    bench.bring("one", errored("one:7", ValueError("no loader for it")))
    (error,) = bench.ends("one:7")
    assert isinstance(error, LoadFailedError)
    assert "no loader for it" in str(error)


@pytest.mark.case("AV-21")
@pytest.mark.case("AV-25")
@pytest.mark.case("BM-10")
@pytest.mark.case("BM-31")
@pytest.mark.case("BM-43")
def test_a_version_that_always_fails_ends_with_its_error_and_stays_on_record(bench: Bench) -> None:
    bench.bring("one", 0, 1, entry("one:7", failing()))
    assert bench.states("one:7") == ["START", "LOADING", "END"]
    (error,) = bench.ends("one:7")
    assert "load error 2" in str(error)
    assert bench.state("one:7") is HarnessState.ERROR


@pytest.mark.case("AV-22")
@pytest.mark.case("BM-32")
def test_each_public_state_lasts_as_long_as_what_it_tells_of() -> None:
    live = Live()
    loader = GatedLoader(gate_unload=True)
    try:
        live.aspire("three", entry("three:0", loader))
        assert loader.load_entered.wait(WATCHDOG)
        assert live.states("three:0") == LIFE[:2]
        loader.let_load.set()
        live.wait_for("three:0", ManagerState.AVAILABLE)
        live.aspire("three")
        assert loader.unload_entered.wait(WATCHDOG)
        assert live.states("three:0") == LIFE[:4]
        loader.let_unload.set()
        live.wait_for("three:0", ManagerState.END)
        assert (live.states("three:0"), live.ends("three:0")) == (LIFE, [None])
    finally:
        loader.let_load.set()
        loader.let_unload.set()
        live.close()


@pytest.mark.case("AV-23")
@pytest.mark.case("BM-33")
def test_a_manager_needs_no_event_bus() -> None:
    rig = Rig(event_bus=None)
    prepare(rig)
    rig.bring("one", 7)
    assert rig.serving() == ["one:7", "two:0", "two:1"]


@pytest.mark.case("AV-24")
@pytest.mark.case("BM-42")
def test_the_last_retry_may_succeed(bench: Bench) -> None:
    bench.bring("one", 0, 1, entry("one:7", failing(1)))
    assert bench.states("one:7") == LIFE[:3]


@pytest.mark.case("AV-30")
def test_the_policy_is_asked_with_all_versions_of_the_stream_in_one_list() -> None:
    asked: list[list[tuple[str, HarnessState, bool]]] = []

    class Mock:
        def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
            asked.append([(str(one.id), one.state, one.aspired) for one in snapshots])
            return None

    rig = Rig(policy=Mock())
    rig.bring("one", 2, 0, 1)
    assert asked == [[(f"one:{version}", HarnessState.NEW, True) for version in (0, 1, 2)]]


# ---- what TensorFlow Serving tells of otherwise (reference, sections 2.2 to 2.7) -----------------


@pytest.mark.departs("BM-19")
def test_what_is_not_loaded_is_new_in_the_snapshots_which_carry_no_state_of_the_callers() -> None:
    class Idle:
        def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> None:
            return None

    rig = Rig(policy=Idle())
    rig.bring("one", 0, 1)
    told = [(str(one.id), one.state, one.attempts) for one in rig.manager.snapshots("one")]
    assert told == [("one:0", HarnessState.NEW, 0), ("one:1", HarnessState.NEW, 0)]
    assert not hasattr(rig.snapshot("one:0"), "__dict__")


@pytest.mark.departs("AV-11")
def test_a_version_left_out_before_its_load_ends_too() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("busy", 1)
    rig.aspire("one", 0)
    rig.aspire("one")
    assert rig.states("one:0") == ["START", "END"]


@pytest.mark.departs("AV-19")
def test_a_handle_holds_up_no_other_version(bench: Bench) -> None:
    with bench.handle("one:0") as handle:
        bench.bring("two", 2)
        assert "two:2" in bench.serving()
        assert bench.ends("two:1") == [None]
        assert handle.servable.loaded


@pytest.mark.departs("AV-25")
def test_a_failed_version_can_be_tried_again_while_it_is_wanted() -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("one", entry("one:7", failing(1)))
    rig.manager.retry(sid("one:7"))
    rig.settle()
    assert rig.serving() == ["one:7"]
