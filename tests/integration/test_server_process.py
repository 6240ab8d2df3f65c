"""A `servman serve` of its own process, as it is started, asked and stopped in earnest."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from servman.core import ModelConfig, ServerConfig, format_model_config
from servman.testing.clock import WATCHDOG
from tests.integration.served import DOUBLE, PREDICTION, SERVABLES, Served, new, predict_request

pytestmark = pytest.mark.timeout(60)

COMMAND = "from servman.cli.main import main; main()"

HELD = DOUBLE.replace(
    "return {", "pathlib.Path(self.pipe).read_text()\n        return {", 1
).replace("self.version = version", "self.version, self.pipe = version, {pipe!r}")
"""A model that answers when a named pipe, whose writing end it waits for, is closed."""


def publish_held(served: Served) -> Path:
    """Publish the model "slow", which is held by the pipe that is returned."""
    pipe = served.folder / "pipe"
    os.mkfifo(pipe)
    served.publish("slow", 1, "import pathlib\n" + HELD.replace("{pipe!r}", repr(str(pipe))))
    return pipe


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    for name in ("m", "n"):
        made.publish(name, 1)
    return made


@contextlib.contextmanager
def serving(served: Served, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Serve at a unix socket in the block, by "python" models as well."""
    path = served.folder / "socket"
    arguments = ["serve", "--port=0", f"--grpc_socket_path={path}", "--platforms=python", *flags]
    process = subprocess.Popen(  # noqa: S603 -- our own interpreter and words
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("servman: serving on"):
                break
        with grpc.insecure_channel(f"unix:{path}") as served.channel:
            yield process
    finally:
        process.kill()
        process.communicate(timeout=WATCHDOG)


def one_model(served: Served, name: str = "m") -> list[str]:
    path = served.folder / name
    return [f"--model_name={name}", f"--model_base_path={path}", "--model_platform=python"]


def write_config(served: Served, *names: str) -> str:
    models = [ModelConfig(name, str(served.folder / name), "python") for name in names]
    path, staged = served.folder / "models.config", served.folder / "models.config.new"
    staged.write_text(format_model_config(ServerConfig(models)))
    staged.rename(path)
    return f"--model_config_file={path}"


def wait(served: Served, *requests: str, timeout: float = WATCHDOG) -> Any:
    request = new("WaitUntilRequest", requests=requests)
    return served.call(f"{SERVABLES}/WaitUntil", request, timeout=timeout)


def ended(process: subprocess.Popen[str], sent: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(sent)
    text, _ = process.communicate(timeout=WATCHDOG)
    return process.returncode, text


@pytest.mark.case("MS-22")
def test_one_model_is_served_by_flags(served: Served) -> None:
    with serving(served, *one_model(served)) as process:
        assert wait(served, "m").reached
        assert served.ask() == 3.0
        code, text = ended(process)
        assert code == 0
        assert "draining" in text
        assert "closed, nothing left" in text


@pytest.mark.case("MS-10")
def test_the_models_of_a_config_file_are_served(served: Served) -> None:
    with serving(served, write_config(served, "m", "n")) as process:
        assert wait(served).reached
        assert served.ask(name="m") == served.ask(name="n") == 3.0
        assert ended(process, signal.SIGINT)[0] == 0


@pytest.mark.case("MS-11")
def test_a_bad_config_file_ends_the_program_which_says_what_is_wrong(served: Served) -> None:
    path = served.folder / "models.config"
    path.write_text("model_config_list { config { nonsense: 1 } }")
    done = subprocess.run(  # noqa: S603 -- as above
        [sys.executable, "-c", COMMAND, "serve", f"--model_config_file={path}"],
        capture_output=True, text=True, timeout=WATCHDOG, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f'{path}:1:30: Message type "tensorflow.serving.ModelConfig" has no field' in done.stderr


@pytest.mark.case("MS-12")
def test_a_config_file_that_is_rewritten_is_followed(served: Served) -> None:
    poll = "--model_config_file_poll_wait_seconds=1"
    with serving(served, write_config(served, "m"), poll):
        assert wait(served, "m").reached
        write_config(served, "n")
        assert wait(served, "n").reached
        assert served.ask(name="n") == 3.0


@pytest.mark.case("MS-13")
def test_a_config_file_is_read_once_where_no_interval_is_given(served: Served) -> None:
    with serving(served, write_config(served, "m")):
        assert wait(served, "m").reached
        write_config(served, "n")
        response = served.call(
            f"{SERVABLES}/WaitUntil", new("WaitUntilRequest", requests=["n"], timeout=0.3)
        )
        assert response.reasons["n"].code == "not configured"


@pytest.mark.case("MS-14")
def test_channel_arguments_are_accepted(served: Served) -> None:
    limit = "--grpc_channel_arguments=grpc.max_receive_message_length=1000,grpc.lb_policy_name=x"
    with serving(served, *one_model(served), limit):
        assert wait(served, "m").reached
        error = served.failure(f"{PREDICTION}/Predict", predict_request(x=[1.0] * 1000))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_call_under_way_is_finished_before_the_server_ends(served: Served) -> None:
    pipe = publish_held(served)
    with serving(served, *one_model(served, "slow")) as process:
        assert wait(served, "slow").reached
        answer = served.unary(f"{PREDICTION}/Predict").future(
            predict_request("slow", x=[1.0]).SerializeToString(), timeout=WATCHDOG
        )
        with pipe.open("w"):  # which it can be once the call is in the model
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            assert any("draining" in line for line in process.stdout)
            assert not answer.done()
        assert answer.result()
        assert process.wait(WATCHDOG) == 0


def test_a_call_that_does_not_finish_is_broken_off_and_the_exit_code_says_so(
    served: Served,
) -> None:
    pipe = publish_held(served)
    with serving(served, *one_model(served, "slow"), "--drain_seconds=0.2") as process:
        assert wait(served, "slow").reached
        answer = served.unary(f"{PREDICTION}/Predict").future(
            predict_request("slow", x=[1.0]).SerializeToString(), timeout=WATCHDOG
        )
        with pipe.open("w"):
            code, text = ended(process)
        assert code == 1
        assert "left: slow:1" in text
        assert answer.exception() is not None


def test_a_thousand_idle_connections_and_callers_that_vanish_harm_nobody(served: Served) -> None:
    pipe = publish_held(served)
    with serving(served, write_config(served, "m", "slow"), "--grpc_max_threads=2") as process:
        assert wait(served).reached
        address = str(served.folder / "socket")
        with contextlib.ExitStack() as connections:
            for number in range(1000):
                connection = connections.enter_context(socket.socket(socket.AF_UNIX))
                connection.connect(address)
                if number % 10 == 0:  # the beginning of a connection, and no more
                    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            with grpc.insecure_channel(f"unix:{address}") as vanishing:
                call: Any = vanishing.unary_unary(f"/{PREDICTION}/Predict")
                answer = call.future(predict_request("slow", x=[1.0]).SerializeToString())
                with pipe.open("w"):  # it is in the model; now its caller vanishes
                    vanishing.close()
                    assert answer.code() is grpc.StatusCode.CANCELLED
                    assert served.ask() == 3.0
            assert served.ask() == 3.0
        assert served.ask() == 3.0
        assert ended(process)[0] == 0


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
def test_a_saved_model_is_served_to_unchanged_stubs(served: Served) -> None:
    tf = pytest.importorskip("tensorflow")
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: PLC0415

    takes = [tf.TensorSpec([None], tf.float32, name="x")]
    half = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=takes)
    path = served.folder / "half_plus_two"
    tf.saved_model.save(tf.Module(), str(path / "123"), signatures={"serving_default": half})
    with serving(served, f"--model_base_path={path}", "--platforms=tensorflow") as process:
        assert wait(served, "default", timeout=90.0).reached  # TensorFlow is imported there
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "default"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0, 5.0]))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(served.channel)
        response = stub.Predict(request, timeout=WATCHDOG)
        assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0, 4.5]
        assert response.model_spec.version.value == 123
        assert ended(process)[0] == 0
