"""From the message `ModelServerConfig` of TensorFlow Serving to a `ServerConfig`, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from servman.core.config import LoggingConfig, ModelConfig, ServerConfig
from servman.errors import InvalidArgumentError
from servman.manager import (
    AvailabilityPreservingPolicy,
    ExponentialBackoff,
    ResourcePreservingPolicy,
)
from servman.sources import All, Latest, Specific, immediate, marker, settled
from servman.workers.options import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.manager import AspiredVersionPolicy
    from servman.manager.backoff import RetryInterval
    from servman.sources import Completeness, VersionPolicy

UNUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "custom_logging_config": lambda one: one.logging_config.HasField("custom_logging_config"),
    "per_task_sampling_configs": lambda one: bool(
        one.logging_config.sampling_config.per_task_sampling_configs
    ),
}
"""Fields of a model that servman has no use for, and whether they are set."""

_COLLECTORS: Final = ("", "file")
"""The kinds of log collectors that there are, which is one under two names."""


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a message.

    Attributes:
        text: What, with the model that has it.
        index: Which model that is; None where it is none.
    """

    text: str
    index: int | None = None


def from_message(message: Any) -> tuple[ServerConfig | None, list[Fault]]:
    """Return what the `ModelServerConfig` *message* says, or None and what is wrong with it."""
    if message.WhichOneof("config") == "custom_model_config":
        text = "custom_model_config is not supported; list the models in model_config_list"
        return None, [Fault(text)]
    listed = message.model_config_list
    models: list[ModelConfig] = []
    faults: list[Fault] = []
    for index, one in enumerate(listed.config):
        try:
            models.append(_model(one))
        except InvalidArgumentError as error:
            where = f"models[{index}] ({one.name!r})"
            faults.extend(Fault(f"{where}: {fault}", index) for fault in error.faults)
    if faults:
        return None, faults
    root_dir = listed.servman.root_dir if listed.servman.HasField("root_dir") else None
    prefix = listed.servman.storage_path_prefix
    return ServerConfig(models, root_dir=root_dir, storage_path_prefix=prefix), []


def unused_fields(message: Any) -> dict[str, list[str]]:
    """Return the fields of *message* that servman has no use for, each with the models that have it."""
    found: dict[str, list[str]] = {}
    for one in message.model_config_list.config:
        for field in (field for field, is_set in UNUSED.items() if is_set(one)):
            found.setdefault(field, []).append(one.name)
    return found


def _model(message: Any) -> ModelConfig:
    fields: dict[str, Any] = {}
    faults: list[str] = []
    for field, read in _READERS.items():
        try:
            fields[field] = read(message)
        except InvalidArgumentError as error:
            faults.append(f"{field}: {error}")
    if faults:
        raise InvalidArgumentError("; ".join(faults), faults=faults)
    return ModelConfig(**fields)


def _platform(message: Any) -> str:
    platform: str = message.model_platform
    if message.model_type and platform:
        raise InvalidArgumentError(
            "both model_platform and the deprecated model_type are set; leave model_type away"
        )
    if message.model_type == _TENSORFLOW:
        return "tensorflow"
    if message.model_type:
        raise InvalidArgumentError(
            f"the deprecated model_type is {message.model_type}, which means no platform; write"
            " model_platform in its place"
        )
    if not platform:
        raise InvalidArgumentError('there is no model_platform; write model_platform: "tensorflow"')
    return platform


def _version_policy(message: Any) -> VersionPolicy:
    policy = message.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(*policy.specific.versions)
        case _:  # TensorFlow Serving takes 0, and no choice at all, for the latest one
            return Latest(policy.latest.num_versions or 1)


def _load_retry_interval(message: Any) -> RetryInterval | None:
    ours = message.servman
    match ours.WhichOneof("pause"):
        case "load_retry_interval_seconds":
            seconds: float = ours.load_retry_interval_seconds
            return seconds
        case "backoff":
            return backoff_of(ours.backoff)
        case _:
            return None


