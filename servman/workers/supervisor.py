"""The thread that watches over the workers of one version, and does what `supervision` decides."""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import selectors
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, assert_never, cast, final

from servman.errors import InternalError, ResourceExhaustedError, WorkerDiedError, settled
from servman.log import Log
from servman.threads import join, spawn
from servman.worker_state import WorkerSnapshot
from servman.workers.mailbox import Mailbox
from servman.workers.turns import (
    Abandon,
    Admit,
    Closed,
    CloseRequested,
    ConnectionLost,
    Died,
    GaveUp,
    Kill,
    Loaded,
    SendUnload,
    Spawn,
    SpawnFailed,
    StartCancelled,
    StartFailed,
    StartRequested,
    Terminate,
    TimePassed,
    Withdraw,
)
from servman.workers.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.threads import Thread
    from servman.workers.delivery import LineDelivery
    from servman.workers.devices import Placement
    from servman.workers.dispatch import Dispatcher
    from servman.workers.fleet import Slot
    from servman.workers.messages import Description
    from servman.workers.process import WorkerProcess
    from servman.workers.supervision import Supervision
    from servman.workers.turns import Child, Effect, Event
    from servman.workers.worker import Worker

_log = Log(__name__)

_LONGEST_WAIT = 86_400.0  # seconds; longer waits overflow those of the system


