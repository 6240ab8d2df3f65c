"""The workers of one loaded version: started together, watched over, and stopped together."""

from __future__ import annotations

import dataclasses
import os
import random
import threading
from typing import TYPE_CHECKING, Any, Final, cast, final

from servman.clock import SystemClock
from servman.errors import ClosedError, FailedPreconditionError, LoadCancelledError, settled
from servman.forks import tie, watch
from servman.workers.assignment import assign
from servman.workers.calls import Calls
from servman.workers.delivery import LineDelivery
from servman.workers.devices import lease, plan, worker_environment
from servman.workers.dispatch import Dispatcher
from servman.workers.logs import log_name
from servman.workers.process import WorkerProcess
from servman.workers.servable import worker_servable
from servman.workers.supervision import Supervision
from servman.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.loader import LoadContext, Loader
    from servman.worker_state import WorkerSnapshot
    from servman.workers.devices import Lease, Placement
    from servman.workers.messages import Assignment, Description
    from servman.workers.options import Workers
    from servman.workers.servable import WorkerServable
    from servman.workers.turns import Child

_CLOCK: Final = SystemClock()

_LOG_GRACE: Final = 1.0
"""Seconds that a log callback has for what is left when the last process has gone."""


@final
class WorkerGroup:
    """The processes that hold one version of a servable.

    Args:
        loader: Loads the version; it is pickled, and every process loads with a copy of its own.
        context: What the loader is told: id, path and attempt go to the processes, `cancelled` ends the start,
            and `report_failure` is called once when the budget of restarts is spent and nothing serves.
        workers: How many processes, where, and how they are supervised; without `faults`.
        clock: The time; it is read only, as waits are for processes, which keep their own.

    Threads: any.
    """

    def __init__(
        self, loader: Loader, context: LoadContext, workers: Workers, *, clock: Clock = _CLOCK
    ) -> None:
        self._loader = loader
        self._context = context
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()  # guards `_begun` and `_closed`
        self._begun = False
        self._closed = False
        self._lease: Lease | None = None
        self._assignment: Assignment
        self._log_dir: str | None = None
        placements = plan(workers)
        self._dispatcher = Dispatcher(
            context.id,
            max_queue=workers.max_queue,
            hold_timeout=workers.hold_timeout,
            start_timeout=workers.start_timeout,
            several=workers.replica_count > 1,
            why=self._why,
            on_abandoned=lambda slot: self._supervisor.abandoned(slot),  # noqa: PLW0108 -- not there yet
            on_lost=lambda key: self._supervisor.lost(cast("Child", key)),
            clock=clock,
        )
        self._calls = Calls(context.id, workers, self._dispatcher, clock=clock)
        self._delivery = LineDelivery(context.id, workers.log, clock)
        self._supervisor = Supervisor(
            context.id,
            placements=placements,
            supervision=Supervision(context.id, placements, workers, random.random),
            start_process=self._start_process,
            dispatcher=self._dispatcher,
            delivery=self._delivery,
            on_give_up=context.report_failure,
            clock=clock,
        )
        tie(self, self._supervisor, self._dispatcher, self._calls, self._delivery)

    def start(self) -> WorkerServable:
        """Start every process, and return the servable when `min_replicas` replicas have loaded it; once.

        Blocks: until then, or until no process is left.

        Raises:
            LoadCancelledError: `context.cancelled` was set, and no process is left.
            ClosedError: `close` was called, and no process is left.
            InvalidArgumentError: The loader cannot be sent to another process.
            FailedPreconditionError: Another servable has a device that was asked for.
            WorkerDiedError: A process ended, or had to be ended, before all were ready.
            ServmanError: What the loader raised in the first process that failed.
        """
        watch(self)
        with self._lock:
            refusal = self._refusal_locked()
            self._begun = True
        if refusal is not None:
            raise refusal
        try:
            return self._start()
        except BaseException:
            self._supervisor.abort()
            self._end()
            raise

    def close(self, deadline: float | None) -> None:
        """Let running calls finish until *deadline*, then unload in every process, and end them all.

        A process that still works on a call then, or that has not unloaded `stop_timeout` seconds later, is
        ended by SIGTERM, and a second later by SIGKILL. Idempotent; further calls wait for the first one's end.

        Blocks: until no process is left.

        Raises:
            FailedPreconditionError: It was called by `report_failure`, which it would wait for.
            ServmanError: What was wrong with the unload in the first process where something was. All the same
                none is left.
        """
        if self._supervisor.runs_here():
            raise FailedPreconditionError(
                f"{self._context.id}: report_failure must not unload what it tells of, but have it done by"
                " another thread"
            )
        with self._lock:
            self._closed = True
            begun = self._begun
        if begun:
            self._dispatcher.close()
            self._dispatcher.drain(deadline)
            self._supervisor.close()
            fault = self._end()
            if fault is not None:
                raise settled(fault) from None

    def abandon(self) -> None:
        """Have every process end although the servable may be in use; a call that runs fails. Never blocks.

        They unload first, as far as they are not busy, and get SIGTERM and SIGKILL as in `close`.
        """
        with self._lock:
            self._closed = True
            begun = self._begun
        if begun:
            self._dispatcher.close()
            self._supervisor.close()

    def snapshots(self) -> tuple[WorkerSnapshot, ...]:
        """Return how each worker is, in the order of `index`; none before the start. Takes no lock."""
        return tuple(
            dataclasses.replace(snapshot, running=self._dispatcher.running(child))
            for child, snapshot in self._supervisor.snapshots()
        )

    def _refusal_locked(self) -> Exception | None:
        if self._closed:
            return ClosedError(f"{self._context.id}: closed before its workers were started")
        if self._begun:
            return FailedPreconditionError(
                f"{self._context.id}: its workers were started already; make another group"
            )
        return None

    def _start(self) -> WorkerServable:
        workers = self._workers
        self._assignment = assign(
            self._loader, self._context, heartbeat_interval=workers.heartbeat_interval
        )
        if workers.log_dir is not None:
            self._log_dir = os.path.abspath(workers.log_dir)  # noqa: PTH100 -- a text; the host may go elsewhere
        self._lease = lease(self._context.id, workers)
        self._supervisor.ended.add_done_callback(self._clear_away)
        self._supervisor.begin()
        servable = worker_servable(self._context.id, self._started(), self._calls, self.snapshots)
        tie(self, servable)
        return servable

    def _started(self) -> Description:
        self._context.cancelled.call_when_set(self._cancel)
        try:
            return self._supervisor.started.result()
        except Exception as error:  # noqa: BLE001 -- shared with whoever else looks at the future
            raise settled(error) from None

    def _cancel(self) -> None:
        self._supervisor.cancel(
            LoadCancelledError(
                f"{self._context.id}: no longer wanted while its workers started, which were killed"
            )
        )

    def _end(self) -> BaseException | None:
        """Wait until no process is left, clear away, and return what was wrong with the unload."""
        fault = self._supervisor.ended.exception()
        self._supervisor.join(None)
        self._clear_away()
        return fault

    def _clear_away(self, _: object = None) -> None:
        """Clear away what no process uses any more; a second time nothing happens."""
        self._delivery.close(self._clock.monotonic() + _LOG_GRACE)
        if self._lease is not None:
            self._lease.release()

    def _start_process(self, placement: Placement) -> WorkerProcess:
        """Start the process of one worker. On the supervisor's thread."""
        workers, path = self._workers, None
        if self._log_dir is not None:
            path = os.path.join(self._log_dir, log_name(self._context.id, placement.index))  # noqa: PTH118 -- a text
        hook: Any = getattr(self._loader, "device_environment", None)
        platform = {} if hook is None or placement.device is None else hook(placement.device)
        return WorkerProcess.start(
            self._assignment,
            environment=worker_environment(workers, placement, platform),
            concurrency=workers.concurrency,
            log_path=path,
        )

    def _why(self) -> str:
        now = self._clock.wall()
        return "; ".join(snapshot.told(now) for snapshot in self.snapshots())
