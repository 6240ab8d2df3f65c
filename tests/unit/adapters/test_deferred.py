from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from servman.adapters import deferred
from servman.adapters.base import SourceAdapter
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.data import ServableData
from servman.errors import LoadFailedError, ResourceExhaustedError, UnimplementedError
from servman.flow import Target, connect
from servman.ids import ServableId, ServableRequest
from servman.loader import Loader
from servman.reasons import ReasonCode
from servman.testing import FakeClock, RecordingTarget
from servman.testing.clock import WATCHDOG

DATA = [ServableData(ServableId("m", 1), "/m/1")]


def test_two_first_lists_at_once_make_one_adapter() -> None:
    made: list[SourceAdapter[str, Loader]] = []

    def make() -> SourceAdapter[str, Loader]:
        made.append(PythonModelAdapter())
        return made[-1]

    adapter, target = DeferredAdapter("x", make), RecordingTarget[Loader]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", DATA)
    adapter._begin()  # as the other thread would, which has seen that nobody had begun
    target.wait_for("m", [1])
    assert len(made) == 1


def test_where_no_thread_is_left_the_next_list_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ResourceExhaustedError("no thread is left")

    adapter, target = DeferredAdapter("x", PythonModelAdapter), RecordingTarget[Loader]()
    connect(adapter, target)
    with monkeypatch.context() as patch:
        patch.setattr(deferred, "spawn", refuse)
        with pytest.raises(ResourceExhaustedError):
            adapter.set_aspired_versions("m", DATA)
    adapter.set_aspired_versions("m", DATA)
    target.wait_for("m", [1])


NEWEST = ServableRequest.newest("m")


class Import:
    """The import of a package, which lasts until the test lets it end."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.error: BaseException | None = None
        self.clock = FakeClock()
        self.target = RecordingTarget[Loader]()
        self.adapter = DeferredAdapter("onnx", self.make, self.clock)
        connect(self.adapter, self.target)

    def make(self) -> SourceAdapter[str, Loader]:
        self.entered.set()
        assert self.go_on.wait(WATCHDOG)
        if self.error is not None:
            raise self.error
        return PythonModelAdapter()

    def begin(self) -> None:
        self.adapter.set_aspired_versions("m", DATA)
        assert self.entered.wait(WATCHDOG)


@pytest.fixture
def package() -> Iterator[Import]:
    package = Import()
    yield package
    package.go_on.set()


def test_an_import_that_goes_on_is_explained_with_since_when_and_what_to_do(
    package: Import,
) -> None:
    package.begin()
    package.clock.advance(12.3)
    reason = package.adapter.explain(NEWEST)
    assert reason is not None
    assert reason.code is ReasonCode.PLATFORM_UNAVAILABLE
    assert str(reason) == (
        "model 'm' waits for its platform 'onnx', which has been importing for 12.3 s; should that not"
        " end, find out what its package does on the thread 'import-onnx', repair it, and start the"
        " server again"
    )
    began = package.clock.monotonic() - 12.3
    assert reason.facts == {"name": "m", "platform": "onnx", "since": pytest.approx(began)}


def test_a_model_that_has_nothing_to_import_for_is_not_explained(package: Import) -> None:
    assert package.adapter.explain(NEWEST) is None
    package.begin()
    assert package.adapter.explain(ServableRequest.newest("n")) is None  # as it has no version
    package.adapter.set_aspired_versions("m", [])
    assert package.adapter.explain(NEWEST) is None


def test_once_it_is_imported_the_platform_is_no_reason(package: Import) -> None:
    package.begin()
    package.go_on.set()
    package.target.wait_for("m", [1])
    assert package.adapter.explain(NEWEST) is None


def test_an_import_that_failed_is_explained_before_its_models_are_told(package: Import) -> None:
    heard: list[str] = []

    class Asking:
        def set_aspired_versions(self, name: str, versions: object) -> None:
            heard.append(str(adapter.explain(ServableRequest.specific(name, 1))))
            done.set()

    done, package.error = threading.Event(), UnimplementedError("no libonnx.so; install it")
    adapter, asking = DeferredAdapter("onnx", package.make), Asking()
    connect(adapter, asking)
    adapter.set_aspired_versions("m", DATA)
    package.go_on.set()
    assert done.wait(WATCHDOG)
    assert heard == ["model 'm': no libonnx.so; install it"]
    reason = adapter.explain(ServableRequest.newest("n"))  # nothing else would help it, either
    assert reason is not None
    assert reason.code is ReasonCode.PLATFORM_UNAVAILABLE
    assert isinstance(reason.error, UnimplementedError)


def test_an_adapter_that_takes_no_target_is_the_error_of_its_models() -> None:
    class Refusing(PythonModelAdapter):  # type: ignore[misc] # final, but to be had
        def set_target(self, target: Target[Loader]) -> None:
            raise ValueError("no target for me")

    adapter, target = DeferredAdapter("onnx", Refusing), RecordingTarget[Loader]()
    connect(adapter, target)
    adapter.set_aspired_versions("m", DATA)
    target.wait_for("m", [1])
    error = target.calls[0][1][0].error
    assert isinstance(error, LoadFailedError)
    assert str(error).startswith(
        "platform 'onnx': its adapter raised ValueError: no target for me; leave set_target()"
    )
    assert adapter.explain(NEWEST) is not None


def test_a_stream_that_takes_another_way_meanwhile_is_not_delivered_late(package: Import) -> None:
    package.begin()
    package.adapter.set_aspired_versions("n", [ServableData(ServableId("n", 1), "/n/1")])
    package.adapter.forget("m")
    assert package.adapter.explain(NEWEST) is None
    package.go_on.set()
    package.target.wait_for("n", [1])
    assert [name for name, _ in package.target.calls] == ["n"]
