"""Which reports of a failure count, and what stays as it is: cases that the simulation has found."""

from __future__ import annotations

from typing import final

import pytest

from servman.errors import LoadFailedError, NotFoundError, ServmanError
from servman.loader import LoadContext
from servman.manager import CachingManager, HarnessState
from servman.manager.messages import Obtain
from servman.testing import FakeClock, ManualPool
from tests.unit.manager.rig import FileLoader, Model, ModelLoader, Rig, entry, sid

GONE = LoadFailedError("its process died for good")


@final
class Reporting(ModelLoader):
    """Reports failures of what it is making, before its first load returns."""

    def load(self, context: LoadContext) -> Model:
        model = super().load(context)
        if len(self.contexts) == 1:
            context.report_failure(ValueError("first"))
            context.report_failure(ValueError("second"))
        return model


def report(loader: ModelLoader, load: int = -1) -> None:
    loader.contexts[load].report_failure(GONE)


def tried_twice(rig: Rig, loader: ModelLoader) -> None:
    """Have m:1 loaded by its second attempt."""
    rig.bring("m", entry("m:1", loader))
    rig.advance(1.0)
    assert len(loader.contexts) == 2


def test_the_first_report_counts_while_it_loads_too() -> None:
    rig = Rig()
    rig.bring("m", entry("m:1", Reporting()))
    assert [str(one) for one in rig.ends("m:1")] == ["m:1: ValueError: first"]


def test_what_failed_while_it_loaded_ends_with_that_and_not_with_the_error_of_its_unload() -> None:
    rig = Rig()
    rig.bring("m", entry("m:1", Reporting(unload_error=ValueError("nothing to unload"))))
    assert [str(one) for one in rig.ends("m:1")] == ["m:1: ValueError: first"]


def test_what_failed_while_it_was_held_ends_with_that_and_not_with_the_error_of_its_unload() -> (
    None
):
    loader = ModelLoader(unload_error=ValueError("nothing to unload"))
    rig = Rig()
    rig.manager.hold(["m"])
    rig.bring("m", entry("m:1", loader))
    report(loader)
    rig.settle()
    assert [str(one) for one in rig.ends("m:1")] == [f"m:1: {GONE}"]


def test_what_a_failed_attempt_reports_does_not_concern_what_the_next_one_has_made() -> None:
    rig, loader = Rig(load_retry_interval=1.0), ModelLoader(ValueError("not yet"))
    tried_twice(rig, loader)
    report(loader, 0)
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_nor_does_it_concern_what_is_held() -> None:
    rig, loader = Rig(load_retry_interval=1.0), ModelLoader(ValueError("not yet"))
    rig.manager.hold(["m"])
    tried_twice(rig, loader)
    report(loader, 0)
    rig.settle()
    rig.manager.commit(["m"])
    rig.settle()
    assert rig.serving() == ["m:1"]


def test_an_attempt_of_the_same_number_is_another_one() -> None:
    loader = FileLoader(ValueError("not yet"))
    rig = Rig(load_retry_interval=60.0)
    rig.bring("m", entry("m:1", loader))
    loader.files = "repaired"
    rig.advance(1.0)
    assert [one.attempt for one in loader.contexts] == [1, 1]
    report(loader, 0)
    rig.settle()
    assert rig.serving() == ["m:1"]


# ---- labels of a stream that is held ---------------------------------------------------------------


def holding(*loaders: ModelLoader) -> Rig:
    """Hold a stream that serves a version of each of *loaders*, and whose label x points to m:1."""
    rig = Rig()
    rig.bring("m", *(entry(f"m:{n}", one) for n, one in enumerate(loaders, 1)))
    rig.manager.set_labels({"m": {"x": 1}})
    rig.manager.hold(["m"])
    rig.settle()
    return rig


def test_a_label_of_a_held_stream_stays_where_it_is_when_another_version_fails() -> None:
    failing = ModelLoader()
    rig = holding(ModelLoader(), ModelLoader(), failing)
    rig.manager.set_labels({"m": {"x": 2, "y": 2}})
    report(failing)
    rig.settle()
    assert dict(rig.manager.labels("m")) == {"x": 1}
    rig.manager.commit(["m"])
    rig.settle()
    assert dict(rig.manager.labels("m")) == {"x": 2, "y": 2}


def test_a_label_of_a_held_stream_finds_nothing_once_its_version_has_failed() -> None:
    failing = ModelLoader()
    rig = holding(failing, ModelLoader())
    rig.manager.set_labels({"m": {"x": 2}})
    report(failing)
    rig.settle()
    with pytest.raises(NotFoundError):
        rig.manager.get_servable_handle("m@x")


# ---- a cache ---------------------------------------------------------------------------------------


@final
class Client:
    """Asks a cache for m:1, and hears how that has ended."""

    def __init__(self, manager: CachingManager, loader: ModelLoader) -> None:
        self.told: list[ServmanError | None] = []
        manager._actor.post(Obtain(entry("m:1", loader), self))

    def answer(self, error: ServmanError | None) -> None:
        self.told.append(error)


@final
class Shelf:
    """A cache, driven step by step."""

    def __init__(self) -> None:
        self.loads, self.unloads = ManualPool(), ManualPool()
        self.manager = CachingManager(
            lambda request: entry(str(request)),
            clock=FakeClock(),
            _pools=(self.loads, self.unloads, ManualPool()),
        )

    def load(self) -> None:
        """Step and run loads, and no unload, until there is nothing left to do."""
        while self.manager.step() or self.loads.run_all():
            pass


def test_what_a_cache_is_asked_for_while_what_has_failed_drains_is_loaded_anew() -> None:
    shelf, loader = Shelf(), ModelLoader()
    Client(shelf.manager, loader)
    shelf.load()
    with shelf.manager.get_servable_handle("m:1"):
        report(loader)
        shelf.load()
        client = Client(shelf.manager, ModelLoader())
        shelf.load()
        assert client.told == []
    shelf.load()
    shelf.unloads.run()
    shelf.load()
    assert client.told == [None]
    assert shelf.manager.list_available_ids() == [sid("m:1")]


def test_who_waits_for_a_load_that_fails_by_a_report_hears_of_it_before_the_unload() -> None:
    shelf = Shelf()
    client = Client(shelf.manager, Reporting())
    shelf.load()
    assert [str(one) for one in client.told] == ["m:1: ValueError: first"]
    (snapshot,) = shelf.manager.snapshots("m")
    assert snapshot.state is HarnessState.UNLOADING
