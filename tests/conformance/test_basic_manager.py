"""Section 5.1 of the catalogue: a manager that does what it is told, by hand and with few and many threads.

The cases of the number of load threads are in `test_load_threads.py` too, told of aspired versions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    LoadFailedError,
    NotFoundError,
    ResourceExhaustedError,
    ServmanError,
)
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import HarnessState, ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.basic_bench import BasicBench
from tests.unit.manager.rig import Model, ModelLoader, entry, errored, sid

S = HarnessState
LIFE = ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
SHAPES = {"by hand": None, "few threads": (1, 1), "many threads": (4, 4)}

Make = Callable[..., BasicBench]


@pytest.fixture(params=list(SHAPES))
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make managers of one shape, and close them with the test."""
    made: list[BasicBench] = []

    def new(**options: object) -> BasicBench:
        made.append(BasicBench(threads=SHAPES[request.param], **options))
        return made[-1]

    yield new
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make: Make) -> BasicBench:
    """Return a manager that serves versions 1 and 2 of two streams."""
    bench = make()
    bench.bring("one:1", "one:2", "two:1", "two:2")
    return bench


@pytest.fixture
def threaded() -> Iterator[Callable[..., BasicBench]]:
    """Make managers with many threads, and close them with the test."""
    made: list[BasicBench] = []

    def new(**options: object) -> BasicBench:
        made.append(BasicBench(threads=(4, 4), **options))
        return made[-1]

    yield new
    for bench in made:
        bench.close()


def failing(*errors: BaseException) -> ModelLoader:
    return ModelLoader(*(errors or [ValueError("load error")] * 99))


def hungry(
    needs: int, create: Callable[[object], object] = lambda _: "servable"
) -> SimpleLoader[object]:
    """Return a loader that needs so many bytes."""
    return SimpleLoader(create, estimate=lambda: ResourceAllocation({MAIN_MEMORY: needs}))


def ten() -> ResourceTracker:
    return ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))


# ---- lookups ------------------------------------------------------------------------------------


@pytest.mark.case("BM-01")
def test_an_unknown_name_is_not_found(bench: BasicBench) -> None:
    with pytest.raises(NotFoundError, match="three: nothing of it is managed"):
        bench.handle("three")


@pytest.mark.case("BM-02")
def test_an_unknown_version_is_not_found(bench: BasicBench) -> None:
    with pytest.raises(NotFoundError, match="one:99: nothing of it is managed"):
        bench.handle("one:99")


@pytest.mark.case("BM-03")
def test_the_earliest_is_the_lowest_version(bench: BasicBench) -> None:
    with bench.handle("one:earliest") as handle:
        assert (handle.id, handle.servable.id) == (sid("one:1"), sid("one:1"))


@pytest.mark.case("BM-04")
def test_a_higher_version_is_the_latest_once_it_is_loaded(bench: BasicBench) -> None:
    bench.manage("one:9")
    with bench.handle("one") as handle:
        assert handle.id == sid("one:2")
    bench.load("one:9")
    with bench.handle("one") as handle:
        assert (handle.id, handle.servable.id) == (sid("one:9"), sid("one:9"))


@pytest.mark.case("BM-06")
def test_the_only_version_of_a_new_stream_is_its_latest(bench: BasicBench) -> None:
    bench.bring("three:0")
    with bench.handle("three") as handle:
        assert (handle.id, handle.servable.id) == (sid("three:0"), sid("three:0"))


@pytest.mark.case("BM-11")
def test_a_version_is_found_by_its_id(bench: BasicBench) -> None:
    with bench.manager.get_servable_handle(ServableId("one", 1), Model) as handle:
        assert (handle.id, handle.servable.id) == (sid("one:1"), sid("one:1"))


@pytest.mark.case("BM-13")
@pytest.mark.case("BM-14")
def test_one_failing_load_and_two_unloads_leave_the_other_stream(bench: BasicBench) -> None:
    def handles() -> dict[str, Model]:
        found = bench.manager.get_available_handles(Model)
        return {str(key): handle.servable for key, handle in found.items()}  # type: ignore[misc]

    before = handles()
    assert list(before) == ["one:1", "one:2", "two:1", "two:2"]
    assert [str(model.id) for model in before.values()] == list(before)
    bench.manage(entry("one:3", failing()))
    assert bench.load("one:3") is not None
    assert [bench.unload("one:1"), bench.unload("one:2")] == [None, None]
    assert bench.serving() == ["two:1", "two:2"]
    assert {key: str(model.id) for key, model in handles().items()} == {
        "two:1": "two:1",
        "two:2": "two:2",
    }


