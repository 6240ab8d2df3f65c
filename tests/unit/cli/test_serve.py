"""The flags of `servman serve`: those of tensorflow_model_server, and never one that is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from servman.cli import serve_flags
from servman.cli.main import main
from servman.cli.serve_flags import FLAGS, UNIMPLEMENTED, written_out
from servman.core import ModelConfig, ServerConfig, ServerCoreOptions
from servman.errors import InvalidArgumentError
from servman.server import ServerOptions
from servman.workers.options import Workers


def flags(**given: Any) -> dict[str, Any]:
    return {flag.name: flag.default for flag in FLAGS} | given


def test_a_flag_that_stands_alone_is_true() -> None:
    arguments = ["--enable_model_warmup", "--port=1", "--enable_model_warmup=false"]
    assert written_out(arguments) == ["--enable_model_warmup=true", *arguments[1:]]


@pytest.mark.parametrize("name", UNIMPLEMENTED)
def test_what_is_not_implemented_is_an_error_that_says_so(name: str) -> None:
    with pytest.raises(click.UsageError, match=f"--{name} is not implemented: "):
        written_out([f"--{name}=something"])


@pytest.mark.parametrize("name", UNIMPLEMENTED)
def test_what_would_change_nothing_may_be_given(name: str) -> None:
    assert written_out([f"--{name}={UNIMPLEMENTED[name][0]}"]) == []


def test_a_lone_flag_that_is_not_implemented_is_one_that_is_true() -> None:
    with pytest.raises(click.UsageError, match="enable_batching"):
        written_out(["--enable_batching"])
    assert written_out(["--enable_batching=0"]) == []


def test_no_flag_is_both() -> None:
    assert not {flag.name for flag in FLAGS} & UNIMPLEMENTED.keys()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nonsense"], "No such option"),
        (["--port=http"], "--port"),
        ([], "give --model_base_path, or --model_config_file"),
        (["--model_base_path=/x", "--port=0"], "give --port, or --grpc_socket_path"),
        (["--model_base_path=/x", "--model_platform=python"], "enabled: --platforms=python"),
        (["--model_base_path=/x", "--grpc_channel_arguments=a"], "'a' is not name=value"),
        (["--model_base_path=relative"], "not an absolute path"),
        (["--model_base_path=/x", "--drain_seconds=nan"], "--drain_seconds"),
        (["--model_config_file=/no/such"], "it does not exist"),
        (["--model_config_file=/"], "directory"),
        (["--model_base_path=/x", "--token_file=/no/such"], "/no/such cannot be read"),
        (["--model_base_path=/x", "--ssl_config_file=/no/such"], "/no/such cannot be read"),
    ],
)
def test_bad_usage_ends_before_anything_is_served(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    monkeypatch.setattr("servman.cli.serve.register_platform", lambda *_, **__: None)
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize("flag", FLAGS, ids=[flag.name for flag in FLAGS])
def test_no_value_of_a_flag_is_an_error_that_nobody_foresaw(
    flag: serve_flags.Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)
    monkeypatch.setattr("servman.cli.serve.register_platform", lambda *_, **__: None)
    monkeypatch.setattr("servman.cli.serve._run", lambda *_: True)
    rest = [
        f"--{name}={value}"
        for name, value in (("model_base_path", "/m"), ("port", "1"))
        if name != flag.name
    ]
    for value in ("", "²", "-1", "nan", "-inf", "inf", "9" * 400, "-" + "9" * 400, "a=²", "a=--1"):
        result = CliRunner().invoke(main, ["serve", f"--{flag.name}={value}", *rest])
        assert isinstance(result.exception, SystemExit | None), (value, result.exception)
        assert result.exit_code in (0, 2), (value, result.output)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=-5", -5), ("a=²", "²"), ("a=--1", "--1"), ("a=", ""), (f"a={2**31 - 1}", 2**31 - 1)],
)
def test_what_is_written_as_a_number_is_one(text: str, value: object) -> None:
    options = serve_flags.server_options_from(flags(grpc_channel_arguments=text))
    assert options.channel_arguments == {"a": value}


@pytest.mark.parametrize("text", ["a", "=1", f"a={2**31}", "a=" + "9" * 5000])
def test_what_grpc_could_not_take_is_bad_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match="--grpc_channel_arguments: "):
        serve_flags.server_options_from(flags(grpc_channel_arguments=text))


def test_without_flags_the_core_works_as_ever() -> None:
    assert serve_flags.core_options_from(flags()) == ServerCoreOptions()


def test_flags_say_how_the_core_works(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("")
    given = flags(
        platforms="tensorflow, python",
        model_config_file=str(file),
        model_config_file_poll_wait_seconds=7.0,
        file_system_poll_wait_seconds=-1.0,
        num_load_threads=3,
        num_unload_threads=5,
        max_num_load_retries=0,
        load_retry_interval_micros=1_500_000,
        allow_version_labels_for_unavailable_models=False,
        total_model_memory_limit_bytes=9,
        history_file="/h",
    )
    assert serve_flags.config_from(given) == ServerConfig()
    assert serve_flags.core_options_from(given) == ServerCoreOptions(
        platforms=("tensorflow", "python"),
        config_file=str(file),
        config_file_poll_interval=7.0,
        poll_interval=-1.0,
        num_load_threads=3,
        num_unload_threads=5,
        max_num_load_retries=0,
        load_retry_interval=1.5,
        strict_version_labels=True,
        total_model_memory_limit_bytes=9,
        history_file="/h",
    )


def test_a_config_file_without_a_poll_interval_is_read_once() -> None:
    options = serve_flags.core_options_from(flags(model_config_file="/m"))
    assert options.config_file is None


def test_a_negative_retry_interval_is_none_at_all() -> None:
    options = serve_flags.core_options_from(flags(load_retry_interval_micros=-1))
    assert options.load_retry_interval == 0.0


def test_flags_name_the_one_model() -> None:
    given = flags(model_base_path="/m", model_name="n", model_platform="python", platforms="python")
    assert serve_flags.config_from(given) == ServerConfig([ModelConfig("n", "/m", "python")])


@pytest.mark.parametrize(
    ("given", "workers"),
    [
        ({"model_workers": 2}, Workers(2)),
        ({"model_worker_devices": "3, 1"}, Workers(devices=(3, 1))),
        ({"num_parallel_workers": 3}, Workers(num_parallel_workers=3)),
        ({"model_workers": 1, "worker_log_dir": "/logs"}, Workers(1, log_dir="/logs")),
        ({"model_workers": 1, "python_methods": "a, b"}, Workers(1, python_methods=("a", "b"))),
        ({"model_workers": 1, "idempotent_methods": "a"}, Workers(1, idempotent_methods=("a",))),
    ],
    ids=str,
)
def test_flags_put_the_one_model_into_processes_of_its_own(
    given: dict[str, Any], workers: Workers
) -> None:
    (model,) = serve_flags.config_from(flags(model_base_path="/m", **given)).models
    assert model.workers == workers


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model_worker_devices": "0,x"}, "'x' is not the number of a device"),
        ({"model_worker_devices": "²"}, "'²' is not the number of a device"),
        ({"worker_log_dir": "/logs"}, "of no use without --model_workers"),
        ({"python_methods": "a"}, "--python_methods is of no use without --model_workers"),
        ({"model_workers": 2, "model_config_file": "/m"}, "are for one model"),
    ],
    ids=str,
)
def test_flags_about_workers_that_cannot_be_are_bad_usage(given: dict[str, Any], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        serve_flags.config_from(flags(model_base_path="/m", **given))


def test_flags_say_how_calls_are_taken(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "ssl").write_text(
        'server_key: "K" server_cert: "C" custom_ca: "A" client_verify: true'
    )
    options = serve_flags.server_options_from(
        flags(
            port=1234,
            grpc_socket_path="/s",
            grpc_max_threads=3,
            grpc_channel_arguments="grpc.a=1,grpc.b=x",
            ssl_config_file=f"{tmp_path}/ssl",
            token_file=f"{tmp_path}/token",
            enable_serialization_as_tensor_content=True,
            max_waiting_calls=5,
        )
    )
    assert options.addresses == ("0.0.0.0:1234", "unix:/s")
    assert (options.num_threads, options.max_waiting_calls) == (3, 5)
    assert options.channel_arguments == {"grpc.a": 1, "grpc.b": "x"}
    assert options.token == "secret"  # noqa: S105 -- of this test
    assert options.tensors_as_content
    assert options.tls is not None
    assert (options.tls.key, options.tls.certificates, options.tls.client_ca) == (b"K", b"C", b"A")


def test_without_flags_calls_are_taken_as_ever() -> None:
    assert serve_flags.server_options_from(flags()) == ServerOptions()


def test_files_that_are_not_what_they_should_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "ssl").write_text("nonsense: 3")
    with pytest.raises(InvalidArgumentError, match=f"{tmp_path}/ssl holds no SSLConfig"):
        serve_flags.server_options_from(flags(ssl_config_file=f"{tmp_path}/ssl"))
    with pytest.raises(InvalidArgumentError, match=f"{tmp_path}/no cannot be read"):
        serve_flags.server_options_from(flags(token_file=f"{tmp_path}/no"))


@pytest.mark.tensorflow
def test_flags_say_how_saved_models_are_loaded() -> None:
    adapter = serve_flags.saved_model_factory_from(
        flags(saved_model_tags="serve,tpu", enable_model_warmup=False)
    )()
    assert sorted(adapter._options.tags) == ["serve", "tpu"]
    assert adapter._warm_up is None
    warmed = serve_flags.saved_model_factory_from(flags(num_request_iterations_for_warmup=3))()
    assert warmed._warm_up is not None
    assert warmed._warm_up.iterations == 3
