"""What runs in a worker process: it loads the servable, answers calls, beats, and unloads when told."""

from __future__ import annotations

import faulthandler
import io
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any, Final, cast, final

from servman.deadline import deadline
from servman.errors import InvalidArgumentError, ResourceExhaustedError, WorkerCallError
from servman.loader import LoadContext
from servman.threads import spawn
from servman.workers.control import ControlChannel
from servman.workers.description import describe
from servman.workers.failure import failure_of, portable
from servman.workers.messages import Assignment, Beat, Failed, Ready, Started, Unload, Unloaded
from servman.workers.payload import Payload
from servman.workers.wire import Connection, ConnectionLostError, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.workers.wire import Message

LOAD_FAILED: Final = 1
"""What a process exits with whose load failed, and was reported."""


def run(control_fd: int, call_fds: Sequence[int]) -> int:
    """Be a worker process until told to unload; return what to exit with. Called by the keeper's fork."""
    _prepare_output()
    control = ControlChannel.from_fd(control_fd)
    control.send(Started(os.getpid()))
    assignment = control.receive()
    if not isinstance(assignment, Assignment):
        return LOAD_FAILED  # the host is gone
    calls = [Connection.from_fd(fd) for fd in call_fds]
    return _Worker(assignment, control, calls).run()


def _prepare_output() -> None:
    """Let lines go out as they are printed, whatever is in them, and a crash say where it was."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    faulthandler.enable(all_threads=False)


@final
class _Worker:
    """The process: its main thread loads and unloads, one listens, one beats, one serves each connection."""

    def __init__(
        self, assignment: Assignment, control: ControlChannel, calls: list[Connection]
    ) -> None:
        self._assignment = assignment
        self._control = control
        self._calls = calls
        self._context = LoadContext(assignment.id, assignment.path, assignment.attempt)

    def run(self) -> int:
        try:
            spawn("beat", self._beat, owner=self)
            spawn("control", self._listen, owner=self)
            loader = self._loader()
            servable = loader.load(self._context)
            description = describe(servable)
            self._serve(servable)
        except BaseException as error:  # noqa: BLE001 -- sys.exit() in a load is a failed load, too
            self._control.send(Failed(portable(error)))
            return LOAD_FAILED
        self._control.send(Ready(description))
        self._context.cancelled.wait()
        self._control.send(Unloaded(_unload(loader, servable)))
        return 0

    def _loader(self) -> Loader:
        try:
            return cast("Loader", pickle.loads(self._assignment.loader))  # noqa: S301 -- the host's
        except BaseException as error:
            raise InvalidArgumentError(
                f"{self._assignment.id}: its loader cannot be read in the worker process"
                f" ({type(error).__qualname__}: {error}); define its class in a module that can be imported"
                " by the host's sys.path, and let what it pickles be enough to make it again"
            ) from error

    def _serve(self, servable: object) -> None:
        for number, connection in enumerate(self._calls):
            server = CallServer(self._assignment.id, servable, connection)
            spawn(f"call-{number}", server.run, owner=server)

    def _beat(self) -> None:
        while not self._context.cancelled.wait(self._assignment.heartbeat_interval):
            self._control.send(Beat())

    def _listen(self) -> None:
        """Wait to be told to unload. If the host is gone instead, the keeper sees to the rest."""
        if isinstance(self._control.receive(), Unload):
            self._context.cancelled.set()


def _unload(loader: Loader, servable: object) -> ServmanError | None:
    try:
        loader.unload(servable)
    except BaseException as error:  # noqa: BLE001 -- reported, as that of a load
        return portable(error)
    return None


@final
class CallServer:
    """Answers the calls of one connection, one after the other.

    A request is `(method, args, kwargs)`; the reply is what the method returns, or a `Failure`. Whatever the method
    raises, `SystemExit` and `KeyboardInterrupt` included, is the caller's, and not the end of the process.

    Threads: one.
    """

    def __init__(self, id: ServableId, servable: object, connection: Connection) -> None:
        self._id = id
        self._servable = servable
        self._connection = connection

    def run(self) -> None:
        """Answer until the host hangs up."""
        try:
            while self._answer_next():
                pass
        except ConnectionLostError:
            pass
        finally:
            self._connection.close()

    def _answer_next(self) -> bool:
        try:
            message = self._connection.receive()
        except ResourceExhaustedError as error:
            self._connection.reply(Kind.ERROR, Payload(failure_of(error)))
            return True
        if message is None:
            return False
        kind, answer = self._outcome(message)
        del message  # with it goes the request, whose memory the host may then use again
        self._reply(kind, answer)
        return True

    def _outcome(self, message: Message) -> tuple[Kind, Payload]:
        try:
            return Kind.RESULT, self._result(message)
        except BaseException as error:  # noqa: BLE001 -- see the class
            return Kind.ERROR, Payload(failure_of(error))

    def _reply(self, kind: Kind, answer: Payload) -> None:
        try:
            self._connection.reply(kind, answer)
        except ResourceExhaustedError as error:
            self._connection.reply(Kind.ERROR, Payload(failure_of(error)))

    def _result(self, message: Message) -> Payload:
        method, args, kwargs = self._request(message)
        with deadline(None if message.remaining is None else max(0.0, message.remaining)):
            result = self._method(method)(*args, **kwargs)
        try:
            return Payload(result)
        except BaseException as error:
            kind = type(result).__qualname__
            raise WorkerCallError(
                f"{self._id}: {method} returned a {kind}, which cannot be sent to the host"
                f" ({type(error).__qualname__}: {error}); return arrays, or what can be pickled",
                kind=kind,
            ) from error

    def _request(self, message: Message) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        try:
            return cast("tuple[str, tuple[Any, ...], dict[str, Any]]", message.load())
        except BaseException as error:
            raise InvalidArgumentError(
                f"{self._id}: the arguments cannot be read in the worker process"
                f" ({type(error).__qualname__}: {error}); pass arrays, or what can be imported there"
            ) from error

    def _method(self, name: str) -> Any:
        if name == "__call__":
            return self._servable
        if name.startswith("_"):
            raise AttributeError(f"{self._id}: {name} is no public method")
        return getattr(self._servable, name)
