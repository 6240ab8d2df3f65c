"""One configuration made of another."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from servman.core import ModelConfig, ServerConfig, ServerCore
from servman.core.editing import ReloadOptions, with_model, with_model_changed, without_model
from servman.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError

M, N = ModelConfig("m", "/m"), ModelConfig("n", "/n")
BOTH = ServerConfig([M, N], root_dir="/models", storage_path_prefix="/mnt")


def test_a_model_is_added_at_the_end_and_all_else_stays() -> None:
    added = ModelConfig("o", "/o")
    assert with_model(BOTH, added) == ServerConfig(
        [M, N, added], root_dir="/models", storage_path_prefix="/mnt"
    )


def test_a_model_is_changed_in_its_place() -> None:
    changed = ModelConfig("m", "/elsewhere")
    assert with_model_changed(BOTH, changed).models == (changed, N)


def test_a_model_is_removed() -> None:
    after = without_model(BOTH, "m")
    assert after == ServerConfig([N], root_dir="/models", storage_path_prefix="/mnt")
    assert BOTH.models == (M, N)


def test_one_that_is_there_is_not_added_again() -> None:
    with pytest.raises(AlreadyExistsError, match=r"'m' is configured already; .* update_model\(\)"):
        with_model(BOTH, ModelConfig("m", "/elsewhere"))


def test_one_that_is_not_there_is_neither_changed_nor_removed() -> None:
    with pytest.raises(
        NotFoundError, match=r"no model 'o' is configured; add it with add_model\(\)"
    ):
        with_model_changed(BOTH, ModelConfig("o", "/o"))
    with pytest.raises(NotFoundError, match="no model 'o' is configured"):
        without_model(BOTH, "o")


@pytest.mark.parametrize("model", ["m", None, BOTH])
def test_what_is_no_model_is_refused(model: Any) -> None:
    for change in (with_model, with_model_changed):
        with pytest.raises(InvalidArgumentError, match="is no ModelConfig"):
            change(BOTH, model)


@pytest.mark.parametrize("name", [None, 1, M, []])
def test_what_is_no_name_names_no_model(name: Any) -> None:
    with pytest.raises(NotFoundError):
        without_model(BOTH, name)


def test_who_changes_one_model_has_every_option_of_a_reload_with_the_same_default() -> None:
    ways = (ServerCore.reload_config, ServerCore._reload)
    whole, single = (inspect.signature(way).parameters.values() for way in ways)
    options = {one.name: one.default for one in whole if one.kind is one.KEYWORD_ONLY}
    assert {one.name: one.default for one in single if one.kind is one.KEYWORD_ONLY} == options
    assert ReloadOptions.__annotations__.keys() == options.keys()
