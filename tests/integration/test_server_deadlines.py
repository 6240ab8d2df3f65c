"""A caller whose deadline is about to pass is told what its call is busy with."""

from __future__ import annotations

import re
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.served import (
    DOUBLE,
    MODEL,
    PREDICTION,
    SERVABLES,
    Served,
    eventually,
    new,
    predict_request,
)

LATE = grpc.StatusCode.DEADLINE_EXCEEDED
PREDICT = f"{PREDICTION}/Predict"

HELD = """
import servman_test_deadline as gate
""" + DOUBLE.replace("return {", "gate.wait()\n        return {", 1).replace(
    "def load",
    "    def classify(self, examples, signature_name=None):\n        gate.wait()\n\ndef load",
)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the model "held" waits at."""
    made: Any = types.ModuleType("servman_test_deadline")
    made.leave, made.entered, made.patience = threading.Event(), 0, WATCHDOG

    def wait() -> None:
        made.entered += 1
        made.leave.wait(made.patience)

    made.wait = wait
    monkeypatch.setitem(sys.modules, "servman_test_deadline", made)
    return made


@pytest.fixture
def held(tmp_path: Path, gate: Any) -> Iterator[Served]:
    served = Served(tmp_path)
    served.publish("m", 1)
    served.publish("held", 3, HELD)
    with served.open(served.model(), served.model("held"), num_threads=2):
        served.core.wait_until_available(timeout=WATCHDOG)
        yield served
        gate.leave.set()


def test_a_prediction_that_is_too_slow_is_told_as_such(held: Served) -> None:
    error = held.failure(PREDICT, predict_request("held", x=[1.0]), timeout=1.0)
    assert error.code() is LATE
    assert re.match(r"Predict of held:3 did not end within 0\.\d+ s, .* deadline", error.details())


def test_a_classification_that_is_too_slow_is_told_as_such(held: Served) -> None:
    request = new("tensorflow.serving.ClassificationRequest", model_spec={"name": "held"})
    request.input.example_list.examples.add()
    error = held.failure(f"{PREDICTION}/Classify", request, timeout=1.0)
    assert error.code() is LATE
    assert re.match(r"Classify of held:3 did not end within 0\.\d+ s, ", error.details())


def test_what_comes_too_late_is_dropped_and_the_thread_is_free_again(
    held: Served, gate: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # as many as there are threads
        assert held.failure(PREDICT, predict_request("held", x=[1.0]), timeout=0.2).code() is LATE
    gate.leave.set()
    assert held.ask() == 3.0
    assert held.ask(name="held") == 5.0
    assert held.server.stop()
    assert capfd.readouterr().err == ""


def test_a_call_for_which_there_is_no_thread_is_told_so_and_never_runs(
    held: Served, gate: Any
) -> None:
    busy = [Spawned(lambda: held.ask(name="held", timeout=None)) for _ in range(2)]
    assert eventually(lambda: gate.entered == 2)
    errors = [
        Spawned(lambda: held.failure(PREDICT, predict_request("held", x=[1.0]), timeout=1.0))
        for _ in range(5)
    ]
    for error in errors:
        assert error.result().code() is LATE
        assert error.result().details().startswith("Predict found no free thread within 0.")
        assert "all 2 are busy" in error.result().details()
    gate.leave.set()
    assert [one.result() for one in busy] == [5.0, 5.0]
    assert held.ask(name="held") == 5.0
    assert gate.entered == 3


def test_a_call_that_gets_a_thread_later_is_answered(held: Served, gate: Any) -> None:
    busy = [Spawned(lambda: held.ask(name="held")) for _ in range(2)]
    assert eventually(lambda: gate.entered == 2)
    later = Spawned(held.ask)
    assert eventually(lambda: len(held.server._deadlines._running) == 3)
    gate.leave.set()
    assert later.result() == 3.0
    assert [one.result() for one in busy] == [5.0, 5.0]
    assert eventually(lambda: not held.server._deadlines._running)


def test_a_call_without_a_deadline_may_take_its_time(held: Served, gate: Any) -> None:
    answer = Spawned(lambda: held.ask(name="held", timeout=None))
    assert held.failure(PREDICT, predict_request("held", x=[1.0]), timeout=0.2).code() is LATE
    gate.leave.set()
    assert answer.result() == 5.0


def test_answers_that_come_as_the_time_is_up_are_sent_once(
    held: Served, gate: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each call takes just as long as it may."""
    gate.patience = 0.05
    told: set[object] = set()
    for number in range(60):
        try:
            told.add(held.ask(name="held", timeout=0.056 + 0.0001 * number))
        except grpc.RpcError as error:
            told.add(error.code())
    assert told <= {5.0, LATE}
    assert held.ask() == 3.0
    assert held.server.stop()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("milliseconds", [5, 20, 50])
def test_a_wait_with_little_time_is_answered_with_the_reasons(
    milliseconds: int, held: Served
) -> None:
    request = new("WaitUntilRequest", requests=["m:9"])

    def told() -> bool:
        try:
            answer = held.call(f"{SERVABLES}/WaitUntil", request, timeout=milliseconds / 1000)
        except grpc.RpcError:  # the machine was busy with other things
            return False
        return bool(answer.timed_out and "m:9" in answer.reasons)

    assert eventually(told)


@pytest.mark.parametrize("milliseconds", [5, 20, 50])
def test_a_reload_with_little_time_is_answered_with_the_reasons(
    milliseconds: int, held: Served
) -> None:
    request = new("tensorflow.serving.ReloadConfigRequest")
    for model in (held.model(), held.model("held"), held.model("absent")):
        request.config.model_config_list.config.add(
            name=model.name, base_path=model.base_path, model_platform=model.platform
        )

    def told() -> bool:
        error = held.failure(
            f"{MODEL}/HandleReloadConfigRequest", request, timeout=milliseconds / 1000
        )
        assert error.code() is LATE
        return "absent" in error.details()

    assert eventually(told)


def test_with_another_grpc_than_is_known_callers_learn_of_deadlines_by_themselves(
    tmp_path: Path, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servman.server.deadlines._ABORT", ["another"])
    served = Served(tmp_path)
    served.publish("held", 3, HELD)
    with served.open(served.model("held")):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request("held", x=[1.0]), timeout=0.1)
        assert error.details() == "Deadline Exceeded"
        gate.leave.set()
