"""Calls that do not end in time: answered by another thread than theirs, which is still busy with them."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from typing import TYPE_CHECKING, Any, Final, final

import grpc._server as grpc_server

from servman.log import Log
from servman.server.calls import Call
from servman.server.statuses import shortened
from servman.threads import Thread, join, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.server.calls import WaitingRoom
    from servman.threads import WorkerPool

_log = Log(__name__)

_server: Final[Any] = grpc_server
_NEEDED: Final = ("_abort", "_Context", "_CANCELLED", "cygrpc")
_ABORT: Final = ["state", "call", "code", "details"]


@final
class Deadlines:
    """Tells callers what their calls are busy with, shortly before their deadlines.

    A model that runs cannot be interrupted, and holds the thread of its call; without this its caller would learn
    nothing but that the time was up. The thread here sleeps until the earliest deadline that it knows of, and is
    woken for an earlier one only, so that calls pay next to nothing for it.

    Args:
        clock: The time.
        room: Where calls wait.
        pool: The threads that work on calls.

    Threads: any.
    """

    def __init__(self, clock: Clock, room: WaitingRoom, pool: WorkerPool) -> None:
        self._clock = clock
        self._room = room
        self._pool = pool
        # By call the instant at which it is answered. No lock guards it: each use of it is one step.
        self._running: dict[Call, float] = {}
        self._changed = threading.Condition(threading.Lock())  # guards changes of the two below
        self._wake = math.inf  # the instant until which the thread sleeps
        self._closed = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to watch; where grpc is another than the one known here, callers learn of deadlines by themselves."""
        if not _is_known():
            _log.warning(
                "this grpcio does not let calls be ended in time; callers are not told what holds them up"
            )
            self._wake = -math.inf  # nobody wakes the thread that there is not
            return
        self._thread = spawn("grpc-deadlines", self._work, owner=self)

    def begin(self, call: Call) -> None:
        """Answer *call* when its time is nearly up, unless it has ended by then."""
        due = call.due(self._clock)
        if due is None:
            return
        self._running[call] = due
        # In this order: the thread forgets its instant first, and looks at what runs then.
        if due < self._wake:
            self._hurry(due)

    def end(self, call: Call) -> None:
        """Watch *call* no longer: its own thread answers."""
        self._running.pop(call, None)

    def wait(
        self, _: object, event: Any = None, state: Any = None, *__: object
    ) -> Callable[[], None] | None:
        """Answer a call when its time is nearly up, if there is no thread for it. Never raises.

        Args:
            event: What grpc knows of the call: these are what it hands to the executor.
            state: How the call stands.

        Returns:
            What ends that, to be called when a thread takes it up; None where one does at once.
        """
        if self._thread is None or not self._pool.is_full:
            return None
        try:
            name = event.call_details.method.decode().rpartition("/")[2]
            call = Call(_server._Context(event, state, None), self._room, name)  # noqa: SLF001 -- see `_answer`
            call.threads = self._pool.size
            self.begin(call)
        except Exception:  # noqa: BLE001 -- grpc's, on the thread that takes in all calls
            _log.exception("the deadline of a call that waits for a thread cannot be read")
            return None
        return functools.partial(self.end, call)

    def close(self) -> None:
        """Answer no more calls. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            join(self._thread, self._clock, None)

    def _hurry(self, due: float) -> None:
        with self._changed:
            if due < self._wake:
                self._wake = due
                self._changed.notify()

    def _work(self) -> None:
        while not self._closed:
            self._sleep()
            for call in self._overdue():
                _answer(call)

    def _sleep(self) -> None:
        with self._changed:
            while not self._closed and self._clock.monotonic() < self._wake:
                until = None if self._wake == math.inf else self._wake
                self._clock.wait_until(self._changed, until)

    def _overdue(self) -> list[Call]:
        """Take the calls that are due, and choose the instant of the next look."""
        with self._changed:
            self._wake = math.inf  # who begins from now on comes here, and waits
            now, running = self._clock.monotonic(), self._running.copy()
            overdue = [call for call, due in running.items() if due <= now]
            for call in overdue:
                self._running.pop(call, None)
            self._wake = min((due for due in running.values() if due > now), default=math.inf)
        return overdue


def _answer(call: Call) -> None:
    """End *call*, unless its own thread is just about to.

    grpc lets only the thread of a call end it. So this does what that thread does, under the lock under which it
    does so: `_abort` sends the status, and to one who has cancelled the thread sends nothing any more.
    """
    context: Any = call.context
    text = shortened(call.lateness()).encode()
    try:
        state, code = context._state, _server.cygrpc.StatusCode.deadline_exceeded  # noqa: SLF001 -- see above
        with state.condition:
            if context.is_active():
                _server._abort(state, context._rpc_event.call, code, text)  # noqa: SLF001 -- as well
                state.client = _server._CANCELLED  # noqa: SLF001 -- as well
    except Exception:  # noqa: BLE001 -- grpc's; then the caller learns of its deadline by itself
        _log.exception("a call that takes too long could not be answered")


def _is_known() -> bool:
    """Tell whether grpc has what is needed here; to end a call twice would end the process."""
    if not all(hasattr(_server, name) for name in _NEEDED):
        return False
    return list(inspect.signature(_server._abort).parameters) == _ABORT  # noqa: SLF001 -- see `_answer`
