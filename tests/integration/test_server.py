"""The server as its callers meet it: who is let in, what is refused, how it ends; with models in Python."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from servman.adapters.tf_record import read_records
from servman.core import LoggingConfig, ServerConfig, ServerCore
from servman.errors import ClosedError, FailedPreconditionError
from servman.server import Caller, ModelServer, ServerOptions
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

PREDICT = f"{PREDICTION}/Predict"
STATUS = f"{MODEL}/GetModelStatus"
HEALTH = "grpc.health.v1.Health/"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.publish("m", 1)
    return made


@pytest.fixture
def running(served: Served) -> Iterator[Served]:
    with served.open():
        served.core.wait_until_available(timeout=WATCHDOG)
        yield served


def test_a_model_in_python_answers(running: Served) -> None:
    response = running.call(PREDICT, predict_request(x=[1.0, 2.0]))
    assert list(response.outputs["y"].float_val) == [3.0, 5.0]
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_numbers_go_back_as_bytes_where_asked_for(served: Served) -> None:
    with served.open(tensors_as_content=True):
        served.core.wait_until_available(timeout=WATCHDOG)
        output = served.call(PREDICT, predict_request(x=[1.0])).outputs["y"]
    assert output.tensor_content == np.float32(3.0).tobytes()
    assert not output.float_val


def test_the_port_is_open_before_models_are_loaded_and_says_so(served: Served) -> None:
    served.publish("slow", 1, "def load(context):\n    context.cancelled.wait()\n")
    with served.open(served.model("slow")):
        error = served.failure(PREDICT, predict_request("slow", x=[1.0]))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details().startswith("Servable not found for request: Latest(slow): ")


SPEC_ERRORS = [
    ({}, grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    (
        {"name": "no"},
        grpc.StatusCode.NOT_FOUND,
        "request: Latest(no): no model 'no' is configured",
    ),
    ({"name": "m:1"}, grpc.StatusCode.NOT_FOUND, "request: Latest(m:1): no model is called so"),
    ({"name": "m", "version": {"value": 7}}, grpc.StatusCode.NOT_FOUND, "Specific(m, 7): "),
    ({"name": "m", "version": {"value": -1}}, grpc.StatusCode.NOT_FOUND, "Specific(m, -1): "),
    (
        {"name": "m", "version_label": "stable"},
        grpc.StatusCode.INVALID_ARGUMENT,
        "unrecognized servable version label",
    ),
]


@pytest.mark.parametrize(("spec", "code", "text"), SPEC_ERRORS)
def test_what_cannot_be_found_is_told_with_the_reason(
    spec: dict[str, Any], code: grpc.StatusCode, text: str, running: Served
) -> None:
    request = predict_request("", x=[1.0])
    version = spec.get("version")
    request.model_spec.name = spec.get("name", "")
    if version is not None:
        request.model_spec.version.value = version["value"]
    if "version_label" in spec:
        request.model_spec.version_label = spec["version_label"]
    error = running.failure(PREDICT, request)
    assert error.code() is code
    assert text in error.details()


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "inputs are missing 'x'"),
        ({"x": [1.0], "z": [1.0]}, "unknown 'z'"),
        (
            {"x": np.array([1], np.int64)},
            "input 'x' takes DT_FLOAT of shape (?): given DT_INT64 of shape (1)",
        ),
        (
            {"x": np.array([b"1"], object)},
            "input 'x' takes DT_FLOAT of shape (?): given DT_STRING of shape (1)",
        ),
        ({"x": [[1.0]]}, "given shape"),
    ],
)
def test_inputs_that_do_not_fit_are_the_callers_fault(
    inputs: dict[str, Any], text: str, running: Served
) -> None:
    error = running.failure(PREDICT, predict_request(**inputs))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in error.details()


def test_a_signature_that_there_is_not_is_a_failed_precondition(running: Served) -> None:
    request = predict_request(x=[1.0])
    request.model_spec.signature_name = "no"
    error = running.failure(PREDICT, request)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "has no signature 'no', it has: 'serving_default'" in error.details()


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise ValueError('too small')", grpc.StatusCode.INVALID_ARGUMENT, "too small"),
        ("raise RuntimeError('broken')", grpc.StatusCode.INTERNAL, "RuntimeError: broken"),
        ("raise SystemExit(3)", grpc.StatusCode.INTERNAL, "SystemExit: 3"),
        ("return 3", grpc.StatusCode.INTERNAL, "gave a int where a mapping"),
        ("return {'z': [1]}", grpc.StatusCode.INTERNAL, "did not give 'y'"),
        ("return {'y': [[1], [1, 2]]}", grpc.StatusCode.INTERNAL, "gave what is no array"),
    ],
)
def test_a_model_that_fails_harms_its_own_caller_only(
    body: str, code: grpc.StatusCode, text: str, served: Served
) -> None:
    served.publish("bad", 1, DOUBLE.replace("return {", f"{body}\n        return {{", 1))
    with served.open(served.model(), served.model("bad")):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request("bad", x=[1.0]))
        assert error.code() is code
        assert text in error.details()
        assert served.ask() == 3.0


def test_a_servable_that_declares_nothing_cannot_be_called(served: Served) -> None:
    served.publish("plain", 1, "def load(context):\n    return object()\n")
    with served.open(served.model("plain")):
        served.core.wait_until_available(timeout=WATCHDOG)
        for method, request in (
            ("Predict", predict_request("plain")),
            (
                "Classify",
                new("tensorflow.serving.ClassificationRequest", model_spec={"name": "plain"}),
            ),
        ):
            error = served.failure(f"{PREDICTION}/{method}", request)
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference"])
def test_what_is_no_message_is_the_callers_fault(method: str, running: Served) -> None:
    error = running.failure(f"{PREDICTION}/{method}", b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the request is no tensorflow.serving." in error.details()


def test_a_message_that_is_too_long_is_refused(served: Served) -> None:
    with served.open(max_message_bytes=1000):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request(x=[1.0] * 1000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.ask() == 3.0


def test_large_tensors_come_and_go(running: Served) -> None:
    many = np.arange(2_000_000, dtype=np.float32)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(running.target, options) as channel:
        response = running.call(PREDICT, predict_request(x=many), channel)
    assert response.outputs["y"].float_val[1_999_999] == np.float32(many[-1] * 2 + 1)


def test_calls_that_wait_take_no_thread_from_predictions(served: Served) -> None:
    with served.open(num_threads=1, max_waiting_calls=3):
        served.core.wait_until_available(timeout=WATCHDOG)
        path = f"{SERVABLES}/WaitUntil"
        request = new("WaitUntilRequest", requests=["m:9"]).SerializeToString()
        waits = [served.unary(path).future(request) for _ in range(3)]
        assert eventually(lambda: len(served.server._room._ends) == 3)
        assert served.ask() == 3.0
        error = served.failure(f"{SERVABLES}/WaitUntil", request)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 calls are waiting already" in error.details()
        waits[0].cancel()
        assert eventually(lambda: len(served.server._room._ends) == 2)


def test_more_calls_than_are_taken_in_are_refused_at_once(served: Served) -> None:
    with served.open(max_concurrent_calls=2):
        path = f"{SERVABLES}/WaitUntil"
        request = new("WaitUntilRequest", requests=["m:9"]).SerializeToString()
        waits = [served.unary(path).future(request) for _ in range(2)]
        assert eventually(lambda: len(served.server._room._ends) == 2)
        assert served.failure(STATUS, b"").code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for wait in waits:
            wait.cancel()


def test_a_token_is_asked_for_but_not_of_who_asks_for_health(served: Served) -> None:
    with served.open(token="secret"):  # noqa: S106 -- of this test
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request(x=[1.0]))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "authorization: Bearer" in error.details()
        wrong = [("authorization", "Bearer guess")]
        error = served.failure(PREDICT, predict_request(x=[1.0]), metadata=wrong)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert served.ask(metadata=[("authorization", "Bearer secret")]) == 3.0
        assert health(served) == 1


def test_a_hook_decides_who_may_call_what(served: Served) -> None:
    seen: list[Caller] = []

    def authorize(caller: Caller) -> bool:
        seen.append(caller)
        return caller.metadata.get("who") == "me"

    with served.open(authorize=authorize):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request(x=[1.0]))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert served.ask(metadata=[("who", "me")]) == 3.0
    assert seen[0].method == f"/{PREDICT}"
    assert seen[0].peer.startswith("ipv4:127.0.0.1:")


@pytest.mark.case("MS-22")
def test_a_unix_socket_works(served: Served, tmp_path: Path) -> None:
    with served.open(addresses=(f"unix:{tmp_path}/socket", "127.0.0.1:0")):
        served.core.wait_until_available(timeout=WATCHDOG)
        assert served.ask() == 3.0
        with grpc.insecure_channel(served.server.addresses[1]) as channel:
            assert served.ask(channel=channel) == 3.0


@pytest.mark.case("MS-14")
def test_channel_arguments_are_passed_on(served: Served) -> None:
    with served.open(channel_arguments={"grpc.max_receive_message_length": 1000}):
        served.core.wait_until_available(timeout=WATCHDOG)
        error = served.failure(PREDICT, predict_request(x=[1.0] * 1000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.case("SC-23")
@pytest.mark.case("SC-24")
@pytest.mark.departs("SC-24")
def test_calls_to_models_are_logged_where_the_configuration_says_so(served: Served) -> None:
    served.publish("quiet", 1)
    file = served.folder / "requests.tfrecord"
    logged = served.model(logging=LoggingConfig(str(file.with_suffix(""))))
    with served.open(logged, served.model("quiet")):
        served.core.wait_until_available(timeout=WATCHDOG)
        assert served.ask(name="quiet") == 3.0
        assert served.server.stop()
        assert not file.exists()
    with served.open(logged, served.model("quiet")):
        served.core.wait_until_available(timeout=WATCHDOG)
        assert [served.ask(name="quiet"), served.ask(2.0)] == [3.0, 5.0]
        assert served.server.stop()
    with file.open("rb") as records:
        entries = [new("tensorflow.serving.PredictionLog").FromString(one) for one in read_records(records)]  # fmt: skip
    (entry,) = entries
    assert entry.log_metadata.model_spec.name == "m"
    assert list(entry.predict_log.request.inputs["x"].float_val) == [2.0]
    assert list(entry.predict_log.response.outputs["y"].float_val) == [5.0]


def test_a_unix_socket_is_not_taken_from_a_server_that_listens_there(
    served: Served, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/socket"
    with served.open(addresses=(address,)):
        served.core.wait_until_available(timeout=WATCHDOG)
        second = ModelServer(served.core, ServerOptions(addresses=(address,)))
        with pytest.raises(FailedPreconditionError, match=f"{address}: a server listens there"):
            second.start()
        with grpc.insecure_channel(address) as channel:
            assert served.ask(channel=channel) == 3.0


def test_an_address_that_is_taken_is_an_error_that_names_it(running: Served) -> None:
    second = ModelServer(running.core, ServerOptions(addresses=(running.target,)))
    with pytest.raises(FailedPreconditionError, match=running.target):
        second.start()
    assert running.ask() == 3.0


def test_a_server_is_started_once_and_not_again_after_its_stop(served: Served) -> None:
    with served.open():
        port = served.server.port
        with served.server as same:
            assert same.port == port
        with pytest.raises(ClosedError, match="was stopped"):
            served.server.start()
    with pytest.raises(FailedPreconditionError, match="has no port yet"):
        _ = ModelServer(served.core).port


def test_health_follows_readiness(served: Served) -> None:
    served.publish("late", 1, "def load(context):\n    context.cancelled.wait()\n")
    with served.open(served.model(), served.model("late")):
        served.core.wait_until_available("m", timeout=WATCHDOG)
        assert health(served) == 2
        assert health(served, PREDICTION) == 2
        assert health(served, "servman.live") == 1
        assert health(served, "m") == health(served, "m:1") == 1
        assert health(served, "late") == 2
        with pytest.raises(grpc.RpcError) as raised:
            health(served, "no")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_is_watched(served: Served) -> None:
    with served.open(served.model("w")):
        watch = served.stream(f"{HEALTH}Watch")(b"", timeout=WATCHDOG)
        assert next(watch) == b"\x08\x02"
        served.publish("w", 1)
        assert next(watch) == b"\x08\x01"
        watch.cancel()


def test_reflection_tells_the_services_under_the_names_of_tensorflow_serving(
    running: Served,
) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # noqa: PLC0415
        ProtoReflectionDescriptorDatabase,
    )

    database = ProtoReflectionDescriptorDatabase(running.channel)
    assert {PREDICTION, MODEL, SERVABLES, "grpc.health.v1.Health"} <= set(database.get_services())
    file = database.FindFileContainingSymbol(PREDICTION)
    assert file.package == "tensorflow.serving"
    assert database.FindFileContainingSymbol("grpc.health.v1.Health").package == "grpc.health.v1"


def test_a_method_that_there_is_not_is_unimplemented(running: Served) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        running.unary(f"{PREDICTION}/Guess")(b"", timeout=WATCHDOG)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


HELD = """
import threading
import servman_test_gate as gate
""" + DOUBLE.replace("return {", "gate.entered.set(); gate.leave.wait(10)\n        return {", 1)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the model "held" waits at."""
    made: Any = types.ModuleType("servman_test_gate")
    made.entered, made.leave = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "servman_test_gate", made)
    return made


