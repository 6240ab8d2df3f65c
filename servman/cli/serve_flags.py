"""The flags of `servman serve`, by the names of tensorflow_model_server, and what they come to."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import click

from servman.adapters import SavedModelAdapter, WarmUp
from servman.cli.files import read_config, read_text
from servman.cli.number import MOST, Number
from servman.core import ModelConfig, ServerConfig, ServerCoreOptions
from servman.errors import InvalidArgumentError
from servman.workers.options import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from servman.server import ServerOptions, Tls

_MICROS: Final = 1e-6
_MAX_DIGITS: Final = 11
_COUNT: Final = click.IntRange(0, MOST)


@final
@dataclass(frozen=True, slots=True)
class Flag:
    """A flag.

    Attributes:
        name: As it is written, without the dashes.
        type: What its value is; `bool` may stand alone, and is true then.
        default: Its value where it is not given.
        help: What it does.
    """

    name: str
    type: Any
    default: Any
    help: str

    @property
    def option(self) -> Callable[[Any], Any]:
        """It, as click takes it."""
        return click.option(
            f"--{self.name}",
            self.name,
            type=self.type,
            default=self.default,
            show_default=self.default not in (None, ""),
            help=self.help,
        )


FLAGS: Final = (
    Flag("port", click.IntRange(0, 65535), 8500, "The port to listen on; 0: none."),
    Flag("grpc_socket_path", str, "", "The path of a unix socket to listen on as well."),
    Flag("model_name", str, "default", "What the one model is called."),
    Flag("model_base_path", str, "", "The absolute path of the folder with its versions."),
    Flag("model_platform", str, "tensorflow", "What loads it."),
    Flag("model_workers", _COUNT, 0, "How many processes hold the one model; 0: it is in the server's own, unless one of the next two is given."),
    Flag("model_worker_devices", str, "", "The numbers of the devices that they are put on, with commas between them."),
    Flag("num_parallel_workers", _COUNT, 0, "How many processes there are in all; those beyond the replicas take the work that needs no device."),
    Flag("python_methods", str, "", "The methods that need no device, with commas between them."),
    Flag("idempotent_methods", str, "", "The methods that may be called again when a process died at it, with commas between them."),
    Flag("worker_log_dir", str, "", "The folder of a log file for each of them; else what they write goes to the server's log."),
    Flag("model_config_file", str, "", "A file with the models, in place of all these."),
    Flag("model_config_file_poll_wait_seconds", Number(), 0.0, "Seconds between looks at that file, which is then followed; 0: it is read once."),
    Flag("file_system_poll_wait_seconds", Number(), 1.0, "Seconds between looks at base paths; 0: once, negative: never."),
    Flag("allow_version_labels_for_unavailable_models", bool, None, "Given as false, a configuration with a label whose version does not serve is refused. Else the label moves once it does."),
    Flag("num_load_threads", _COUNT, 0, "How many loads may run at once; 0: 4."),
    Flag("num_unload_threads", _COUNT, 0, "How many unloads may run at once; 0: 2."),
    Flag("max_num_load_retries", _COUNT, 5, "How often a failed load is repeated."),
    Flag("load_retry_interval_micros", click.IntRange(-(2**63), 2**63 - 1), 60_000_000, "Microseconds between attempts; negative: none."),
    Flag("enable_model_warmup", bool, default=True, help="Whether SavedModels answer the requests in their warm-up files first."),
    Flag("num_request_iterations_for_warmup", _COUNT, 0, "How often they answer each; 0: once."),
    Flag("saved_model_tags", str, "serve", "The tags of the graph to load, with commas between them."),
    Flag("per_process_gpu_memory_fraction", Number(0), 0.0, "The share of each GPU's memory; 0: all."),
    Flag("tensorflow_intra_op_parallelism", click.IntRange(-MOST, MOST), 0, "How many threads an operation may use; 0: TensorFlow decides."),
    Flag("tensorflow_inter_op_parallelism", click.IntRange(-MOST, MOST), 0, "How many operations may run at once; 0: TensorFlow decides."),
    Flag("ssl_config_file", str, "", "A file with an SSLConfig in text format: the certificates."),
    Flag("grpc_max_threads", click.IntRange(1, MOST), 4 * (os.cpu_count() or 1), "How many requests to models are worked on at once."),
    Flag("grpc_channel_arguments", str, "", "More options of gRPC's: name=value, with commas between them."),
    Flag("enable_serialization_as_tensor_content", bool, default=False, help="Whether numbers go back as bytes."),
    Flag("platforms", str, "tensorflow", 'The platforms to enable, with commas between them. "python" runs code from the model directories.'),
    Flag("total_model_memory_limit_bytes", click.IntRange(0, 2**64 - 1), None, "How much memory the models may take together."),
    Flag("history_file", str, "", "A file to which everything that happens to models is appended, as lines of JSON."),
    Flag("token_file", str, "", "A file with the token that callers have to bring along."),
    Flag("max_waiting_calls", click.IntRange(1, MOST), 256, "How many calls may wait or watch at once."),
    Flag("drain_seconds", Number(0), 30.0, "Seconds that calls, and then models, are given to end after SIGTERM."),
)  # fmt: skip
"""What `servman serve` understands."""

_REST: Final = "there is no REST interface; use gRPC"
_BATCHING: Final = "requests are not batched; leave it away"
_TENSORFLOW: Final = "sessions are made with TensorFlow's own choice here; leave it away"
_LITE: Final = "there is no platform for TensorFlow Lite"

UNIMPLEMENTED: Final[Mapping[str, tuple[str, str]]] = {
    "rest_api_port": ("0", _REST),
    "rest_api_num_threads": ("", _REST),
    "rest_api_timeout_in_ms": ("30000", _REST),
    "rest_api_enable_cors_support": ("false", _REST),
    "enable_batching": ("false", _BATCHING),
    "allow_empty_batching_parameters_file": ("", _BATCHING),
    "batching_parameters_file": ("", _BATCHING),
    "enable_per_model_batching_parameters": ("false", _BATCHING),
    "platform_config_file": ("", "platforms are Python packages here, see --platforms"),
    "monitoring_config_file": ("", "there is no page of metrics; watch the server, or read its history"),
    "use_alts_credentials": ("false", "ALTS is not supported; use --ssl_config_file"),
    "flush_filesystem_caches": ("true", "no file caches are kept, and so none can be kept unflushed"),
    "enable_grpc_healthcheck_service": ("true", "the health service is always there, and follows readiness"),
    "enable_profiler": ("true", "TensorFlow's profiler is not served"),
    "tensorflow_session_parallelism": ("0", "use --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"),
    "tensorflow_session_config_file": ("", _TENSORFLOW),
    "remove_unused_fields_from_bundle_metagraph": ("true", _TENSORFLOW),
    "enable_signature_method_name_check": ("false", "the method names of signatures are not looked at"),
    "prefer_tflite_model": ("false", _LITE),
    "num_tflite_pools": ("", _LITE),
    "num_tflite_interpreters_per_pool": ("", _LITE),
    "xla_cpu_compilation_enabled": ("false", _TENSORFLOW),
    "xla_gpu_compilation_enabled": ("false", _TENSORFLOW),
    "mixed_precision": ("", _TENSORFLOW),
    "thread_pool_factory_config_file": ("", _TENSORFLOW),
    "skip_initialize_tpu": ("false", "TPUs are not supported"),
    "tensorflow_session_run_timeout": ("", _TENSORFLOW),
}  # fmt: skip
"""What tensorflow_model_server understands besides: the value that changes nothing here, and what to do."""

_TRUE, _FALSE = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


def written_out(arguments: Sequence[str]) -> list[str]:
    """Return *arguments*, where a flag that is true or false and stands alone is told to be true.

    Raises:
        click.UsageError: There is a flag among them that is not implemented, and would change something.
    """
    lone = {f"--{flag.name}" for flag in FLAGS if flag.type is bool}
    found = []
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name in UNIMPLEMENTED:
            _check_unimplemented(name, value if equals else "true")
        else:
            found.append(f"{argument}=true" if argument in lone else argument)
    return found


def _check_unimplemented(name: str, value: str) -> None:
    harmless, remedy = UNIMPLEMENTED[name]
    same = value == harmless or any(
        value.lower() in words and harmless in words for words in (_TRUE, _FALSE)
    )
    if not same:
        raise click.UsageError(f"--{name} is not implemented: {remedy}")


def config_from(flags: Mapping[str, Any]) -> ServerConfig:
    """Return the configuration to begin with.

    Raises:
        click.UsageError: None is named.
        InvalidArgumentError: The file cannot be read, or holds none.
    """
    workers = workers_from(flags)
    if flags["model_config_file"]:
        if workers is not None:
            raise click.UsageError(
                "the flags about workers are for one model; write `servman { workers { ... } }` into the"
                " models in --model_config_file"
            )
        return read_config(flags["model_config_file"])
    if not flags["model_base_path"]:
        raise click.UsageError("give --model_base_path, or --model_config_file")
    platform = flags["model_platform"]
    if platform not in _listed(flags["platforms"]):
        raise click.UsageError(
            f"--model_platform={platform} has to be enabled: --platforms={platform}"
        )
    model = ModelConfig(flags["model_name"], flags["model_base_path"], platform, workers=workers)
    return ServerConfig([model])


def workers_from(flags: Mapping[str, Any]) -> Workers | None:
    """Return how the one model is put into processes of its own; None where it is not.

    Raises:
        click.UsageError: A device is no number.
    """
    replicas, devices = flags["model_workers"], _listed(flags["model_worker_devices"])
    most = flags["num_parallel_workers"]
    if not replicas and not devices and not most:
        for name in ("python_methods", "idempotent_methods", "worker_log_dir"):
            if flags[name]:
                raise click.UsageError(f"--{name} is of no use without --model_workers")
        return None
    for device in devices:
        if not re.fullmatch(r"[0-9]{1,9}", device):
            raise click.UsageError(
                f"--model_worker_devices: {device!r} is not the number of a device"
            )
    return Workers(
        replicas or None,
        tuple(map(int, devices)),
        num_parallel_workers=most,
        python_methods=_listed(flags["python_methods"]),
        idempotent_methods=_listed(flags["idempotent_methods"]),
        log_dir=flags["worker_log_dir"] or None,
    )


def core_options_from(flags: Mapping[str, Any]) -> ServerCoreOptions:
    """Return how the core works."""
    interval = flags["model_config_file_poll_wait_seconds"]
    follow = flags["model_config_file"] and interval > 0
    return ServerCoreOptions(
        platforms=tuple(_listed(flags["platforms"])),
        poll_interval=flags["file_system_poll_wait_seconds"],
        config_file=flags["model_config_file"] if follow else None,
        config_file_poll_interval=interval if follow else 1.0,
        num_load_threads=flags["num_load_threads"] or 4,
        num_unload_threads=flags["num_unload_threads"] or 2,
        max_num_load_retries=flags["max_num_load_retries"],
        load_retry_interval=max(0.0, flags["load_retry_interval_micros"] * _MICROS),
        strict_version_labels=flags["allow_version_labels_for_unavailable_models"] is False,
        total_model_memory_limit_bytes=flags["total_model_memory_limit_bytes"],
        history_file=flags["history_file"] or None,
    )


def server_options_from(flags: Mapping[str, Any]) -> ServerOptions:
    """Return how the server takes calls.

    Raises:
        click.UsageError: It would listen nowhere.
        InvalidArgumentError: A file cannot be read, or is not what it should be.
    """
    from servman.server import ServerOptions  # noqa: PLC0415 -- imports grpc and numpy

    port, socket = flags["port"], flags["grpc_socket_path"]
    addresses = [f"0.0.0.0:{port}"] if port else []
    addresses += [f"unix:{socket}"] if socket else []
    if not addresses:
        raise click.UsageError("give --port, or --grpc_socket_path")
    return ServerOptions(
        addresses=tuple(addresses),
        num_threads=flags["grpc_max_threads"],
        max_waiting_calls=flags["max_waiting_calls"],
        tls=_tls(flags["ssl_config_file"]) if flags["ssl_config_file"] else None,
        token=read_text(flags["token_file"]).strip() if flags["token_file"] else None,
        tensors_as_content=flags["enable_serialization_as_tensor_content"],
        channel_arguments=dict(map(_argument, _listed(flags["grpc_channel_arguments"]))),
    )


def saved_model_factory_from(flags: Mapping[str, Any]) -> Callable[[], SavedModelAdapter]:
    """Return what makes the adapter for SavedModels."""
    iterations = flags["num_request_iterations_for_warmup"] or 1
    return functools.partial(
        SavedModelAdapter,
        _listed(flags["saved_model_tags"]),
        intra_op_parallelism_threads=flags["tensorflow_intra_op_parallelism"],
        inter_op_parallelism_threads=flags["tensorflow_inter_op_parallelism"],
        per_process_gpu_memory_fraction=flags["per_process_gpu_memory_fraction"],
        warm_up=WarmUp(iterations=iterations) if flags["enable_model_warmup"] else None,
    )


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _argument(text: str) -> tuple[str, str | int]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--grpc_channel_arguments: {text!r} is not name=value")
    if not re.fullmatch(r"-?[0-9]+", value):
        return name, value
    if len(value) > _MAX_DIGITS or abs(int(value)) > MOST:
        raise click.UsageError(
            f"--grpc_channel_arguments: {name} is a number of at most {MOST}, not {value}"
        )
    return name, int(value)


def _tls(path: str) -> Tls:
    from google.protobuf import text_format  # noqa: PLC0415 -- only where it is needed

    from servman.protos import POOL, message_class  # noqa: PLC0415 -- likewise
    from servman.server import Tls  # noqa: PLC0415 -- imports grpc and numpy

    config = message_class("tensorflow.serving.SSLConfig")()
    try:
        text_format.Parse(read_text(path), config, descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise InvalidArgumentError(f"{path} holds no SSLConfig: {error}") from None
    return Tls(
        key=config.server_key.encode(),
        certificates=config.server_cert.encode(),
        client_ca=config.custom_ca.encode() if config.client_verify else None,
    )
