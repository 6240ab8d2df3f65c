"""What outsiders may know of one worker, at one moment."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.errors import ServmanError


@final
class WorkerState(enum.Enum):
    """Where one worker of a servable is; the value is what people read."""

    STARTING = "starting"
    """Its process was started, and has not said yet that the servable is loaded."""

    READY = "ready"
    """It takes calls."""

    STOPPING = "stopping"
    """It takes no calls any more, and its process has not ended yet."""

    WAITING = "waiting"
    """Its process has ended; the next one starts after a pause, or when the budget allows it."""

    GIVEN_UP = "given up"
    """Its process has ended, and none will be started, for the whole servable was given up."""

    STOPPED = "stopped"
    """There is no process, and none is wanted: not started yet, or closed."""


@final
@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker of a servable, as it was when this was taken.

    Attributes:
        index: Its place among the workers of the servable, from 0; kept over restarts.
        kind: "device" where it has a device of its own, "extra" where it takes the work that needs none,
            "plain" otherwise.
        device: The number of its device, or None.
        pid: The process that holds the servable, or None where there is none.
        state: Where it is.
        restarts: How often another process has taken its place.
        since: When it came into this state, in seconds since the epoch.
        running: How many calls it is working on.
        error: Why its last process ended, or None; kept after a restart, for people to read.
        log_path: The file that its output goes to, or None where it goes elsewhere.
        due: When its next process is to be started, in seconds since the epoch; None while none is waited for,
            or none is allowed for.

    Threads: immutable; any thread.
    """

    index: int
    kind: str
    device: int | None
    pid: int | None
    state: WorkerState
    restarts: int
    since: float
    running: int
    error: ServmanError | None
    log_path: str | None
    due: float | None = None

    @property
    def trouble(self) -> str:
        """The first line of `error`; empty where there is none."""
        return "" if self.error is None else next(iter(str(self.error).splitlines()), "")

    def told(self, now: float) -> str:
        """Say in a few words where it is, and why, as of *now*, in seconds since the epoch."""
        text = f"worker {self.index} is {self.state.value}"
        if self.state is WorkerState.WAITING:
            wait = "" if self.due is None else f" {max(0.0, self.due - now):.1f} s"
            text = f"worker {self.index} waits{wait} to be started again"
        return f"{text}: {self.trouble}" if self.trouble else text


def ready_count(workers: Sequence[WorkerSnapshot]) -> int:
    """Return how many of *workers* take calls."""
    return sum(worker.state is WorkerState.READY for worker in workers)


def workers_in_words(workers: Sequence[WorkerSnapshot]) -> str:
    """Return how many of *workers* take calls, for a sentence: "1 of 2 workers"."""
    return f"{ready_count(workers)} of {len(workers)} worker{'s' * (len(workers) != 1)}"


def workers_as_facts(workers: Sequence[WorkerSnapshot]) -> dict[str, Any]:
    """Return how many of *workers* take calls, and how many there are; nothing where there are none."""
    return {"workers": len(workers), "workers_ready": ready_count(workers)} if workers else {}
