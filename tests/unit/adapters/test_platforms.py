from __future__ import annotations

import importlib.metadata
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from servman.adapters import platforms
from servman.adapters.base import SourceAdapter
from servman.adapters.deferred import DeferredAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.data import ServableData
from servman.errors import InvalidArgumentError, ServmanError, UnimplementedError
from servman.flow import connect
from servman.ids import ServableId, ServableRequest
from servman.loader import Loader
from servman.resources import ResourceAllocation
from servman.testing import FakeClock, RecordingTarget, Spawned
from servman.testing.clock import WATCHDOG


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(platforms, "_factories", dict(platforms._factories))
    offer(monkeypatch)
    yield
    platforms._offered.cache_clear()


def offer(monkeypatch: pytest.MonkeyPatch, **offers: str) -> list[str]:
    """Let installed packages offer these platforms; return the log of looks."""
    looks: list[str] = []

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        looks.append(group)
        return [importlib.metadata.EntryPoint(name, to, group) for name, to in offers.items()]

    platforms._offered.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return looks


def make() -> SourceAdapter[str, Loader]:
    return ErrorInjectingAdapter(UnimplementedError("only a test"))


def test_tensorflow_and_python_are_built_in() -> None:
    assert platforms.registered_platforms() == {"tensorflow", "python"}
    assert platforms.is_registered("tensorflow")
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


def test_every_call_makes_an_adapter_of_its_own() -> None:
    platforms.register_platform("mine", make)
    assert platforms.create_adapter("mine") is not platforms.create_adapter("mine")


def test_a_registered_platform_is_found() -> None:
    platforms.register_platform("mine", make)
    assert platforms.is_registered("mine")
    assert "mine" in platforms.registered_platforms()
    assert isinstance(platforms.create_adapter("mine"), ErrorInjectingAdapter)


def test_registering_the_same_again_changes_nothing() -> None:
    platforms.register_platform("mine", make)
    platforms.register_platform("mine", make)
    assert isinstance(platforms.create_adapter("mine"), ErrorInjectingAdapter)


def test_a_name_is_not_taken_over_by_another_factory() -> None:
    with pytest.raises(InvalidArgumentError, match="'tensorflow' is registered already"):
        platforms.register_platform("tensorflow", make)
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


def test_a_name_may_be_taken_over_on_purpose() -> None:
    platforms.register_platform("python", make, replace=True)
    assert isinstance(platforms.create_adapter("python"), ErrorInjectingAdapter)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_name_is_a_text(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not the name of a platform"):
        platforms.register_platform(name, make)


def test_a_factory_can_be_called() -> None:
    with pytest.raises(InvalidArgumentError, match="platform 'mine': not a factory"):
        platforms.register_platform("mine", "make")  # type: ignore[arg-type] # the point


def test_a_platform_that_nobody_registered_is_a_fault_that_lists_the_others() -> None:
    assert not platforms.is_registered("tensorfow")
    with pytest.raises(InvalidArgumentError, match="'tensorfow', there are: python, tensorflow"):
        platforms.create_adapter("tensorfow")


def given(adapter: SourceAdapter[str, Loader], target: RecordingTarget[Loader]) -> None:
    connect(adapter, target)
    adapter.set_aspired_versions("m", [ServableData(ServableId("m", 1), "/m/1", "/origin")])


def error_of(adapter: SourceAdapter[str, Loader]) -> ServmanError:
    """Return the error that takes the place of a version of the platform."""
    target: RecordingTarget[Loader] = RecordingTarget()
    given(adapter, target)
    target.wait_for("m", [1])
    ((_, (data,)),) = target.calls
    assert data.error is not None
    assert data.origin == "/origin"
    return data.error


def test_installed_packages_offer_platforms_as_entry_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = ModuleType("test_platforms_offered")
    module.make = PythonModelAdapter
    monkeypatch.setitem(sys.modules, module.__name__, module)
    looks = offer(monkeypatch, offered="test_platforms_offered:make", broken="test_no_such:make")
    assert platforms.registered_platforms() == {"tensorflow", "python", "offered", "broken"}
    assert platforms.is_registered("offered")
    target: RecordingTarget[Loader] = RecordingTarget()
    given(platforms.create_adapter("offered"), target)
    target.wait_for("m", [1])
    assert target.calls[0][1][0].payload.estimate_resources() == ResourceAllocation()
    assert looks == ["servman.platforms"]


def test_a_broken_entry_point_is_an_error_of_its_own_platform_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, broken="test_no_such_module:make")
    assert platforms.is_registered("broken")
    error = error_of(platforms.create_adapter("broken"))
    assert isinstance(error, UnimplementedError)
    assert str(error) == (
        "platform 'broken' cannot be used here: importing test_no_such_module:make raised"
        " ModuleNotFoundError: No module named 'test_no_such_module'; repair or install the package"
        " that provides it, and start the server again"
    )
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


def test_a_package_without_the_factory_that_it_offers_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, broken="servman.testing:no_such_factory")
    assert "no_such_factory" in str(error_of(platforms.create_adapter("broken")))


