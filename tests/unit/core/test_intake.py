"""The last stage before the manager: it remembers lists, replaces estimates, and puts models into processes."""

from __future__ import annotations

from typing import Any, final

import pytest

from servman.core.intake import Intake
from servman.data import ServableData
from servman.errors import InternalError
from servman.flow import connect
from servman.ids import ServableId
from servman.loader import LoadContext, Loader, RevisedLoader, SimpleLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import FailingLoader, FakeClock, RecordingTarget
from servman.worker_state import WorkerSnapshot
from servman.workers import loader as worker_loader
from servman.workers.messages import Description
from servman.workers.options import Workers
from servman.workers.servable import WorkerServable
from tests.unit.manager.rig import ModelLoader
from tests.unit.worker_states import worker

PLAIN = SimpleLoader(lambda context: f"servable {context.id}")


def rig() -> tuple[Intake, RecordingTarget[Loader]]:
    intake, target = Intake(FakeClock()), RecordingTarget[Loader]()
    connect(intake, target)
    return intake, target


def entry(version: int, loader: Loader = PLAIN, path: str = "/m") -> ServableData[Loader]:
    return ServableData(ServableId("m", version), loader, f"{path}/{version}")


def passed_on(target: RecordingTarget[Loader]) -> Loader:
    return target.calls[-1][1][0].payload


def test_a_list_is_handed_on_and_remembered() -> None:
    intake, target = rig()
    versions = (entry(1), entry(2))
    intake.set_aspired_versions("m", versions)
    ((name, passed),) = target.calls
    assert [(name, one.id, one.origin) for one in passed] == [
        ("m", one.id, one.origin) for one in versions
    ]
    assert intake.passed("m") == {1: "/m/1", 2: "/m/2"}
    assert intake.passed("n") == {}


def test_an_entry_with_an_error_is_remembered_too() -> None:
    intake, _ = rig()
    failed: ServableData[Loader] = ServableData.from_error(ServableId("m", 1), InternalError("x"))
    intake.set_aspired_versions("m", [failed])
    assert intake.passed("m") == {1: None}


def test_an_empty_list_and_a_forgotten_one_leave_nothing() -> None:
    intake, target = rig()
    for name in ("m", "n"):
        intake.set_aspired_versions(name, [ServableData(ServableId(name, 1), PLAIN)])
    intake.set_aspired_versions("m", [])
    assert target.calls[-1] == ("m", ())
    intake.forget(["n", "stranger"])
    assert (intake.passed("m"), intake.passed("n")) == ({}, {})


def test_an_estimate_takes_the_place_of_the_loaders_own() -> None:
    intake, target = rig()
    intake.estimate({"m": 7})
    intake.set_aspired_versions("m", [entry(1)])
    loader = passed_on(target)
    assert loader.estimate_resources() == ResourceAllocation({MAIN_MEMORY: 7})
    servable = loader.load(LoadContext(ServableId("m", 1), None, 1))
    assert servable == "servable m:1"
    assert not isinstance(loader, RevisedLoader)


def test_a_loader_that_knows_its_files_still_does() -> None:
    intake, target = rig()
    inner = FailingLoader()
    intake.estimate({"m": 7})
    intake.set_aspired_versions("m", [entry(1, inner)])
    loader = passed_on(target)
    assert isinstance(loader, RevisedLoader)
    inner.files = "changed"
    assert loader.revision() == "changed"
    loader.unload("servable")
    assert inner.unloaded == ["servable"]
    assert target.calls[-1][1][0].origin == "/m/1"


def test_an_estimate_counts_for_its_model_alone_and_while_it_is_configured() -> None:
    intake, target = rig()
    own = ResourceAllocation({MAIN_MEMORY: 3})
    intake.set_aspired_versions("m", [entry(1, SimpleLoader(str, estimate=lambda: own))])
    loader, seen = passed_on(target), []
    for estimates in ({"n": 7}, {"m": 7}, {}):
        intake.estimate(estimates)
        seen.append(loader.estimate_resources().quantity(MAIN_MEMORY))
    assert seen == [3, 7, 3]
    assert intake.estimate_of("m") is None


# ---- in processes of their own -------------------------------------------------------------------


@final
class Group:
    """Stands for the worker processes of one load: there are none."""

    def __init__(
        self, inner: Loader, context: LoadContext, workers: Workers, *, clock: FakeClock
    ) -> None:
        self.inner, self.context, self.workers = inner, context, workers
        self.closed = self.abandoned = 0
        assert isinstance(clock, FakeClock)
        made.append(self)

    def start(self) -> WorkerServable:
        calls: Any = None
        return WorkerServable(self.context.id, Description("Toy", (), {}), calls, self.snapshots)

    def close(self, deadline: float | None) -> None:
        del deadline
        self.closed += 1

    def abandon(self) -> None:
        self.abandoned += 1

    def snapshots(self) -> tuple[WorkerSnapshot, ...]:
        return tuple(map(worker, range(self.workers.replica_count)))


made: list[Group] = []


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """What was put into processes, in the order of the loads."""
    made.clear()
    monkeypatch.setattr(worker_loader, "WorkerGroup", Group)
    return made


def loaded(loader: Loader, version: int = 1) -> object:
    return loader.load(LoadContext(ServableId("m", version), f"/m/{version}", 1))


