"""What a configuration and the options may hold, and that all of their faults are told at once."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servman.core.config import LoggingConfig, ModelConfig, ServerConfig
from servman.core.options import ServerCoreOptions
from servman.core.validation import check
from servman.errors import InvalidArgumentError
from servman.manager import ExponentialBackoff, ResourcePreservingPolicy
from servman.sources import All, Latest, Specific, immediate, marker, settled
from servman.workers.options import Workers

FINE = ModelConfig("m", "/models/m")
OPTIONS = ServerCoreOptions()
NAN = float("nan")
INFINITE = float("inf")
ANYTHING = [None, 3, -1, NAN, "x", "", b"\xff", [], {}, {"a": []}, object(), int, print, All()]


def always(path: str) -> bool:
    return True


def faults(
    config: ServerConfig,
    options: ServerCoreOptions = OPTIONS,
    in_force: ServerConfig | None = None,
) -> tuple[str, ...]:
    """Return the faults that are found, one text for each."""
    with pytest.raises(InvalidArgumentError) as raised:
        check(config, options, in_force)
    error = raised.value
    assert str(error) == "the configuration cannot be used: " + "; ".join(error.faults)
    return error.faults


def fault(model: Any, options: ServerCoreOptions = OPTIONS, **config: Any) -> str:
    """Return the only fault that *model* has."""
    found = faults(ServerConfig([model], **config), options)
    assert len(found) == 1
    return found[0]


def model(**fields: Any) -> ModelConfig:
    return dataclasses.replace(FINE, **fields)


# ---- fine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"version_policy": Latest(2)},
        {"version_policy": All()},
        {"version_policy": Specific(1, 2)},
        {"version_policy": Specific()},  # serves none, as in TensorFlow Serving
        {"platform": "python"},
        {"version_labels": {"stable": 0, "canary": 2**63 - 1, "latest": 3, "é 1": 3}},
        {"version_labels": {"stable": 1}, "version_policy": Specific(2, 1)},
        {"max_num_load_retries": 0},
        {"load_retry_interval": 0.0},
        {"load_retry_interval": INFINITE},
        {"load_retry_interval": ExponentialBackoff()},
        {"completeness": settled(1.0)},
        {"completeness": marker("DONE")},
        {"completeness": immediate},
        {"completeness": always},
        {"servable_versions_always_present": True, "fail_if_zero_versions_at_startup": False},
        {"aspired_version_policy": ResourcePreservingPolicy()},
        {"required": False},
        {"memory_bytes": 0},
        {"logging": LoggingConfig("/log/m", 0.5)},
        {"workers": Workers()},
        {"workers": Workers(2, (0, 1), exclusive_devices=True, log=print)},
        {"workers": {1: Workers(2), 2**63 - 1: Workers()}},
        {"workers": {}},
    ],
    ids=str,
)
def test_a_model_may_say(fields: dict[str, Any]) -> None:
    check(ServerConfig([model(**fields)]), OPTIONS)


def test_nothing_to_serve_is_no_fault() -> None:
    check(ServerConfig(), ServerCoreOptions(platforms=()))


def test_a_platform_that_is_registered_but_not_asked_for_is_no_fault() -> None:
    check(ServerConfig([FINE]), ServerCoreOptions(platforms=()))


@pytest.mark.parametrize("platforms", [("python",), ["python"], {"python"}])
def test_platforms_come_in_any_collection(platforms: Any) -> None:
    check(ServerConfig(), ServerCoreOptions(platforms=platforms))


# ---- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": ""}, "not a servable name: ''"),
        ({"name": "a:b"}, "not a servable name: 'a:b'"),
        ({"name": "a@b"}, "not a servable name: 'a@b'"),
        ({"name": ["m"]}, "not a servable name: ['m']"),
        ({"base_path": "models/m"}, "'models/m' is not an absolute path; write it out, or set the"),
        ({"base_path": ""}, "the base path '' is not an absolute path; name the directory"),
        ({"base_path": "~/m"}, """'~/m' is not an absolute path; write it out ("~" is not"""),
        ({"base_path": "s3://bucket/m"}, "'s3://bucket/m' is an address and not an absolute path"),
        ({"base_path": "/m\0"}, "the base path '/m\\x00' holds a NUL character"),
        ({"base_path": Path("/m")}, "the base path PosixPath('/m') is no text; pass a str"),
        ({"platform": "torch"}, "no platform is called 'torch'; there are "),
        ({"platform": ["x"]}, "no platform is called ['x']"),
        ({"version_policy": 3}, "3 is not a version policy; use Latest(n), All() or Specific(...)"),
        ({"version_policy": None}, "None is not a version policy"),
        ({"version_labels": 3}, "version_labels is 3; give a mapping from labels to versions"),
        ({"version_labels": {"": 1}}, "not a version label: ''"),
        ({"version_labels": {"a:b": 1}}, "not a version label: 'a:b'"),
        ({"version_labels": {"a@b": 1}}, "not a version label: 'a@b'"),
        ({"version_labels": {3: 1}}, "not a version label: 3"),
        ({"version_labels": {"a": "1"}}, "label 'a' names '1', not a version, which is an int"),
        ({"version_labels": {"a": True}}, "label 'a' names True, not a version"),
        ({"version_labels": {"a": -1}}, "label 'a' names -1, not a version, which is from 0"),
        ({"version_labels": {"a": 2**63}}, f"label 'a' names {2**63}, not a version"),
        ({"max_num_load_retries": -1}, "max_num_load_retries must be an int of at least 0, not -1"),
        ({"max_num_load_retries": True}, "max_num_load_retries must be an int of at least 0"),
        ({"load_retry_interval": NAN}, "load_retry_interval must be seconds, 0 or more, not nan"),
        ({"load_retry_interval": -1}, "load_retry_interval must be seconds, 0 or more, not -1"),
        ({"load_retry_interval": "1"}, "load_retry_interval must be seconds, 0 or more, not '1'"),
        ({"workers": 2}, "workers is 2; give a Workers, or a mapping of versions to that"),
        ({"workers": [Workers()]}, "workers is [Workers()]; give a Workers, or a mapping"),
        ({"workers": Workers(0)}, "workers.replicas must be an int of at least 1, not 0"),
        (
            {"workers": Workers(1, min_replicas=2)},
            "workers.min_replicas is 2, and there are only 1",
        ),
        ({"workers": Workers(devices=(0, 0))}, "workers.devices names a device twice"),
        ({"workers": {1: None}}, "workers[1] is None; give a Workers"),
        ({"workers": {1: Workers(concurrency=0)}}, "workers[1].concurrency must be an int of at"),
        (
            {"workers": {-1: Workers()}},
            "workers: not a version of servable 'm': -1; a version is an int",
        ),
        ({"workers": {"1": Workers()}}, "workers: "),
        ({"completeness": None}, "completeness is None, which does not tell what is complete; use"),
        ({"completeness": 3.0}, "completeness is 3.0, which does not tell what is complete"),
        ({"completeness": dict}, "completeness is <class 'dict'>, which does not tell"),
        ({"servable_versions_always_present": 1}, "must be True or False, not 1"),
        ({"fail_if_zero_versions_at_startup": 0}, "must be True or False, not 0"),
        ({"aspired_version_policy": 3}, "aspired_version_policy must have a method next_action"),
        ({"aspired_version_policy": ResourcePreservingPolicy}, "must be an object, not the class"),
        ({"required": None}, "required must be True or False, not None"),
        ({"memory_bytes": -1}, "memory_bytes must be an int of at least 0, not -1"),
        ({"memory_bytes": 1.5}, "memory_bytes must be an int of at least 0, not 1.5"),
        ({"logging": "/log"}, "logging is '/log'; give a LoggingConfig"),
        ({"logging": LoggingConfig("")}, "logging.filename_prefix must be the path of a file"),
        ({"logging": LoggingConfig("/log", 1.5)}, "logging.sampling_rate is 1.5; give a share"),
        (
            {"logging": LoggingConfig("/log", sampling_rate=True)},
            "logging.sampling_rate is True; give a share",
        ),
    ],
    ids=str,
)
def test_a_fault_of_a_model_says_where_it_is_and_what_is_wrong(
    fields: dict[str, Any], text: str
) -> None:
    found = fault(model(**fields))
    assert found.startswith(f"models[0] ({fields.get('name', 'm')!r}): ")
    assert text in found


def test_what_is_no_model_is_told_with_its_place() -> None:
    assert faults(ServerConfig([FINE, "n"])) == ("models[1] is 'n', not a ModelConfig",)  # type: ignore[list-item] # the point


def test_two_models_of_one_name_are_told_wherever_they_stand() -> None:
    found = faults(ServerConfig([FINE, model(name="n"), FINE, FINE]))
    assert found == (
        "models[2] ('m'): another model has this name; rename one",
        "models[3] ('m'): another model has this name; rename one",
    )


def test_a_platform_that_nobody_registered_is_told_with_those_that_there_are() -> None:
    found = fault(model(platform="torch"))
    assert found.endswith("there are python, tensorflow, and what register_platform() adds")


def test_a_label_on_what_the_policy_does_not_serve_is_told_with_what_it_serves() -> None:
    found = fault(model(version_labels={"a": 1, "b": 3}, version_policy=Specific(1, 2)))
    assert "label 'b' names version 3, which the version policy does not serve (specific 1, 2)" in (
        found
    )


def test_labels_are_a_fault_where_they_are_not_allowed_and_only_there() -> None:
    options = ServerCoreOptions(allow_version_labels=False)
    check(ServerConfig([FINE]), options)
    found = fault(model(version_labels={"a": 1}), options)
    assert "labels are not allowed here (options.allow_version_labels)" in found


def test_a_model_that_needs_more_memory_than_there_is_can_never_be_loaded() -> None:
    options = ServerCoreOptions(total_model_memory_limit_bytes=10)
    check(ServerConfig([model(memory_bytes=10)]), options)
    assert "memory_bytes is 11, more than all models may take together: 10" in (
        fault(model(memory_bytes=11), options)
    )


# ---- the root and the prefix -------------------------------------------------------------------


def test_below_a_root_base_paths_may_be_relative() -> None:
    config = ServerConfig([model(base_path="m"), model(name="n", base_path="/n")], root_dir="/r")
    check(config, OPTIONS)


@pytest.mark.parametrize("path", ["", "~/m", "~", "gs://bucket/m", "m\0"])
def test_below_a_root_too_a_base_path_means_a_directory(path: str) -> None:
    assert f"the base path {path!r}" in fault(model(base_path=path), root_dir="/r")


@pytest.mark.parametrize("root", ["", "models", "./models", "~", "/r\0", 3, "s3://bucket"])
def test_a_root_that_is_no_absolute_path_is_a_fault_of_its_own(root: Any) -> None:
    config = ServerConfig([FINE], root_dir=root)
    assert faults(config)[0].startswith(f"root_dir is {root!r}, which is not an absolute path")


@pytest.mark.parametrize("prefix", [None, 3, "a\0"])
def test_a_prefix_is_a_text(prefix: Any) -> None:
    (found,) = faults(ServerConfig([FINE], storage_path_prefix=prefix))
    assert found.startswith(f"storage_path_prefix is {prefix!r}; give")


# ---- what is in force --------------------------------------------------------------------------


def test_the_platform_of_a_model_that_is_in_force_cannot_change() -> None:
    in_force = ServerConfig([FINE, model(name="n")])
    (found,) = faults(ServerConfig([model(platform="python")]), in_force=in_force)
    assert found == (
        "models[0] ('m'): its platform cannot change from 'tensorflow' to 'python' while it is"
        " configured; remove the model first, or give the new one another name"
    )


def test_a_model_that_is_not_in_force_may_have_any_platform() -> None:
    check(ServerConfig([model(platform="python")]), OPTIONS, ServerConfig([model(name="n")]))


def test_a_model_that_stays_as_it_is_is_checked_again_where_the_root_has_gone() -> None:
    below = model(base_path="m")
    in_force = ServerConfig([below], root_dir="/r")
    check(ServerConfig([below], root_dir="/r"), OPTIONS, in_force)
    assert "is not an absolute path" in faults(ServerConfig([below]), in_force=in_force)[0]


# ---- options -----------------------------------------------------------------------------------

BAD_OPTIONS: dict[str, Any] = {
    "poll_interval": [NAN, "1", None, True, 10**400, -(10**400)],
    "watch": [1, None],
    "fail_if_zero_versions_at_startup": [1],
    "servable_versions_always_present": ["yes"],
    "config_file": ["", 3, "a\0b"],
    "config_file_poll_interval": [NAN, "1"],
    "allow_empty_config": [None],
    "aspired_version_policy": [None, 3, ResourcePreservingPolicy],
    "num_load_threads": [0, 1.0, True],
    "num_initial_load_threads": [0, -1],
    "num_unload_threads": [0],
    "max_num_load_retries": [-1],
    "load_retry_interval": [-1.0, NAN, None],
    "should_retry": [3],
    "load_timeout": [-1.0, NAN],
    "pre_load_hook": [3],
    "sort_actions": ["up"],
    "total_model_memory_limit_bytes": [-1, 1.5],
    "allow_version_labels": [0],
    "strict_version_labels": [1],
    "ready_without_models": [None],
    "log_capacity": [-1, 2**64],
    "history_capacity": [-1, 2.5, 2**64],
    "history_max_age": [-1.0, NAN],
    "history_file": ["", 3],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, values in BAD_OPTIONS.items() for value in values],
)
def test_a_fault_of_an_option_is_told_with_its_name(option: str, value: Any) -> None:
    (found,) = faults(ServerConfig(), ServerCoreOptions(**{option: value}))
    assert found.startswith(f"options.{option} ")


def test_every_option_is_checked() -> None:
    options = {field.name for field in dataclasses.fields(ServerCoreOptions)}
    assert options - set(BAD_OPTIONS) == {"platforms", "clock"}


@pytest.mark.parametrize("seconds", [0, -1, 0.001, INFINITE])
def test_a_poll_interval_is_any_number_of_seconds(seconds: float) -> None:
    check(ServerConfig(), ServerCoreOptions(poll_interval=seconds))


@pytest.mark.parametrize(
    ("platforms", "text"),
    [
        ("python", "options.platforms is a text; write ('python',)"),
        (3, "options.platforms is 3; give the names of platforms, as a tuple"),
        (("jax",), "options.platforms: no platform is called 'jax'; there are"),
    ],
)
def test_platforms_that_are_none_are_told_with_the_remedy(platforms: Any, text: str) -> None:
    (found,) = faults(ServerConfig(), ServerCoreOptions(platforms=platforms))
    assert found.startswith(text)


# ---- all at once -------------------------------------------------------------------------------


def test_all_faults_are_listed_at_once_each_with_its_place_and_in_order() -> None:
    config = ServerConfig(
        [
            FINE,
            ModelConfig("m", "relative", "torch", version_policy=None, max_num_load_retries=-1),  # type: ignore[arg-type] # the point
            ModelConfig("a@b", "/n", version_labels={"": 3, "x": -1}),
            3,  # type: ignore[list-item] # the point
        ],
        storage_path_prefix=3,  # type: ignore[arg-type] # the point
    )
    options = ServerCoreOptions(platforms=("tensorflow", "jax"), poll_interval="1")  # type: ignore[arg-type] # the point
    found = faults(config, options, ServerConfig([model(platform="python")]))
    places = [
        "options.poll_interval is '1'",
        "options.platforms: no platform is called 'jax'",
        "storage_path_prefix is 3",
        "models[0] ('m'): its platform cannot change",
        "models[1] ('m'): the base path 'relative'",
        "models[1] ('m'): no platform is called 'torch'",
        "models[1] ('m'): None is not a version policy",
        "models[1] ('m'): max_num_load_retries",
        "models[1] ('m'): its platform cannot change",
        "models[1] ('m'): another model has this name; rename one",
        "models[2] ('a@b'): not a servable name",
        "models[2] ('a@b'): not a version label: ''",
        "models[2] ('a@b'): label 'x' names -1",
        "models[3] is 3, not a ModelConfig",
    ]
    assert [one.startswith(place) for one, place in zip(found, places, strict=True)] == [
        True
    ] * len(places)


def test_the_faults_survive_a_pickle() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check(ServerConfig([FINE, FINE]), OPTIONS)
    assert pickle.loads(pickle.dumps(raised.value)).faults == raised.value.faults


@pytest.mark.parametrize(("config", "options"), [([FINE], OPTIONS), (ServerConfig(), {})])
def test_what_is_no_configuration_or_no_options_is_told_so(config: Any, options: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"is no Server\w+; pass"):
        check(config, options)


@given(
    fields=st.dictionaries(
        st.sampled_from([field.name for field in dataclasses.fields(ModelConfig)]),
        st.sampled_from(ANYTHING),
        min_size=1,
    ),
    root_dir=st.sampled_from(ANYTHING),
    prefix=st.sampled_from(ANYTHING),
)
def test_whatever_the_fields_hold_there_is_one_error_and_no_other(
    fields: dict[str, Any], root_dir: Any, prefix: Any
) -> None:
    config = ServerConfig([model(**fields), 3], root_dir=root_dir, storage_path_prefix=prefix)  # type: ignore[list-item] # the point
    assert faults(config, in_force=ServerConfig([FINE]))[-1] == "models[1] is 3, not a ModelConfig"
