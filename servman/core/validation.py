"""Every fault of a configuration and of the options, each with its place, and all of them at once."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from servman.adapters import is_registered, registered_platforms
from servman.core.config import LoggingConfig, ModelConfig, ServerConfig, is_absolute
from servman.core.options import ServerCoreOptions
from servman.errors import InvalidArgumentError
from servman.ids import MAX_VERSION, check_name, check_version
from servman.manager import ExponentialBackoff
from servman.manager.options import check_callable, check_count, check_methods, check_seconds
from servman.sources import All, Latest, Specific
from servman.sources.completeness import Settled
from servman.workers.options import Workers, faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Check = Callable[[str, Any], None]
"""Raises an `InvalidArgumentError` unless the value may stand in the field of that name."""


def check(
    config: ServerConfig, options: ServerCoreOptions, in_force: ServerConfig | None = None
) -> None:
    """Find every fault of *config*, of *options*, and of what *config* would change of what is *in_force*.

    Raises:
        InvalidArgumentError: There are faults; the error's `faults` are all of them, each with its place.
    """
    if not isinstance(config, ServerConfig):
        raise InvalidArgumentError(f"{config!r} is no ServerConfig; pass ServerConfig([...])")
    if not isinstance(options, ServerCoreOptions):
        raise InvalidArgumentError(f"{options!r} is no ServerCoreOptions; pass that")
    found = (*_option_faults(options), *_config_faults(config, options, in_force))
    if found:
        text = "the configuration cannot be used: " + "; ".join(found)
        raise InvalidArgumentError(text, faults=found)


# ---- what may stand in a field -----------------------------------------------------------------


def _flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{field} must be True or False, not {value!r}")


def _interval(field: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A larger int is no float, which instants are. NaN is no less than anything.
    if not number or not (abs(value) == math.inf or abs(value) <= sys.float_info.max):  # type: ignore[arg-type] # it is a number
        raise InvalidArgumentError(f"{field} is {value!r}; give seconds")


def _retry_interval(field: str, value: float | ExponentialBackoff) -> None:
    if not isinstance(value, ExponentialBackoff):
        check_seconds(field, value)


def _policy(field: str, value: object) -> None:
    check_methods(field, value, "next_action")
    if value is None:
        raise InvalidArgumentError(f"{field} must have a method next_action, unlike None")


def _path(field: str, value: object) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidArgumentError(f"{field} must be the path of a file, as a text, not {value!r}")


def _completeness(field: str, value: object) -> None:
    if not isinstance(value, Settled) and (not callable(value) or isinstance(value, type)):
        raise InvalidArgumentError(
            f"{field} is {value!r}, which does not tell what is complete; use immediate,"
            " settled(seconds), marker(name) or a function"
        )


def _version_policy(field: str, value: object) -> None:
    del field
    if not isinstance(value, Latest | All | Specific):
        raise InvalidArgumentError(
            f"{value!r} is not a version policy; use Latest(n), All() or Specific(...)"
        )


def _platform(field: str, value: object) -> None:
    del field
    if not (isinstance(value, str) and is_registered(value)):
        known = ", ".join(sorted(registered_platforms()))
        raise InvalidArgumentError(
            f"no platform is called {value!r}; there are {known}, and what register_platform() adds"
        )


def _logging(field: str, value: object) -> None:
    if not isinstance(value, LoggingConfig):
        raise InvalidArgumentError(f"{field} is {value!r}; give a LoggingConfig")
    _path(f"{field}.filename_prefix", value.filename_prefix)
    rate: object = value.sampling_rate
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not number or not 0 <= rate <= 1:  # type: ignore[operator] # it is a number
        raise InvalidArgumentError(f"{field}.sampling_rate is {rate!r}; give a share from 0 to 1")


def _count(least: int) -> Check:
    return lambda field, value: check_count(field, value, least=least)


def _capacity(field: str, value: int) -> None:
    check_count(field, value, least=0)
    if value > sys.maxsize:
        raise InvalidArgumentError(f"{field} is {value}, more than any memory can hold; lower it")


def _or_none(check: Check) -> Check:
    return lambda field, value: None if value is None else check(field, value)


_OF_OPTIONS: Final[Mapping[str, Check]] = {
    "poll_interval": _interval,
    "watch": _flag,
    "fail_if_zero_versions_at_startup": _flag,
    "servable_versions_always_present": _flag,
    "config_file": _or_none(_path),
    "config_file_poll_interval": _interval,
    "allow_empty_config": _flag,
    "aspired_version_policy": _policy,
    "num_load_threads": _count(1),
    "num_initial_load_threads": _or_none(_count(1)),
    "num_unload_threads": _count(1),
    "max_num_load_retries": _count(0),
    "load_retry_interval": _retry_interval,
    "should_retry": check_callable,
    "load_timeout": _or_none(check_seconds),
    "pre_load_hook": check_callable,
    "sort_actions": check_callable,
    "total_model_memory_limit_bytes": _or_none(_count(0)),
    "allow_version_labels": _flag,
    "strict_version_labels": _flag,
    "ready_without_models": _flag,
    "log_capacity": _capacity,
    "history_capacity": _capacity,
    "history_max_age": check_seconds,
    "history_file": _or_none(_path),
}
"""How each option is checked, but for the platforms, and for the clock, which is taken as it is."""

_OF_MODELS: Final[Mapping[str, Check]] = {
    "platform": _platform,
    "version_policy": _version_policy,
    "max_num_load_retries": _or_none(_count(0)),
    "load_retry_interval": _or_none(_retry_interval),
    "completeness": _completeness,
    "servable_versions_always_present": _or_none(_flag),
    "fail_if_zero_versions_at_startup": _or_none(_flag),
    "aspired_version_policy": _or_none(_policy),
    "required": _flag,
    "memory_bytes": _or_none(_count(0)),
    "logging": _or_none(_logging),
}
"""How each field of a model is checked that says enough alone."""


def _fault(one: Callable[..., object], *args: object) -> Iterator[str]:
    try:
        one(*args)
    except InvalidArgumentError as error:
        yield str(error)


# ---- options -----------------------------------------------------------------------------------


def _option_faults(options: ServerCoreOptions) -> Iterator[str]:
    for field, one in _OF_OPTIONS.items():
        yield from _fault(one, f"options.{field}", getattr(options, field))
    platforms: object = options.platforms
    if isinstance(platforms, str):
        yield f"options.platforms is a text; write ({platforms!r},)"
    elif not isinstance(platforms, Collection):
        yield f"options.platforms is {platforms!r}; give the names of platforms, as a tuple"
    else:
        for platform in platforms:
            for fault in _fault(_platform, "", platform):
                yield f"options.platforms: {fault}"


# ---- configurations ----------------------------------------------------------------------------


def _config_faults(
    config: ServerConfig, options: ServerCoreOptions, in_force: ServerConfig | None
) -> Iterator[str]:
    yield from _root_faults(config)
    prefix: object = config.storage_path_prefix
    if not isinstance(prefix, str) or "\0" in prefix:
        yield f"storage_path_prefix is {prefix!r}; give the path of a folder, as a text"
    before = {model.name: model for model in in_force.models} if in_force else {}
    same_root = in_force is not None and in_force.root_dir == config.root_dir
    seen: set[str] = set()
    models: Sequence[object] = config.models
    for index, model in enumerate(models):
        if not isinstance(model, ModelConfig):
            yield f"models[{index}] is {model!r}, not a ModelConfig"
            continue
        known = before.get(model.name) if isinstance(model.name, str) else None
        if not same_root or (
            known is not model and known != model
        ):  # what is in force has been through this
            for fault in _model_faults(model, config, options, known):
                yield f"models[{index}] ({model.name!r}): {fault}"
        if isinstance(model.name, str):
            if model.name in seen:
                yield f"models[{index}] ({model.name!r}): another model has this name; rename one"
            seen.add(model.name)


def _root_faults(config: ServerConfig) -> Iterator[str]:
    root: object = config.root_dir
    if root is not None and not (isinstance(root, str) and is_absolute(root) and "\0" not in root):
        yield (
            f"root_dir is {root!r}, which is not an absolute path; write it out, or leave it away"
            " where all base paths are absolute"
        )


def _model_faults(
    model: ModelConfig,
    config: ServerConfig,
    options: ServerCoreOptions,
    known: ModelConfig | None,
) -> Iterator[str]:
    yield from _fault(check_name, model.name)
    yield from _base_path_faults(model.base_path, config.root_dir)
    for field, one in _OF_MODELS.items():
        value = getattr(model, field)
        if value is not getattr(_BLANK, field):  # as most are, of thousands
            yield from _fault(one, field, value)
    if known is not None and known.platform != model.platform:
        yield (
            f"its platform cannot change from {known.platform!r} to {model.platform!r} while it is"
            " configured; remove the model first, or give the new one another name"
        )
    yield from _label_faults(model, options)
    yield from _worker_faults(model)
    yield from _memory_faults(model.memory_bytes, options.total_model_memory_limit_bytes)


def _base_path_faults(path: object, root: object) -> Iterator[str]:
    if not isinstance(path, str):
        yield f"the base path {path!r} is no text; pass a str"
    elif "\0" in path:
        yield f"the base path {path!r} holds a NUL character, which no path can"
    elif is_absolute(path):
        return
    elif not path:
        yield "the base path '' is not an absolute path; name the directory of the versions"
    elif _ADDRESS.match(path):
        yield (
            f"the base path {path!r} is an address and not an absolute path; mount that storage, and"
            " name the directory"
        )
    elif path.startswith("~"):
        yield f'the base path {path!r} is not an absolute path; write it out ("~" is not expanded)'
    elif root is None:
        yield (
            f"the base path {path!r} is not an absolute path; write it out, or set the root_dir that it"
            " is below"
        )


def _label_faults(model: ModelConfig, options: ServerCoreOptions) -> Iterator[str]:
    labels: object = model.version_labels
    if not isinstance(labels, Mapping):
        yield f"version_labels is {labels!r}; give a mapping from labels to versions"
        return
    if labels and not options.allow_version_labels:
        yield "labels are not allowed here (options.allow_version_labels); leave version_labels away"
    for label, version in labels.items():
        if not isinstance(label, str) or not label or ":" in label or "@" in label:
            yield (
                f"not a version label: {label!r}; a label is a text that is not empty and holds neither"
                ' ":" nor "@"'
            )
        elif not isinstance(version, int) or isinstance(version, bool):
            yield f"label {label!r} names {version!r}, not a version, which is an int"
        elif not 0 <= version <= MAX_VERSION:
            yield f"label {label!r} names {version}, not a version, which is from 0 to 2**63 - 1"
        else:
            yield from _label_and_policy(label, version, model.version_policy)


def _label_and_policy(label: str, version: int, policy: object) -> Iterator[str]:
    if isinstance(policy, Specific) and version not in policy.versions:
        yield (
            f"label {label!r} names version {version}, which the version policy does not serve"
            f" ({policy}); add it to the policy, or let the label name one of these"
        )


def _worker_faults(model: ModelConfig) -> Iterator[str]:
    workers: object = model.workers
    if workers is None:
        return
    if isinstance(workers, Workers):
        yield from (f"workers.{fault}" for fault in faults(workers))
    elif not isinstance(workers, Mapping):
        yield f"workers is {workers!r}; give a Workers, or a mapping of versions to that"
    else:
        for version, one in workers.items():
            yield from (f"workers: {fault}" for fault in _fault(check_version, model.name, version))
            if isinstance(one, Workers):
                yield from (f"workers[{version}].{fault}" for fault in faults(one))
            else:
                yield f"workers[{version}] is {one!r}; give a Workers"


def _memory_faults(needed: object, limit: object) -> Iterator[str]:
    if isinstance(needed, int) and isinstance(limit, int) and needed > limit >= 0:
        yield (
            f"memory_bytes is {needed}, more than all models may take together: {limit}"
            " (options.total_model_memory_limit_bytes); raise that limit"
        )


_BLANK: Final = ModelConfig("", "")

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