@pytest.mark.case("BM-15")
def test_handles_on_everything_of_another_type_are_none(bench: BasicBench) -> None:
    assert bench.manager.get_available_handles(int) == {}


@pytest.mark.case("BM-16")
def test_the_names_that_are_managed(bench: BasicBench) -> None:
    bench.manage("three:1", "three:2")
    assert sorted({one.id.name for one in bench.manager.snapshots()}) == ["one", "three", "two"]


@pytest.mark.case("BM-17")
@pytest.mark.case("BM-18")
def test_snapshots_of_what_is_managed(bench: BasicBench) -> None:
    told = [(str(one.id), one.state) for one in bench.manager.snapshots("one")]
    assert told == [("one:1", S.READY), ("one:2", S.READY)]
    assert bench.state("one:1") is S.READY
    assert bench.state("one:99") is None


@pytest.mark.departs("BM-19")
def test_what_is_managed_and_not_loaded_is_new_in_the_snapshots(bench: BasicBench) -> None:
    bench.manage("three:1", "three:2")
    told = [(str(one.id), one.state) for one in bench.manager.snapshots("three")]
    assert told == [("three:1", S.NEW), ("three:2", S.NEW)]


# ---- what is asked for at the wrong time --------------------------------------------------------


@pytest.mark.case("BM-05")
def test_what_is_managed_is_not_taken_up_twice(bench: BasicBench) -> None:
    bench.manage("three:1")
    (error,) = bench.manage("three:1")
    assert isinstance(error, FailedPreconditionError)
    assert "three:1 is managed already; it is new" in str(error)


@pytest.mark.case("BM-07")
def test_what_is_not_managed_cannot_be_let_go(bench: BasicBench) -> None:
    assert isinstance(bench.stop("three:1"), NotFoundError)


@pytest.mark.case("BM-08")
def test_what_serves_cannot_be_let_go(bench: BasicBench) -> None:
    error = bench.stop("one:1")
    assert isinstance(error, FailedPreconditionError)
    assert "one:1 cannot be let go: it is ready; unload it first" in str(error)
    assert "one:1" in bench.serving()


@pytest.mark.case("BM-20")
@pytest.mark.parametrize("payload", ["the same", "another", "an error"])
def test_a_second_bad_loader_for_what_serves_is_not_taken(bench: BasicBench, payload: str) -> None:
    first, bad = ModelLoader(), failing()
    bench.bring(entry("three:1", first))
    second = {"the same": entry("three:1", first), "another": entry("three:1", bad)}
    (error,) = bench.manage(second.get(payload, errored("three:1")))
    assert isinstance(error, FailedPreconditionError)
    with bench.handle("three:1") as handle:
        assert handle.servable is first.models[0]
    assert (bad.contexts, bench.states("three:1")) == ([], LIFE[:3])


@pytest.mark.case("BM-25")
@pytest.mark.case("BM-28")
def test_what_is_not_managed_can_be_neither_loaded_nor_unloaded(bench: BasicBench) -> None:
    for ask in (bench.load, bench.unload):
        error = ask("three:1")
        assert isinstance(error, NotFoundError)
        assert "three:1 is not managed" in str(error)


@pytest.mark.case("BM-26")
def test_a_second_load_is_refused_and_the_first_serves_on(bench: BasicBench) -> None:
    error = bench.load("one:1")
    assert isinstance(error, FailedPreconditionError)
    assert "duplicate load request" in str(error)
    assert "one:1" in bench.serving()


@pytest.mark.case("BM-27")
def test_a_second_unload_is_refused(bench: BasicBench) -> None:
    assert bench.unload("one:1") is None
    error = bench.unload("one:1")
    assert isinstance(error, FailedPreconditionError)
    assert "unload already requested or ongoing" in str(error)
    assert bench.ends("one:1") == [None]


@pytest.mark.case("BM-27")
def test_a_second_unload_is_refused_while_the_first_waits_for_a_handle(bench: BasicBench) -> None:
    handle = bench.handle("one:1")
    first = bench.manager.unload(sid("one:1"))
    assert isinstance(bench.unload("one:1"), FailedPreconditionError)
    assert not first.done()
    handle.close()
    assert bench.outcome(first) is None


