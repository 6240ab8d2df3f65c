"""What a configuration may hold, and that all of its faults are told at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from servman.core.config import ModelConfig, ServerConfig, ServerCoreOptions, check
from servman.errors import InvalidArgumentError
from servman.sources import All, Latest, Specific

FINE = ModelConfig("m", "/models/m")
OPTIONS = ServerCoreOptions()


def faults(config: ServerConfig, options: ServerCoreOptions = OPTIONS) -> list[str]:
    """Return the faults that are found, one text for each."""
    with pytest.raises(InvalidArgumentError) as raised:
        check(config, options)
    head, _, rest = str(raised.value).partition(": ")
    assert head == "the configuration cannot be used"
    return rest.split("; ")


@pytest.mark.parametrize("policy", [Latest(2), All(), Specific(1, 2), Specific()])
def test_every_policy_and_every_built_in_platform_is_accepted(policy: Any) -> None:
    both = [FINE, ModelConfig("n", "/n", platform="python", version_policy=policy)]
    check(ServerConfig(both), ServerCoreOptions(platforms=("tensorflow", "python")))


def test_nothing_to_serve_is_no_fault() -> None:
    check(ServerConfig(), ServerCoreOptions(platforms=()))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (ModelConfig("", "/m"), "models[0] (''): not a servable name: ''"),
        (ModelConfig("a:b", "/m"), "models[0] ('a:b'): not a servable name: 'a:b'"),
        (ModelConfig(["m"], "/m"), "models[0] (['m']): not a servable name: ['m']"),  # type: ignore[arg-type] # the point
        (ModelConfig("m", "models/m"), "the base path 'models/m' is not an absolute path"),
        (ModelConfig("m", ""), "the base path '' is not an absolute path"),
        (ModelConfig("m", "~/m"), "the base path '~/m' is not an absolute path"),
        (ModelConfig("m", "/m\0"), "the base path '/m\\x00' is not an absolute path"),
        (ModelConfig("m", Path("/m")), "the base path PosixPath('/m') is no text; pass a str"),  # type: ignore[arg-type] # the point
        (ModelConfig("m", "/m", "torch"), "models[0] ('m'): no platform is called 'torch'"),
        (ModelConfig("m", "/m", ["x"]), "models[0] ('m'): no platform is called ['x']"),  # type: ignore[arg-type] # the point
        (ModelConfig("m", "/m", version_policy=3), "3 is not a version policy; use Latest(n)"),  # type: ignore[arg-type] # the point
        ("m", "models[0] is 'm', not a ModelConfig"),
    ],
)
def test_each_fault_of_a_model_says_where_it_is_and_what_is_wrong(model: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check(ServerConfig([model]), OPTIONS)
    assert "models[0]" in str(raised.value)
    assert text in str(raised.value)


def test_all_faults_are_listed_at_once_each_with_its_place() -> None:
    config = ServerConfig(
        [
            FINE,
            ModelConfig("m", "relative", "torch", version_policy=None),  # type: ignore[arg-type] # the point
            ModelConfig("a@b", "/n"),
            3,  # type: ignore[list-item] # the point
        ]
    )
    options = ServerCoreOptions(platforms=("tensorflow", "jax"), poll_interval="1")  # type: ignore[arg-type] # the point
    with pytest.raises(InvalidArgumentError) as raised:
        check(config, options)
    places = [
        "options.poll_interval is '1'",
        "options.platforms: no platform is called 'jax'",
        "models[1] ('m'): the base path 'relative'",
        "models[1] ('m'): no platform is called 'torch'",
        "models[1] ('m'): None is not a version policy",
        "models[1] ('m'): another model has this name; rename one",
        "models[2] ('a@b'): not a servable name",
        "models[3] is 3, not a ModelConfig",
    ]
    text = str(raised.value)
    at = [text.find(place) for place in places]
    assert -1 not in at, places[at.index(-1)]
    assert at == sorted(at)
    assert "models[0]" not in text


def test_an_unknown_platform_is_told_with_those_that_there_are() -> None:
    told = "; ".join(faults(ServerConfig([ModelConfig("m", "/m", "torch")])))
    assert told.endswith("register_platform() adds one to python, tensorflow")


def test_a_platform_that_is_registered_but_not_asked_for_is_no_fault() -> None:
    check(ServerConfig([FINE]), ServerCoreOptions(platforms=()))


def test_platforms_in_one_text_are_a_fault_with_the_remedy() -> None:
    options = ServerCoreOptions(platforms="python")  # type: ignore[arg-type] # the point
    assert faults(ServerConfig(), options) == [
        "options.platforms is a text",
        "write ('python',)",
    ]


def test_a_list_of_models_in_place_of_a_config_is_told_so() -> None:
    with pytest.raises(InvalidArgumentError, match=r"pass ServerConfig\(\[\.\.\.\]\)"):
        check([FINE], OPTIONS)  # type: ignore[arg-type] # the point


def test_models_of_any_iterable_are_kept_as_a_tuple() -> None:
    assert ServerConfig(iter([FINE])).models == (FINE,)  # type: ignore[arg-type] # kept by intent


def test_the_generation_is_no_part_of_equality() -> None:
    first, second = ServerConfig([FINE], generation=1), ServerConfig([FINE], generation=2)
    assert first == second
    assert hash(first) == hash(second)
    assert first != ServerConfig()


def test_a_model_is_a_tensorflow_one_whose_latest_version_is_served_unless_said_otherwise() -> None:
    assert (FINE.platform, FINE.version_policy) == ("tensorflow", Latest(1))


def test_python_models_have_to_be_asked_for() -> None:
    assert OPTIONS.platforms == ("tensorflow",)


@pytest.mark.parametrize("value", [FINE, ServerConfig(), OPTIONS])
def test_configurations_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
