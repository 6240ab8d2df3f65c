"""The gRPC server around a core."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Final, Self, final

import grpc

from servman.clock import SystemClock
from servman.errors import ClosedError, FailedPreconditionError
from servman.forks import watch
from servman.log import Log
from servman.server.access import Gate
from servman.server.bindable import is_served, why_not
from servman.server.calls import WaitingRoom
from servman.server.deadlines import Deadlines
from servman.server.health import Health
from servman.server.methods import Dispatch
from servman.server.model_service import ModelService
from servman.server.options import ServerOptions
from servman.server.prediction import PredictionService
from servman.server.reflection import reflection_method
from servman.server.request_log import RequestLog
from servman.server.servables import Servables
from servman.server.watch import EventLog
from servman.threads import WorkerExecutor, WorkerPool, refuse_own_thread

if TYPE_CHECKING:
    from servman.core import ServerCore
    from servman.server.methods import Method

_log = Log(__name__)

_LEAST: Final = 0.5
"""Seconds that threads are given to end, even if the grace is over; and streams to tell of it, if it is not."""

_MOMENT: Final = 0.1
"""Seconds that gRPC is given, even without any grace, to say that no call is under way."""

_REFUSING: Final = 4
"""Threads beyond those that wait, for refusing those that may not."""


@final
class ModelServer:
    """Takes calls for a core, from `start` until `stop`; a context manager that does both.

    1. It speaks TensorFlow Serving's `ModelService` and `PredictionService`, so that clients built for that
       need no change; `servman.v1.Servables`, `grpc.health.v1.Health` and reflection besides.
    2. The core may be started before or after it, and outlives it: close the core afterwards.
    3. Calls that wait or watch have threads apart, and never take one from requests to models.

    Args:
        core: What serves the models.
        options: How to take calls.

    Threads: any. In a child that is forked afterwards every use raises.
    """

    def __init__(self, core: ServerCore, options: ServerOptions | None = None) -> None:
        self._core = core
        self._options = options or ServerOptions()
        self._clock = SystemClock()
        self._room = WaitingRoom(self._options.max_waiting_calls)
        self._pools = (
            WorkerPool("grpc", self._options.num_threads, self._clock),
            WorkerPool("grpc-waiting", self._options.max_waiting_calls + _REFUSING, self._clock),
        )
        self._deadlines = Deadlines(self._clock, self._room, self._pools[0])
        self._log = EventLog(core, self._options.watch_capacity, self._clock)
        self._request_log = RequestLog(core, self._clock)
        self._lock = threading.Lock()  # guards the next
        self._begun = False
        self._server: grpc.Server | None = None
        self._ports: tuple[int, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """The port of each address, in their order; of a unix socket one that means nothing."""
        return self._ports

    @property
    def port(self) -> int:
        """The port of the first address."""
        if not self._ports:
            raise FailedPreconditionError("the server was not started, and has no port yet")
        return self._ports[0]

    def start(self) -> None:
        """Listen, and take calls. Never waits for a model. Starting again does nothing, and waits for nothing.

        Raises:
            ClosedError: It was stopped, perhaps meanwhile, or could not be started before.
            FailedPreconditionError: An address cannot be listened on.
            InvalidArgumentError: The certificates cannot be used.
            ResourceExhaustedError: The system has no threads for it.
        """
        self._check_open()
        with self._lock:
            begun, self._begun = self._begun, True
        if begun:
            return
        watch(self)
        try:
            self._server = self._started()
            self._check_open()  # else `stop` has not seen it
        except BaseException:
            self.stop(0)
            raise
        _log.info("serving on %s", ", ".join(self.addresses))

    def _check_open(self) -> None:
        if self._room.closed:
            raise ClosedError("the server was stopped; make a new one")

    def _started(self) -> grpc.Server:
        calls = WorkerExecutor(self._pools[0], self._deadlines.wait)
        waiting = WorkerExecutor(self._pools[1])
        gate = Gate(self._options.token, self._options.authorize)
        dispatch = Dispatch(self._room, gate, waiting, self._deadlines)
        self._log.start()
        self._request_log.start()
        self._deadlines.start()
        server = grpc.server(
            calls,
            handlers=dispatch.handlers(self._methods()),
            options=self._arguments(),
            maximum_concurrent_rpcs=self._options.max_concurrent_calls,
        )
        self._ports = tuple(self._bound(server, one) for one in self._options.addresses)
        server.start()
        return server

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the ports that the system chose."""
        pairs = zip(self._options.addresses, self._ports, strict=False)
        return tuple(_with_port(address, port) for address, port in pairs)

    def stop(self, grace: float = 5.0) -> bool:
        """Take no more calls, end those that wait, let the others finish, and end the threads. Idempotent.

        Whoever waits or watches is told at once that the server is shutting down; a stream that nobody reads is
        broken off soon.

        Blocks: until all calls have ended, for *grace* seconds at most, and a little more for their ends.

        Returns:
            Whether all calls that did not wait have finished: what has not after *grace* seconds was broken off.

        Raises:
            FailedPreconditionError: The caller is one of servman's own threads. Nothing was changed.
        """
        refuse_own_thread("ModelServer.stop()")
        grace = max(grace, _MOMENT)
        deadline = self._clock.monotonic() + grace
        self._room.close()
        self._log.close()
        finished = True
        if self._server is not None:
            stopped = self._server.stop(grace)
            if not stopped.wait(min(grace, _LEAST)):
                self._room.break_off()
            finished = stopped.wait(max(0.0, deadline - self._clock.monotonic()))
            self._server.wait_for_termination()
        self._deadlines.close()
        for pool in self._pools:
            pool.close()
        deadline = max(deadline, self._clock.monotonic() + _LEAST)
        for pool in self._pools:
            finished = pool.join(deadline) and finished
        self._request_log.close(self._clock.monotonic() + _LEAST)
        return finished

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _methods(self) -> list[Method]:
        core, options = self._core, self._options
        methods = [
            *ModelService(core, reload_timeout=options.reload_timeout).methods,
            *PredictionService(core, self._request_log, packed=options.tensors_as_content).methods,
            *Servables(core, self._log, reload_timeout=options.reload_timeout).methods,
            *Health(core, self._log, self._room).methods,
        ]
        if options.reflection:
            services = dict.fromkeys(method.service for method in methods)
            methods.append(reflection_method(services))
        return methods

    def _arguments(self) -> list[tuple[str, object]]:
        most = self._options.max_message_bytes
        arguments: dict[str, object] = {
            "grpc.max_receive_message_length": most,
            "grpc.max_send_message_length": -1,
            "grpc.so_reuseport": 0,  # else two servers could share a port, and each get every other call
            # Clients that wait may ask often whether the server is still there.
            "grpc.http2.min_recv_ping_interval_without_data_ms": 1000,
            "grpc.keepalive_permit_without_calls": 1,
            **self._options.channel_arguments,
        }
        return list(arguments.items())

    def _bound(self, server: grpc.Server, address: str) -> int:
        bind = server.add_insecure_port
        if self._options.tls is not None:
            credentials = self._options.tls.credentials()
            bind = functools.partial(server.add_secure_port, server_credentials=credentials)
        if is_served(address):
            raise _unusable(address, "a server listens there already")
        try:
            return bind(address)
        except RuntimeError as error:
            raise _unusable(address, why_not(address) or str(error)) from None


def start_server(core: ServerCore, options: ServerOptions | None = None) -> ModelServer:
    """Take calls for *core* from now on; see `ModelServer.start`. Stop what is returned."""
    server = ModelServer(core, options)
    server.start()
    return server


def _unusable(address: str, why: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"cannot listen on {address}: {why}; is the address right, and no other server there?"
    )


def _with_port(address: str, port: int) -> str:
    if address.startswith(("unix:", "unix-abstract:")):
        return address
    host, _, _ = address.rpartition(":")
    return f"{host}:{port}"
