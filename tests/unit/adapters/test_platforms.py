from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from servman.adapters import platforms
from servman.adapters.base import SourceAdapter
from servman.adapters.python_model import PythonModelAdapter
from servman.adapters.rejecting import ErrorInjectingAdapter
from servman.errors import InvalidArgumentError, UnimplementedError
from servman.loader import Loader
from servman.testing import Spawned


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


def test_installed_packages_offer_platforms_as_entry_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = ModuleType("test_platforms_offered")
    module.make = make
    monkeypatch.setitem(sys.modules, module.__name__, module)
    looks = offer(monkeypatch, offered="test_platforms_offered:make", broken="test_no_such:make")
    assert platforms.registered_platforms() == {"tensorflow", "python", "offered", "broken"}
    assert platforms.is_registered("offered")
    assert isinstance(platforms.create_adapter("offered"), ErrorInjectingAdapter)
    assert looks == ["servman.platforms"]


def test_a_broken_entry_point_is_an_error_of_its_own_platform_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, broken="test_no_such_module:make")
    assert platforms.is_registered("broken")
    with pytest.raises(
        UnimplementedError, match=r"'broken' cannot be used here: .*test_no_such_module.*; repair"
    ):
        platforms.create_adapter("broken")
    assert isinstance(platforms.create_adapter("python"), PythonModelAdapter)


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
