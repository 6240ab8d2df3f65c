"""Whether a server lives, is ready, and is well, and what it lacks where it is not."""

from __future__ import annotations

import itertools
import threading
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from servman.core.server_core import ServerCore
    from servman.events import Event

_NAMED: Final = 5
"""How many models a text names at most."""


@final
class MissingModels(Mapping[str, Reason]):
    """The models that are missing, each with the reason why.

    Which ones is fixed; a reason is looked up when it is read, so that nobody pays for ten thousand of
    them who only wants to know whether there are any.

    Threads: any.
    """

    def __init__(self, names: Collection[str], explain: Callable[[str], Reason]) -> None:
        self._names = names
        self._explain = explain

    def __getitem__(self, name: str) -> Reason:
        if name not in self._names:
            raise KeyError(name)
        return self._explain(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"MissingModels({sorted(self._names)!r})"


_nothing_missing: Final[Mapping[str, Reason]] = types.MappingProxyType({})


@final
@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer to a probe: true where all is well. `str()` tells what is not.

    Attributes:
        what: What was asked: "live", "ready" or "healthy".
        reasons: What is wrong with the server as a whole: not started, closed, no models.
        missing: The required models that it lacks, each with the reason.

    Threads: any.
    """

    what: str
    reasons: tuple[Reason, ...]
    missing: Mapping[str, Reason]

    def __bool__(self) -> bool:
        return not self.reasons and not self.missing

    def __str__(self) -> str:
        if self:
            return self.what
        texts = [reason.text for reason in self.reasons]
        texts += [
            f"{name} ({self.missing[name]})" for name in itertools.islice(self.missing, _NAMED)
        ]
        if len(self.missing) > _NAMED:
            texts.append(f"and {len(self.missing) - _NAMED} more models")
        return f"not {self.what}: {'; '.join(texts)}"


@final
class Probes:
    """Answers whether a core lives, is ready, and is well.

    Args:
        core: The core.
        alive: Tells of each part with a thread whether that runs.
        roll: Which models have been available.
        explain: Says why a model is not available.
        without_models: Whether a server without models is ready.

    Threads: any. Nothing is waited for.
    """

    def __init__(
        self,
        core: ServerCore,
        alive: Mapping[str, Callable[[], bool]],
        roll: Roll,
        explain: Callable[[str], Reason],
        *,
        without_models: bool,
    ) -> None:
        self._core = core
        self._alive = alive
        self._roll = roll
        self._explain = explain
        self._without_models = without_models

    @property
    def live(self) -> Readiness:
        """Whether the core was started, was not closed, and its threads run."""
        return Readiness("live", self._wrong(), _nothing_missing)

    @property
    def ready(self) -> Readiness:
        """Whether it lives, and every required model was available once; see `Roll`."""
        return self._readiness("ready", self._roll.awaited)

    @property
    def healthy(self) -> Readiness:
        """Whether it lives, and every required model is available now."""
        return self._readiness("healthy", self._roll.absent)

    def _readiness(self, what: str, names: Collection[str]) -> Readiness:
        reasons = self._wrong()
        if not self._roll.models and not self._without_models:
            text = "no model is configured; add one, or set ServerCoreOptions.ready_without_models"
            reasons += (Reason(ReasonCode.NOT_CONFIGURED, text),)
        missing = MissingModels(names, self._explain) if names else _nothing_missing
        return Readiness(what, reasons, missing)

    def _wrong(self) -> tuple[Reason, ...]:
        if self._core.closed:
            return (Reason(ReasonCode.CLOSED, "the server core is closed or closing"),)
        if not self._core.started:
            text = "the server core was not started; call start()"
            return (Reason(ReasonCode.NOT_LOOKED_YET, text),)
        return tuple(
            Reason(ReasonCode.UNKNOWN, f"the thread of the {part} has ended; start the server anew")
            for part, runs in self._alive.items()
            if not runs()
        )


@final
class Roll:
    """Keeps which required models have been available, and which are.

    It is written inside `EventBus.publish`, so whoever was told that a model is available finds it here. What
    an event costs, and what a question costs where nothing is missing, does not depend on how many models there are.

    A server that was ready stays so, whatever a reload brings, until it is left without models. Until then
    every required model of the configuration in force counts, and one that was available once since it
    was configured counts as there.

    Threads: any. Reading takes no lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards writing everything below
        self._generation = 0
        self._models = 0
        self._required: frozenset[str] = frozenset()
        self._available: dict[str, set[int]] = {}  # of any model, required or not
        # Of the required ones: those that have never been available, and those that are not.
        self._awaited: set[str] = set()
        self._absent: set[str] = set()
        self._was_ready = False

    def configure(self, generation: int, models: int, required: Iterable[str]) -> None:
        """Take up the configuration that comes into force now. One that is older than the last is ignored.

        Args:
            generation: Its number.
            models: How many models it has.
            required: The names of those that are required.
        """
        wanted = frozenset(required)
        with self._lock:
            if generation < self._generation:
                return
            self._generation = generation
            added, removed = wanted - self._required, self._required - wanted
            missing = {name for name in added if name not in self._available}
            self._models, self._required = models, wanted
            self._absent = (self._absent - removed) | missing
            self._awaited = (self._awaited - removed) | missing
            self._was_ready = self._was_ready and models > 0
            self._look_locked()

    def record(self, event: Event) -> None:
        """Take in *event*; called by the bus."""
        if not isinstance(event, ServableState):
            return
        name, version = event.id.name, event.id.version
        if event.manager_state is ManagerState.AVAILABLE:
            with self._lock:
                self._available.setdefault(name, set()).add(version)
                self._absent.discard(name)
                self._awaited.discard(name)
                self._look_locked()
        elif event.manager_state >= ManagerState.UNLOADING:
            with self._lock:
                self._leave_locked(name, version)

    @property
    def models(self) -> int:
        """How many models are configured."""
        return self._models

    @property
    def awaited(self) -> Collection[str]:
        """The required models that keep the server from being ready. A copy, made where there are any."""
        return () if self._was_ready or not self._awaited else self._awaited.copy()

    @property
    def absent(self) -> Collection[str]:
        """The required models that are not available now. A copy, made where there are any."""
        return self._absent.copy() if self._absent else ()

    def required(self, name: str) -> bool:
        """Return whether *name* is a model that is required."""
        return name in self._required

    def awaits(self, name: str) -> bool:
        """Return whether *name* keeps the server from being ready."""
        return not self._was_ready and name in self._awaited

    def _leave_locked(self, name: str, version: int) -> None:
        versions = self._available.get(name)
        if versions is None:
            return
        versions.discard(version)
        if not versions:
            del self._available[name]
            if name in self._required:
                self._absent.add(name)

    def _look_locked(self) -> None:
        if self._models and not self._awaited:
            self._was_ready = True
