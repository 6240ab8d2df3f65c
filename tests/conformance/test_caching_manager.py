"""Section 5.7 of the catalogue, with loads on the manager's own thread and on threads of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servman.adapters import PythonModelAdapter
from servman.errors import FailedPreconditionError, InvalidArgumentError, LoadFailedError
from servman.manager import CachingManager, PathPrefixLoaderFactory
from servman.threads import CallingThread
from tests.unit.manager.cache import Cache
from tests.unit.manager.rig import Model

SHAPES: dict[str, dict[str, Any]] = {
    "inline": {"_pools": (CallingThread(),) * 3},
    "threaded": {"num_load_threads": 4, "num_unload_threads": 4},
}


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def cache(request: pytest.FixtureRequest) -> Iterator[Cache]:
    """Return a started manager whose factory works, and close it."""
    cache = Cache(**request.param)
    yield cache
    cache.close()


@pytest.fixture
def failing(cache: Cache) -> Cache:
    """Return a started manager whose factory has an error for "m"."""
    cache.loaders["m"] = LoadFailedError("the factory failed")
    return cache


def handles(cache: Cache, kind: type[object]) -> list[str]:
    return [str(one) for one in cache.manager.get_available_handles(kind)]


@pytest.mark.case("CM-01")
def test_the_first_request_loads_and_serves(cache: Cache) -> None:
    with cache.manager.get_servable_handle("m:30", Model) as handle:
        assert str(handle.id) == str(handle.servable.id) == "m:30"
    assert cache.shelf.loads == ["m:30"]


@pytest.mark.case("CM-02")
def test_two_versions_one_after_the_other(cache: Cache) -> None:
    for request in ("m:1", "m:2"):
        with cache.get(request) as handle:
            assert str(handle.servable.id) == request
    assert cache.shelf.loads == ["m:1", "m:2"]


@pytest.mark.case("CM-03")
@pytest.mark.case("CM-04")
@pytest.mark.parametrize("form", ["m:earliest", "m"])
def test_the_factory_says_which_version_is_meant(cache: Cache, form: str) -> None:
    cache.latest = 42
    with cache.get(form) as handle:
        assert str(handle.id) == "m:42"
    assert cache.requests == [form]


@pytest.mark.case("CM-06")
@pytest.mark.parametrize("form", ["m:earliest", "m"])
def test_a_later_word_of_the_factory_is_followed(cache: Cache, form: str) -> None:
    cache.use("m:41")
    for version in (42, 40, 41):
        cache.latest = version
        with cache.get(form) as handle:
            assert handle.id.version == version
    assert cache.shelf.loads == ["m:41", "m:42", "m:40"]


@pytest.mark.case("CM-07")
def test_a_wrong_type_is_an_invalid_argument(cache: Cache) -> None:
    with pytest.raises(InvalidArgumentError):
        cache.manager.get_servable_handle("m:30", str)


@pytest.mark.case("CM-08")
@pytest.mark.case("CM-12")
@pytest.mark.parametrize("form", ["m", "m:30"])
def test_a_factory_that_fails_is_the_requests_error_and_leaves_nothing(
    failing: Cache, form: str
) -> None:
    with pytest.raises(LoadFailedError, match="the factory failed"):
        failing.get(form)
    assert handles(failing, object) == []
    assert failing.serving() == []


@pytest.mark.case("CM-09")
def test_before_any_request_there_are_no_handles(cache: Cache) -> None:
    assert handles(cache, Model) == []


@pytest.mark.case("CM-10")
@pytest.mark.case("CM-11")
@pytest.mark.case("CM-13")
def test_three_requests_leave_three_handles_and_ids_and_none_of_another_type(cache: Cache) -> None:
    cache.use("m:30", "m:31", "other:32")
    assert handles(cache, Model) == ["m:30", "m:31", "other:32"]
    assert handles(cache, str) == []
    assert cache.serving() == ["m:30", "m:31", "other:32"]


@pytest.mark.case("CM-14")
def test_what_a_request_loaded_is_published_as_available(cache: Cache) -> None:
    with cache.get("m:30"):
        assert cache.states("m:30") == ["START", "LOADING", "AVAILABLE"]


@pytest.mark.case("CM-15")
def test_what_the_factory_refused_is_published_as_its_end(failing: Cache) -> None:
    with pytest.raises(LoadFailedError):
        failing.get("m:30")
    assert failing.states("m:30") == ["START", "END"]
    (error,) = failing.ends("m:30")
    assert isinstance(error, LoadFailedError)
    assert str(error) == "the factory failed"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[CachingManager]:
    """Return a manager over a folder in which "a/model" is a servable, and close it."""
    (tmp_path / "a" / "model").mkdir(parents=True)
    (tmp_path / "a" / "model" / "servable.py").write_text(
        "def load(context):\n    return str(context.path)\n"
    )
    with CachingManager(PathPrefixLoaderFactory(tmp_path, PythonModelAdapter().convert)) as manager:
        yield manager


@pytest.mark.case("CM-18")
@pytest.mark.parametrize("form", ["a/model", "a/model:earliest", "a/model:0"])
def test_over_a_folder_a_name_is_its_path_and_0_its_version(
    folder: CachingManager, tmp_path: Path, form: str
) -> None:
    with folder.get_servable_handle(form, str, timeout=10) as handle:
        assert (str(handle.id), handle.servable) == ("a/model:0", str(tmp_path / "a" / "model"))


@pytest.mark.case("CM-19")
def test_over_a_folder_another_version_is_refused(folder: CachingManager) -> None:
    with pytest.raises(FailedPreconditionError, match="no version but 0"):
        folder.get_servable_handle("a/model:42")
    assert folder.list_available_ids() == []