def test_a_package_that_registers_the_name_of_another_is_the_reason_of_its_own_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = ModuleType("test_platforms_greedy")
    module.make = lambda: platforms.register_platform("python", make)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    offer(monkeypatch, greedy="test_platforms_greedy:make")
    error = error_of(platforms.create_adapter("greedy"))
    assert "platform 'python' is registered already" in str(error)
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


def packages(monkeypatch: pytest.MonkeyPatch, folder: Path, **entry_points: str) -> None:
    """Install packages of these entry points."""
    for name, text in entry_points.items():
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[console_scripts]\nno_platform = x:y\n[servman.platforms]\n{text}\n"
        )
    monkeypatch.undo()  # of the autouse fixture: the real look at installed packages
    monkeypatch.syspath_prepend(str(folder))
    platforms._offered.cache_clear()


def test_two_packages_that_offer_one_platform_are_named_to_its_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages(monkeypatch, tmp_path, alpha="onnx = alpha:make", beta="onnx = beta:make")
    error = str(error_of(platforms.create_adapter("onnx")))
    assert re.search(r"'onnx' .*offered more than once, by .*; uninstall all but one", error)
    assert "alpha (alpha:make)" in error
    assert "beta (beta:make)" in error


def test_one_package_with_broken_metadata_costs_no_other_its_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packages(monkeypatch, tmp_path, bad="this line is no entry point", good="fine = fine:make")
    assert platforms.registered_platforms() >= {"tensorflow", "python", "fine"}
    assert not platforms.is_registered("no_platform")
    assert "entry points" in caplog.text


def test_a_package_that_hangs_while_it_is_imported_delays_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def factory() -> SourceAdapter[str, Loader]:
        entered.set()
        assert go_on.wait(WATCHDOG)
        return PythonModelAdapter()

    module: Any = ModuleType("test_platforms_slow")
    module.make = factory
    monkeypatch.setitem(sys.modules, module.__name__, module)
    offer(monkeypatch, slow="test_platforms_slow:make")
    adapter = platforms.create_adapter("slow")
    assert not entered.is_set()
    target: RecordingTarget[Loader] = RecordingTarget()
    given(adapter, target)  # returns
    assert entered.wait(WATCHDOG)
    both = [ServableData(ServableId("m", version), f"/m/{version}") for version in (2, 3)]
    adapter.set_aspired_versions("m", both)
    assert target.calls == []
    go_on.set()
    target.wait_for("m", [2, 3])
    assert len(target.calls) == 1  # the newest list, made by one adapter


def test_how_long_an_import_lasts_is_told_by_the_clock_that_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, clock = threading.Event(), FakeClock()
    module: Any = ModuleType("test_platforms_timed")
    module.make = lambda: gate.wait(WATCHDOG)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    offer(monkeypatch, slow="test_platforms_timed:make")
    adapter, target = platforms.create_adapter("slow", clock=clock), RecordingTarget[Loader]()
    assert isinstance(adapter, DeferredAdapter)
    given(adapter, target)
    clock.advance(7.0)
    assert "importing for 7.0 s" in str(adapter.explain(ServableRequest.latest("m")))
    gate.set()
    target.wait_for("m", [1])


def test_one_version_of_an_offered_platform_can_be_adapted_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, broken="test_no_such_module:make")
    data = ServableData(ServableId("m", 1), "/m/1", "/origin")
    adapted = platforms.create_adapter("broken").adapt_one(data)
    assert isinstance(adapted.error, UnimplementedError)


def test_what_is_registered_comes_before_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, python="test_no_such_module:make")
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


def test_built_in_platforms_are_found_without_a_look_at_installed_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = offer(monkeypatch)
    assert platforms.is_registered("python")
    platforms.create_adapter("python")
    assert looks == []


@pytest.mark.parametrize("error", [ImportError("no libfoo.so"), SystemExit(2)])
def test_a_factory_that_raises_makes_the_platform_unusable_and_says_why(
    error: BaseException,
) -> None:
    def fail() -> SourceAdapter[str, Loader]:
        raise error

    platforms.register_platform("mine", fail)
    with pytest.raises(
        UnimplementedError, match=f"'mine'.* raised {type(error).__name__}: .*; repair"
    ):
        platforms.create_adapter("mine")


def test_ctrl_c_in_a_factory_on_the_main_thread_goes_to_the_host() -> None:
    def interrupted() -> SourceAdapter[str, Loader]:
        raise KeyboardInterrupt

    platforms.register_platform("mine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        platforms.create_adapter("mine")
    with pytest.raises(UnimplementedError, match=r"'mine'.* raised KeyboardInterrupt"):
        Spawned(lambda: platforms.create_adapter("mine")).result()


def test_a_factory_that_returns_no_adapter_is_told_so() -> None:
    platforms.register_platform("mine", lambda: None)  # type: ignore[arg-type,return-value] # the point
    with pytest.raises(UnimplementedError, match="returned None, which is no SourceAdapter"):
        platforms.create_adapter("mine")


def test_without_tensorflow_its_platform_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        UnimplementedError, match=r"^TensorFlow is not .*pip install 'servman\[tens"
    ):
        platforms.create_adapter("tensorflow")
