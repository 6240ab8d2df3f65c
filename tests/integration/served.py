"""A server in this process, on a port that the system chose, and callers that need no stubs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import grpc
import numpy as np
import pytest

from servman.adapters.tensor_proto import as_array, write_array
from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.protos import POOL, message_class
from servman.server import ModelServer, ServerOptions
from servman.testing.clock import WATCHDOG

DOUBLE = """
import numpy as np
from servman import Signature, TensorSpec

class Model:
    signatures = {
        "serving_default": Signature(
            {"x": TensorSpec(np.dtype("float32"), (None,))},
            {"y": TensorSpec(np.dtype("float32"), (None,))},
        )
    }

    def __init__(self, version):
        self.version = version

    def predict(self, inputs, signature_name="serving_default", output_filter=None):
        return {"y": inputs["x"] * 2 + self.version}

def load(context):
    return Model(context.id.version)
"""
"""Doubles "x", and adds the number of the version."""

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
SERVABLES = "servman.v1.Servables"


@final
class Served:
    """Models of the platform "python", a core that serves them, and a server around it.

    Attributes:
        core: The core.
        server: The server.
        channel: A connection to it.
    """

    core: ServerCore
    server: ModelServer
    channel: grpc.Channel

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "staging").mkdir()

    def publish(self, name: str, version: int, text: str = DOUBLE) -> Path:
        """Write a version elsewhere and rename it into place."""
        staged = self.folder / "staging" / f"{name}-{version}"
        staged.mkdir()
        (staged / "servable.py").write_text(text)
        (self.folder / name).mkdir(exist_ok=True)
        return staged.rename(self.folder / name / str(version))

    def model(self, name: str = "m", **fields: Any) -> ModelConfig:
        """Return the configuration of a model in the folder."""
        base_path = fields.pop("base_path", str(self.folder / name))
        return ModelConfig(name, base_path, fields.pop("platform", "python"), **fields)

    @contextmanager
    def open(
        self, *models: ModelConfig, core: dict[str, Any] | None = None, **options: Any
    ) -> Iterator[Served]:
        """Serve *models*, "m" without any, in the block. Nothing is waited for."""
        settings = ServerCoreOptions(
            **{"platforms": ("python", "tensorflow"), "poll_interval": 0.05, **(core or {})}
        )
        options = {"addresses": ("127.0.0.1:0",), "num_threads": 4, **options}
        with ServerCore(ServerConfig(models or (self.model(),)), options=settings) as self.core:
            self.server = ModelServer(self.core, ServerOptions(**options))
            with self.server, grpc.insecure_channel(self.target) as self.channel:
                yield self

    @property
    def target(self) -> str:
        """The first address."""
        return self.server.addresses[0]

    def call(
        self, method: str, request: Any, channel: grpc.Channel | None = None, **options: Any
    ) -> Any:
        """Call "SERVICE/METHOD", and return the parsed answer."""
        answer = message_class(
            POOL.FindMethodByName(method.replace("/", ".")).output_type.full_name
        )
        found: Any = channel or self.channel
        stub = found.unary_unary(f"/{method}", None, answer.FromString)
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return stub(data, **{"timeout": WATCHDOG, **options})

    def unary(self, method: str) -> Any:
        """Return what calls "SERVICE/METHOD" with bytes, and returns bytes."""
        found: Any = self.channel
        return found.unary_unary(f"/{method}")

    def stream(self, method: str, parse: Callable[[bytes], Any] | None = None) -> Any:
        """Return what calls a method that gives one answer after another."""
        found: Any = self.channel
        return found.unary_stream(f"/{method}", None, parse)

    def failure(self, method: str, request: Any, **options: Any) -> Any:
        """Call it, and return the error."""
        with pytest.raises(grpc.RpcError) as raised:
            self.call(method, request, **options)
        return raised.value

    def ask(self, x: float = 1.0, name: str = "m", **options: Any) -> float:
        """Have the model predict."""
        response = self.call(f"{PREDICTION}/Predict", predict_request(name, x=[x]), **options)
        return float(as_array("y", response.outputs["y"])[0])


def predict_request(name: str = "m", /, **inputs: Any) -> Any:
    """Return a request with these inputs; lists are taken for float32."""
    request = message_class("tensorflow.serving.PredictRequest")()
    request.model_spec.name = name
    for key, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        write_array(key, array, request.inputs[key])
    return request


def new(name: str, /, **fields: Any) -> Any:
    """Return a message of `servman.v1`, or with a dot in its name of any package."""
    return message_class(name if "." in name else f"servman.v1.{name}")(**fields)


def eventually(done: Callable[[], bool]) -> bool:
    """Look until it is so, for what nothing tells of; return whether it is."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic() + WATCHDOG
    while not done():
        if clock.monotonic() > deadline:
            return False
        pause.wait(0.002)
    return True
