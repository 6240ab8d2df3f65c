"""How a core works, whatever it serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from servman.manager import AvailabilityPreservingPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.ids import ServableId
    from servman.manager import AspiredVersionPolicy
    from servman.manager.backoff import RetryInterval
    from servman.manager.options import SortActions

_WEEK: Final = 7 * 86_400.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCoreOptions:
    """How a core works, whatever it serves. Holds any values of the right types; `ServerCore` checks them.

    Attributes:
        platforms: The platforms to enable. Models of another registered platform end with an error that
            says so. "python" runs code from the model directory and so must be asked for. Default:
            "tensorflow".
        poll_interval: Seconds between looks at each base path. 0 looks once at start, a negative one never
            by itself; file events are followed all the same while *watch* is on. Default 1, as
            tensorflow_model_server.
        watch: Whether file events in the base paths, and of the config file, are followed, so that a change
            is noticed within milliseconds. Default True.
        fail_if_zero_versions_at_startup: Let `start` raise when a model has no version, as the option of
            TensorFlow Serving does. Default False.
        servable_versions_always_present: Keep what is served when all versions of a model vanish at once.
            Default False, as in TensorFlow Serving: they are unloaded.
        config_file: The path of a file with the models, which is followed: see `read_model_config_file` for
            what it may hold. Default None: the models are those of the call.
        config_file_poll_interval: Seconds between looks at that file. 0 looks once at start, and then follows file
            events while *watch* is on; a negative one does not look at all. Default 1.
        allow_empty_config: Let a config file without models unload everything. Default False: it is
            reported and changes nothing, for a file is emptied by accident more often than on purpose.
        aspired_version_policy: Decides the order of loads and unloads. Default: keep something serving.
        num_load_threads: How many loads may run at once. Default 4.
        num_initial_load_threads: How many loads may run at once until every model of the first
            configuration is available or has failed. Default None: as later.
        num_unload_threads: How many unloads may run at once. Default 2.
        max_num_load_retries: How often a failed load is repeated. Default 5.
        load_retry_interval: Seconds between attempts, or an `ExponentialBackoff`. Default 60. A version whose
            files change is tried again at once.
        should_retry: Is shown what a load raised; false ends the version at once. Default None: every
            error is tried again.
        load_timeout: Seconds after which a load that has not returned ends its version. Default None: never.
        pre_load_hook: Called with the id before each attempt, on its thread. Default None.
        sort_actions: Puts the loads and unloads of several models in order. Default None: unloads first.
        total_model_memory_limit_bytes: How much memory models may take together, by their loaders' estimates.
            A load that does not fit waits for what is on its way out, else it fails, until memory is
            returned. Default None: nothing is estimated.
        allow_version_labels: Whether models may have labels. Default True.
        strict_version_labels: Whether a configuration with a label whose version is not available is refused.
            Default False: the label moves once it is.
        ready_without_models: Whether a server without models is ready. Default False.
        log_capacity: How many events the monitor keeps for `get_log`. Default 1000.
        history_capacity: How many transitions of each model the history keeps. Default 1000.
        history_max_age: Seconds for which the history keeps a transition. Default a week.
        history_file: The path of a file to which each transition is appended, as a line of JSON. Default
            None: none.
        clock: The time; None for the machine's.

    Threads: immutable; any thread.
    """

    platforms: tuple[str, ...] = ("tensorflow",)
    poll_interval: float = 1.0
    watch: bool = True
    fail_if_zero_versions_at_startup: bool = False
    servable_versions_always_present: bool = False
    config_file: str | None = None
    config_file_poll_interval: float = 1.0
    allow_empty_config: bool = False
    aspired_version_policy: AspiredVersionPolicy = field(
        default_factory=AvailabilityPreservingPolicy
    )
    num_load_threads: int = 4
    num_initial_load_threads: int | None = None
    num_unload_threads: int = 2
    max_num_load_retries: int = 5
    load_retry_interval: RetryInterval = 60.0
    should_retry: Callable[[BaseException], bool] | None = None
    load_timeout: float | None = None
    pre_load_hook: Callable[[ServableId], None] | None = None
    sort_actions: SortActions | None = None
    total_model_memory_limit_bytes: int | None = None
    allow_version_labels: bool = True
    strict_version_labels: bool = False
    ready_without_models: bool = False
    log_capacity: int = 1000
    history_capacity: int = 1000
    history_max_age: float = _WEEK
    history_file: str | None = None
    clock: Clock | None = None
