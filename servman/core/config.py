"""What a server is configured to serve: plain data, which `validation` checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Final, final

from servman.frozen import FrozenMapping
from servman.sources import Latest, immediate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.manager import AspiredVersionPolicy
    from servman.manager.backoff import RetryInterval
    from servman.sources import Completeness, VersionPolicy
    from servman.workers.options import Workers


@final
@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """Which requests to a model a server writes down, and where.

    Attributes:
        filename_prefix: The beginning of the path of a file, to which ".tfrecord" is added. Each record is a
            `tensorflow.serving.PredictionLog`. Several models may have the same.
        sampling_rate: The share of the requests that is written: 0.0 none, 1.0 all.

    Threads: immutable; any thread.
    """

    filename_prefix: str
    sampling_rate: float = 1.0


@final
@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model to serve. Holds any values of the right types; `ServerCore` checks them.

    Attributes:
        name: What requests call it: a text that is not empty and holds neither ":" nor "@".
        base_path: The path of the directory that holds its numbered version directories: an absolute one, or,
            where the `ServerConfig` has a `root_dir`, one below that. It need not exist yet.
        platform: What loads it: "tensorflow", "python", or what `register_platform` was given. It
            cannot change while the model is configured.
        version_policy: Which of the versions on disk are served: `Latest(n)`, `All()` or `Specific(...)`.
        version_labels: The versions that "name@label" asks for, by label; any mapping is kept as one that
            cannot be changed. A version need not be there yet: the label moves once it is available.
        max_num_load_retries: How often a failed load is repeated. None: what the options say.
        load_retry_interval: Seconds between attempts, or an `ExponentialBackoff`. None: what the
            options say.
        completeness: When a version directory is complete: `immediate`, `settled(seconds)`,
            `marker(name)` or a function of yours.
        servable_versions_always_present: Whether what is served is kept when all versions vanish at once.
            None: what the options say.
        fail_if_zero_versions_at_startup: Whether `start` raises when there is no version. None: what
            the options say.
        aspired_version_policy: Decides the order of loads and unloads. None: what the options say.
        required: Whether the server is unready without it.
        memory_bytes: How much main memory each version takes, in place of the loader's own estimate. None:
            the loader is asked.
        logging: Which requests to it a server writes down. None: none.
        workers: How its versions are put into processes of their own, from their next loads on; or a mapping of
            versions to that, and others stay in this process; any mapping is kept as one that cannot be
            changed. None: they are loaded in this process.

    Threads: immutable; any thread.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    version_policy: VersionPolicy = field(default_factory=Latest)
    version_labels: Mapping[str, int] = field(default_factory=dict)
    _: KW_ONLY
    max_num_load_retries: int | None = None
    load_retry_interval: RetryInterval | None = None
    completeness: Completeness = immediate
    servable_versions_always_present: bool | None = None
    fail_if_zero_versions_at_startup: bool | None = None
    aspired_version_policy: AspiredVersionPolicy | None = None
    required: bool = True
    memory_bytes: int | None = None
    logging: LoggingConfig | None = None
    workers: Workers | Mapping[int, Workers] | None = None

    def __post_init__(self) -> None:
        labels: object = self.version_labels
        if isinstance(labels, Mapping) and not isinstance(labels, FrozenMapping):
            frozen = FrozenMapping(labels) if labels else _NO_LABELS
            object.__setattr__(self, "version_labels", frozen)
        workers: object = self.workers
        if isinstance(workers, Mapping) and not isinstance(workers, FrozenMapping):
            object.__setattr__(self, "workers", FrozenMapping(workers))

    def workers_of(self, version: int) -> Workers | None:
        """Return how *version* is put into processes of its own, if it is."""
        workers = self.workers
        return workers.get(version) if isinstance(workers, Mapping) else workers


_NO_LABELS: Final = FrozenMapping[str, int]({})


@final
@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The models to serve, all of them.

    Attributes:
        models: Their configurations; any iterable is kept as a tuple.
        root_dir: The absolute path of the directory that relative base paths are below. None: there are
            none.
        storage_path_prefix: What is put before the path of every version that goes to a loader, for where
            the storage is seen under another path by whoever loads than by whoever looks.
        generation: Which configuration of a core it is. Set by the core, and no part of equality.
        origin: Who asked for it: "call", "file" or "rpc". Set by the core, and no part of equality.

    Threads: immutable; any thread.
    """

    models: Sequence[ModelConfig] = ()
    _: KW_ONLY
    root_dir: str | None = None
    storage_path_prefix: str = ""
    generation: int = field(default=0, compare=False)
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))


def resolved(config: ServerConfig) -> ServerConfig:
    """Return *config*, which was checked, with every base path made absolute; itself if all of them are.

    What is kept and shown is what the user has written; this is for whoever reads the paths.
    """
    root = config.root_dir
    if root is None or all(is_absolute(model.base_path) for model in config.models):
        return config
    return replace(config, models=[_below(root, model) for model in config.models])


def is_absolute(path: str) -> bool:
    """Return whether *path* means the same whatever the current directory is."""
    return os.path.isabs(path)  # noqa: PTH117 -- a Path for each of 10,000 models takes its time


def _below(root: str, model: ModelConfig) -> ModelConfig:
    if is_absolute(model.base_path):
        return model
    return replace(model, base_path=os.path.join(root, model.base_path))  # noqa: PTH118 -- keeps the spelling