def workers_of(loader: Any) -> int:
    found: tuple[WorkerSnapshot, ...] = loader.workers()
    return len(found)


def test_a_model_is_loaded_and_unloaded_in_processes_where_it_says_so(groups: list[Group]) -> None:
    intake, target = rig()
    inner = FailingLoader()
    intake.isolate({"m": Workers(2)})
    intake.set_aspired_versions("m", [entry(1, inner)])
    loader = passed_on(target)
    assert workers_of(loader) == 0
    servable = loaded(loader)
    assert isinstance(servable, WorkerServable)
    (group,) = groups
    assert (group.inner, group.workers, group.context.path) == (inner, Workers(2), "/m/1")
    assert workers_of(loader) == 2
    loader.unload(servable)
    assert (group.closed, inner.attempts, inner.unloaded) == (1, 0, [])


def test_another_model_stays_in_this_process(groups: list[Group]) -> None:
    intake, target = rig()
    intake.isolate({"n": Workers(2)})
    intake.set_aspired_versions("m", [entry(1)])
    assert loaded(passed_on(target)) == "servable m:1"
    assert workers_of(passed_on(target)) == 0
    assert groups == []


def test_versions_may_be_isolated_each_in_its_way(groups: list[Group]) -> None:
    intake, target = rig()
    intake.isolate({"m": {1: Workers(1), 3: Workers(3)}})
    intake.set_aspired_versions("m", [entry(1), entry(2), entry(3)])
    loaders = [one.payload for one in target.calls[-1][1]]
    for version, loader in enumerate(loaders, 1):
        loaded(loader, version)
    assert [group.workers for group in groups] == [Workers(1), Workers(3)]
    assert [workers_of(loader) for loader in loaders] == [1, 0, 3]


def test_where_a_version_lives_is_asked_at_each_load_and_it_is_unloaded_where_it_was_loaded(
    groups: list[Group],
) -> None:
    intake, target = rig()
    inner = FailingLoader()
    intake.isolate({"m": Workers(2)})
    intake.set_aspired_versions("m", [entry(1, inner)])
    loader = passed_on(target)
    first = loaded(loader)
    intake.isolate({})
    assert workers_of(loader) == 2
    loader.unload(first)
    assert (groups[0].closed, inner.unloaded) == (1, [])
    second = loaded(loader)
    assert (second, workers_of(loader)) == ("servable", 0)
    intake.isolate({"m": Workers(1)})
    loader.unload(second)
    assert inner.unloaded == ["servable"]
    loaded(loader)
    assert [group.workers for group in groups] == [Workers(2), Workers(1)]


def test_a_load_that_was_given_up_is_unloaded_where_it_was_when_the_next_has_begun(
    groups: list[Group],
) -> None:
    intake, target = rig()
    intake.isolate({"m": Workers(2)})
    intake.set_aspired_versions("m", [entry(1)])
    loader = passed_on(target)
    late, next_one = loaded(loader), loaded(loader)
    loader.unload(late)
    assert [group.closed for group in groups] == [1, 0]
    loader.unload(next_one)
    assert [group.closed for group in groups] == [1, 1]


def test_what_a_loader_estimates_counts_for_each_process_and_what_is_configured_for_all() -> None:
    intake, target = rig()
    own = ResourceAllocation({MAIN_MEMORY: 3})
    intake.set_aspired_versions("m", [entry(1, SimpleLoader(str, estimate=lambda: own))])
    loader, seen = passed_on(target), []
    for workers, estimates in (({}, {}), ({"m": Workers(2)}, {}), ({"m": Workers(2)}, {"m": 7})):
        intake.isolate(workers)
        intake.estimate(estimates)
        seen.append(loader.estimate_resources().quantity(MAIN_MEMORY))
    assert seen == [3, 6, 7]


def test_the_workers_of_a_platform_that_isolates_by_itself_are_told() -> None:
    class Isolating(ModelLoader):
        def workers(self) -> tuple[WorkerSnapshot, ...]:
            return (worker(),)

    intake, target = rig()
    intake.set_aspired_versions("m", [entry(1, Isolating())])
    assert workers_of(passed_on(target)) == 1


def test_what_is_left_in_processes_is_abandoned_whatever_loads_in_them(groups: list[Group]) -> None:
    class Unhashable(ModelLoader):
        __hash__ = None  # type: ignore[assignment] # as that of a dataclass that can be compared

    intake, target = rig()
    intake.isolate({"m": Workers(1)})
    intake.set_aspired_versions("m", [entry(1, Unhashable())])
    loader: Any = passed_on(target)
    gone, left = loaded(loader), loaded(loader)
    loader.unload(gone)
    loader.abandon()
    assert [(group.closed, group.abandoned) for group in groups] == [(1, 0), (0, 1)]
    loader.unload(left)


def test_a_platform_that_isolates_by_itself_is_told_to_let_go() -> None:
    abandoned: list[str] = []

    class Isolating(ModelLoader):
        def abandon(self) -> None:
            abandoned.append("abandoned")

    intake, target = rig()
    intake.set_aspired_versions("m", [entry(1, Isolating())])
    loader: Any = passed_on(target)
    loader.abandon()
    assert abandoned == ["abandoned"]
