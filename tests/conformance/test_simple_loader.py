"""Catalogue 5.9: loaders made of functions, and adapters that make them.

SL-09 to SL-11 are about a classification of models that servman does not have.
"""

from __future__ import annotations

import gc
import weakref

import pytest

from servman.adapters.base import SourceAdapter
from servman.data import ServableData
from servman.errors import ResourceExhaustedError
from servman.flow import connect
from servman.ids import ServableId
from servman.loader import LoadContext, SimpleLoader
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.testing import RecordingTarget

M1 = ServableId("m", 1)
CONTEXT = LoadContext(M1, "/m/1")


class Model:
    """Counts those of its kind that are alive."""

    alive = 0

    def __init__(self) -> None:
        Model.alive += 1

    def close(self) -> None:
        Model.alive -= 1


@pytest.fixture(autouse=True)
def nobody_alive() -> None:
    Model.alive = 0


class Lines(SourceAdapter[str, SimpleLoader[str]]):
    """Makes loaders whose servable and estimate come from the payload."""

    def convert(self, data: ServableData[str]) -> ServableData[SimpleLoader[str]]:
        path = data.payload
        loader = SimpleLoader(
            lambda context: f"{path} for {context.id}", estimate=lambda: memory(len(path))
        )
        return ServableData(data.id, loader, data.origin)


def memory(size: int) -> ResourceAllocation:
    return ResourceAllocation({MAIN_MEMORY: size})


def adapted(path: str) -> SimpleLoader[str]:
    adapter, target = Lines(), RecordingTarget[SimpleLoader[str]]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", [ServableData(M1, path)])
    gone = weakref.ref(adapter)
    del adapter
    gc.collect()
    assert gone() is None
    return target.calls[0][1][0].payload


@pytest.mark.case("SL-01")
def test_load_creates_and_unload_destroys_and_dropping_the_loader_adds_nothing() -> None:
    loader = SimpleLoader(lambda _: Model(), destroy=Model.close)
    assert Model.alive == 0
    model = loader.load(CONTEXT)
    assert Model.alive == 1
    loader.unload(model)
    assert Model.alive == 0
    del loader
    gc.collect()
    assert Model.alive == 0


@pytest.mark.case("SL-01")
def test_without_a_destroyer_the_servable_goes_with_its_last_reference() -> None:
    loader = SimpleLoader(lambda _: Model())
    model = loader.load(CONTEXT)
    gone = weakref.ref(model)
    loader.unload(model)
    del model
    assert gone() is None


@pytest.mark.case("SL-02")
def test_the_estimate_is_asked_once_and_the_same_before_and_after_the_load() -> None:
    estimates = iter([memory(42), memory(7)])
    loader = SimpleLoader(lambda _: Model(), estimate=lambda: next(estimates))
    assert loader.estimate_resources() == memory(42)
    loader.load(CONTEXT)
    assert loader.estimate_resources() == memory(42)


@pytest.mark.case("SL-02")
def test_without_an_estimator_nothing_is_needed() -> None:
    assert SimpleLoader(lambda _: Model()).estimate_resources() == ResourceAllocation()


@pytest.mark.case("SL-04")
def test_what_the_creator_raises_comes_out_with_its_code_and_text() -> None:
    def fail(context: LoadContext) -> Model:
        raise ResourceExhaustedError("no room for it")

    with pytest.raises(ResourceExhaustedError, match="no room for it") as raised:
        SimpleLoader(fail).load(CONTEXT)
    assert raised.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.departs("SL-05")
@pytest.mark.departs("SL-06")
def test_every_creator_is_told_of_the_load_as_there_is_one_form_of_it() -> None:
    told: list[LoadContext] = []

    def create(context: LoadContext) -> Model:
        told.append(context)
        return Model()

    SimpleLoader(create).load(CONTEXT)
    assert told == [CONTEXT]


@pytest.mark.case("SL-07")
@pytest.mark.case("SL-08")
def test_an_adapter_passes_the_payload_to_creator_and_estimator_and_may_then_go() -> None:
    loader = adapted("/m/1")
    assert loader.estimate_resources() == memory(4)
    assert loader.load(CONTEXT) == "/m/1 for m:1"
