"""The table of what can be called, and how a call comes from gRPC to the code that answers it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

import grpc

from servman.deadline import deadline_at
from servman.server.calls import Call, WaitingRoom
from servman.server.statuses import parsed, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from servman.server.access import Gate
    from servman.server.deadlines import Deadlines
    from servman.threads import WorkerExecutor


class Message(Protocol):
    """An answer."""

    def SerializeToString(self) -> bytes:  # noqa: N802 -- as protobuf spells it
        """Return it as bytes."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service.

    Attributes:
        service: The full name of the service.
        name: The name of the method.
        request: Makes an empty request.
        answer: Answers a request; raises a `ServmanError` where it has nothing to say. One that `streams` is
            an iterator of answers.
        waits: Whether it waits for something that may take its time, and so has threads apart.
        streams: Whether it gives one answer after another.
        takes_stream: Whether it is given an iterator of requests.
        free: Whether no token is asked for.
    """

    service: str
    name: str
    request: Callable[[], Any]
    answer: Callable[[Any, Call], Any]
    waits: bool = False
    streams: bool = False
    takes_stream: bool = False
    free: bool = False

    @property
    def path(self) -> str:
        """Its name in the protocol."""
        return f"/{self.service}/{self.name}"


@final
class Dispatch:
    """Makes gRPC's handlers of methods.

    They take raw bytes: of what its own deserialiser refuses grpc says INTERNAL, and here it is the caller's fault.

    Args:
        room: Where calls wait.
        gate: Who may call.
        waiting: Runs the methods that wait.
        deadlines: Answers calls that do not end in time.
    """

    def __init__(
        self, room: WaitingRoom, gate: Gate, waiting: WorkerExecutor, deadlines: Deadlines
    ) -> None:
        self._room = room
        self._gate = gate
        self._waiting = waiting
        self._deadlines = deadlines

    def handlers(self, methods: Iterable[Method]) -> list[grpc.GenericRpcHandler]:
        """Return a handler for each service."""
        services: defaultdict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
        for method in methods:
            services[method.service][method.name] = self._handler(method)
        return [
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in services.items()
        ]

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        behaviour: Any = self._stream(method) if method.streams else self._unary(method)
        if method.waits:
            # What grpc calls experimental has been there for years; a test fills these threads and predicts.
            behaviour.experimental_thread_pool = self._waiting
        if method.takes_stream:
            return grpc.stream_stream_rpc_method_handler(behaviour)
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(behaviour)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _unary(self, method: Method) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def behaviour(data: bytes, context: grpc.ServicerContext) -> bytes:
            call = Call(context, self._room, method.name)
            self._deadlines.begin(call)
            try:
                self._gate.check(method, context)
                request = parsed(method.request, data)
                answer: Message
                if call.until is None:
                    answer = method.answer(request, call)
                else:  # whatever passes it on, to a process of workers say, keeps to it
                    with deadline_at(call.until):
                        answer = method.answer(request, call)
                return answer.SerializeToString()
            except BaseException as error:  # noqa: BLE001 -- grpc would leave the caller without an answer
                code, text = status_of(method.path, error)
            finally:
                self._deadlines.end(call)
            return context.abort(code, text)

        return behaviour

    def _stream(self, method: Method) -> Callable[[Any, grpc.ServicerContext], Iterator[bytes]]:
        def requests(data: Any) -> Any:
            if method.takes_stream:
                return (parsed(method.request, one) for one in data)
            return parsed(method.request, data)

        def behaviour(data: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            try:
                self._gate.check(method, context)
                for answer in method.answer(requests(data), Call(context, self._room)):
                    yield answer.SerializeToString()
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 -- as above
                if not context.is_active():
                    return
                code, text = status_of(method.path, error)
            else:
                return
            context.abort(code, text)

        return behaviour