@final
class Supervisor:
    """Starts the processes of one version, watches them, and replaces and ends them.

    Args:
        id: The version.
        placements: The workers, in the order of their indices.
        supervision: Decides what is done.
        start_process: Starts the process of a worker.
        dispatcher: Is told which processes take calls.
        delivery: Takes the lines that they write.
        on_give_up: Is told once why nothing serves any more; on the thread, and may raise.
        clock: The time.

    Attributes:
        started: Its result is what the servable says of itself, its error why the start failed.
        ended: Done when no process is left for good; its error is what was wrong with the unloading.

    Threads: any.
    """

    def __init__(
        self,
        id: ServableId,
        *,
        placements: Sequence[Placement],
        supervision: Supervision,
        start_process: Callable[[Placement], WorkerProcess],
        dispatcher: Dispatcher,
        delivery: LineDelivery,
        on_give_up: Callable[[ServmanError], object],
        clock: Clock,
    ) -> None:
        self.started: Future[Description] = Future()
        self.ended: Future[None] = Future()
        self._id = id
        self._placements = placements
        self._supervision = supervision
        self._start_process = start_process
        self._dispatcher = dispatcher
        self._delivery = delivery
        self._on_give_up = on_give_up
        self._clock = clock
        self._mailbox: Mailbox[Callable[[], None]] = Mailbox()
        self._undo = contextlib.ExitStack()
        self._thread: Thread | None = None
        self._epoch = clock.wall() - clock.monotonic()
        # What follows is the thread's own, but for the snapshots, which are replaced as a whole.
        self._selector: selectors.BaseSelector
        self._vigils: dict[Child, Vigil] = {}
        self._events: collections.deque[Event] = collections.deque()
        self._snapshots: tuple[tuple[Child, WorkerSnapshot], ...] = ()

    def begin(self) -> None:
        """Start the thread, and with it the processes; once. What was asked for before is done then.

        Raises:
            ResourceExhaustedError: There is no thread or descriptor left; `ended` is done.
        """
        try:
            self._open()
            self._thread = spawn(f"workers-{self._id}", self._run, owner=self)
        except BaseException:
            self._clear_away()
            raise

    def cancel(self, error: ServmanError) -> None:
        """End a start that has not succeeded yet, for *error*. Never blocks."""
        self._post(StartCancelled(error))

    def close(self) -> None:
        """Have all processes unload and end; those that still work on a call, by force. Never blocks."""
        self._mailbox.post(self._request_close)

    def abort(self) -> None:
        """Close; and where it has not begun, which it then will not, call it ended."""
        if self._thread is None:
            self._clear_away()
        else:
            self.close()

    def abandoned(self, slot: Slot) -> None:
        """Take over *slot*, whose caller has gone while its call runs. Never blocks."""
        self._mailbox.post(functools.partial(self._await_reply, slot))

    def lost(self, child: Child) -> None:
        """Note that *child* has closed a connection. Never blocks."""
        self._post(ConnectionLost(child))

    def snapshots(self) -> tuple[tuple[Child, WorkerSnapshot], ...]:
        """Return how each worker was at the last change. Takes no lock."""
        return self._snapshots

    def join(self, deadline: float | None) -> bool:
        """Wait for the thread, which is at its end; return whether it has ended."""
        return self._thread is None or join(self._thread, self._clock, deadline)

    def runs_here(self) -> bool:
        """Return whether the caller runs on this thread, as `on_give_up` does."""
        return self._thread is threading.current_thread()

    def _post(self, event: Event) -> None:
        self._mailbox.post(functools.partial(self._tell, event))

    # What follows runs on the thread

    def _run(self) -> None:
        try:
            self._selector.register(self._mailbox, selectors.EVENT_READ, self._read_mail)
            self._tell(StartRequested())
            self._settle()
            while not self._over():
                self._turn()
        except BaseException as error:  # noqa: BLE001 -- no process may be left without its supervisor
            self._break_down(error)
        finally:
            self._clear_away()

    def _over(self) -> bool:
        """Return whether nothing will happen any more: the start has failed, or all was closed."""
        return self.ended.done() or (self.started.done() and self.started.exception() is not None)

    def _turn(self) -> None:
        wake = self._supervision.wake_at()
        timeout = None if wake is None else max(0.0, wake - self._clock.monotonic())
        for key, _ in self._selector.select(
            None if timeout is None else min(timeout, _LONGEST_WAIT)
        ):
            # One that was ready with it may have ended it, and its number have gone to another.
            if self._selector.get_map().get(key.fileobj) == key:
                key.data()
                self._settle()
        self._tell(TimePassed())
        self._settle()
        self._publish()

    def _read_mail(self) -> None:
        for act in self._mailbox.take():
            act()

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def _settle(self) -> None:
        while self._events:
            event = self._events.popleft()
            for effect in self._supervision.handle(event, self._clock.monotonic()):
                self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Spawn():
                self._spawn(effect.child)
            case Admit() | Withdraw():
                self._change_admission(effect)
            case SendUnload() | Terminate() | Kill() | Abandon():
                self._change_process(effect)
            case Loaded() | StartFailed() | GaveUp() | Closed():
                self._publish()  # before anybody is told
                self._announce(effect)
            case _:
                assert_never(effect)

    def _spawn(self, child: Child) -> None:
        before = self._supervision.workers[child.index].error
        if before is not None:
            _log.warning("a worker is started again, for %s", before)
        try:
            process = self._start_process(self._placements[child.index])
        except BaseException as error:  # noqa: BLE001 -- the hook of a platform may raise anything
            self._tell(SpawnFailed(child, settled(error)))
            return
        vigil = Vigil(
            self._id,
            child,
            process,
            selector=self._selector,
            tell=self._tell,
            deliver=self._delivery.put,
        )
        self._vigils[child] = vigil
        vigil.begin(self._bury)

    def _change_admission(self, effect: Admit | Withdraw) -> None:
        child = effect.child
        vigil = self._vigils.get(child)
        if isinstance(effect, Withdraw):
            self._dispatcher.withdraw(child)
        elif vigil is not None:
            extra = self._placements[child.index].extra
            self._dispatcher.add(child, vigil.process.hand_over_calls(), extra=extra)

    def _change_process(self, effect: SendUnload | Terminate | Kill | Abandon) -> None:
        vigil = self._vigils.get(effect.child)
        if vigil is None:
            return
        match effect:
            case SendUnload():
                vigil.process.unload()
            case Terminate():
                vigil.why = effect.why
                vigil.process.terminate()
            case Kill():
                vigil.why = effect.why
                vigil.process.kill()
            case Abandon():
                self._vigils.pop(effect.child).leave()
                self._dispatcher.remove(effect.child, self._stuck(effect.child))

    def _announce(self, effect: Loaded | StartFailed | GaveUp | Closed) -> None:
        match effect:
            case Loaded():
                self.started.set_result(self._description())
            case StartFailed():
                self._dispatcher.close(effect.error)
                self.started.set_exception(effect.error)
            case GaveUp():
                self._give_up(effect.error)
            case Closed(error=None):
                self.ended.set_result(None)
            case Closed():
                self.ended.set_exception(effect.error)

    def _give_up(self, error: ServmanError) -> None:
        self._dispatcher.close(error)
        try:
            self._on_give_up(error)
        except BaseException:  # noqa: BLE001 -- foreign code; the processes are ended all the same
            _log.exception("%s: whoever was to be told of its end raised", self._id)

    def _description(self) -> Description:
        said = (vigil.description for vigil in self._vigils.values())
        return next(description for description in said if description is not None)

    def _bury(self, child: Child) -> None:
        error = self._vigils.pop(child).end()
        worked = self._dispatcher.worked(child)
        self._dispatcher.remove(child, error)
        self._tell(Died(child, error, worked))

    def _await_reply(self, slot: Slot) -> None:
        # A process that is gone has taken the call with it.
        vigil = self._vigils.get(cast("Child", slot.key))
        if vigil is not None:
            vigil.await_reply(slot, self._dispatcher)

    def _stuck(self, child: Child) -> WorkerDiedError:
        return WorkerDiedError(f"{self._id}: worker {child.index} hangs and cannot be killed")

    def _request_close(self) -> None:
        running = (child for child in self._vigils if self._dispatcher.running(child))
        self._tell(CloseRequested(frozenset(running)))

    def _publish(self) -> None:
        workers = zip(self._supervision.workers, self._placements, strict=True)
        self._snapshots = tuple(
            (worker.child, self._snapshot(worker, placement)) for worker, placement in workers
        )

    def _snapshot(self, worker: Worker, placement: Placement) -> WorkerSnapshot:
        vigil = self._vigils.get(worker.child)
        process = None if vigil is None else vigil.process
        due = self._supervision.start_at(worker, self._clock.monotonic())
        return WorkerSnapshot(
            index=worker.index,
            kind=placement.kind,
            device=placement.device,
            pid=None if process is None else process.pid,
            state=worker.state,
            restarts=worker.restarts,
            since=self._epoch + worker.since,
            running=0,
            error=worker.error,
            log_path=None if process is None else process.log.path,
            due=None if due == math.inf else self._epoch + due,
        )

    def _break_down(self, error: BaseException) -> None:
        """End everything: without this thread nobody watches over the processes."""
        _log.exception("%s: the supervision of its workers has failed", self._id)
        failure = InternalError(
            f"{self._id}: the supervision of its workers has failed ({error!r}), and they were killed;"
            " this is a fault of servman's"
        )
        failure.traceback = settled(error).traceback
        for child, vigil in self._vigils.items():
            vigil.process.close()
            self._dispatcher.remove(child, WorkerDiedError(str(failure)))
        self._vigils.clear()
        if not self.started.done():
            self._dispatcher.close(failure)
            self.started.set_exception(failure)
        elif not self.ended.done():
            self._give_up(failure)

    def _open(self) -> None:
        self._mailbox.open()
        self._undo.callback(self._mailbox.close)
        try:
            self._selector = selectors.DefaultSelector()
        except OSError as error:
            raise ResourceExhaustedError(
                f"{self._id}: no descriptor is left to supervise its workers with ({error}); close some, or"
                " raise the limit (ulimit -n)"
            ) from error
        self._undo.callback(self._selector.close)

    def _clear_away(self) -> None:
        self._undo.close()
        if not self.ended.done():
            self.ended.set_result(None)