@pytest.mark.case("BM-29")
def test_what_is_not_loaded_cannot_be_unloaded(bench: BasicBench) -> None:
    bench.manage("three:1")
    error = bench.unload("three:1")
    assert isinstance(error, FailedPreconditionError)
    assert "three:1: servable not loaded" in str(error)


@pytest.mark.case("BM-45")
def test_a_version_that_failed_is_not_loaded_again_by_asking_for_it(make: Make) -> None:
    bench, loader = make(max_num_load_retries=0), failing()
    bench.manage(entry("one:1", loader))
    assert isinstance(bench.load("one:1"), LoadFailedError)
    assert isinstance(bench.load("one:1"), FailedPreconditionError)
    assert (len(loader.contexts), bench.state("one:1")) == (1, S.ERROR)
    assert len(bench.ends("one:1")) == 1


# ---- lives --------------------------------------------------------------------------------------


@pytest.mark.case("BM-09")
def test_loaded_unloaded_and_let_go_a_version_is_forgotten(bench: BasicBench) -> None:
    bench.bring("three:1")
    assert bench.unload("three:1") is None
    assert bench.state("three:1") is S.DISABLED
    assert bench.ends("three:1") == [None]
    assert bench.stop("three:1") is None
    assert bench.manager.snapshots("three") == ()
    bench.bring("three:1")
    assert bench.states("three:1") == LIFE + LIFE[:3]


@pytest.mark.case("BM-10")
@pytest.mark.case("BM-31")
@pytest.mark.case("BM-43")
def test_a_load_that_always_fails_is_an_error_and_the_version_stays_known(
    bench: BasicBench,
) -> None:
    errors = [ValueError(f"load error {n}") for n in range(1, 12)]
    bench.manage(entry("one:7", failing(*errors)))
    assert bench.states("one:7") == ["START"]
    error = bench.load("one:7")
    assert isinstance(error, LoadFailedError)
    assert str(error) == "ValueError: load error 11"
    assert [str(one) for one in bench.ends("one:7")] == [str(error)]
    assert bench.states("one:7") == ["START", "LOADING", "END"]
    assert bench.state("one:7") is S.ERROR


@pytest.mark.case("BM-21")
def test_an_errored_entry_is_taken_up_and_never_found(bench: BasicBench) -> None:
    assert bench.manage(errored("one:7", ValueError("no loader for it"))) == [None]
    for _ in range(2):
        with pytest.raises(NotFoundError, match="no loader for it"):
            bench.handle("one:7")
        assert isinstance(bench.load("one:7"), FailedPreconditionError)
    assert "LOADING" not in bench.states("one:7")


@pytest.mark.case("BM-30")
def test_an_errored_entry_ends_with_its_error(bench: BasicBench) -> None:
    bench.manage(errored("one:7", ResourceExhaustedError("no loader for it")))
    (error,) = bench.ends("one:7")
    assert isinstance(error, ResourceExhaustedError)
    assert str(error) == "no loader for it"


@pytest.mark.case("BM-32")
def test_each_public_state_lasts_as_long_as_what_it_tells_of(threaded: Make) -> None:
    bench, loader = threaded(), GatedLoader(gate_unload=True)
    bench.manage(entry("one:1", loader))
    assert bench.states("one:1") == LIFE[:1]
    load = bench.manager.load(sid("one:1"))
    assert loader.load_entered.wait(WATCHDOG)
    assert (bench.states("one:1"), load.done()) == (LIFE[:2], False)
    loader.let_load.set()
    assert bench.outcome(load) is None
    assert bench.states("one:1") == LIFE[:3]
    unload = bench.manager.unload(sid("one:1"))
    assert loader.unload_entered.wait(WATCHDOG)
    assert (bench.states("one:1"), unload.done()) == (LIFE[:4], False)
    loader.let_unload.set()
    assert bench.outcome(unload) is None
    assert (bench.states("one:1"), bench.ends("one:1")) == (LIFE, [None])


@pytest.mark.case("BM-33")
def test_a_manager_needs_no_event_bus(make: Make) -> None:
    bench = make(event_bus=None)
    bench.bring("one:1")
    assert bench.serving() == ["one:1"]
    assert [bench.unload("one:1"), bench.stop("one:1")] == [None, None]
    assert bench.manager.snapshots() == ()