def test_a_stop_lets_calls_finish_and_ends_waits(served: Served, gate: Any) -> None:
    served.publish("held", 1, HELD)
    with served.open(served.model("held")):
        served.core.wait_until_available(timeout=WATCHDOG)
        answer = Spawned(lambda: served.ask(name="held"))
        assert gate.entered.wait(WATCHDOG)
        path = f"{SERVABLES}/WaitUntil"
        request = new("WaitUntilRequest", requests=["held:9"]).SerializeToString()
        wait = served.unary(path).future(request)
        assert eventually(lambda: len(served.server._room._ends) == 1)
        stop = Spawned(lambda: served.server.stop(WATCHDOG))
        assert wait.exception(WATCHDOG).code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in wait.exception().details()
        gate.leave.set()
        assert answer.result() == 3.0
        assert stop.result() is True
        assert served.server.stop() is True


def test_a_stop_without_any_grace_breaks_off_nothing_where_there_are_no_calls(
    served: Served,
) -> None:
    with served.open():
        assert served.server.stop(0) is True


def test_a_server_that_several_threads_start_is_started_once(served: Served) -> None:
    server = ModelServer(
        ServerCore(ServerConfig()),
        ServerOptions(addresses=("127.0.0.1:0", f"unix:{served.folder}/s")),
    )
    before = set(threading.enumerate())
    together = threading.Barrier(8)

    def start() -> None:
        together.wait(WATCHDOG)
        server.start()

    for one in [Spawned(start) for _ in range(8)]:
        one.result()
    assert eventually(lambda: len(server.addresses) == 2)
    assert server.stop()
    assert eventually(lambda: set(threading.enumerate()) <= before)  # one of gRPC is not waited for


