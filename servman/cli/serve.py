"""`servman serve`: a server, by the flags of tensorflow_model_server."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import queue
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, final

import click

from servman.adapters import register_platform
from servman.cli.exits import Exit, exits
from servman.cli.serve_flags import (
    FLAGS,
    config_from,
    core_options_from,
    saved_model_factory_from,
    server_options_from,
    written_out,
)
from servman.core import ServerCore
from servman.log import Log

if TYPE_CHECKING:
    from servman.server import ModelServer

_log = Log(__name__)

_SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a thread that computes lets another one in: a tenth of Python's own, for quicker answers."""

_LOOK: Final = 0.2
"""Seconds between looks for a signal: the system may hand it to a thread of gRPC's, which does not wake this one."""

_HELP: Final = """Serve models over gRPC, for clients of TensorFlow Serving and of servman.

The flags are those of tensorflow_model_server, and some more; one that is not implemented is an error that says
so. The port opens before models are loaded; the health service tells when they are.

On SIGTERM or SIGINT no more calls are taken, those under way are finished, and the models are unloaded. A second
signal ends the process at once.

Exit codes: 0 when all calls were finished and all models unloaded; 1 when something had to be broken off, or the
server could not start; 2 for bad usage, a file that cannot be read, or a configuration with faults.
"""


@final
class _ServeCommand(click.Command):
    """Takes flags as tensorflow_model_server does: "--flag" alone is true."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, written_out(args))


@click.command(cls=_ServeCommand, help=_HELP)
def serve(**flags: Any) -> None:
    """Serve as the flags say, until a signal comes."""
    if importlib.util.find_spec("grpc_health") is None:
        raise click.UsageError("the server is not installed: pip install 'servman[server]'")
    from servman.server import ModelServer  # noqa: PLC0415 -- imports grpc and numpy

    level = logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")  # noqa: TID251 -- the process is ours
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with exits():
        register_platform("tensorflow", saved_model_factory_from(flags), replace=True)
        options = server_options_from(flags)
        core = ServerCore(config_from(flags), options=core_options_from(flags))
        well = _run(core, ModelServer(core, options), flags["drain_seconds"])
    _end(Exit.WELL if well else Exit.FAILED)


for _flag in FLAGS:
    serve = _flag.option(serve)


def _run(core: ServerCore, server: ModelServer, grace: float) -> bool:
    """Serve until a signal comes; return whether everything came to its end."""
    told = _Signals()
    server.start()
    try:
        core.start()
        click.echo(f"servman: serving on {', '.join(server.addresses)}")
        told.wait()
        _log.info("draining")
        finished = server.stop(grace)
    finally:
        server.stop(0)
        report = core.close(grace)
    _log.info("models: %s", report)
    return finished and bool(report)


@final
class _Signals:
    """The first signal to end is noted; the next one ends the process."""

    def __init__(self) -> None:
        # No event: its lock may be held by the very thread that the signal interrupts.
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)  # noqa: TID251 -- the process is ours

    def wait(self) -> None:
        """Block until the first has come."""
        while True:
            with contextlib.suppress(queue.Empty):
                self._told.get(timeout=_LOOK)
                return

    def _note(self, number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # noqa: TID251 -- likewise
        self._told.put(number)


def _end(code: int) -> None:
    """End the process: at once where threads were left behind, which Python's end could trip over."""
    if code:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    raise SystemExit(code)
