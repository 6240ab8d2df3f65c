"""Servables that are started together, each put into processes of its own; and what they are merged into. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final, final

from servman.core.config import ModelConfig
from servman.errors import InvalidArgumentError
from servman.ids import MAX_VERSION
from servman.sources import Specific
from servman.workers.options import Workers, faults

MOST_WORKERS: Final = 64
"""How many processes of one version there may be, as in MindSpore Serving."""

_CPU: Final = "cpu"
_EXCLUSIVE: Final = "ascend"
_DEVICE_TYPES: Final = (_CPU, "gpu", _EXCLUSIVE)
_NO_GPU: Final = {"CUDA_VISIBLE_DEVICES": "-1"}
_WORKERS: Final = Workers()


@final
@dataclass(frozen=True, slots=True)
class ServableStartConfig:
    """One version of a servable to start, in processes of its own. Holds any values; `start_servables` checks them.

    Several may name the same version: then their devices are united.

    Attributes:
        servable_directory: The directory that holds a directory with the servable's name.
        servable_name: The name of the servable; its numbered version directories are in
            `servable_directory/servable_name`.
        device_ids: The devices to put replicas on, one each. None: one replica, without a device.
        version_number: The version to start. 0: the latest one that is there.
        device_type: "cpu", "gpu" or "ascend", in upper or lower case. On "cpu" a device is a number that
            tells replicas apart, and no GPU is seen; an "ascend" device takes one version only. None: as "gpu".
        num_parallel_workers: How many processes are wanted in all, from 0 to 64; those beyond the replicas take
            the work that needs no device. 0: no more than the replicas.
        platform: What loads it: "python", "tensorflow" or a registered one. None: as its version directory
            looks.
        workers: How its processes work otherwise: which methods need no device (`python_methods`), or may be sent
            again, where logs go, and so on. How many there are, and where, stands above.

    Threads: immutable; any thread.
    """

    servable_directory: str
    servable_name: str
    device_ids: int | Sequence[int] | None = None
    version_number: int = 0
    device_type: str | None = None
    num_parallel_workers: int = 0
    _: KW_ONLY
    platform: str | None = None
    workers: Workers = _WORKERS

    @property
    def base_path(self) -> str:
        """The directory of its version directories, as it is written."""
        return os.path.join(self.servable_directory, self.servable_name)  # noqa: PTH118 -- keeps the spelling

    @property
    def devices(self) -> tuple[int, ...]:
        """Its devices; none: ()."""
        if self.device_ids is None:
            return ()
        return (self.device_ids,) if isinstance(self.device_ids, int) else tuple(self.device_ids)


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What is on disk of a servable.

    Attributes:
        base_path: The absolute path of the directory of its versions.
        platforms: The versions that are there, each with the platform that its directory looks made for; "" where
            it looks made for none.
        problem: Why the directory cannot be read, if it cannot.
    """

    base_path: str
    platforms: Mapping[int, str] = field(default_factory=dict)
    problem: str = ""


def merge(
    configs: Sequence[ServableStartConfig], found: Mapping[str, Found]
) -> tuple[ModelConfig, ...]:
    """Return the models that *configs* say together, in the order in which their names come.

    1. A version of 0 is the latest one that is there; after that, configs of one name and version are
       one, with the devices of all of them in the order in which they come, and the most workers.
    2. One name has one directory, one platform and one type of device.
    3. A device of the type "ascend" takes one version only.

    Args:
        configs: What was asked for.
        found: By `ServableStartConfig.base_path`, what there is.

    Raises:
        InvalidArgumentError: They cannot be started together; `faults` are all that is wrong.
    """
    merged = _Merged([one for one in configs if _is_well(one)], found)
    faults = [*_faults(configs), *merged.faults()]
    if not faults:
        return merged.models()
    raise InvalidArgumentError("; ".join(faults), faults=faults)


