"""A server whose models live in worker processes: callers see no difference, and are told what happened."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from servman.adapters.signatures import CLASSIFY_METHOD, REGRESS_METHOD
from servman.client import Client
from servman.core import ModelConfig
from servman.protos import message_class
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from servman.worker_state import WorkerState
from tests.integration.saved_models import save_with_tensorflow_1
from tests.integration.served import (
    DOUBLE,
    PREDICTION,
    Served,
    eventually,
    predict_request,
)
from tests.integration.supervised import kill, options
from tests.integration.worker_children import children

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(120),
]

Code = grpc.StatusCode
PREDICT = f"{PREDICTION}/Predict"

ODD = """
import os
import servman.deadline

class ModelError(ValueError):
    pass

class Odd(Exception):
    pass

def happen(x):
    if x == -1:
        raise ValueError("too small")
    if x == -2:
        os.abort()
    if x == -3:
        raise ModelError("not this one")
    if x == -4:
        raise Odd("odd")
    if x == -5:
        open(os.environ["PIPE"]).read()
    if x == -6:
        return servman.deadline.remaining() or 0.0
    return x
""" + DOUBLE.replace('inputs["x"] * 2', 'happen(inputs["x"][0]) * 2 + 0 * inputs["x"]')
"""Does as "x" says."""

EXAMPLES = """
    def classify(self, examples, signature_name="serving_default"):
        return [[("low", float(len(one)))] for one in examples]

    def regress(self, examples, signature_name="serving_default"):
        return [float(len(one)) for one in examples]

    def multi_inference(self, tasks, examples):
        methods = {"classify": self.classify, "regress": self.regress}
        return [methods[one.method_name.split("/")[-1]](examples) for one in tasks]

def load(context):"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    assert children() == []
    yield
    assert children() == []


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    made.publish("m", 1, ODD.replace("\ndef load(context):", EXAMPLES))
    return made


def isolated(served: Served, **more: Any) -> ModelConfig:
    environment = {"PIPE": str(served.folder / "pipe")}
    return served.model(workers=options(environment=environment, **more))


def release(served: Served) -> None:
    """Let the model go on that waits. Blocks: until it waits."""
    (served.folder / "pipe").write_text("")


def example(number: float) -> Any:
    made = message_class("tensorflow.Example")()
    made.features.feature["x"].float_list.value.append(number)
    return made


def ask_for(kind: str, model: str, signature: str = "", *numbers: float) -> Any:
    """Return a request with examples."""
    request = message_class(f"tensorflow.serving.{kind}Request")()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.extend(map(example, numbers))
    return request


def ask_for_both(model: str, *numbers: float) -> Any:
    request = message_class("tensorflow.serving.MultiInferenceRequest")()
    request.input.example_list.examples.extend(map(example, numbers))
    for method, signature in ((REGRESS_METHOD, "regress"), (CLASSIFY_METHOD, "classify")):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return request


def signatures(served: Served, model: str) -> set[str]:
    request = message_class("tensorflow.serving.GetModelMetadataRequest")()
    request.model_spec.name = model
    request.metadata_field.append("signature_def")
    answer = served.call(f"{PREDICTION}/GetModelMetadata", request)
    found = message_class("tensorflow.serving.SignatureDefMap")()
    assert answer.metadata["signature_def"].Unpack(found)
    return set(found.signature_def)


@pytest.mark.tensorflow
def test_every_method_works_with_models_of_either_platform_in_workers(served: Served) -> None:
    tf = pytest.importorskip("tensorflow")
    save_with_tensorflow_1(tf, served.folder / "half" / "7")
    half = served.model("half", platform="tensorflow", workers=options())
    with served.open(isolated(served), half):
        served.core.wait_until_available(timeout=110)
        assert served.ask(3.0) == 7.0
        assert served.ask(3.0, "half") == 3.5
        assert signatures(served, "m") == {"serving_default"}
        assert signatures(served, "half") == {"serving_default", "classify", "regress"}

        found = served.call(f"{PREDICTION}/Regress", ask_for("Regression", "half", "regress", 2.0))
        assert [one.value for one in found.result.regressions] == [3.0]
        found = served.call(f"{PREDICTION}/Regress", ask_for("Regression", "m", "", 2.0))
        assert [one.value for one in found.result.regressions] == [example(2.0).ByteSize()]

        request = ask_for("Classification", "half", "classify", 1.0)
        found = served.call(f"{PREDICTION}/Classify", request).result.classifications
        assert [(one.label, one.score) for one in found[0].classes] == [("low", 1.0), ("high", 2.0)]
        found = served.call(f"{PREDICTION}/Classify", ask_for("Classification", "m", "", 1.0))
        assert [one.label for one in found.result.classifications[0].classes] == ["low"]

        for model, numbers in (("half", [3.0]), ("m", [float(example(2.0).ByteSize())])):
            found = served.call(f"{PREDICTION}/MultiInference", ask_for_both(model, 2.0)).results
            assert [one.value for one in found[0].regression_result.regressions] == numbers
            (classes,) = found[1].classification_result.classifications
            assert classes.classes[0].label == "low"


