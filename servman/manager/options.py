"""How a manager is set up: what its users may say, and what its reconciler is told."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict, final

from servman.errors import InvalidArgumentError
from servman.manager.backoff import ExponentialBackoff, RetryInterval
from servman.manager.tracker import ResourceTracker

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.events import EventBus
    from servman.ids import ServableId
    from servman.manager.policy import AspiredVersionPolicy, ServableAction
    from servman.threads import Pool

SortActions = Callable[[Sequence["ServableAction"]], Sequence["ServableAction"]]
"""Puts the actions of several streams in order, the most urgent first."""


class ManagerOptions(TypedDict, total=False):
    """The options that all managers have in common; see `AspiredVersionsManager` for each."""

    event_bus: EventBus | None
    num_load_threads: int
    num_unload_threads: int
    max_num_load_retries: int
    load_retry_interval: RetryInterval
    should_retry: Callable[[BaseException], bool] | None
    pre_load_hook: Callable[[ServableId], None] | None
    load_timeout: float | None
    resource_tracker: ResourceTracker | None
    revision_interval: float
    on_change: Callable[[str], None] | None
    clock: Clock | None
    _pools: tuple[Pool, Pool, Pool] | None  # for tests that run the jobs themselves


class AspiredVersionsManagerOptions(ManagerOptions, total=False):
    """The options of `AspiredVersionsManager`, which tells of each."""

    policy: AspiredVersionPolicy | None
    sort_actions: SortActions | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What holds for one stream instead of the manager's own options; None: as the manager has it.

    Attributes:
        policy: Decides the stream's transitions.
        max_num_load_retries: How often a failed load is repeated.
        load_retry_interval: Seconds between attempts, or an `ExponentialBackoff`.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: immutable; any thread.
    """

    policy: AspiredVersionPolicy | None = None
    max_num_load_retries: int | None = None
    load_retry_interval: RetryInterval | None = None

    def __post_init__(self) -> None:
        check_methods("policy", self.policy, "next_action")
        if self.max_num_load_retries is not None:
            check_count("max_num_load_retries", self.max_num_load_retries, least=0)
        if self.load_retry_interval is not None:
            check_interval("load_retry_interval", self.load_retry_interval)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerOptions:
    """How a reconciler decides. See `AspiredVersionsManager` for what is not told here.

    Attributes:
        declarative: Whether what is wanted comes as complete lists. Then they are published, and a
            version that failed is tried again when its files change or memory is returned; else whoever
            asked for it decides what becomes of it.
        forgets_failed: Whether a version that failed is no longer wanted.
        dispensable: Names versions that may be unloaded to make room for a load, the first one first.
        chance: Draws a number from 0 to 1, for the jitter of pauses.
    """

    policy: AspiredVersionPolicy
    num_load_threads: int
    num_unload_threads: int
    max_num_load_retries: int
    load_retry_interval: RetryInterval
    revision_interval: float
    load_timeout: float | None = None
    resource_tracker: ResourceTracker | None = None
    sort_actions: SortActions | None = None
    declarative: bool = True
    forgets_failed: bool = False
    dispensable: Callable[[], Sequence[ServableId]] = tuple
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not callable(getattr(self.policy, "next_action", None)):
            raise InvalidArgumentError(
                f"a policy has a method next_action; {self.policy!r} has none"
            )
        check_count("num_load_threads", self.num_load_threads, least=1)
        check_count("num_unload_threads", self.num_unload_threads, least=1)
        check_count("max_num_load_retries", self.max_num_load_retries, least=0)
        check_seconds("revision_interval", self.revision_interval)
        if self.revision_interval == 0:
            raise InvalidArgumentError("revision_interval must be more than 0: it would never rest")
        check_interval("load_retry_interval", self.load_retry_interval)
        if self.load_timeout is not None:
            check_seconds("load_timeout", self.load_timeout)
        check_callable("sort_actions", self.sort_actions)
        if not isinstance(self.resource_tracker, ResourceTracker | None):
            raise InvalidArgumentError(
                f"resource_tracker must be a ResourceTracker, not {self.resource_tracker!r}"
            )


def check_count(option: str, value: int, *, least: int) -> None:
    """Raise unless *value* is an `int` of at least *least*."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(f"{option} must be an int of at least {least}, not {value!r}")


def check_seconds(option: str, value: float) -> None:
    """Raise unless *value* is a number of seconds, 0 or more."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A larger int is no float, which instants are.
    if not number or not value >= 0 or (isinstance(value, int) and value > sys.float_info.max):
        raise InvalidArgumentError(f"{option} must be seconds, 0 or more, not {value!r}")


def check_interval(option: str, value: RetryInterval) -> None:
    """Raise unless *value* is a number of seconds, or a back-off."""
    if not isinstance(value, ExponentialBackoff):
        check_seconds(option, value)


def check_methods(option: str, value: object, *names: str) -> None:
    """Raise unless *value* is None or has methods of these names."""
    if isinstance(value, type):
        raise InvalidArgumentError(f"{option} must be an object, not the class {value!r}; call it")
    lacking = [name for name in names if not callable(getattr(value, name, None))]
    if value is not None and lacking:
        raise InvalidArgumentError(f"{option} must have a method {lacking[0]}, unlike {value!r}")


def check_callable(option: str, value: object) -> None:
    """Raise unless *value* is None or can be called."""
    if value is not None and not callable(value):
        raise InvalidArgumentError(f"{option} must be a function, not {value!r}")


NO_OPTIONS: Final = StreamOptions()
"""Those of a stream that has none of its own."""
