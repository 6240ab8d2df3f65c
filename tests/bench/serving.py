"""What a call costs: a prediction over gRPC, beside a bare echo over gRPC and the bare model, for the same caller.

The servers are in a process of their own, as is the caller, so that neither shares the interpreter of the other.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from servman.adapters.tensor_proto import write_array
from servman.client import Client
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.ids import ServableId
from servman.protos import message_class
from servman.server import ServerOptions, start_server
from servman.state import ManagerState
from tests.bench.measure import RUNS, Row, ms, percentile
from tests.bench.saved_models import bare_callable

_SECONDS = 0.4
_SLICES = 15
"""Many short turns: whatever else the machine does meets them all alike."""
_THREADS = 16
_BAR = 0.7
_WAITS = 60
_WAKE_BAR = 0.003
_TIMEOUT = 30.0
_ECHO, _PREDICT = "/bench.Echo/Echo", "/tensorflow.serving.PredictionService/Predict"


def rows() -> list[Row]:
    """Run them all."""
    with subprocess.Popen(  # noqa: S603 -- our own interpreter
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as servers:
        assert servers.stdin is not None
        assert servers.stdout is not None
        found = json.loads(servers.stdout.readline())

        def callable_rate(concurrency: int) -> float:
            print(concurrency, file=servers.stdin, flush=True)
            assert servers.stdout is not None
            return float(servers.stdout.readline())

        measured = [
            *(_row(found, callable_rate, concurrency) for concurrency in (1, 16)),
            _times_row(found, 1),
            _times_row(found, 16),
            _wake_row(found),
        ]
        servers.stdin.close()
    return measured


def _row(found: dict[str, Any], callable_rate: Callable[[int], float], concurrency: int) -> Row:
    request = _request()
    shares, rates, floors = [], [], []
    for _ in range(_SLICES):
        echo = _rate(found["echo"], _ECHO, request, concurrency)
        rate = _rate(found["predict"], _PREDICT, request, concurrency)
        floor = 1 / (1 / echo + 1 / callable_rate(concurrency))
        shares.append(rate / floor)
        rates.append(rate)
        floors.append(floor)
    share = statistics.median(shares)
    return Row(
        f"Predict of a three-float model over gRPC, {concurrency} at once",
        f"{share:.0%} ({statistics.median(rates):.0f} a second)",
        f"echo and bare callable together allow {statistics.median(floors):.0f} a second",
        f"at least {_BAR:.0%}",
        share >= _BAR,
    )


def _times_row(found: dict[str, Any], concurrency: int) -> Row:
    quiet: list[float] = []
    beside: list[float] = []
    swaps = [0]
    for _ in range(RUNS):
        quiet += _times(found["predict"], _PREDICT, _request(), concurrency)
        with _swapping(found, swaps):
            beside += _times(found["predict"], _PREDICT, _request(), concurrency)
    return Row(
        f"Predict over gRPC while another model loads and unloads, {concurrency} at once",
        f"p50 {ms(percentile(beside, 0.5))}, p99 {ms(percentile(beside, 0.99))} ({swaps[0]} loads)",
        f"quiet: p50 {ms(percentile(quiet, 0.5))}, p99 {ms(percentile(quiet, 0.99))}",
    )


@contextmanager
def _swapping(found: dict[str, Any], swaps: list[int]) -> Iterator[None]:
    """Place a SavedModel and take it away again, in turn, while the block runs; count in *swaps*."""
    staged, placed = Path(found["folder"], "staged"), Path(found["folder"], "other", "1")
    over = threading.Event()

    def swap() -> None:
        with Client(f"127.0.0.1:{found['predict']}") as client:
            while not over.is_set():
                staged.rename(placed)
                client.wait_until_available("other:1", timeout=_TIMEOUT)
                placed.rename(staged)
                client.wait_until("other:1", ManagerState.END, timeout=_TIMEOUT)
                swaps[0] += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _wake_row(found: dict[str, Any]) -> Row:
    times = []
    base = Path(found["folder"], "w")
    with Client(f"127.0.0.1:{found['predict']}") as client:
        for version in range(1, _WAITS + 1):
            placing = threading.Timer(0.05, _place, (base, version))  # by then the call is there
            placing.start()
            states = client.wait_until(f"w:{version}", timeout=_TIMEOUT).states
            times.append(time.time() - states[ServableId("w", version)].time)
            placing.join()
    p50 = percentile(times, 0.5)
    return Row(
        "a version is available -> who waits for it in another process is awake",
        f"p50 {ms(p50)}, p99 {ms(percentile(times, 0.99))}",
        bar=f"p50 at most {ms(_WAKE_BAR)}",
        holds=p50 <= _WAKE_BAR,
    )


def _place(base: Path, version: int) -> None:
    staged = base.parent / f"w-{version}"
    staged.mkdir()
    (staged / "servable.py").write_text("def load(context):\n    return object()\n")
    staged.rename(base / str(version))


def _rate(port: int, path: str, request: bytes, concurrency: int) -> float:
    return len(_times(port, path, request, concurrency)) / _SECONDS


def _times(port: int, path: str, request: bytes, concurrency: int) -> list[float]:
    """Return the seconds that each call took."""
    times: list[float] = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        opened: Any = channel
        call = opened.unary_unary(path)
        for _ in range(50):
            call(request)
        end = time.monotonic() + _SECONDS

        def ask() -> None:
            started = time.monotonic()
            while started < end:
                call(request)
                done = time.monotonic()
                times.append(done - started)
                started = done

        _in_threads(ask, concurrency)
    return times


def _request() -> bytes:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.model_spec.name = "m"
    write_array("x", np.array([1, 2, 3], np.float32), request.inputs["x"])
    serialised: bytes = request.SerializeToString()
    return serialised


def _serve() -> None:
    """Serve until the standard input ends; tell the ports, and how long the bare model takes."""
    sys.setswitchinterval(0.0005)  # as `servman serve` does
    logging.disable(logging.WARNING)  # of a model that comes and goes it tells each time
    options = ServerOptions(addresses=("127.0.0.1:0",), num_threads=_THREADS)
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerCore(_config(Path(folder)), options=_CORE) as core,
        start_server(core, options) as server,
    ):
        core.wait_until_available("m", timeout=60)
        echo, port = _echo_server()
        found: dict[str, object] = {"echo": port, "predict": server.port}
        print(json.dumps({**found, "folder": folder}), flush=True)
        for line in sys.stdin:
            print(_callable_rate(core, int(line)), flush=True)
        echo.stop(0)


_CORE = ServerCoreOptions(platforms=("tensorflow", "python"), poll_interval=0.5)


def _config(folder: Path) -> ServerConfig:
    """Return a configuration of the model "m", which is there, of "other", and of "w"; all are in *folder*."""
    for name in ("other", "w"):
        (folder / name).mkdir()
    _save(folder / "m" / "1")
    _save(folder / "staged")
    models = [ModelConfig(name, str(folder / name)) for name in ("m", "other")]
    return ServerConfig([*models, ModelConfig("w", str(folder / "w"), "python")])


def _save(path: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- in the process of its own

    module = tf.Module()
    takes = [tf.TensorSpec([3], tf.float32, name="x")]
    half = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=takes)
    tf.saved_model.save(module, str(path), signatures={"serving_default": half})


def _echo_server() -> tuple[grpc.Server, int]:
    executor = futures.ThreadPoolExecutor(_THREADS)
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda data, _: data)
    server = grpc.server(
        executor, [grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _callable_rate(core: ServerCore, concurrency: int) -> float:
    """Return how often in a second so many threads call the bare session."""
    value = np.array([1, 2, 3], np.float32)
    counts: list[int] = []
    with core.get_servable_handle("m") as handle:
        call: Any = bare_callable(handle.servable)
        call(value)
        end = time.monotonic() + _SECONDS

        def run() -> None:
            count = 0
            while time.monotonic() < end:
                call(value)
                count += 1
            counts.append(count)

        _in_threads(run, concurrency)
    return sum(counts) / _SECONDS


def _in_threads(run: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    _serve()
