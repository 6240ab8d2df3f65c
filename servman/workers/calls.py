"""A call on its way to a worker and back: its deadline, what it raises, and whether it is sent again.

For the group: one `Calls(id, workers, dispatcher)` for each loaded version; it sends `(method, args, kwargs)`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, final

from servman.clock import SystemClock
from servman.deadline import current_deadline
from servman.errors import (
    InvalidArgumentError,
    QuarantinedError,
    ServmanError,
    WaitTimeoutError,
    WorkerCallError,
    WorkerDiedError,
)
from servman.workers.payload import Payload
from servman.workers.quarantine import Quarantine, is_crash
from servman.workers.wire import ConnectionLostError, DeadlinePassedError, Kind

if TYPE_CHECKING:
    from collections.abc import Hashable

    from servman.clock import Clock
    from servman.ids import ServableId
    from servman.workers.dispatch import Dispatcher
    from servman.workers.fleet import Slot
    from servman.workers.options import Workers
    from servman.workers.wire import Message

_CLOCK: Final = SystemClock()

_VERDICT: Final = 15.0
"""Seconds to wait for how a process ended that has closed a connection: its keeper knows within milliseconds."""


@final
class Calls:
    """Makes the calls of one servable in its workers.

    Args:
        id: The servable.
        workers: What a call may do: its deadline, where it may go, how often it is sent again.
        dispatcher: Chooses the worker.
        clock: The time.

    Threads: any.
    """

    def __init__(
        self, id: ServableId, workers: Workers, dispatcher: Dispatcher, *, clock: Clock = _CLOCK
    ) -> None:
        self._id = id
        self._dispatcher = dispatcher
        self._clock = clock
        self._timeout = workers.call_timeout
        self._max_redispatches = workers.max_redispatches
        self._idempotent = frozenset(workers.idempotent_methods)
        self._python = frozenset(workers.python_methods)
        self._lock = threading.Lock()  # guards changes of `_quarantine`
        self._quarantine = Quarantine(workers.quarantine)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call *method* in a worker, and return what it returns.

        Blocks: until there is a worker for it and it has answered; at most until the deadline of the request
            that this thread works for (see `servman.deadline`), and for `call_timeout`.

        Raises:
            BaseException: What the method raised, with its traceback in the worker as the cause.
            WorkerCallError: The method raised what cannot be had here, or returned that.
            WaitTimeoutError: The deadline came first; the worker may be at it still.
            WorkerDiedError: The process ended while the call was running, and it may not be sent again.
            ResourceExhaustedError: Too many calls wait.
            WorkerUnavailableError: Nothing serves at present.
            QuarantinedError: Processes have crashed over this very request.
            InvalidArgumentError: The arguments cannot be sent to another process.
            ClosedError: The servable is unloaded.
        """
        # The way of a call that goes well is kept short: its code is cold each time, after a wait for the worker.
        try:
            payload = Payload((method, args, kwargs))
        except Exception as error:
            raise self._unsendable(method, error) from error
        deadline = current_deadline()
        if self._timeout is not None:
            deadline = self._tightened(deadline, self._timeout)
        request = _Request(method, payload, deadline)
        message = None
        while message is None:
            if not self._quarantine.empty:
                self._check(request)
            message = self._attempt(request)
        if request.hashed is not None:
            self._acquit(request.hashed)
        if message.kind is not Kind.RESULT:
            raise self._raised(method, message)
        try:
            return message.load()
        except Exception as error:
            raise self._unreadable(method, error) from error

    def _tightened(self, deadline: float | None, timeout: float) -> float:
        own = self._clock.monotonic() + timeout
        return own if deadline is None or own < deadline else deadline

    # ---- one attempt -----------------------------------------------------------------------------

    def _attempt(self, request: _Request) -> Message | None:
        """Send *request* to a worker and return its answer; None: it is to be sent once more."""
        deadline = request.deadline
        slot = None
        try:
            slot = self._dispatcher.take(
                python=request.method in self._python,
                suspect=request.suspect,
                deadline=deadline,
            )
            remaining = None if deadline is None else deadline - self._clock.monotonic()
            message = slot.connection.exchange(request.payload, remaining)
            self._dispatcher.give_back(slot)
        except BaseException as error:  # noqa: BLE001 -- raised again, but where the request goes elsewhere
            self._clear_up(request, slot, error)
            return None
        return message

    def _clear_up(self, request: _Request, slot: Slot | None, error: BaseException) -> None:
        """Do with *slot* what *error* makes necessary; raise unless *request* is to be sent once more."""
        if slot is None:
            if request.death is not None and isinstance(error, ServmanError):
                raise request.death from error
            raise error
        sent = slot.connection.awaiting_reply
        if isinstance(error, ConnectionLostError):
            self._lost(request, slot, sent=sent)
            return
        if sent:
            # The answer will come, and must not be taken for that to another call.
            self._dispatcher.abandon(slot)
        else:
            self._dispatcher.give_back(slot, answered=False)
        if isinstance(error, DeadlinePassedError):
            raise self._late(request) from None
        raise error

    # ---- a process that has died -----------------------------------------------------------------

    def _lost(self, request: _Request, slot: Slot, *, sent: bool) -> None:
        self._dispatcher.lost(slot)
        if not sent:
            return
        died = self._dispatcher.end_of(slot, self._verdict_deadline(request))
        death = self._death(request, died)
        # Beside a suspect nobody else is accused: who waits in line with a poison request is innocent.
        accused = request.suspect or not slot.member.suspected
        if died is not None and is_crash(died) and accused:
            self._accuse(request, slot.key)
        if request.method not in self._idempotent or request.sent_again >= self._max_redispatches:
            raise death from request.death
        request.sent_again += 1
        request.death = death
        request.suspect = True

    def _verdict_deadline(self, request: _Request) -> float:
        latest = self._clock.monotonic() + _VERDICT
        return latest if request.deadline is None else min(latest, request.deadline)

    def _death(self, request: _Request, died: WorkerDiedError | None) -> WorkerDiedError:
        if request.method not in self._idempotent:
            besides = (
                "may have been carried out or not (idempotent_methods names what may be sent again)"
            )
        elif request.sent_again >= self._max_redispatches:
            besides = (
                f"was sent again as often as max_redispatches ({self._max_redispatches}) allows"
            )
        else:
            besides = "could not be sent to another one in time"
        how = "it has closed the connection" if died is None else str(died)
        text = (
            f"{self._id}: {request.method}() failed as the worker died that was at it, and {besides}:"
            f" {how.removeprefix(f'{self._id}: ')}"
        )
        if died is None:
            return WorkerDiedError(text)
        return WorkerDiedError(
            text, exit_code=died.exit_code, signal=died.signal, log_tail=died.log_tail
        )

    # ---- quarantine ------------------------------------------------------------------------------

    def _check(self, request: _Request) -> None:
        if not self._quarantine.may_know(request.payload.size):
            return
        fingerprint = request.fingerprint()
        with self._lock:
            seconds = self._quarantine.refused_for(fingerprint, self._clock.monotonic())
            request.suspect = request.suspect or self._quarantine.suspects(fingerprint)
        if seconds > 0:
            raise QuarantinedError(
                f"{self._id}: {request.method}: worker processes crashed while they worked on this very"
                f" request, so it is refused for another {seconds:.0f} s; find out from the log of the workers"
                " what is wrong with it"
            ) from request.death

    def _accuse(self, request: _Request, process: Hashable) -> None:
        fingerprint = request.fingerprint()
        with self._lock:
            now = self._clock.monotonic()
            self._quarantine.accuse(fingerprint, process, request.payload.size, now)

    def _acquit(self, fingerprint: bytes) -> None:
        with self._lock:
            self._quarantine.acquit(fingerprint)

    # ---- what is raised --------------------------------------------------------------------------

    def _raised(self, method: str, message: Message) -> BaseException:
        """Return what the method has raised."""
        failure: Any = message.load()
        error: BaseException = failure.error(f"{self._id}: {method}")
        return error

    def _unsendable(self, method: str, error: Exception) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"{self._id}: {method}: the arguments cannot be sent to a worker process"
            f" ({type(error).__name__}: {error}); pass arrays, or what can be pickled"
        )

    def _unreadable(self, method: str, error: Exception) -> WorkerCallError:
        return WorkerCallError(
            f"{self._id}: {method}: its result cannot be read in this process"
            f" ({type(error).__name__}: {error}); return arrays, or what can be imported here",
            kind=type(error).__qualname__,
        )

    def _late(self, request: _Request) -> WaitTimeoutError:
        return WaitTimeoutError(
            f"{self._id}: {request.method}: the worker has not answered before the deadline; allow the call more"
            " time, or find out from the log of the workers what keeps it"
        )


@final
class _Request:
    """A call, and what has become of it so far. *deadline*: None for ever."""

    __slots__ = ("deadline", "death", "hashed", "method", "payload", "sent_again", "suspect")

    def __init__(self, method: str, payload: Payload, deadline: float | None) -> None:
        self.method = method
        self.payload = payload
        self.deadline = deadline
        self.sent_again = 0
        self.death: WorkerDiedError | None = None
        self.suspect = False  # a process has died over it, or over its like
        self.hashed: bytes | None = None

    def fingerprint(self) -> bytes:
        """Return the hash of what it holds, which takes its time once."""
        if self.hashed is None:
            self.hashed = self.payload.fingerprint()
        return self.hashed
