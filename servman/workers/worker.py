"""One worker: the life of its processes, one after the other.

Pure: it is told what happens and what time it is, and says what is to be done.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final, final

from servman.worker_state import WorkerState
from servman.workers.budget import Budget
from servman.workers.turns import (
    Admit,
    Child,
    Effect,
    Kill,
    SendUnload,
    Spawn,
    Terminate,
    Withdraw,
)

if TYPE_CHECKING:
    from servman.errors import ServmanError
    from servman.workers.devices import Placement
    from servman.workers.options import Workers

LOST_GRACE: Final = 1.0
"""Seconds for which a process may live on after it has closed a connection: most are at their end."""

TERM_GRACE: Final = 1.0
"""Seconds from SIGTERM to SIGKILL."""

REAP_GRACE: Final = 10.0
"""Seconds after SIGKILL in which a process has gone, unless it hangs in the kernel: then it is sent again."""


class _Step(enum.Enum):
    """What a worker that is stopping was told last."""

    NOTHING = "nothing"  # it seems to end by itself
    UNLOAD = "unload"
    TERMINATE = "SIGTERM"
    KILL = "SIGKILL"


_LIVING: Final = frozenset({WorkerState.STARTING, WorkerState.READY, WorkerState.STOPPING})


@final
class Worker:
    """One worker of a servable, over all of its processes.

    Threads: one.
    """

    def __init__(self, placement: Placement, options: Workers) -> None:
        self.index = placement.index
        self.essential = placement.kind != "extra"  # it serves every call
        self.state = WorkerState.STOPPED
        self.since = 0.0
        self.restarts = 0
        self.error: ServmanError | None = None
        self.due = math.inf  # while it waits: when the pause before its next process is over
        self.budget = Budget(options.max_restarts, options.restart_window)
        self._options = options
        self._incarnation = 0
        self._failures = 0  # since a process has answered a call, or served for long
        self._ready_since: float | None = None
        self._fault: ServmanError | None = None  # what this process said before its end
        self._leaving = False  # was told to unload
        self._unloaded = False
        self._step = _Step.NOTHING
        self._why = ""
        self._deadline: float | None = None  # of STARTING and STOPPING
        self._heard = 0.0
        self._hanging: dict[int, float] = {}

    @property
    def child(self) -> Child:
        """The latest process."""
        return Child(self.index, self._incarnation)

    @property
    def living(self) -> bool:
        """Whether it has a process."""
        return self.state in _LIVING

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self.state is WorkerState.READY

    @property
    def hopeful(self) -> bool:
        """Whether it serves or may yet: nothing was done to end its process."""
        return self.living and (
            self.state is not WorkerState.STOPPING or self._step is _Step.NOTHING
        )

    # What happens to it

    def spawn(self, now: float) -> list[Effect]:
        """Have the next process started."""
        self.restarts += self._incarnation > 0
        self._incarnation += 1
        self._fault = self._ready_since = None
        self._leaving = self._unloaded = False
        self._change(WorkerState.STARTING, now, now + self._options.start_timeout)
        return [Spawn(self.child)]

    def become_ready(self, now: float) -> list[Effect]:
        """It has loaded the servable."""
        if self.state is not WorkerState.STARTING:
            return []
        self._heard = self._ready_since = now
        self._change(WorkerState.READY, now, None)
        return [Admit(self.child)]

    def refuse(self, error: ServmanError, now: float) -> list[Effect]:
        """It could not load the servable: *error* counts, whatever its exit will look like."""
        self._fault = self._fault or error
        return self.kill("could not load the servable", now)

    def hear(self, now: float) -> None:
        """It is alive."""
        self._heard = now

    def abandon_call(self, call: int, now: float) -> None:
        """A caller has gone at its deadline, and the call still runs."""
        if self.ready:
            self._hanging[call] = now + self._options.hang_timeout

    def return_call(self, call: int) -> None:
        """A call that was abandoned has ended."""
        self._hanging.pop(call, None)

    def lose(self, now: float) -> list[Effect]:
        """It has closed a connection."""
        if self.state is WorkerState.STOPPING:
            return []
        return self._stop(
            _Step.NOTHING, now + LOST_GRACE, "closed its connections, lived on and was killed", now
        )

    def unload(self, now: float, *, busy: bool) -> list[Effect]:
        """It is to unload and to end; what serves nothing, or is *busy* still, is ended as it is."""
        if self.state is WorkerState.STOPPING and self._step is _Step.UNLOAD:
            return []
        if not self.ready:
            return self.kill("was stopped before it served", now)
        self._leaving = True
        if busy:
            why = "still worked on a call when it was to unload, and was ended by force"
            withdrawn = self._stop(_Step.TERMINATE, now + TERM_GRACE, why, now)
            return [*withdrawn, Terminate(self.child, why)]
        timeout = self._options.stop_timeout
        why = f"had not unloaded after {timeout:g} s (stop_timeout) and was ended by force"
        return [*self._stop(_Step.UNLOAD, now + timeout, why, now), SendUnload(self.child)]

    def note_unloaded(self, error: ServmanError | None) -> None:
        """It has unloaded, and is about to exit."""
        self._unloaded = True
        self._fault = self._fault or error

    def kill(self, why: str, now: float) -> list[Effect]:
        """Have its process killed, for *why*, unless that has been done."""
        if not self.living or (self.state is WorkerState.STOPPING and self._step is _Step.KILL):
            return []
        effects = self._stop(_Step.KILL, now + REAP_GRACE, why, now)
        return [*effects, Kill(self.child, why)]

    def die(self, error: ServmanError, now: float, *, worked: bool) -> ServmanError | None:
        """The process has ended; return what was wrong with its unload, if it was told to."""
        steady = worked or (
            self._ready_since is not None
            and now - self._ready_since >= self._options.restart_window
        )
        self._failures = 0 if steady else self._failures + 1
        fault = self._fault or (None if self._unloaded else error)
        self.error = fault or self.error
        self._change(WorkerState.WAITING, now, None)
        return fault if self._leaving else None

    def wait(self, chance: float, now: float) -> None:
        """Let the pause before its next process begin; there is none after one that has served well."""
        self.due = now
        if self._failures:
            self.due += self._options.restart_backoff.pause(self._failures, chance)

    def rest(self, state: WorkerState, now: float) -> None:
        """It waits no longer: no process will be started."""
        if not self.living and self.state is not state:
            self._change(state, now, None)

    # Time

    def patience(self) -> float | None:
        """Return when the patience with its process ends, if it has one."""
        if self.ready:
            heartbeat = self._heard + self._options.heartbeat_timeout
            return min((heartbeat, *self._hanging.values()))
        return self._deadline

    def forgive(self, seconds: float) -> None:
        """Do not count time in which whoever watches it has stood still."""
        self._heard += seconds
        self._hanging = {call: due + seconds for call, due in self._hanging.items()}
        if self._deadline is not None:
            self._deadline += seconds

    def unkillable(self, now: float) -> bool:
        """Return whether it should have gone by now, but for SIGKILL."""
        killed = self.state is WorkerState.STOPPING and self._step is _Step.KILL
        return killed and self._deadline is not None and now >= self._deadline

    def expire(self, now: float) -> list[Effect]:
        """End a process that has not done in time what it had to, by the next means."""
        patience = self.patience()
        if patience is None or now < patience:
            return []
        if self.state is WorkerState.STOPPING:
            return self._force(now)
        return self.kill(self._reproach(now), now)

    def _reproach(self, now: float) -> str:
        options = self._options
        if self.state is WorkerState.STARTING:
            what = f"had not loaded the servable after {options.start_timeout:g} s (start_timeout)"
        elif now >= self._heard + options.heartbeat_timeout:
            what = f"had not been heard of for {options.heartbeat_timeout:g} s (heartbeat_timeout)"
        else:
            what = (
                f"had not ended a call {options.hang_timeout:g} s after its deadline (hang_timeout)"
            )
        return f"{what} and was killed"

    def _force(self, now: float) -> list[Effect]:
        match self._step:
            case _Step.NOTHING:
                return self.kill(self._why, now)
            case _Step.UNLOAD:
                self._step, self._deadline = _Step.TERMINATE, now + TERM_GRACE
                return [Terminate(self.child, self._why)]
            case _Step.TERMINATE:
                return self.kill(self._why, now)
            case _Step.KILL:  # again: the first may have come between a fork and an exec
                self._deadline = now + REAP_GRACE
                return [Kill(self.child, self._why)]

    def _stop(self, step: _Step, deadline: float | None, why: str, now: float) -> list[Effect]:
        withdrawn: list[Effect] = [Withdraw(self.child)] if self.ready else []
        self._step, self._why = step, why
        if self.state is WorkerState.STOPPING:
            self._deadline = deadline
        else:
            self._change(WorkerState.STOPPING, now, deadline)
        return withdrawn

    def _change(self, state: WorkerState, now: float, deadline: float | None) -> None:
        self.state, self.since, self._deadline = state, now, deadline
        self.due = math.inf
        self._hanging.clear()