def backoff_of(message: Any) -> ExponentialBackoff:
    """Return what a `Backoff` says; what it leaves out is as `ExponentialBackoff` has it."""
    set_here = {field.name: value for field, value in message.ListFields()}
    return ExponentialBackoff(
        **{name.removesuffix("_seconds"): value for name, value in set_here.items()}
    )


def _workers(message: Any) -> Workers | dict[int, Workers] | None:
    """Return how versions are put into processes: every version, or some of them, each in its way."""
    said = message.servman.workers
    versions = [one.version for one in said if one.HasField("version")]
    if not said:
        return None
    if not versions:
        if len(said) > 1:
            raise InvalidArgumentError("they are said twice; give each a version, or keep one")
        return _workers_of(said[0])
    if len(versions) < len(said):
        raise InvalidArgumentError("some have a version and others have none; give each one")
    if len(set(versions)) < len(versions):
        raise InvalidArgumentError("those of one version are said twice; keep one")
    return {one.version: _workers_of(one) for one in said}


def _workers_of(message: Any) -> Workers:
    fields: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = field.name.removesuffix("_seconds")
        if name == "restart_backoff":
            fields[name] = backoff_of(value)
        elif name == "environment":
            fields[name] = dict(value)
        elif name != "version":
            fields[name] = tuple(value) if name in LISTS_OF_WORKERS else value
    return Workers(**fields)


def _completeness(message: Any) -> Completeness:
    rule = message.servman.completeness
    match rule.WhichOneof("rule"):
        case "settled_seconds":
            return settled(rule.settled_seconds)
        case "marker":
            return marker(rule.marker)
        case _:
            return immediate


def _aspired_version_policy(message: Any) -> AspiredVersionPolicy | None:
    number = message.servman.aspired_version_policy
    if number not in ASPIRED_VERSION_POLICIES:
        raise InvalidArgumentError(f"there is no policy with the number {number}")
    return ASPIRED_VERSION_POLICIES[number]


def _logging(message: Any) -> LoggingConfig | None:
    if not message.HasField("logging_config"):
        return None
    logging = message.logging_config
    collector = logging.log_collector_config
    if collector.type not in _COLLECTORS:
        raise InvalidArgumentError(
            f'there is no log collector of the type {collector.type!r}; write type: "file"'
        )
    return LoggingConfig(collector.filename_prefix, logging.sampling_config.sampling_rate)


def _own(field: str) -> Callable[[Any], Any]:
    """Return what reads one of servman's own fields; None where nothing is said."""
    return lambda message: (
        getattr(message.servman, field) if message.servman.HasField(field) else None
    )


LISTS_OF_WORKERS: Final = ("devices", "idempotent_methods", "python_methods")
"""The fields of `Workers` that hold several values."""

_TENSORFLOW: Final = 1
"""The number of the only `ModelType` that is a platform."""

ASPIRED_VERSION_POLICIES: Final[Mapping[int, AspiredVersionPolicy | None]] = {
    0: None,
    1: AvailabilityPreservingPolicy(),
    2: ResourcePreservingPolicy(),
}
"""By number; None is what the options say."""

_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": lambda message: message.name,
    "base_path": lambda message: message.base_path,
    "platform": _platform,
    "version_policy": _version_policy,
    "version_labels": lambda message: dict(message.version_labels),
    "max_num_load_retries": _own("max_num_load_retries"),
    "load_retry_interval": _load_retry_interval,
    "completeness": _completeness,
    "servable_versions_always_present": _own("servable_versions_always_present"),
    "fail_if_zero_versions_at_startup": _own("fail_if_zero_versions_at_startup"),
    "aspired_version_policy": _aspired_version_policy,
    "required": lambda message: not message.servman.optional,
    "memory_bytes": _own("memory_bytes"),
    "logging": _logging,
    "workers": _workers,
}
"""What gives each field of a model."""
