"""How a servable is put into processes of its own: plain data, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import InvalidArgumentError
from servman.frozen import FrozenMapping
from servman.manager.backoff import ExponentialBackoff
from servman.manager.options import check_callable, check_count, check_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

LogCallback = Callable[[str, int, str], None]
"""Is called with the version ("name:1"), the index of a worker, and a line that it wrote, without its end."""


_NOTHING: Final[Mapping[str, str]] = FrozenMapping({})
_BACKOFF: Final = ExponentialBackoff(initial=0.1, maximum=30.0)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Workers:
    """How a servable is put into processes of its own. Holds any values of the right types; `faults` checks them.

    A *replica* takes any call; an *extra* worker, which has no device, takes only calls of `python_methods`.
    Seconds are `float`.

    Attributes:
        replicas: How many processes hold the servable. None: one for each device; without devices,
            `num_parallel_workers`, or one.
        devices: The numbers of the devices that replicas are put on, in turn. A replica is told its own in
            `CUDA_VISIBLE_DEVICES` and `SERVMAN_DEVICE_ID`.
        num_parallel_workers: How many processes are wanted in all: what it exceeds the replicas by are extra workers.
        min_replicas: How many replicas have to be ready for the version to be. None: all.
        concurrency: How many calls one process works on at a time, each on a thread of its own.
        max_queue: How many calls may wait for a free process; further ones are refused at once.
        hold_timeout: How long a call is held while no replica serves. One that is sent again, or made again, after a
            process has died over it is held for `start_timeout` while a replica serves that is not to die as well.
        call_timeout: How long a call may take, its wait included, where its caller sets no earlier deadline.
            None: as long as it takes.
        hang_timeout: How long after its deadline a call may still run; then its process counts as hanging,
            is killed and replaced.
        heartbeat_interval: How often a process says that it lives.
        heartbeat_timeout: How long it may say nothing; then it is killed and replaced.
        start_timeout: How long a process may take to load the servable.
        stop_timeout: How long a process may take to unload it and end; then it is killed.
        idempotent_methods: Methods of which a call may be sent again when the process that worked on it died.
        python_methods: Methods that need no device, which extra workers may take as well; without any these have
            nothing to do. A list is kept as a tuple, here and above.
        max_redispatches: How often a call of such an idempotent method is sent again at most.
        quarantine: How long a request is refused that was running in two processes when they crashed. 0: not at all.
        max_restarts: How many processes may be started anew within `restart_window`; if they are spent and none
            serves, the version ends with the error of the last one.
        restart_window: See `max_restarts`.
        restart_backoff: The pauses before a process is started anew. There is none after one that has answered a
            call, or has served for `restart_window`; and then they begin from the first again.
        exclusive_devices: Whether the devices are refused to all other servables of this process in the meantime.
        environment: Variables set in the processes, beside those of this one; kept as a mapping that cannot
            be changed.
        log_dir: The directory of a log file for each worker. None: what it writes goes to `log`.
        log: Is called with what workers write, line by line, on a thread of its own; see `LogCallback`. Compared
            by identity. None: it goes to the logger "servman.workers".

    Threads: immutable; any thread.
    """

    replicas: int | None = None
    devices: Sequence[int] = ()
    _: KW_ONLY
    num_parallel_workers: int = 0
    min_replicas: int | None = None
    concurrency: int = 4
    max_queue: int = 1000
    hold_timeout: float = 5.0
    call_timeout: float | None = None
    hang_timeout: float = 30.0
    heartbeat_interval: float = 1.0
    heartbeat_timeout: float = 30.0
    start_timeout: float = 600.0
    stop_timeout: float = 10.0
    idempotent_methods: Sequence[str] = ()
    python_methods: Sequence[str] = ()
    max_redispatches: int = 1
    quarantine: float = 60.0
    max_restarts: int = 10
    restart_window: float = 60.0
    restart_backoff: ExponentialBackoff = _BACKOFF
    exclusive_devices: bool = False
    environment: Mapping[str, str] = field(default=_NOTHING)
    log_dir: str | None = None
    log: LogCallback | None = None

    def __post_init__(self) -> None:
        for name in ("devices", "idempotent_methods", "python_methods"):
            given = getattr(self, name)
            if isinstance(given, list):
                object.__setattr__(self, name, tuple(given))
        given = self.environment
        if isinstance(given, Mapping) and not isinstance(given, FrozenMapping):
            object.__setattr__(self, "environment", FrozenMapping(given))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workers) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        # What is said, and not all that goes without saying: it stands in plans.
        values = ((one, getattr(self, one.name)) for one in fields(self))
        said = (f"{one.name}={value!r}" for one, value in values if value != one.default)
        return f"Workers({', '.join(said)})"

    @property
    def replica_count(self) -> int:
        """How many replicas there are to be."""
        if self.replicas is not None:
            return self.replicas
        return len(self.devices) or self.num_parallel_workers or 1

    @property
    def extra_count(self) -> int:
        """How many extra workers there are to be."""
        return max(0, self.num_parallel_workers - self.replica_count)

    @property
    def least_replicas(self) -> int:
        """How many replicas have to be ready for the version to be."""
        return self.replica_count if self.min_replicas is None else self.min_replicas

    def _key(self) -> tuple[Any, ...]:
        values = [getattr(self, name) for name in self.__slots__ if name != "log"]
        return (*values, *_identity(self.log))


def _identity(function: Callable[..., object] | None) -> tuple[int, ...]:
    """Return what tells *function* from another one; a method is another object at each look."""
    owner = getattr(function, "__self__", None)
    code = getattr(function, "__func__", None)
    return (id(owner), id(code)) if code is not None else (id(function),)


def faults(workers: Workers) -> tuple[str, ...]:
    """Return everything that is wrong with *workers*, each as a sentence that begins with the field; none: ()."""
    wrong = [fault for name, check in _CHECKS.items() if (fault := _fault(workers, name, check))]
    return tuple(wrong) if wrong else tuple(_disagreements(workers))


# ---- what may stand in a field -----------------------------------------------------------------

_Check = Callable[[str, Any], None]
"""Raises an `InvalidArgumentError` unless the value may stand in the field of that name."""


def _fault(workers: Workers, name: str, check: _Check) -> str | None:
    try:
        check(name, getattr(workers, name))
    except InvalidArgumentError as error:
        return str(error)
    return None


def _count(least: int) -> _Check:
    return lambda field, value: check_count(field, value, least=least)


def _or_none(check: _Check) -> _Check:
    return lambda field, value: None if value is None else check(field, value)


def _duration(field: str, value: float) -> None:
    check_seconds(field, value)
    if value == 0:
        raise InvalidArgumentError(f"{field} must be more than 0 seconds")


def _devices(field: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(_is_device(one) for one in value):
        raise InvalidArgumentError(
            f"{field} must be a sequence of the numbers of devices, from 0, not {value!r}"
        )
    if len(set(value)) < len(value):
        raise InvalidArgumentError(
            f"{field} names a device twice: {value!r}; to put more replicas on one, raise `replicas`"
        )


def _is_device(one: object) -> bool:
    return isinstance(one, int) and not isinstance(one, bool) and one >= 0


def _methods(field: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(
        isinstance(one, str) and (one.isidentifier()) for one in value
    ):
        raise InvalidArgumentError(f"{field} must be a sequence of names of methods, not {value!r}")


def _backoff(field: str, value: object) -> None:
    if not isinstance(value, ExponentialBackoff):
        raise InvalidArgumentError(f"{field} must be an ExponentialBackoff, not {value!r}")


def _flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{field} must be True or False, not {value!r}")


def _environment(field: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{field} must be a mapping of texts to texts, not {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidArgumentError(f"{field} cannot set a variable of the name {name!r}")
        if not isinstance(text, str) or "\0" in text:
            raise InvalidArgumentError(f"{field} cannot set {name} to {text!r}; give a text")


def _path(field: str, value: object) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidArgumentError(
            f"{field} must be the path of a directory, as a text, not {value!r}"
        )


_CHECKS: Final[Mapping[str, _Check]] = {
    "replicas": _or_none(_count(1)),
    "devices": _devices,
    "num_parallel_workers": _count(0),
    "min_replicas": _or_none(_count(1)),
    "concurrency": _count(1),
    "max_queue": _count(0),
    "hold_timeout": check_seconds,
    "call_timeout": _or_none(_duration),
    "hang_timeout": check_seconds,
    "heartbeat_interval": _duration,
    "heartbeat_timeout": _duration,
    "start_timeout": _duration,
    "stop_timeout": check_seconds,
    "idempotent_methods": _methods,
    "python_methods": _methods,
    "max_redispatches": _count(0),
    "quarantine": check_seconds,
    "max_restarts": _count(0),
    "restart_window": _duration,
    "restart_backoff": _backoff,
    "exclusive_devices": _flag,
    "environment": _environment,
    "log_dir": _or_none(_path),
    "log": check_callable,
}


def _disagreements(workers: Workers) -> Iterator[str]:
    """Yield what is wrong with fields that are right when each is taken by itself."""
    replicas, devices = workers.replica_count, len(workers.devices)
    if workers.least_replicas > replicas:
        yield f"min_replicas is {workers.min_replicas}, and there are only {replicas} replicas; lower it"
    if replicas < devices:
        yield f"replicas is {replicas} for {devices} devices; give each device a replica, or leave devices out"
    if workers.exclusive_devices and replicas > devices:
        yield (
            f"exclusive_devices wants a device for each of {replicas} replicas, and there are {devices}; name"
            " more devices, or share them"
        )
    if workers.heartbeat_timeout <= workers.heartbeat_interval:
        yield (
            f"heartbeat_timeout is {workers.heartbeat_timeout:g}, no longer than heartbeat_interval"
            f" ({workers.heartbeat_interval:g}); every process would be taken for dead"
        )
    if workers.log_dir is not None and workers.log is not None:
        yield "log is called with what goes to no file, and log_dir is given as well; leave one of them out"
