"""What a core knows about one model, put together for people and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from servman.core.transition import labels_in_words
from servman.manager import HarnessState
from servman.manager.harness import ENDED
from servman.reasons import ReasonCode
from servman.sources.status import listed
from servman.worker_state import ready_count, workers_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servman.core.config import ModelConfig
    from servman.core.transition import Transition
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.manager import ServableStateSnapshot
    from servman.reasons import Reason
    from servman.sources import SourceStatus
    from servman.worker_state import WorkerSnapshot

_UNITS: Final = ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min"))


@final
@dataclass(frozen=True, slots=True)
class VersionDiagnosis:
    """What is known of one version. Times are seconds since the epoch.

    Attributes:
        id: The version.
        state: The manager's own state of it.
        wanted: Whether it is to be served.
        since: When it came into this state.
        attempts: How many loads were started, the running one included.
        retry_at: When the next one is due; None while none is waited for.
        error: What it ended with, or what the last attempt failed with.
        reason: Why it is not available, if it is wanted; None where it is, or is not wanted.
        handles: About how many handles hold it.
        wanted_again: Whether it is on its way out, and comes back afterwards.
        workers: How each process is that it lives in; none where that is the core's own.

    Threads: immutable; any thread.
    """

    id: ServableId
    state: HarnessState
    wanted: bool
    since: float
    attempts: int = 0
    retry_at: float | None = None
    error: ServmanError | None = None
    reason: Reason | None = None
    handles: int = 0
    wanted_again: bool = False
    workers: tuple[WorkerSnapshot, ...] = ()

    @classmethod
    def of(
        cls, snapshot: ServableStateSnapshot, reason: Reason | None, epoch: float
    ) -> VersionDiagnosis:
        """Return what *snapshot* tells; *epoch* is when the manager's clock showed 0."""
        return cls(
            id=snapshot.id,
            state=snapshot.state,
            wanted=snapshot.aspired,
            since=epoch + snapshot.since,
            attempts=snapshot.attempts,
            retry_at=None if snapshot.retry_at is None else epoch + snapshot.retry_at,
            error=snapshot.error,
            reason=reason,
            handles=snapshot.handles,
            wanted_again=snapshot.wanted_again,
            workers=snapshot.workers,
        )

    @property
    def degraded(self) -> bool:
        """Whether it serves, and not by all of its workers."""
        up = self.state is HarnessState.READY
        return up and ready_count(self.workers) < len(self.workers)

    def told(self, now: float, said: Reason | None) -> str:
        """Return it in one line, without what was *said* already."""
        wanted = "" if self.wanted else ", wanted again" if self.wanted_again else ", not wanted"
        handles = f", {counted(self.handles, 'handle')}" if self.handles else ""
        line = f"version {self.id.version}: {self.state.value} for {span(now - self.since)}"
        if self.degraded:
            line += f", by {workers_in_words(self.workers)}"
        why = f": {self._why}" if self._why and self._why not in str(said) else ""
        return f"{line}{wanted}{handles}{why}"

    def workers_told(self, now: float) -> Iterator[str]:
        """Yield a line for each worker; none of what has ended, whose error says it."""
        if self.state not in ENDED:
            for one in self.workers:
                yield worker_line(one, now).replace(f"{self.id}: ", "")

    @property
    def _why(self) -> str:
        if self.reason is not None:
            return "" if self.reason.code is ReasonCode.LOADING else self.reason.text
        return "" if self.error is None else str(self.error)


