"""A server that answers as TensorFlow Serving does, on the stubs of its own package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, final

import grpc

from servman.clock import SystemClock
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerExecutor, WorkerPool

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
CANCELLED, INVALID_ARGUMENT = 1, 3

Act = Callable[["ReferenceServer"], None]


@final
class ReferenceServer:
    """Tells the states that were recorded, as its monitor keeps them: the last of each version, ended ones too.

    Args:
        acts: Done one by one, each before a call is answered: so a test says what happens in between.

    Attributes:
        labels: The versions that labels mean, by model; None until a configuration had some.
        asked: The model spec of each call, the newest last.
    """

    def __init__(self, *acts: Act) -> None:
        self.labels: dict[str, dict[str, int]] | None = None
        self.asked: list[Any] = []
        self._acts: Final = iter(acts)
        self._states: dict[str, dict[int, tuple[int, int, str]]] = {}

    def record(self, name: str, version: int, state: int, code: int = 0, text: str = "") -> None:
        """Record the state of a version, with the error that it has ended with."""
        self._states.setdefault(name, {})[version] = (state, code, text)

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 -- its name
        from tensorflow_serving.apis import get_model_status_pb2  # noqa: PLC0415 -- slow

        spec = self._begin(request, context)
        versions = self._states.get(spec.name, {})
        chosen = sorted(versions, reverse=True)
        if spec.WhichOneof("version_choice") == "version":  # a label is not looked at
            number = spec.version.value
            if number not in versions:
                _refuse(
                    context, "NOT_FOUND", f"Could not find version {number} of model {spec.name}"
                )
            chosen = [number]
        elif not chosen:
            _refuse(context, "NOT_FOUND", f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in chosen:
            state, code, text = versions[number]
            one = response.model_version_status.add(version=number, state=state)
            one.status.error_code, one.status.error_message = code, text
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 -- its name
        from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: PLC0415 -- slow

        spec = self._begin(request, context)
        if list(request.metadata_field) != ["signature_def"]:
            _refuse(context, "INVALID_ARGUMENT", "Metadata field is not supported")
        number = self._labelled(spec, context)
        if self._states.get(spec.name, {}).get(number, (0,))[0] != AVAILABLE:
            text = f"Servable not found for request: Specific({spec.name}, {number})"
            _refuse(context, "NOT_FOUND", text)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        return response

    @contextmanager
    def open(self, address: str = "127.0.0.1:0") -> Iterator[str]:
        """Listen at *address* in the block; yield the address with its port."""
        from tensorflow_serving.apis import (  # noqa: PLC0415 -- slow
            model_service_pb2_grpc,
            prediction_service_pb2_grpc,
        )

        models = type("Models", (model_service_pb2_grpc.ModelServiceServicer,), {})()
        predictions = type("Predictions", (prediction_service_pb2_grpc.PredictionServiceServicer,), {})()  # fmt: skip
        models.GetModelStatus = self.GetModelStatus
        predictions.GetModelMetadata = self.GetModelMetadata
        pool = WorkerPool("reference", 4, SystemClock())
        server = grpc.server(WorkerExecutor(pool), options=[("grpc.so_reuseport", 0)])
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, server)
        port = server.add_insecure_port(address)
        server.start()
        try:
            yield f"{address.rpartition(':')[0]}:{port}"
        finally:
            assert server.stop(0).wait(WATCHDOG)
            pool.close()
            assert pool.join(SystemClock().monotonic() + WATCHDOG)

    def _begin(self, request: Any, context: grpc.ServicerContext) -> Any:
        next(self._acts, lambda _: None)(self)
        if not request.HasField("model_spec"):
            _refuse(context, "INVALID_ARGUMENT", "Missing ModelSpec")
        self.asked.append(request.model_spec)
        return request.model_spec

    def _labelled(self, spec: Any, context: grpc.ServicerContext) -> int:
        if self.labels is None:
            _refuse(context, "UNAVAILABLE", f"Model labels does not init yet.{spec.version_label}")
        labels = self.labels.get(spec.name, {})
        if spec.version_label not in labels:
            text = f"Unrecognized servable version label: {spec.version_label}"
            _refuse(context, "INVALID_ARGUMENT", text)
        return labels[spec.version_label]


def comes_to(name: str, version: int, state: int, code: int = 0, text: str = "") -> Act:
    """Return the act that a version comes to a state."""
    return lambda server: server.record(name, version, state, code, text)


def nothing(_: ReferenceServer) -> None:
    """Let a call be answered as the one before."""


def _refuse(context: grpc.ServicerContext, code: str, text: str) -> NoReturn:
    context.abort(grpc.StatusCode[code], text)
    raise AssertionError("it has aborted")
