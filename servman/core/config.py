"""What a server is configured to serve, how it does it, and the checks on both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, final

from servman.adapters import is_registered, registered_platforms
from servman.errors import InvalidArgumentError
from servman.ids import check_name
from servman.manager import AvailabilityPreservingPolicy
from servman.sources import All, Latest, Specific

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servman.clock import Clock
    from servman.manager import AspiredVersionPolicy
    from servman.manager.backoff import RetryInterval
    from servman.sources import VersionPolicy


@final
@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model to serve. Holds any values of the right types; `ServerCore` checks them.

    Attributes:
        name: What requests call it.
        base_path: The absolute path of the directory that holds its numbered version directories. It need
            not exist yet.
        platform: What loads it: "tensorflow", "python", or what `register_platform` was given.
        version_policy: Which of the versions on disk are served.

    Threads: immutable; any thread.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    version_policy: VersionPolicy = field(default_factory=Latest)


@final
@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The models to serve, all of them.

    Attributes:
        models: Their configurations; any iterable is kept as a tuple.
        generation: Which configuration of a core it is. Set by the core, and no part of equality.

    Threads: immutable; any thread.
    """

    models: Sequence[ModelConfig] = ()
    generation: int = field(default=0, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCoreOptions:
    """How a core works, whatever it serves.

    Attributes:
        platforms: The platforms to enable. Models of another registered platform end with an error that
            says so. "python" runs code from the model directory and so must be asked for. Default:
            "tensorflow".
        poll_interval: Seconds between looks at each base path. 0 looks once at start, a negative one never
            by itself; file events are followed all the same while *watch* is on. Default 1, as
            tensorflow_model_server.
        watch: Whether file events in the base paths are followed, so that a version is noticed within
            milliseconds. Default True.
        fail_if_zero_versions_at_startup: Let `start` raise when a model has no version, as the option of
            TensorFlow Serving does. Default False.
        servable_versions_always_present: Keep what is served when all versions of a model vanish at once.
            Default False, as in TensorFlow Serving: they are unloaded.
        aspired_version_policy: Decides the order of loads and unloads. Default: keep something serving.
        num_load_threads: How many loads may run at once. Default 4.
        num_unload_threads: How many unloads may run at once. Default 2.
        max_num_load_retries: How often a failed load is repeated. Default 5.
        load_retry_interval: Seconds between attempts, or an `ExponentialBackoff`. Default 60. A version whose
            files change is tried again at once.
        load_timeout: Seconds after which a load that has not returned ends its version. Default None: never.
        total_model_memory_limit_bytes: How much memory models may take together, by their loaders' estimates.
            A load that does not fit waits for what is on its way out, else it fails, until memory is
            returned. Default None: nothing is estimated.
        log_capacity: How many events the monitor keeps for `get_log`. Default 1000.
        clock: The time; None for the machine's.

    Threads: immutable; any thread.
    """

    platforms: tuple[str, ...] = ("tensorflow",)
    poll_interval: float = 1.0
    watch: bool = True
    fail_if_zero_versions_at_startup: bool = False
    servable_versions_always_present: bool = False
    aspired_version_policy: AspiredVersionPolicy = field(
        default_factory=AvailabilityPreservingPolicy
    )
    num_load_threads: int = 4
    num_unload_threads: int = 2
    max_num_load_retries: int = 5
    load_retry_interval: RetryInterval = 60.0
    load_timeout: float | None = None
    total_model_memory_limit_bytes: int | None = None
    log_capacity: int = 1000
    clock: Clock | None = None


def check(config: ServerConfig, options: ServerCoreOptions) -> None:
    """Find every fault of *config*, and of what *options* say about it.

    Raises:
        InvalidArgumentError: There are faults; the error lists all of them.
    """
    if not isinstance(config, ServerConfig):
        raise InvalidArgumentError(f"{config!r} is no ServerConfig; pass ServerConfig([...])")
    faults = [*_option_faults(options), *_config_faults(config)]
    if faults:
        raise InvalidArgumentError("the configuration cannot be used: " + "; ".join(faults))


def _config_faults(config: ServerConfig) -> Iterator[str]:
    seen: list[object] = []
    models: Sequence[object] = config.models
    for index, model in enumerate(models):
        where = f"models[{index}]"
        if not isinstance(model, ModelConfig):
            yield f"{where} is {model!r}, not a ModelConfig"
            continue
        for fault in _model_faults(model):
            yield f"{where} ({model.name!r}): {fault}"
        if model.name in seen:
            yield f"{where} ({model.name!r}): another model has this name; rename one"
        seen.append(model.name)


def _option_faults(options: ServerCoreOptions) -> Iterator[str]:
    interval: object = options.poll_interval
    if not isinstance(interval, int | float):
        yield f"options.poll_interval is {interval!r}; give seconds"
    platforms: object = options.platforms
    if isinstance(platforms, str):
        yield f"options.platforms is a text; write ({platforms!r},)"
        return
    for platform in options.platforms:
        if not _is_platform(platform):
            yield f"options.platforms: {_unknown(platform)}"


def _model_faults(model: ModelConfig) -> Iterator[str]:
    try:
        check_name(model.name)
    except InvalidArgumentError as error:
        yield str(error)
    path: object = model.base_path
    if not isinstance(path, str):
        yield f"the base path {path!r} is no text; pass a str"
    elif not PurePath(path).is_absolute() or "\0" in path:
        yield f'the base path {path!r} is not an absolute path; write it out ("~" is not expanded)'
    if not _is_platform(model.platform):
        yield _unknown(model.platform)
    policy: object = model.version_policy
    if not isinstance(policy, Latest | All | Specific):
        yield f"{policy!r} is not a version policy; use Latest(n), All() or Specific(...)"


def _is_platform(name: object) -> bool:
    return isinstance(name, str) and is_registered(name)


def _unknown(platform: object) -> str:
    known = ", ".join(sorted(registered_platforms()))
    return f"no platform is called {platform!r}; register_platform() adds one to {known}"
