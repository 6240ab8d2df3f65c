"""What a SavedModel costs: a prediction, the stalls of other threads, and memory that does not come back.

Everything is measured in a process of its own: the memory would otherwise have the other benchmarks in it, and
TensorFlow's threads would go on beside them.
"""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from servman.adapters.saved_model import SavedModelLoader
from servman.ids import ServableId
from servman.loader import LoadContext
from tests.bench.measure import RUNS, Row, ms
from tests.bench.ticker import QUIET, longest_gaps, ticking

_CYCLES = 500
_WARM_CYCLES = 50
"""Cycles before memory is looked at: allocators and TensorFlow's tables have then their size."""
_BURST, _BURSTS = 40, 250
_LOADS = 40
_ID = ServableId("m", 1)

Figures = dict[str, Any]
Call = Callable[[], object]


def rows() -> list[Row]:
    """Run them all."""
    done = subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-m", __name__], stdout=subprocess.PIPE, check=True
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    gaps = figures["gaps"]
    return [
        Row(
            "predict of a three-float model",
            f"{figures['predict']:.2f} x",
            f"bare session callable: {figures['bare'] * 1e6:.0f} us",
            "at most 1.3 x",
            figures["predict"] <= 1.3,
        ),
        Row(
            "the same, beside a callable that runs on the caller's thread, as predict does",
            f"{figures['own predict']:.2f} x",
            f"that callable: {figures['own bare'] * 1e6:.0f} us",
        ),
        *(
            Row(
                f"1 kHz ticker while a SavedModel of 20 MB {phase}s",
                f"longest gap {ms(gaps[phase])}",
                f"in no load: {ms(gaps['rest'])}",
                f"at most {bar * 1e3:.0f} ms",
                gaps[phase] <= bar if gaps["rest"] < QUIET else None,
            )
            for phase, bar in (("load", 0.025), ("unload", 0.060))
        ),
        Row(
            f"{_CYCLES} load and unload cycles of a SavedModel",
            f"{figures['slope']:+.3f} MB a cycle",
            f"{figures['resident']:.0f} MB resident at the end",
            "below 0.05 MB a cycle",
            figures["slope"] < 0.05,
        ),
    ]


def main() -> None:
    """Measure in this process, and print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        save(small, large)
        figures = {**_prediction(small), "gaps": _gaps(large), **_growth(small)}
    print(json.dumps(figures))


def save(small: Path, large: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- in the process of its own

    module = tf.Module()
    module.weights = tf.Variable([2.0, 3.0, 4.0])
    takes = [tf.TensorSpec([3], tf.float32, name="x")]
    scale = tf.function(lambda x: {"y": x * module.weights}, input_signature=takes)
    tf.saved_model.save(module, str(small), signatures={"serving_default": scale})
    layers = [tf.keras.layers.Dense(1024, activation="relu") for _ in range(5)]
    tf.keras.Sequential([tf.keras.Input((1024,)), *layers]).export(str(large), verbose=False)


def _prediction(path: Path) -> Figures:
    import numpy as np  # noqa: PLC0415 -- in the process of its own

    loader = SavedModelLoader(_ID, str(path))
    model: Any = loader.load(LoadContext(_ID))
    x = np.ones(3, np.float32)
    inputs = {"x": x}
    model.predict(inputs)
    bares: dict[str, Any] = {
        "": bare_callable(model),
        "own ": model._live.calls["serving_default"].run,
    }
    figures: Figures = {}
    for name, bare in bares.items():
        runs = [
            _side_by_side(functools.partial(bare, x), lambda: model.predict(inputs))
            for _ in range(RUNS)
        ]
        figures[f"{name}predict"] = statistics.median(whole / floor for floor, whole in runs)
        figures[f"{name}bare"] = statistics.median(floor for floor, _ in runs)
    loader.unload(model)
    return figures


def bare_callable(model: Any) -> Call:
    """Return what TensorFlow makes of the same call when nobody tells it on which thread to run it."""
    from tensorflow.core.protobuf import config_pb2  # noqa: PLC0415 -- as above

    signature = model.signatures["serving_default"]
    options = config_pb2.CallableOptions(
        feed=[spec.name for spec in signature.inputs.values()],
        fetch=[spec.name for spec in signature.outputs.values()],
    )
    run: Call = model._live._session._make_callable_from_options(options)
    return run


def _side_by_side(floor: Call, whole: Call) -> tuple[float, float]:
    """Return the best time of each: in turns, and in bursts so short that some meet no other program."""
    bursts = [
        [timeit.timeit(call, number=_BURST) / _BURST for call in (floor, whole)]
        for _ in range(_BURSTS)
    ]
    floors, wholes = zip(*bursts, strict=True)
    return min(floors), min(wholes)


def _gaps(path: Path) -> dict[str, float]:
    """Return the longest gap of the ticker in loads, in unloads, and while nothing is done."""
    loader = SavedModelLoader(_ID, str(path))
    loader.unload(loader.load(LoadContext(_ID)))
    spans: list[tuple[str, float, float]] = []
    with ticking() as ticks:
        started = time.perf_counter()
        time.sleep(2)
        spans.append(("rest", started, time.perf_counter()))
        for _ in range(_LOADS):
            before = time.perf_counter()
            model = loader.load(LoadContext(_ID))
            between = time.perf_counter()
            loader.unload(model)
            del model
            spans += [("load", before, between), ("unload", between, time.perf_counter())]
    return longest_gaps(ticks, spans)


def _growth(path: Path) -> Figures:
    """Return by how much the process grows with each cycle: the slope of a line through all of them."""
    loader = SavedModelLoader(_ID, str(path))
    resident = []
    for _ in range(_CYCLES + _WARM_CYCLES):
        model: Any = loader.load(LoadContext(_ID))
        model.predict([1.0, 2.0, 3.0])
        loader.unload(model)
        del model
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages / 256)
    kept = resident[_WARM_CYCLES:]
    slope, _ = statistics.linear_regression(range(len(kept)), kept)
    return {"slope": slope, "resident": kept[-1]}


if __name__ == "__main__":
    main()