@pytest.mark.case("BM-42")
def test_a_load_that_succeeds_when_it_is_repeated_has_succeeded(bench: BasicBench) -> None:
    loader = failing(ValueError("load error"))
    bench.manage(entry("one:7", loader))
    assert bench.load("one:7") is None
    assert [context.attempt for context in loader.contexts] == [1, 2]


@pytest.mark.case("BM-46")
def test_the_hook_is_called_once_with_the_id_before_the_load(make: Make) -> None:
    calls: list[object] = []
    bench = make(pre_load_hook=calls.append)

    def create(_: object) -> str:
        calls.append("load")
        return "servable"

    bench.bring(entry("one:1", SimpleLoader(create)))
    assert calls == [ServableId("one", 1), "load"]


@pytest.mark.case("BM-56")
def test_an_error_that_the_predicate_rejects_ends_the_version_at_once(make: Make) -> None:
    bench = make(
        load_retry_interval=100.0,
        should_retry=lambda error: not isinstance(error, InvalidArgumentError),
    )
    bench.manage(entry("one:1", failing(InvalidArgumentError("no such graph"))))
    error = bench.load("one:1")
    assert isinstance(error, InvalidArgumentError)
    assert str(error) == "no such graph"
    assert bench.states("one:1") == ["START", "LOADING", "END"]


# ---- threads ------------------------------------------------------------------------------------


@pytest.mark.case("BM-35")
def test_twenty_lives_interleave(threaded: Make) -> None:
    bench = threaded()

    def live(number: int) -> list[ServmanError | None]:
        which, manager = ServableId(f"stream-{number}", 1), bench.manager
        calls = [manager.manage(entry(str(which))), manager.load(which)]
        errors = [call.exception(WATCHDOG) for call in calls]
        with manager.get_servable_handle(which, Model) as handle:
            assert handle.servable.loaded
        return [*errors, manager.unload(which).exception(WATCHDOG)]  # type: ignore[list-item]

    tasks = [Spawned(lambda number=number: live(number)) for number in range(20)]  # type: ignore[misc]
    assert [task.result() for task in tasks] == [[None] * 3] * 20
    assert {one.state for one in bench.manager.snapshots()} == {S.DISABLED}


@pytest.mark.case("BM-36")
def test_the_number_of_load_threads_can_be_changed_between_loads(threaded: Make) -> None:
    bench, loaded_on = threaded(), list[str]()

    def create(_: object) -> str:
        loaded_on.append(threading.current_thread().name)
        return "servable"

    for count in (1, 2, 1):
        bench.manager.num_load_threads = count
        assert bench.manager.num_load_threads == count
        bench.bring(entry(f"one:{len(loaded_on)}", SimpleLoader(create)))
    assert [name.partition("-")[0] for name in loaded_on] == ["load"] * 3


@pytest.mark.departs("BM-37")
def test_a_callback_that_still_runs_keeps_no_load_waiting_for_its_thread(threaded: Make) -> None:
    bench = threaded()
    bench.manager.num_load_threads = 1
    entered, let = threading.Event(), threading.Event()

    def call(_: Future[None]) -> None:
        entered.set()
        assert let.wait(WATCHDOG)

    bench.manage("one:1", "two:1")
    bench.manager.load(sid("one:1")).add_done_callback(call)
    assert entered.wait(WATCHDOG)
    bench.manager.num_load_threads = 1
    assert bench.load("two:1") is None
    let.set()


@pytest.mark.departs("BM-38")
def test_setting_the_number_of_load_threads_back_waits_for_no_load(threaded: Make) -> None:
    bench, all_run, let = threaded(), threading.Barrier(21), threading.Event()

    def create(_: object) -> bool:
        all_run.wait(WATCHDOG)
        return let.wait(WATCHDOG)

    ids = [ServableId(f"stream-{number}", 1) for number in range(20)]
    bench.manager.num_load_threads = 32
    for one in ids:
        bench.manage(entry(str(one), SimpleLoader(create)))
    loads = [bench.manager.load(one) for one in ids]
    all_run.wait(WATCHDOG)
    bench.manager.num_load_threads = 1  # returns although twenty loads run
    assert not any(load.done() for load in loads)
    let.set()
    assert [bench.outcome(load) for load in loads] == [None] * 20
    assert [bench.unload(str(one)) for one in ids] == [None] * 20


