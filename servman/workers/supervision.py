"""What is to be done about the workers of one version, decided from what happens to them.

Pure: no thread, no process, no clock; chance is handed in. Its rules:

1. *The start is one whole.* It has succeeded when `min_replicas` replicas are ready (with all of them, the
   extra workers as well), and failed when that cannot come true any more. Then every process is killed,
   and the failure told when the last one has ended.
2. *What serves is replaced*, whatever ended it, exit code 0 as well: at once where it has answered a call, else
   after a pause that grows, and within a budget for each worker (see `budget`).
3. *A process is ended* that is not ready in time, is not heard of, does not end a call in time, or closes its
   connections.
4. *A version is given up* when no replica has a process and none may be started. While another serves, a
   worker without budget waits until it has one again. An extra worker never ends a version.
5. *Time in which the supervisor itself stood still is nobody's fault*: it is added to every patience.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final, assert_never, final

from servman.errors import ClosedError, InternalError, WorkerDiedError
from servman.worker_state import WorkerState
from servman.workers.budget import ServingTime
from servman.workers.turns import (
    Abandon,
    BecameReady,
    CallAbandoned,
    CallReturned,
    ChildEvent,
    Closed,
    CloseRequested,
    ConnectionLost,
    Died,
    Effect,
    Event,
    GaveUp,
    HeartBeat,
    Loaded,
    LoadRefused,
    SpawnFailed,
    StartCancelled,
    StartFailed,
    StartRequested,
    TimePassed,
    Unloaded,
)
from servman.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.workers.devices import Placement
    from servman.workers.options import Workers
    from servman.workers.turns import Child

OVERSLEPT: Final = 1.0
"""Seconds by which a wake-up is late when the supervisor has stood still: the host was stopped, say."""


class _Phase(enum.Enum):
    NEW = "new"
    LOADING = "loading"
    SERVING = "serving"
    ENDING = "ending"  # no process is started any more


@final
class Supervision:
    """Decides about the workers of one version; see the module.

    Args:
        id: The version.
        placements: The workers, in the order of their indices.
        options: How they are supervised.
        chance: Draws a number from [0, 1).

    Attributes:
        workers: Each as it is, for reading.

    Threads: one.
    """

    def __init__(
        self,
        id: ServableId,
        placements: Sequence[Placement],
        options: Workers,
        chance: Callable[[], float],
    ) -> None:
        self.workers = tuple(Worker(placement, options) for placement in placements)
        self._id = id
        self._options = options
        self._chance = chance
        self._phase = _Phase.NEW
        self._serving = ServingTime()
        self._wake: float | None = None
        self._start_fault: ServmanError | Worker | None = None  # to be told when all has ended
        self._closing = False  # and not yet told that all has ended
        self._unload_fault: ServmanError | None = None
        self._end = WorkerState.STOPPED  # where a worker without process is in the phase ENDING

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Return what is to be done after *event*, in this order."""
        effects = self._take(event, now)
        self._serving.run(any(worker.ready for worker in self.workers if worker.essential), now)
        effects += self._settle(now)
        self._wake = self._next_wake(now)
        return effects

    def wake_at(self) -> float | None:
        """Return when `TimePassed` is due: after everything else that has happened until then."""
        return self._wake

    # Events

    def _take(self, event: Event, now: float) -> list[Effect]:
        match event:
            case StartRequested():
                return self._start(now)
            case StartCancelled():
                return self._cancel(event.error, now)
            case CloseRequested():
                return self._close(event.busy, now)
            case TimePassed():
                return self._pass_time(now)
            case _:
                worker = self.workers[event.child.index]
                late = event.child != worker.child or not worker.living
                return [] if late else self._take_of(worker, event, now)

    def _take_of(self, worker: Worker, event: ChildEvent, now: float) -> list[Effect]:
        match event:
            case BecameReady():
                return worker.become_ready(now)
            case LoadRefused():
                return worker.refuse(event.error, now)
            case ConnectionLost():
                return worker.lose(now)
            case SpawnFailed():
                self._bury(worker, event.error, now, worked=False)
            case Died():
                self._bury(worker, event.error, now, worked=event.worked)
            case HeartBeat():
                worker.hear(now)
            case CallAbandoned():
                worker.abandon_call(event.call, now)
            case CallReturned():
                worker.return_call(event.call)
            case Unloaded():
                worker.note_unloaded(event.error)
            case _:
                assert_never(event)
        return []

    def _start(self, now: float) -> list[Effect]:
        if self._phase is not _Phase.NEW:
            return []
        self._phase = _Phase.LOADING
        return [effect for worker in self.workers for effect in worker.spawn(now)]

    def _cancel(self, error: ServmanError, now: float) -> list[Effect]:
        if self._phase is not _Phase.LOADING:
            return []
        return self._fail_start(error, now)

    def _close(self, busy: frozenset[Child], now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self._phase is _Phase.LOADING:
            closed = ClosedError(f"{self._id}: closed while its workers started")
            effects += self._fail_start(closed, now)
        self._phase, self._closing = _Phase.ENDING, True
        for worker in self.workers:
            effects += worker.unload(now, busy=worker.child in busy)
        return effects

    def _bury(self, worker: Worker, error: ServmanError, now: float, *, worked: bool) -> None:
        fault = worker.die(error, now, worked=worked)
        worker.wait(self._chance(), now)
        self._unload_fault = self._unload_fault or fault

    def _pass_time(self, now: float) -> list[Effect]:
        if self._wake is not None and now - self._wake >= OVERSLEPT:
            for worker in self.workers:
                worker.forgive(now - self._wake + self._options.heartbeat_interval)
        effects: list[Effect] = []
        for worker in self.workers:
            if self._phase is _Phase.ENDING and worker.unkillable(now):
                stuck = self._stuck(worker)
                self._bury(worker, stuck, now, worked=False)
                self._unload_fault = stuck
                effects.append(Abandon(worker.child))
            effects += worker.expire(now)
        return effects

    # What follows from where the workers are

    def _settle(self, now: float) -> list[Effect]:
        if self._phase is _Phase.LOADING:
            effects = self._judge_start(now)
        elif self._phase is _Phase.SERVING:
            effects = self._replace(now) or self._judge(now)
        else:
            effects = []
        if self._phase is _Phase.ENDING:
            effects += self._end_all(now)
        return effects

    def _judge_start(self, now: float) -> list[Effect]:
        if self._suffice([worker for worker in self.workers if worker.ready]):
            self._phase = _Phase.SERVING
            return [Loaded(), *self._replace(now)]
        if self._suffice([worker for worker in self.workers if worker.hopeful]):
            return []
        return self._fail_start(next(each for each in self.workers if not each.hopeful), now)

    def _suffice(self, workers: Sequence[Worker]) -> bool:
        if self._options.min_replicas is None:
            return len(workers) == len(self.workers)
        return sum(worker.essential for worker in workers) >= self._options.min_replicas

    def _fail_start(self, fault: ServmanError | Worker, now: float) -> list[Effect]:
        self._start_fault = fault
        return self._kill_all("was stopped, as the servable is not loaded after all", now)

    def _replace(self, now: float) -> list[Effect]:
        """Start what has waited long enough and is within its budget."""
        effects: list[Effect] = []
        for worker in self.workers:
            if now >= self.start_at(worker, now):
                worker.budget.spend(self._serving.at(now))
                effects += worker.spawn(now)
        return effects

    def start_at(self, worker: Worker, now: float) -> float:
        """Return when *worker* starts anew; infinity while it has no budget, or a process."""
        return max(worker.due, self._serving.when(worker.budget.free_at(), now))

    def _judge(self, now: float) -> list[Effect]:
        """Give the version up when no replica will ever serve again."""
        replicas = [worker for worker in self.workers if worker.essential]
        if any(worker.living or self.start_at(worker, now) < math.inf for worker in replicas):
            return []
        last = max(replicas, key=lambda worker: worker.since)
        self._end = WorkerState.GIVEN_UP
        return [
            GaveUp(self._exhausted(last)),
            *self._kill_all("was stopped, as the servable was given up", now),
        ]

    def _exhausted(self, last: Worker) -> ServmanError:
        allowed = f"{self._options.max_restarts} in {self._options.restart_window:g} s of serving"
        text = (
            f"{self._id}: no replica serves, and none may be started again ({allowed}: max_restarts,"
            f" restart_window); correct what ends them, or allow for more. The last one: {last.error}"
        )
        if not isinstance(last.error, WorkerDiedError):
            return WorkerDiedError(text)
        return WorkerDiedError(
            text,
            exit_code=last.error.exit_code,
            signal=last.error.signal,
            log_tail=last.error.log_tail,
        )

    def _kill_all(self, why: str, now: float) -> list[Effect]:
        self._phase = _Phase.ENDING
        return [effect for worker in self.workers for effect in worker.kill(why, now)]

    def _end_all(self, now: float) -> list[Effect]:
        for worker in self.workers:
            worker.rest(self._end, now)
        effects: list[Effect] = []
        if any(worker.living for worker in self.workers):
            return effects
        if fault := self._start_fault:
            error = fault.error if isinstance(fault, Worker) else fault
            effects.append(StartFailed(error or InternalError(f"{self._id}: a worker has ended")))
            self._start_fault = None
        if self._closing:
            effects.append(Closed(self._unload_fault))
            self._closing = False
        return effects

    def _next_wake(self, now: float) -> float | None:
        times = [patience for worker in self.workers if (patience := worker.patience()) is not None]
        if self._phase is _Phase.SERVING:
            times += [self.start_at(worker, now) for worker in self.workers]
        wake = min(times, default=math.inf)
        return None if wake == math.inf else wake

    def _stuck(self, worker: Worker) -> ServmanError:
        return InternalError(
            f"{self._id}: the process of worker {worker.index} does not end after SIGKILL; it hangs in the"
            " kernel, in a file system that does not answer, say, and is left there"
        )
