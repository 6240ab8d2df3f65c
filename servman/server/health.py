"""The standard health service of gRPC, for the server as a whole and for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from grpc_health.v1 import health_pb2

from servman.errors import NotFoundError, ServmanError
from servman.ids import ServableRequest
from servman.server import model_service, prediction, servables
from servman.server.methods import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servman.core import Readiness, ServerCore
    from servman.server.calls import Call, WaitingRoom
    from servman.server.watch import EventLog

SERVICE: Final = "grpc.health.v1.Health"

_Response: Final[Any] = health_pb2.HealthCheckResponse
_Request: Final[Any] = health_pb2.HealthCheckRequest

_LOOK: Final = 1.0
"""Seconds after which one who watches has a look even if nothing has happened that the log tells of."""


@final
class Health:
    """Says whether there is somebody who serves.

    The server as a whole goes by the empty name and the names of its services, and serves when the core is ready.
    "servman.live" and "servman.healthy" are the core's other two probes. A model goes by what it is asked for:
    "m", "m:3", "m@stable", and serves while that is available.

    Args:
        core: What serves the models.
        log: Tells when something has happened.
        room: Tells when the server is stopping: then nothing serves.

    Threads: any.
    """

    def __init__(self, core: ServerCore, log: EventLog, room: WaitingRoom) -> None:
        self._core = core
        self._log = log
        self._room = room
        names = ("", model_service.SERVICE, prediction.SERVICE, servables.SERVICE, *_SHORT_NAMES)
        self._probes: Mapping[str, Callable[[], Readiness]] = {
            **dict.fromkeys(names, lambda: core.ready),
            "servman.live": lambda: core.live,
            "servman.healthy": lambda: core.healthy,
        }

    @property
    def methods(self) -> list[Method]:
        """What can be called: without a token, for who asks has none as a rule."""
        return [
            Method(service=SERVICE, name="Check", request=_Request, answer=self.check, free=True),
            Method(
                service=SERVICE,
                name="Watch",
                request=_Request,
                answer=self.watch,
                waits=True,
                streams=True,
                free=True,
            ),
        ]

    def check(self, request: Any, _: Call) -> Any:
        """Say it once."""
        status = self._status(request.service)
        if status == _Response.SERVICE_UNKNOWN:
            raise NotFoundError(f"there is neither a service nor a model {request.service!r}")
        return _Response(status=status)

    def watch(self, request: Any, call: Call) -> Iterator[Any]:
        """Say it, and again whenever it has changed."""
        said, number = None, -1
        with call.waiting(self._log.wake, streams=True):
            while True:
                number = self._log.wait(number, call, _LOOK)
                status = self._status(request.service)
                if status != said:
                    said = status
                    yield _Response(status=status)

    def _status(self, service: str) -> int:
        if self._room.closed:
            return int(_Response.NOT_SERVING)
        probe = self._probes.get(service)
        if probe is not None:
            return int(_Response.SERVING if probe() else _Response.NOT_SERVING)
        try:
            request = ServableRequest.parse(service)
            self._core.get_servable_handle(request).close()
        except NotFoundError:
            known = service.partition(":")[0].partition("@")[0] in self._core.models
            return int(_Response.NOT_SERVING if known else _Response.SERVICE_UNKNOWN)
        except ServmanError:  # no request, no such label
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING)


_SHORT_NAMES: Final = ("ModelService", "PredictionService")
"""What TensorFlow Serving's health service calls them."""
