"""A gRPC server that does what a test tells it: answers, hangs, goes away, comes back as another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, final

import grpc

from servman.clock import SystemClock
from servman.protos import message_class
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerExecutor, WorkerPool

WAIT_UNTIL = "/servman.v1.Servables/WaitUntil"
WATCH = "/servman.v1.Servables/Watch"
GET_STATUS = "/servman.v1.Servables/GetStatus"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

Method = Callable[[bytes, grpc.ServicerContext], Any]


@final
class Scripted(grpc.GenericRpcHandler):
    """Calls *methods* by their paths; what is not among them is not implemented.

    Attributes:
        hung: Set when a method that was made by `hang` was called.
        released: Set when the caller of that has gone.
        metadata: What the last call brought along.
    """

    def __init__(self, **methods: Method) -> None:
        self.methods = {globals()[name.upper()]: method for name, method in methods.items()}
        self.hung = threading.Event()
        self.released = threading.Event()
        self.metadata: dict[str, str | bytes] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.metadata = dict(details.invocation_metadata or ())
        method = self.methods.get(str(details.method))
        if method is None:
            return None
        if details.method == WATCH:
            return grpc.unary_stream_rpc_method_handler(method)
        return grpc.unary_unary_rpc_method_handler(method)

    def hang(self, _: bytes, context: grpc.ServicerContext) -> NoReturn:
        """Answer nothing until the caller has gone."""
        if not context.add_callback(self.released.set):
            self.released.set()
        self.hung.set()
        self.released.wait(WATCHDOG)
        context.abort(grpc.StatusCode.UNAVAILABLE, "it hung")

    @contextmanager
    def open(self, address: str = "127.0.0.1:0") -> Iterator[str]:
        """Listen at *address* in the block; yield the address with its port. The end breaks all calls off."""
        pool = WorkerPool("scripted", 16, SystemClock())
        options = [("grpc.so_reuseport", 0)]
        server = grpc.server(WorkerExecutor(pool), handlers=[self], options=options)
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield address.removesuffix("0") + str(port) if address.endswith(":0") else address
        finally:
            stopped = server.stop(0)
            self.released.set()
            assert stopped.wait(WATCHDOG)
            pool.close()
            assert pool.join(SystemClock().monotonic() + WATCHDOG)


def waited(**fields: object) -> Method:
    """Return a method that answers a wait."""
    content = message_class("servman.v1.WaitUntilResponse")(**fields).SerializeToString()
    return lambda *_: content


def model_status(*states: int) -> Method:
    """Return a method that tells version 3 in these states, one after the other; the last stays."""
    left = list(states)
    response = message_class("tensorflow.serving.GetModelStatusResponse")

    def answer(*_: object) -> bytes:
        state = left.pop(0) if len(left) > 1 else left[0]
        made = response(model_version_status=[{"version": 3, "state": state}])
        content: bytes = made.SerializeToString()
        return content

    return answer


def free_address() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"