@final
@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is going on with a model. `str()` is for people, the fields are for programs.

    Attributes:
        name: The model.
        config: How it is configured; None if it is not.
        available: The versions that answer lookups, ascending.
        reason: Why what was asked for is not available; None if it is. Asked for by name, that is the
            newest wanted version.
        versions: What the manager knows of each version, ascending.
        source: What the source knows of the base path; None if the model is not configured.
        request: What was asked for, as a text: the name, or "m:3", or "m@stable".
        next: What happens next by itself; empty where nothing is missing.
        remedy: What you can do; empty where the reason says it.
        labels: Each label with the version that lookups by it find.
        required: Whether the server is not ready, or not well, without it.
        delays_ready: Whether the server is not ready because of it.
        generation: Which configuration is in force.
        origin: Who asked for that.
        history: The last transitions of the model, oldest first.
        time: When this was found out, in seconds since the epoch.

    Threads: immutable; any thread.
    """

    name: str
    config: ModelConfig | None
    available: tuple[ServableId, ...]
    reason: Reason | None
    versions: tuple[VersionDiagnosis, ...]
    source: SourceStatus | None
    request: str = ""
    next: str = ""
    remedy: str = ""
    labels: Mapping[str, int] = field(default_factory=dict, hash=False)
    required: bool = False
    delays_ready: bool = False
    generation: int = 0
    origin: str = ""
    history: tuple[Transition, ...] = ()
    time: float = 0.0

    def __bool__(self) -> bool:
        """Whether all is well: what was asked for is available."""
        return self.reason is None

    @property
    def degraded(self) -> bool:
        """Whether a wanted version serves, and not by all of its workers. All may be well even so."""
        return any(one.degraded for one in self.versions if one.wanted)

    @property
    def wanted(self) -> tuple[int, ...]:
        """The versions that are to be served, ascending."""
        if self.source is not None and self.source.versions:
            return tuple(sorted(self.source.versions))
        return tuple(one.id.version for one in self.versions if one.wanted or one.wanted_again)

    @property
    def found(self) -> tuple[int, ...]:
        """The versions that the last look found on disk, ascending."""
        return () if self.source is None else self.source.found

    @property
    def wanted_labels(self) -> Mapping[str, int]:
        """Each label with the version that it is to name."""
        return {} if self.config is None else self.config.version_labels

    def __str__(self) -> str:
        lines = [self._headline, *self._whys()]
        if self.source is not None:
            lines.extend(self._wanted_lines(self.source))
        for one in self.versions:
            lines.append(one.told(self.time, self.reason))
            lines.extend(f"  {line}" for line in one.workers_told(self.time))
        if self.labels or self.wanted_labels:
            lines.append(f"labels: {labels_in_words(self.wanted_labels, self.labels)}")
        if self.source is not None:
            lines.extend(self._source_lines(self.source))
        lines.extend(self._config_lines())
        lines.extend(f"{span(self.time - one.time)} ago: {one.what}" for one in self.history)
        return "\n  ".join(lines)

    @property
    def _headline(self) -> str:
        served = listed(one.version for one in self.available) if self.available else "no version"
        how = "not well" if not self else "well, but degraded" if self.degraded else "well"
        return f"{self.request or self.name}: {how}, serving {served}"

    def _whys(self) -> Iterator[str]:
        if self.reason is not None:
            yield f"why: {self.reason}"
        if self.next:
            yield f"next: {self.next}"
        if self.remedy:
            yield f"you can: {self.remedy}"

    def _wanted_lines(self, source: SourceStatus) -> Iterator[str]:
        policy = "" if self.config is None else f"{self.config.version_policy}; "
        line = f"wanted: {listed(self.wanted) if self.wanted else 'no version'}"
        line += f" ({policy}on disk {listed(self.found)})"
        if source.versions_since is not None:
            line += f", for {span(self.time - source.versions_since)} ({source.versions_cause})"
        yield line
        for version in source.missing:
            yield f"version {version}: not on disk"
        for one in source.incomplete:
            yield f"{one}"

    def _source_lines(self, source: SourceStatus) -> Iterator[str]:
        if self.config is not None:
            yield f"base path {self.config.base_path} ({self.config.platform}), {self._looks(source)}"
        # What is served goes on being served when its base path cannot be read: no reason tells.
        if source.error is not None and str(source.error) != str(self.reason):
            since = source.error_since or self.time
            yield f"looks have failed for {span(self.time - since)}: {source.error}"
        for name in source.ignored:
            yield f"ignored: {name}"

    def _looks(self, source: SourceStatus) -> str:
        if source.looking_since is not None:
            return f"a look has been hanging for {span(self.time - source.looking_since)}"
        if source.last_look is None:
            return "not looked at yet"
        looked = f"looked at {span(self.time - source.last_look)} ago"
        if source.watched:
            return f"{looked}, file events are followed"
        return f"{looked}, polled" + (
            f" ({source.why_not_watched})" if source.why_not_watched else ""
        )

    def _config_lines(self) -> Iterator[str]:
        if self.config is None:
            return
        line = "required" if self.required else "optional"
        if self.delays_ready:
            line += ", keeps the server from being ready"
        by = f" ({self.origin})" if self.origin else ""
        yield f"configured: generation {self.generation}{by}; {line}"


def worker_line(worker: WorkerSnapshot, now: float) -> str:
    """Return what is known of *worker*, as of *now*, in one line."""
    device = f"device {worker.device}, " if worker.device is not None else ""
    extra = "extra, " if worker.kind == "extra" else ""
    process = "no process" if worker.pid is None else f"process {worker.pid}"
    line = f"worker {worker.index} ({extra}{device}{process}): {worker.state.value}"
    line += f" for {span(now - worker.since)}"
    if worker.due is not None:
        line += f", to be started again in {span(worker.due - now)}"
    if worker.running:
        line += f", {worker.running} call{'s' * (worker.running != 1)}"
    if worker.restarts:
        line += f", started anew {worker.restarts} time{'s' * (worker.restarts != 1)}"
    if worker.trouble:
        line += f", lately: {worker.trouble}"
    return line if worker.log_path is None else f"{line}, log {worker.log_path}"


def span(seconds: float) -> str:
    """Return how long that is, as people say it: "0.4 s", "12 min"; times that cannot be are 0."""
    seconds = max(0.0, seconds)
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{math.floor(seconds / size)} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 -- two digits


def counted(count: int, what: str) -> str:
    """Return "1 handle", or "about 3 handles"."""
    return f"1 {what}" if count == 1 else f"about {count} {what}s"