@pytest.mark.case("BM-40")
def test_of_four_who_manage_and_load_one_id_one_succeeds(threaded: Make) -> None:
    bench, loader = threaded(), ModelLoader()
    start = threading.Barrier(4)

    def ask() -> tuple[Future[None], Future[None]]:
        start.wait(WATCHDOG)
        return bench.manager.manage(entry("one:1", loader)), bench.manager.load(sid("one:1"))

    tasks = [Spawned(ask) for _ in range(4)]
    pairs = [task.result() for task in tasks]
    for futures in zip(*pairs, strict=True):
        errors = [bench.outcome(future) for future in futures]
        assert sorted(map(type, errors), key=str) == [type(None)] + [FailedPreconditionError] * 3
    refused = {str(bench.outcome(load)).partition(";")[0] for _, load in pairs}
    assert refused == {"None", "one:1: duplicate load request"}
    assert bench.manager.close(WATCHDOG)
    assert (len(loader.models), loader.unloads) == (1, 1)


# ---- resources ----------------------------------------------------------------------------------


@pytest.fixture
def small(make: Make) -> BasicBench:
    """Return a manager that has ten bytes, and tries once."""
    return make(resource_tracker=ten(), max_num_load_retries=0)


@pytest.mark.case("BM-47")
def test_two_loads_that_fit_together_overlap(threaded: Make) -> None:
    bench, both = threaded(resource_tracker=ten(), max_num_load_retries=0), threading.Barrier(2)
    loader = hungry(5, lambda _: f"met as {both.wait(WATCHDOG)}")
    bench.manage(entry("one:1", loader), entry("two:1", loader))
    loads = [bench.manager.load(sid("one:1")), bench.manager.load(sid("two:1"))]
    assert [bench.outcome(load) for load in loads] == [None, None]


@pytest.mark.case("BM-48")
def test_a_load_that_does_not_fit_fails_with_the_numbers_and_stays_known(small: BasicBench) -> None:
    small.bring(entry("big:1", hungry(10)))
    small.manage(entry("one:1", hungry(1)))
    error = small.load("one:1")
    assert isinstance(error, ResourceExhaustedError)
    assert "of 10 there are 10 in use (big:1 10)" in str(error)
    assert [str(one) for one in small.ends("one:1")] == [str(error)]
    assert small.state("one:1") is S.ERROR


@pytest.mark.case("BM-49")
def test_a_load_that_fails_returns_its_memory(small: BasicBench) -> None:
    def fail(_: object) -> None:
        raise ValueError("corrupt")

    small.manage(entry("bad:1", hungry(10, fail)))
    assert isinstance(small.load("bad:1"), LoadFailedError)
    small.bring(entry("one:1", hungry(10)))
    assert small.serving() == ["one:1"]


@pytest.mark.case("BM-50")
def test_what_is_needed_less_after_the_load_is_free_for_others(small: BasicBench) -> None:
    loader = Shrinking()
    small.bring(entry("one:1", loader))
    assert loader.needs == 5
    small.bring(entry("two:1", hungry(5)))
    assert small.serving() == ["one:1", "two:1"]


@pytest.mark.case("BM-53")
def test_an_estimate_that_fails_ends_the_version_with_its_code_and_text(small: BasicBench) -> None:
    small.manage(entry("one:1", Unsure(ResourceExhaustedError("no such device"))))
    error = small.load("one:1")
    assert isinstance(error, ResourceExhaustedError)
    assert str(error) == "one:1: what it will need cannot be estimated: no such device"
    assert [str(one) for one in small.ends("one:1")] == [str(error)]


@pytest.mark.case("BM-55")
def test_an_estimate_is_tried_again_as_a_load_is(make: Make) -> None:
    bench = make(resource_tracker=ten(), max_num_load_retries=1)
    bench.bring(entry("one:1", Unsure(ValueError("busy"))))
    bench.manage(entry("two:1", Unsure(ValueError("busy"), ValueError("busy still"))))
    assert "busy still" in str(bench.load("two:1"))
    assert "busy still" in str(bench.ends("two:1")[0])


class Shrinking(ModelLoader):
    """A loader that needs ten bytes before its load, and five after it."""

    @property
    def needs(self) -> int:
        return 5 if self.models else 10

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: self.needs})


class Unsure(ModelLoader):
    """A loader whose first estimates raise the given errors, one each."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.estimate_errors = list(errors)

    def estimate_resources(self) -> ResourceAllocation:
        if self.estimate_errors:
            raise self.estimate_errors.pop(0)
        return ResourceAllocation({MAIN_MEMORY: 1})
