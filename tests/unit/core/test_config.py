"""What a configuration is: data that cannot be changed, can be compared, and goes through a pickle."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from types import MappingProxyType
from typing import Any

import pytest

from servman.core.config import ModelConfig, ServerConfig, resolved
from servman.core.options import ServerCoreOptions
from servman.frozen import FrozenMapping
from servman.manager import AvailabilityPreservingPolicy, ResourcePreservingPolicy
from servman.sources import All, Latest, immediate, marker

FINE = ModelConfig("m", "/models/m")
OPTIONS = ServerCoreOptions()


def test_models_of_any_iterable_are_kept_as_a_tuple() -> None:
    assert ServerConfig(iter([FINE])).models == (FINE,)  # type: ignore[arg-type] # kept by intent


def test_who_asked_and_the_generation_are_no_part_of_equality() -> None:
    first = ServerConfig([FINE], generation=1, origin="file")
    second = ServerConfig([FINE], generation=2, origin="call")
    assert first == second
    assert hash(first) == hash(second)
    assert first != ServerConfig()


@pytest.mark.parametrize("field", [{"root_dir": "/r"}, {"storage_path_prefix": "s3://b"}])
def test_what_concerns_all_models_is_part_of_equality(field: Any) -> None:
    assert ServerConfig([FINE], **field) != ServerConfig([FINE])


def test_a_model_is_a_tensorflow_one_whose_latest_version_is_served_unless_said_otherwise() -> None:
    assert (FINE.platform, FINE.version_policy) == ("tensorflow", Latest(1))
    assert (FINE.completeness, FINE.required, dict(FINE.version_labels)) == (immediate, True, {})


def test_what_a_model_leaves_to_the_options_is_none() -> None:
    left = [
        FINE.max_num_load_retries,
        FINE.load_retry_interval,
        FINE.servable_versions_always_present,
        FINE.fail_if_zero_versions_at_startup,
        FINE.aspired_version_policy,
        FINE.memory_bytes,
    ]
    assert left == [None] * len(left)


def test_python_models_have_to_be_asked_for() -> None:
    assert OPTIONS.platforms == ("tensorflow",)


@pytest.mark.parametrize("value", [FINE, ServerConfig(), OPTIONS])
def test_configurations_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)


# ---- labels ------------------------------------------------------------------------------------


def test_labels_are_kept_as_they_were_given() -> None:
    labels = {"stable": 3}
    model = ModelConfig("m", "/m", version_labels=labels)
    labels["canary"] = 4
    assert model.version_labels == {"stable": 3}
    assert repr(model.version_labels) == "{'stable': 3}"
    with pytest.raises(TypeError):
        model.version_labels["stable"] = 5  # type: ignore[index] # the point


@pytest.mark.parametrize("same", [{"a": 1, "b": 2}, MappingProxyType({"b": 2, "a": 1})])
def test_models_with_the_same_labels_are_equal_and_have_one_hash(same: Any) -> None:
    first = ModelConfig("m", "/m", version_labels={"b": 2, "a": 1})
    second = ModelConfig("m", "/m", version_labels=same)
    assert first == second
    assert hash(first) == hash(second)
    assert first.version_labels == same
    assert len({first, second, FINE}) == 2


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {}, 3, None])
def test_other_labels_are_not_equal(other: Any) -> None:
    assert FrozenMapping({"a": 1}) != other


def test_what_is_no_mapping_is_kept_for_validation_to_tell() -> None:
    assert ModelConfig("m", "/m", version_labels=3).version_labels == 3  # type: ignore[arg-type,comparison-overlap] # the point


@pytest.mark.parametrize("duplicate", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_a_configuration_can_be_copied_and_sent_to_another_process(duplicate: Any) -> None:
    model = ModelConfig(
        "m",
        "/m",
        version_policy=All(),
        version_labels={"stable": 3},
        completeness=marker("DONE"),
        aspired_version_policy=ResourcePreservingPolicy(),
    )
    config = ServerConfig([model], root_dir="/r", generation=3, origin="file")
    copied = duplicate(config)
    assert copied == config
    assert (copied.generation, copied.origin) == (3, "file")
    assert copied.models[0].version_labels["stable"] == 3


def test_policies_that_keep_nothing_are_equal_by_kind() -> None:
    assert AvailabilityPreservingPolicy() == AvailabilityPreservingPolicy()
    one, other = (
        ModelConfig("m", "/m", aspired_version_policy=policy)
        for policy in (AvailabilityPreservingPolicy(), ResourcePreservingPolicy())
    )
    assert one != other


# ---- the root ----------------------------------------------------------------------------------


def test_relative_base_paths_are_resolved_below_the_root_and_absolute_ones_kept() -> None:
    below = ModelConfig("m", "team/m", version_labels={"a": 1})
    config = ServerConfig([below, ModelConfig("n", "/models/n")], root_dir="/r", generation=4)
    found = resolved(config)
    assert [model.base_path for model in found.models] == ["/r/team/m", "/models/n"]
    assert found.models[0].version_labels == {"a": 1}
    assert found.generation == 4
    assert config.models[0].base_path == "team/m"  # what the user wrote stays


def test_a_configuration_of_absolute_paths_is_resolved_to_itself() -> None:
    for config in (ServerConfig([FINE], root_dir="/r"), ServerConfig([FINE])):
        assert resolved(config) is config
