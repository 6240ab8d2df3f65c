"""A loader whose servables live in processes of their own, and the adapter that makes such."""

from __future__ import annotations

import pytest

from servman.adapters import ErrorInjectingAdapter
from servman.adapters.base import SourceAdapter
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.loader import Loader, RevisedLoader
from servman.resources import Resource, ResourceAllocation
from servman.testing.targets import RecordingTarget
from servman.workers.adapter import isolated
from servman.workers.loader import IsolatedLoader
from servman.workers.options import Workers
from tests.integration.obedient import Obedient, Revised

ID = ServableId("m", 1)
RAM = Resource("main", "ram")


class Adapter(SourceAdapter[str, Loader]):
    """Makes a loader that is told the path."""

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        return ServableData(data.id, Obedient(on_load=data.payload))


def test_an_estimate_is_that_of_all_processes() -> None:
    loader = IsolatedLoader(ID, Obedient(), Workers(2, num_parallel_workers=3))
    assert loader.estimate_resources() == ResourceAllocation({RAM: 21})


def test_a_revision_is_that_of_the_inner_loader_where_that_has_one() -> None:
    loader = IsolatedLoader(ID, Revised(), Workers())
    assert isinstance(loader, RevisedLoader)
    assert loader.revision() == "as of today"
    assert not isinstance(IsolatedLoader(ID, Obedient(), Workers()), RevisedLoader)


def test_no_worker_is_shown_before_the_first_load() -> None:
    assert IsolatedLoader(ID, Obedient(), Workers()).workers() == ()


def test_what_was_never_loaded_is_unloaded_without_a_word() -> None:
    IsolatedLoader(ID, Obedient(), Workers()).unload(object())


def test_faults_of_the_workers_are_all_told_at_once() -> None:
    wrong = Workers(-1, concurrency=0)
    with pytest.raises(InvalidArgumentError, match="m:1") as caught:
        IsolatedLoader(ID, Obedient(), wrong)
    assert len(caught.value.faults) == 2
    with pytest.raises(InvalidArgumentError):
        isolated(Adapter(), wrong)


def test_an_isolated_adapter_hands_on_isolated_loaders_with_id_and_origin() -> None:
    adapter, target = isolated(Adapter(), Workers(2)), RecordingTarget[Loader]()
    adapter.set_target(target)
    adapter.set_aspired_versions("m", [ServableData(ID, "pass", "/models/m/1")])
    ((name, (data,)),) = target.calls
    assert (name, data.id, data.origin) == ("m", ID, "/models/m/1")
    assert isinstance(data.payload, IsolatedLoader)


def test_an_isolated_adapter_converts_single_versions_too() -> None:
    data = isolated(Adapter(), Workers()).adapt_one(ServableData(ID, "pass"))
    assert isinstance(data.payload, IsolatedLoader)


def test_errors_pass_an_isolated_adapter() -> None:
    error = NotFoundError("gone")
    adapter: SourceAdapter[str, Loader] = isolated(ErrorInjectingAdapter(error), Workers())
    assert adapter.adapt_one(ServableData(ID, "pass")).error is not None


def test_an_adapter_that_has_a_target_cannot_be_isolated() -> None:
    adapter = Adapter()
    adapter.set_target(RecordingTarget[Loader]())
    with pytest.raises(FailedPreconditionError):
        isolated(adapter, Workers())