def test_a_server_that_is_stopped_while_it_starts_stays_stopped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ModelServer(ServerCore(ServerConfig()), ServerOptions(addresses=("127.0.0.1:0",)))
    begin, before = grpc.server, set(threading.enumerate())

    def stopped_meanwhile(*arguments: Any, **options: Any) -> grpc.Server:
        server.stop()
        return begin(*arguments, **options)

    monkeypatch.setattr(grpc, "server", stopped_meanwhile)
    with pytest.raises(ClosedError):
        server.start()
    assert eventually(lambda: set(threading.enumerate()) <= before)  # one of gRPC is not waited for


def test_a_stop_breaks_off_what_does_not_finish(
    served: Served, gate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    served.publish("held", 1, HELD)
    with served.open(served.model("held")):
        served.core.wait_until_available(timeout=WATCHDOG)
        call = served.unary(PREDICT)
        answer = call.future(predict_request("held", x=[1.0]).SerializeToString())
        assert gate.entered.wait(WATCHDOG)
        assert served.server.stop(0.05) is False
        assert "request log" not in caplog.text  # which has time of its own to end in
        assert answer.exception(WATCHDOG) is not None
        gate.leave.set()


def health(served: Served, service: str = "") -> int:
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    response = served.unary(f"{HEALTH}Check")(request, timeout=WATCHDOG)
    return int(response[1])
