"""From a `ServerConfig` to the message `ModelServerConfig` of TensorFlow Serving, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from servman.core.config import LoggingConfig, ModelConfig
from servman.core.config_message import ASPIRED_VERSION_POLICIES, LISTS_OF_WORKERS
from servman.errors import InvalidArgumentError
from servman.manager import ExponentialBackoff
from servman.sources import All, Latest, Specific
from servman.sources.completeness import Marker, Settled
from servman.workers.options import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.core.config import ServerConfig


def write_message(config: ServerConfig, message: Any) -> Iterator[str]:
    """Fill the empty `ModelServerConfig` *message* with *config*; yield what cannot be written."""
    listed = message.model_config_list
    listed.SetInParent()
    if config.root_dir is not None:
        yield from _unwritable("", "root_dir", config.root_dir, listed.servman, _put("root_dir"))
    if config.storage_path_prefix != "":
        prefix = config.storage_path_prefix
        put = _put("storage_path_prefix")
        yield from _unwritable("", "storage_path_prefix", prefix, listed.servman, put)
    for index, model in enumerate(config.models):
        yield from _write_model(model, f"models[{index}]", listed.config.add())


def _write_model(model: object, where: str, message: Any) -> Iterator[str]:
    if not isinstance(model, ModelConfig):
        yield f"{where} is {model!r}, not a ModelConfig"
        return
    for field, write in _WRITERS.items():
        value = getattr(model, field)
        if value != getattr(_DEFAULTS, field) or field == "platform":
            yield from _unwritable(f"{where} ({model.name!r}): ", field, value, message, write)


def _unwritable(
    where: str, field: str, value: object, message: Any, write: Callable[[Any, Any], None]
) -> Iterator[str]:
    try:
        write(message, value)
    except (TypeError, ValueError, OverflowError) as error:  # what protobuf raises, and we do below
        yield f"{where}{field} is {value!r}, which cannot be written ({error})"


def _put(field: str) -> Callable[[Any, Any], None]:
    return lambda message, value: setattr(message, field, value)


def _put_own(field: str) -> Callable[[Any, Any], None]:
    return lambda message, value: setattr(message.servman, field, value)


def _write_platform(message: Any, platform: str) -> None:
    if not platform:
        raise InvalidArgumentError("a model needs a platform")
    message.model_platform = platform


def _write_version_policy(message: Any, policy: object) -> None:
    written = message.model_version_policy
    match policy:
        case Latest(n=count):
            written.latest.num_versions = count
        case All():
            written.all.SetInParent()
        case Specific(versions=versions):
            written.specific.SetInParent()
            written.specific.versions.extend(versions)
        case _:
            raise InvalidArgumentError("use Latest(n), All() or Specific(...)")


def _write_version_labels(message: Any, labels: object) -> None:
    if not isinstance(labels, Mapping):
        raise InvalidArgumentError("give a mapping from labels to versions")
    for label, version in labels.items():
        message.version_labels[label] = version


def _write_load_retry_interval(message: Any, interval: object) -> None:
    ours = message.servman
    if isinstance(interval, ExponentialBackoff):
        _put_backoff(ours.backoff, interval)
    else:
        ours.load_retry_interval_seconds = _exact(interval)


def _put_backoff(written: Any, backoff: ExponentialBackoff) -> None:
    written.initial_seconds = _exact(backoff.initial)
    written.maximum_seconds = _exact(backoff.maximum)
    written.multiplier = _exact(backoff.multiplier)
    written.jitter = _exact(backoff.jitter)


def _exact(value: Any) -> float:
    if float(value) != value:
        raise InvalidArgumentError("it is no number that a file can hold exactly")
    return float(value)


def _write_completeness(message: Any, completeness: object) -> None:
    rule = message.servman.completeness
    match completeness:
        case Settled(seconds=seconds):
            rule.settled_seconds = _exact(seconds)
        case Marker(name=name):
            rule.marker = name
        case _:
            raise InvalidArgumentError("a function stands in programs only")


def _write_aspired_version_policy(message: Any, policy: object) -> None:
    for number, known in ASPIRED_VERSION_POLICIES.items():
        if policy == known:
            message.servman.aspired_version_policy = number
            return
    raise InvalidArgumentError("a policy of your own stands in programs only")


def _write_required(message: Any, required: object) -> None:
    if not isinstance(required, bool):
        raise InvalidArgumentError("give True or False")
    message.servman.optional = not required


def _write_logging(message: Any, logging: object) -> None:
    if not isinstance(logging, LoggingConfig):
        raise InvalidArgumentError("give a LoggingConfig")
    written = message.logging_config
    written.log_collector_config.type = "file"
    written.log_collector_config.filename_prefix = logging.filename_prefix
    written.sampling_config.sampling_rate = _exact(logging.sampling_rate)


def _write_workers(message: Any, workers: object) -> None:
    if isinstance(workers, Mapping):
        for version, one in workers.items():
            written = message.servman.workers.add()
            written.version = version
            _put_workers(written, one)
    else:
        _put_workers(message.servman.workers.add(), workers)


def _put_workers(written: Any, workers: object) -> None:
    """Write what differs from a `Workers` that says nothing."""
    if not isinstance(workers, Workers):
        raise InvalidArgumentError("give a Workers, or a mapping of versions to that")
    if workers.log is not None:
        raise InvalidArgumentError("workers.log, a function, stands in programs only")
    fields = {field.name.removesuffix("_seconds"): field for field in written.DESCRIPTOR.fields}
    for name in fields.keys() - {"version"}:
        value = getattr(workers, name)
        if value == getattr(_NO_WORKERS, name):
            continue
        if name == "restart_backoff":
            if not isinstance(value, ExponentialBackoff):
                raise InvalidArgumentError("workers.restart_backoff is no ExponentialBackoff")
            _put_backoff(written.restart_backoff, value)
        elif name == "environment":
            written.environment.update(value)
        elif name in LISTS_OF_WORKERS:
            getattr(written, name).extend(value)
        else:
            exact = _exact(value) if fields[name].name != name else value
            setattr(written, fields[name].name, exact)


_DEFAULTS: Final = ModelConfig("", "")
_NO_WORKERS: Final = Workers()

_WRITERS: Final[Mapping[str, Callable[[Any, Any], None]]] = {
    "name": _put("name"),
    "base_path": _put("base_path"),
    "platform": _write_platform,
    "version_policy": _write_version_policy,
    "version_labels": _write_version_labels,
    "max_num_load_retries": _put_own("max_num_load_retries"),
    "load_retry_interval": _write_load_retry_interval,
    "completeness": _write_completeness,
    "servable_versions_always_present": _put_own("servable_versions_always_present"),
    "fail_if_zero_versions_at_startup": _put_own("fail_if_zero_versions_at_startup"),
    "aspired_version_policy": _write_aspired_version_policy,
    "required": _write_required,
    "memory_bytes": _put_own("memory_bytes"),
    "logging": _write_logging,
    "workers": _write_workers,
}
"""What writes each field of a model that is not as it is where nothing is said."""
