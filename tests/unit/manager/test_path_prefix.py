"""Loaders from paths below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.ids import ServableRequest
from servman.loader import Loader, SimpleLoader
from servman.manager import CachingManager, PathPrefixLoaderFactory


def convert(data: ServableData[str]) -> ServableData[Loader]:
    """Make a loader of a path, as an adapter does, whose servable is the path."""
    path = data.payload
    return ServableData(data.id, SimpleLoader(lambda context: (path, context.path)), data.origin)


factory = PathPrefixLoaderFactory("/models", convert)


@pytest.mark.parametrize("form", ["a/b", "a/b:0", "a/b:earliest", "a/b:newest"])
def test_every_form_of_request_for_the_one_version_is_answered(form: str) -> None:
    data = factory(ServableRequest.of(form))
    assert (str(data.id), data.origin) == ("a/b:0", "/models/a/b")


def test_a_servable_is_loaded_from_the_path_that_its_name_spells() -> None:
    with (
        CachingManager(PathPrefixLoaderFactory(Path("/models"), convert)) as manager,
        manager.get_servable_handle("a/b", timeout=10) as handle,
    ):
        assert handle.servable == ("/models/a/b", "/models/a/b")


def test_another_version_is_refused_with_the_remedy() -> None:
    with pytest.raises(FailedPreconditionError, match=r'm:42: .* no version but 0 .*; ask for "m"'):
        factory(ServableRequest.of("m:42"))


@pytest.mark.parametrize("name", ["..", "a/../../b", "a/..", "/etc", "//etc"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="leads out of /models"):
        factory(ServableRequest.latest(name))


@pytest.mark.parametrize("name", [".", "./a", "a/", "a//b", "a/./b"])
def test_a_path_has_one_name_so_that_nothing_is_loaded_twice(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is not how a path below /models is spelled"):
        factory(ServableRequest.latest(name))


@pytest.mark.parametrize("name", ["..a", "a..b", "...", "a b", ".a"])
def test_a_name_with_dots_in_it_is_a_name(name: str) -> None:
    assert factory(ServableRequest.latest(name)).origin == f"/models/{name}"