@pytest.mark.parametrize(
    ("x", "code"),
    [(-1.0, Code.INVALID_ARGUMENT), (-3.0, Code.INVALID_ARGUMENT), (-4.0, Code.INTERNAL)],
)
def test_what_a_model_raises_is_told_as_of_one_in_this_process(
    x: float, code: grpc.StatusCode, served: Served
) -> None:
    here = served.model("here", base_path=str(served.folder / "m"))
    with served.open(isolated(served), here):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request("m", x=[x]))
        in_process = served.failure(PREDICT, predict_request("here", x=[x]))
        assert (error.code(), in_process.code()) == (code, code)
        told = in_process.details().rpartition(": ")[2]
        assert error.details().endswith(told)
        assert error.details().startswith("m:1: predict")


def test_a_worker_that_dies_is_told_and_who_kills_again_and_again_is_refused(
    served: Served,
) -> None:
    with served.open(isolated(served)):
        served.core.wait_until_available(timeout=WATCHDOG)
        errors = [served.failure(PREDICT, predict_request(x=[-2.0])) for _ in range(3)]
        assert [one.code() for one in errors] == [
            Code.UNAVAILABLE,
            Code.UNAVAILABLE,
            Code.FAILED_PRECONDITION,
        ]
        assert "SIGABRT" in errors[0].details()
        assert "worker processes crashed" in errors[2].details()
        assert served.ask(1.0) == 3.0


def test_a_deadline_reaches_the_worker_and_its_caller_is_told_before_it_passes(
    served: Served,
) -> None:
    with served.open(isolated(served, concurrency=1)):
        served.core.wait_until_available(timeout=WATCHDOG)
        left = (served.ask(-6.0, timeout=60.0) - 1) / 2
        assert 30.0 < left < 60.0
        error = served.failure(PREDICT, predict_request(x=[-5.0]), timeout=2.5)
        assert error.code() is Code.DEADLINE_EXCEEDED
        assert "m:1: predict: the worker has not answered before the deadline" in error.details()
        # Its place is taken until the model has let go of the call, and free afterwards.
        release(served)
        assert served.ask(1.0) == 3.0
        (worker,) = served.core.explain("m").versions[0].workers
        assert (worker.restarts, worker.running) == (0, 0)


def test_a_model_in_this_process_can_ask_how_long_its_caller_waits(served: Served) -> None:
    with served.open(served.model()):
        served.core.wait_until_available(timeout=WATCHDOG)
        assert 30.0 < (served.ask(-6.0, timeout=60.0) - 1) / 2 < 60.0
        assert served.ask(-6.0, timeout=None) == 1.0


def test_clients_are_told_of_the_workers_and_of_what_became_of_them(served: Served) -> None:
    with served.open(isolated(served, replicas=2)), Client(served.target) as client:
        served.core.wait_until_available(timeout=WATCHDOG)
        before = client.status().models["m"].workers[1]
        assert [(one.state, one.restarts) for one in before] == [(WorkerState.READY, 0)] * 2
        pid = before[0].pid
        assert pid is not None
        kill(pid, signal.SIGKILL)
        assert eventually(lambda: _restarted(client))
        worker, other = client.status().models["m"].workers[1]
        assert worker.pid not in (None, pid)
        assert other == before[1]
        assert f"worker 0 (process {pid}) was killed by SIGKILL" in worker.trouble
        told = str(client.explain("m"))
        assert "m: well, serving 1" in told
        assert f"worker 0 (process {worker.pid}): ready for " in told
        assert f"started anew 1 time, lately: worker 0 (process {pid}) was killed" in told


def _restarted(client: Client) -> bool:
    worker, _ = client.status().models["m"].workers[1]
    return worker.restarts == 1 and worker.state is WorkerState.READY


def test_calls_beyond_the_queue_are_refused_at_once(served: Served) -> None:
    with served.open(isolated(served, concurrency=1, max_queue=0)):
        served.core.wait_until_available(timeout=WATCHDOG)
        running = Spawned(lambda: served.ask(-5.0))
        assert eventually(lambda: _running(served) == 1)
        error = served.failure(PREDICT, predict_request(x=[1.0]))
        assert error.code() is Code.RESOURCE_EXHAUSTED
        assert "max_queue" in error.details()
        release(served)
        assert running.result() == -9.0


def _running(served: Served) -> int:
    (snapshot,) = served.core.manager.snapshots("m")
    return sum(one.running for one in snapshot.workers)
