"""The last stage before the manager: it remembers lists, and replaces estimates."""

from __future__ import annotations

from servman.core.intake import Intake
from servman.data import ServableData
from servman.errors import InternalError
from servman.flow import connect
from servman.ids import ServableId
from servman.loader import LoadContext, Loader, RevisedLoader, SimpleLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import FailingLoader, RecordingTarget

PLAIN = SimpleLoader(lambda context: f"servable {context.id}")


def rig() -> tuple[Intake, RecordingTarget[Loader]]:
    intake, target = Intake(), RecordingTarget[Loader]()
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