@final
class _Merged:
    """Configs by name and version."""

    def __init__(self, configs: Sequence[ServableStartConfig], found: Mapping[str, Found]) -> None:
        self._found = found
        self._named: dict[str, list[ServableStartConfig]] = {}
        self._versions: dict[tuple[str, int | None], list[ServableStartConfig]] = {}
        for one in configs:
            self._named.setdefault(one.servable_name, []).append(one)
            self._versions.setdefault((one.servable_name, self._number(one)), []).append(one)

    def _number(self, config: ServableStartConfig) -> int | None:
        """Return which version *config* means; None where it is not there."""
        there = self._found[config.base_path].platforms
        if config.version_number == 0:  # a directory 0 is never the latest one of several
            return max(there, default=None)
        return config.version_number if config.version_number in there else None

    def faults(self) -> Iterator[str]:
        for name, configs in self._named.items():
            yield from self._conflicts(name, configs)
        for (name, version), configs in self._versions.items():
            yield from self._missing(name, version, configs[0])
            if len(_otherwise(configs)) > 1:
                yield f"servable {name!r}, version {version}, has workers said in two ways; keep one"
        yield from self._shared_devices()

    def _conflicts(self, name: str, configs: list[ServableStartConfig]) -> Iterator[str]:
        places = dict.fromkeys(self._found[one.base_path].base_path for one in configs)
        if len(places) > 1:
            yield (
                f"servable {name!r} is in more than one directory ({', '.join(places)}); give one of them"
                " another name"
            )
        types = dict.fromkeys(_device_type(one) for one in configs if one.device_type is not None)
        if len(types) > 1:
            yield f"servable {name!r} has more than one device_type ({', '.join(types)}); keep one"
        platforms = dict.fromkeys(
            platform for one in configs if (platform := self._platform(one)) is not None
        )
        if len(platforms) > 1:
            yield (
                f"servable {name!r} is of more than one platform ({', '.join(platforms)}); give the"
                " versions of one of them another name"
            )

    def _missing(
        self, name: str, version: int | None, config: ServableStartConfig
    ) -> Iterator[str]:
        there = self._found[config.base_path]
        listed = ", ".join(map(str, sorted(there.platforms))) or "none"
        if there.problem:
            yield (
                f"servable {name!r}: the directory {there.base_path} cannot be read ({there.problem}); correct"
                " servable_directory or servable_name"
            )
        elif version is None and config.version_number == 0:
            yield (
                f"servable {name!r} has no version in {there.base_path}; put one there, as a"
                " directory whose name is its number"
            )
        elif version is None:
            yield (
                f"servable {name!r} has no version {config.version_number} in {there.base_path} (there are:"
                f" {listed}); name one of them, or 0 for the latest"
            )
        elif self._platform(config) is None:
            yield (
                f"servable {name!r}: the directory of version {version} in {there.base_path} holds neither"
                " servable.py nor a SavedModel; complete it, or name its platform"
            )

    def _shared_devices(self) -> Iterator[str]:
        users: dict[int, list[str]] = {}
        for (name, version), configs in self._versions.items():
            if any(_device_type(one) == _EXCLUSIVE for one in self._named[name]):
                for device in _united(configs):
                    users.setdefault(device, []).append(f"{name}:{version}")
        for device, versions in users.items():
            if len(versions) > 1:
                yield (
                    f"device {device} of the type {_EXCLUSIVE!r} takes one version, and"
                    f" {' and '.join(versions)} want it; give each a device of its own"
                )

    def _platform(self, config: ServableStartConfig) -> str | None:
        if config.platform is not None:
            return config.platform
        number = self._number(config)
        return None if number is None else self._found[config.base_path].platforms[number] or None

    def models(self) -> tuple[ModelConfig, ...]:
        """Return the models; there are no faults."""
        return tuple(self._model(name, configs) for name, configs in self._named.items())

    def _model(self, name: str, configs: list[ServableStartConfig]) -> ModelConfig:
        versions = {
            version: _workers(self._versions[name, version], self._type_of(name))
            for of, version in self._versions
            if of == name and version is not None
        }
        platforms = [platform for one in configs if (platform := self._platform(one)) is not None]
        return ModelConfig(
            name,
            self._found[configs[0].base_path].base_path,
            platforms[0],
            Specific(*versions),
            workers=versions,
        )

    def _type_of(self, name: str) -> str:
        types = [_device_type(one) for one in self._named[name] if one.device_type is not None]
        return types[0] if types else ""


