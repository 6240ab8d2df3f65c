"""What several configs are merged into, and all that can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from servman.core.config import ModelConfig
from servman.core.start_config import Found, ServableStartConfig, merge
from servman.errors import InvalidArgumentError
from servman.frozen import FrozenMapping
from servman.sources import Specific
from servman.workers.options import Workers

CPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def config(name: str = "add", devices: Any = None, version: Any = 0, **more: Any) -> Any:
    return ServableStartConfig(more.pop("directory", "/models"), name, devices, version, **more)


def on_disk(
    *versions: int, platform: str = "python", path: str = "/models/add"
) -> dict[str, Found]:
    return {path: Found(path, dict.fromkeys(versions, platform))}


def workers_of(model: ModelConfig) -> dict[int, Workers]:
    assert isinstance(model.workers, FrozenMapping)
    return dict(model.workers)


def faults_of(*configs: Any, found: dict[str, Found] | None = None) -> tuple[str, ...]:
    with pytest.raises(InvalidArgumentError) as raised:
        merge(configs, on_disk(1) if found is None else found)
    return tuple(raised.value.faults)


# ---- merging -----------------------------------------------------------------------------------


def test_the_latest_version_is_the_highest_that_is_there() -> None:
    (model,) = merge([config()], on_disk(1, 3, 2))
    assert model.version_policy == Specific(3)
    assert workers_of(model) == {3: Workers()}


def test_latest_and_the_same_number_on_one_device_are_one_config_with_one_device() -> None:
    (model,) = merge([config(devices=0), config(devices=0, version=2)], on_disk(1, 2))
    assert workers_of(model) == {2: Workers(devices=(0,))}


def test_the_devices_of_one_version_are_united_in_the_order_in_which_they_come() -> None:
    configs = [config(devices=(3, 1)), config(devices=2, version=1), config(devices=[1, 0])]
    (model,) = merge(configs, on_disk(1))
    assert workers_of(model) == {1: Workers(devices=(3, 1, 2, 0))}


def test_of_the_numbers_of_workers_the_highest_counts() -> None:
    configs = [config(devices=0, num_parallel_workers=3), config(num_parallel_workers=2)]
    (model,) = merge(configs, on_disk(1))
    assert workers_of(model) == {1: Workers(devices=(0,), num_parallel_workers=3)}


def test_versions_of_one_name_are_served_beside_each_other_each_on_its_devices() -> None:
    (model,) = merge([config(devices=0, version=2), config(devices=1, version=1)], on_disk(1, 2))
    assert model.version_policy == Specific(2, 1)
    assert workers_of(model) == {2: Workers(devices=(0,)), 1: Workers(devices=(1,))}


def test_models_come_in_the_order_of_their_names_first_appearance() -> None:
    found = on_disk(1) | on_disk(1, path="/models/sub")
    models = merge([config("sub"), config(), config("sub", devices=1)], found)
    assert [model.name for model in models] == ["sub", "add"]


def test_a_model_has_the_platform_that_its_directory_looks_made_for() -> None:
    (model,) = merge([config()], on_disk(1, platform="tensorflow"))
    assert (model.platform, model.base_path) == ("tensorflow", "/models/add")


def test_a_platform_that_is_named_counts() -> None:
    (model,) = merge([config(platform="onnx")], on_disk(1, platform=""))
    assert model.platform == "onnx"


def test_on_the_cpu_devices_are_numbers_of_replicas() -> None:
    (model,) = merge([config(devices=(0, 1), device_type="CPU")], on_disk(1))
    assert workers_of(model) == {1: Workers(2, environment=CPU)}


def test_without_devices_the_number_of_workers_is_that_of_the_replicas() -> None:
    (model,) = merge([config(device_type="Cpu", num_parallel_workers=3)], on_disk(1))
    (workers,) = workers_of(model).values()
    assert (workers.replica_count, workers.extra_count) == (3, 0)


def test_an_ascend_device_takes_one_version() -> None:
    (model,) = merge([config(devices=0, device_type="Ascend")], on_disk(1))
    assert workers_of(model) == {1: Workers(devices=(0,), exclusive_devices=True)}


@pytest.mark.parametrize("kind", ["gpu", "GPU", "None", None])
def test_other_devices_are_shared(kind: str | None) -> None:
    found = on_disk(1) | on_disk(1, path="/models/sub")
    configs = [config(devices=0, device_type=kind), config("sub", devices=0, device_type=kind)]
    assert [len(workers_of(model)) for model in merge(configs, found)] == [1, 1]


def test_how_processes_work_otherwise_is_said_once_and_holds_for_the_version() -> None:
    otherwise = Workers(python_methods=("tokenize",), environment={"A": "b"})
    configs = [config(devices=0, device_type="cpu"), config(devices=1, workers=otherwise)]
    (model,) = merge(configs, on_disk(1))
    assert workers_of(model) == {
        1: Workers(2, python_methods=("tokenize",), environment={"A": "b", **CPU})
    }


# ---- what is refused ---------------------------------------------------------------------------


def test_one_name_in_two_directories_is_refused() -> None:
    found = on_disk(1) | on_disk(1, path="/other/add")
    (fault,) = faults_of(config(), config(directory="/other"), found=found)
    assert fault == (
        "servable 'add' is in more than one directory (/models/add, /other/add); give one of them another"
        " name"
    )


def test_two_spellings_of_one_directory_are_one() -> None:
    found = on_disk(1) | {"models/add": Found("/models/add", {1: "python"})}
    (model,) = merge([config(devices=0), config(directory="models", devices=1)], found)
    assert workers_of(model) == {1: Workers(devices=(0, 1))}


def test_two_types_of_device_are_refused() -> None:
    (fault,) = faults_of(config(device_type="CPU"), config(device_type="GPU"))
    assert "'add' has more than one device_type (cpu, gpu); keep one" in fault


def test_one_ascend_device_for_two_versions_is_refused_with_both() -> None:
    configs = [config(devices=0, version=n, device_type="Ascend") for n in (1, 2)]
    (fault,) = faults_of(*configs, found=on_disk(1, 2))
    assert "device 0 of the type 'ascend' takes one version, and add:1 and add:2 want it" in fault


def test_one_ascend_device_for_two_servables_is_refused() -> None:
    found = on_disk(1) | on_disk(1, path="/models/sub")
    configs = [config(name, devices=(0, 1), device_type="Ascend") for name in ("add", "sub")]
    assert len(faults_of(*configs, found=found)) == 2


def test_a_servable_without_versions_is_refused() -> None:
    (fault,) = faults_of(config(), found=on_disk())
    assert "'add' has no version in /models/add; put one there" in fault


def test_a_version_that_is_not_there_is_named_with_those_that_are() -> None:
    (fault,) = faults_of(config(version=7), found=on_disk(1, 2))
    assert "'add' has no version 7 in /models/add (there are: 1, 2)" in fault


def test_a_version_directory_that_is_of_no_platform_is_refused() -> None:
    (fault,) = faults_of(config(), found=on_disk(1, platform=""))
    assert (
        "the directory of version 1 in /models/add holds neither servable.py nor a SavedModel"
        in fault
    )


def test_two_platforms_under_one_name_are_refused() -> None:
    found = {"/models/add": Found("/models/add", {1: "python", 2: "tensorflow"})}
    (fault,) = faults_of(config(version=1), config(version=2), found=found)
    assert "'add' is of more than one platform (python, tensorflow)" in fault


def test_processes_that_are_to_work_in_two_ways_are_refused() -> None:
    (fault,) = faults_of(
        config(workers=Workers(concurrency=1)), config(version=1, workers=Workers(concurrency=2))
    )
    assert "servable 'add', version 1, has workers said in two ways; keep one" in fault


def test_all_conflicts_are_told_at_once() -> None:
    found = on_disk(1) | on_disk(path="/models/sub")
    faults = faults_of(
        config(device_type="CPU"), config(device_type="GPU"), config("sub"), found=found
    )
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"servable_directory": ""}, "servable_directory is ''"),
        ({"servable_directory": 3}, "servable_directory is 3"),
        ({"servable_name": ""}, "servable_name is ''"),
        ({"servable_name": b"add"}, "servable_name is b'add'"),
        ({"servable_name": "a/b"}, "servable_name holds a slash"),
        ({"device_ids": "0"}, "device_ids has '0'"),
        ({"device_ids": True}, "device_ids has True"),
        ({"device_ids": -1}, "device_ids has -1"),
        ({"device_ids": (0, 1.5)}, "device_ids has 1.5"),
        ({"device_ids": (0, 0)}, "device_ids names a device more than once"),
        ({"version_number": -1}, "version_number is -1"),
        ({"version_number": True}, "version_number is True"),
        ({"version_number": 2**63}, "version_number is 9223372036854775808"),
        ({"num_parallel_workers": 65}, "num_parallel_workers is 65; give an int from 0 to 64"),
        ({"num_parallel_workers": -1}, "num_parallel_workers is -1"),
        ({"device_type": ""}, "device_type is ''; give one of cpu, gpu, ascend, or None"),
        ({"device_type": "TPU"}, "device_type is 'TPU'"),
        ({"device_type": 1}, "device_type is 1"),
        ({"platform": ""}, "platform is ''"),
        ({"workers": 2}, "workers is 2; give a Workers"),
        ({"workers": Workers(concurrency=0)}, "workers.concurrency"),
        ({"workers": Workers(2)}, "workers.replicas follows from device_ids"),
        ({"workers": Workers(devices=(1,))}, "workers.devices follows from device_ids"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_is_told_with_its_place(fields: dict[str, Any], said: str) -> None:
    one = ServableStartConfig(**({"servable_directory": "/m", "servable_name": "add"} | fields))
    (fault,) = faults_of(config(), one)
    assert fault.startswith(f"configs[1] ({one.servable_name!r}): {said}")


def test_what_is_no_config_is_told_with_its_place() -> None:
    (fault,) = faults_of(config(), "add")
    assert fault == "configs[1] is 'add', not a ServableStartConfig"


def test_nothing_to_start_is_refused() -> None:
    (fault,) = faults_of()
    assert "there is no servable to start" in fault


def test_the_faults_of_all_configs_are_told_at_once() -> None:
    assert len(faults_of(config(version=-1, device_type="x"), config(devices=-1))) == 3


def test_what_is_wrong_with_one_config_hides_nothing_that_is_wrong_with_the_others() -> None:
    faults = faults_of(config(version=-1), config(version=7), "add")
    assert [fault[:40] for fault in faults] == [
        "configs[0] ('add'): version_number is -1",
        "configs[2] is 'add', not a ServableStart",
        "servable 'add' has no version 7 in /mode",
    ]
