"""What a server answers to those who look at it or change it, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from servman.client.reading import read_reason, read_state, read_worker
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.reasons import Reason
    from servman.state import ServableState
    from servman.worker_state import WorkerSnapshot


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """Whether something is so, and which models keep it from being so. `bool()` of it is `ok`.

    Threads: immutable; any thread.
    """

    ok: bool
    missing: Mapping[str, Reason] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.ok


@final
@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How one model stands. `bool()` says whether what is wanted of it is available.

    Attributes:
        name: The model.
        base_path: Where its versions are looked for; empty where the server does not tell.
        platform: What loads it; as `base_path`.
        wanted: The versions that are to be served.
        versions: The last state of each version that is known, the newest first.
        labels: Each label with the version that lookups by it find.
        reason: Why the newest wanted version is not available; None if it is.
        workers: Each version that lives in processes of its own with how each of these is.

    Threads: immutable; any thread.
    """

    name: str
    base_path: str = ""
    platform: str = ""
    wanted: tuple[int, ...] = ()
    versions: tuple[ServableState, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    reason: Reason | None = None
    workers: Mapping[int, tuple[WorkerSnapshot, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.reason is None

    @property
    def available(self) -> tuple[int, ...]:
        """The versions that answer requests, the newest first."""
        up = ManagerState.AVAILABLE
        return tuple(one.id.version for one in self.versions if one.manager_state is up)


@final
@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a server and its models stand. `bool()` says whether every required model is available.

    Attributes:
        models: The models, by name.
        live: Whether it works at all.
        ready: Whether every required model has been available since it was configured.
        healthy: Whether every required model is available now.
        generation: Which configuration is in force; 0 where the server does not tell.

    Threads: immutable; any thread.
    """

    models: Mapping[str, ModelStatus]
    live: Probe = field(default_factory=lambda: Probe(ok=True))
    ready: Probe = field(default_factory=lambda: Probe(ok=True))
    healthy: Probe = field(default_factory=lambda: Probe(ok=True))
    generation: int = 0

    def __bool__(self) -> bool:
        return bool(self.healthy)


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is as it is. `bool()` says whether all is well, `str()` is for people.

    Attributes:
        request: What was asked about.
        reason: Why it is not available; None if it is.
        text: All that the server has to say of it, in several lines.

    Threads: immutable; any thread.
    """

    request: str
    reason: Reason | None
    text: str

    def __bool__(self) -> bool:
        return self.reason is None

    def __str__(self) -> str:
        return self.text


@final
@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """The configuration that is in force.

    Attributes:
        text: It, as a configuration file has it.
        generation: Its number.
        origin: Who asked for it.

    Threads: immutable; any thread.
    """

    text: str
    generation: int
    origin: str

    def __str__(self) -> str:
        return self.text


@final
@dataclass(frozen=True, slots=True)
class RemotePlan:
    """What a reload would do. `bool()` says whether it is free of faults, `str()` is for people.

    Attributes:
        faults: All that is wrong with the configuration.
        interruptions: What would interrupt service, by model.
        atomic_obstacles: Why an atomic reload would be refused.
        text: All of it, in several lines.

    Threads: immutable; any thread.
    """

    faults: tuple[str, ...]
    interruptions: Mapping[str, str]
    atomic_obstacles: tuple[str, ...]
    text: str

    def __bool__(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        return self.text


@final
@dataclass(frozen=True, slots=True)
class RemoteOutcome:
    """What has become of one model in a reload. `bool()` says whether it is as wanted.

    Attributes:
        outcome: "available", "unchanged", "removed", "failed", "pending" or "put back".
        reason: Why it is not further; None where it is as wanted.
        required: Whether it counts for the whole.

    Threads: immutable; any thread.
    """

    outcome: str
    reason: Reason | None = None
    required: bool = True

    def __bool__(self) -> bool:
        return self.outcome in ("available", "unchanged", "removed")


@final
@dataclass(frozen=True, slots=True)
class RemoteReload:
    """What a reload has come to. `bool()` says whether all is well, `str()` is for people.

    Attributes:
        well: Whether this configuration is in force, and every required model is as wanted.
        generation: Its number; of the one in force, where it was taken back.
        models: What has become of each model.
        superseded_by: The newer configuration that ended the wait; None where none did.
        timed_out: Whether the time was up before all was decided.
        rolled_back: Whether it was taken back: everything is as it was before.
        text: All of it, in several lines.

    Threads: immutable; any thread.
    """

    well: bool
    generation: int
    models: Mapping[str, RemoteOutcome]
    superseded_by: int | None = None
    timed_out: bool = False
    rolled_back: bool = False
    text: str = ""

    def __bool__(self) -> bool:
        return self.well

    def __str__(self) -> str:
        return self.text


# ---- from messages -------------------------------------------------------------------------------


def read_status(message: Any) -> ServerStatus:
    """Return what a `GetStatusResponse` tells."""
    return ServerStatus(
        {one.name: _read_model(one) for one in message.models},
        _read_probe(message.live),
        _read_probe(message.ready),
        _read_probe(message.healthy),
        message.generation,
    )


def read_explanation(request: str, message: Any) -> Explanation:
    """Return what an `ExplainResponse` tells of *request*."""
    return Explanation(request, _optional_reason(message), message.text)


def read_plan(message: Any) -> RemotePlan:
    """Return what a `PlanResponse` tells."""
    return RemotePlan(
        tuple(message.faults),
        dict(sorted(message.interruptions.items())),
        tuple(message.atomic_obstacles),
        message.text,
    )


def read_reload(message: Any) -> RemoteReload:
    """Return what a `ReloadConfigResponse` tells."""
    return RemoteReload(
        message.well,
        message.generation,
        {
            name: RemoteOutcome(one.outcome, _optional_reason(one), one.required)
            for name, one in sorted(message.models.items())
        },
        message.superseded_by or None,
        message.timed_out,
        message.rolled_back,
        message.text,
    )


def _read_model(message: Any) -> ModelStatus:
    states = sorted(map(read_state, message.versions), key=lambda state: state.id, reverse=True)
    return ModelStatus(
        message.name,
        message.base_path,
        message.platform,
        tuple(message.wanted),
        tuple(states),
        dict(sorted(message.labels.items())),
        _optional_reason(message),
        {
            version: tuple(map(read_worker, one.workers))
            for version, one in sorted(message.workers.items())
        },
    )


def _read_probe(message: Any) -> Probe:
    return Probe(
        message.ok, {name: read_reason(one) for name, one in sorted(message.missing.items())}
    )


def _optional_reason(message: Any) -> Reason | None:
    return read_reason(message.reason) if message.HasField("reason") else None