def _workers(configs: list[ServableStartConfig], device_type: str) -> Workers:
    devices, most = _united(configs), max(one.num_parallel_workers for one in configs)
    workers = replace(_otherwise(configs)[0], num_parallel_workers=most)
    if device_type == _CPU:
        environment = {**_NO_GPU, **workers.environment}
        return replace(workers, replicas=len(devices) or None, environment=environment)
    exclusive = device_type == _EXCLUSIVE and bool(devices)
    return replace(workers, devices=devices, exclusive_devices=exclusive)


def _otherwise(configs: list[ServableStartConfig]) -> list[Workers]:
    """Return how their processes work otherwise, each way once; those who say nothing have no say."""
    said = dict.fromkeys(one.workers for one in configs if one.workers != _WORKERS)
    return list(said) or [_WORKERS]


def _united(configs: list[ServableStartConfig]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(device for one in configs for device in one.devices))


def _device_type(config: ServableStartConfig) -> str:
    kind = config.device_type
    return "" if kind is None or kind.lower() == "none" else kind.lower()


# ---- one by one --------------------------------------------------------------------------------


def _faults(configs: Sequence[object]) -> Iterator[str]:
    if not configs:
        yield "there is no servable to start; pass a ServableStartConfig, or several"
    for index, one in enumerate(configs):
        if isinstance(one, ServableStartConfig):
            for fault in _faults_of(one):
                yield f"configs[{index}] ({one.servable_name!r}): {fault}"
        else:
            yield f"configs[{index}] is {one!r}, not a ServableStartConfig"


def _is_well(config: object) -> bool:
    return isinstance(config, ServableStartConfig) and not any(_faults_of(config))


def _faults_of(config: ServableStartConfig) -> Iterator[str]:
    for name in ("servable_directory", "servable_name"):
        text: object = getattr(config, name)
        if not isinstance(text, str) or not text or "\0" in text:
            yield f"{name} is {text!r}; give a text that is not empty"
    if isinstance(config.servable_name, str) and "/" in config.servable_name:
        yield "servable_name holds a slash; name the directory above it in servable_directory"
    yield from _device_faults(config.device_ids)
    if not _is_count(config.version_number, MAX_VERSION):
        yield f"version_number is {config.version_number!r}; give a version, or 0 for the latest"
    if not _is_count(config.num_parallel_workers, MOST_WORKERS):
        yield (
            f"num_parallel_workers is {config.num_parallel_workers!r}; give an int from 0 to {MOST_WORKERS}"
        )
    kind: object = config.device_type
    if kind is not None and not (
        isinstance(kind, str) and kind.lower() in ("none", *_DEVICE_TYPES)
    ):
        yield f"device_type is {kind!r}; give one of {', '.join(_DEVICE_TYPES)}, or None"
    yield from _worker_faults(config.workers)
    platform: object = config.platform
    if platform is not None and (not isinstance(platform, str) or not platform):
        yield f"platform is {platform!r}; give the name of a platform, or None"


def _worker_faults(workers: object) -> Iterator[str]:
    if not isinstance(workers, Workers):
        yield f"workers is {workers!r}; give a Workers"
        return
    yield from (f"workers.{fault}" for fault in faults(workers))
    for name in ("replicas", "devices", "num_parallel_workers", "exclusive_devices"):
        if getattr(workers, name) != getattr(_WORKERS, name):
            yield f"workers.{name} follows from device_ids, device_type and num_parallel_workers; leave it out"


def _device_faults(ids: object) -> Iterator[str]:
    many = isinstance(ids, Sequence) and not isinstance(ids, str | bytes)
    devices: Sequence[object] = ids if many else () if ids is None else (ids,)  # type: ignore[assignment] # as said
    for device in devices:
        if not _is_count(device, MAX_VERSION):
            yield f"device_ids has {device!r}; a device is an int that is not negative"
            return
    if len(set(devices)) < len(devices):
        yield f"device_ids names a device more than once: {ids!r}; name each once"


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
