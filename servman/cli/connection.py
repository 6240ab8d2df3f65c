"""The options by which a command finds its server, and the client that they make."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import click
import grpc

from servman.client import Client
from servman.client.address import VARIABLE
from servman.errors import ServmanError

TOKEN_VARIABLE: Final = "SERVMAN_TOKEN"  # noqa: S105 -- the name of the variable, no token

_COMPLETION_TIMEOUT: Final = 1.0
"""Seconds that somebody who presses the tab key is kept waiting at most."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

Command = Callable[..., Any]


@final
@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is, and how to speak to it.

    Threads: immutable; any thread.
    """

    server: str | None
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None
    token: str | None

    def open(self) -> Client:
        """Return a client of it.

        Raises:
            InvalidArgumentError: No server is named, or it cannot be one.
            UsageError: The options do not fit together.
        """
        return Client(self.server, credentials=self._credentials(), token=self.token)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if (self.cert is None) != (self.key is None):
            raise click.UsageError("--cert and --key belong together")
        if not self.tls and self.ca is None and self.cert is None:
            return None
        self._check_files()
        ca, key, cert = (
            None if path is None else path.read_bytes() for path in (self.ca, self.key, self.cert)
        )
        return grpc.ssl_channel_credentials(ca, key, cert)

    def _check_files(self) -> None:
        """Refuse files that hold no certificate or key: gRPC would only find that nobody can be reached."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        options = "--ca"
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            options = "--cert and --key"
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password=lambda: "")
        except OSError as error:
            raise click.UsageError(f"{options} cannot be used: {error}") from None


def server_options(command: Command, *, variable: str | None = VARIABLE) -> Command:
    """Give *command* the options that name a server; it gets a `Connection` as "connection".

    Args:
        command: What is decorated.
        variable: The environment variable that stands for --server; None: none.
    """
    options = (
        click.option(
            "--server",
            metavar="ADDRESS",
            envvar=variable,
            show_envvar=variable is not None,
            help='The server: "host:8500", "[::1]:8500", "unix:/run/servman.sock".',
        ),
        click.option(
            "--tls", is_flag=True, help="Speak TLS, trusting the authorities of the system."
        ),
        click.option(
            "--ca", type=_FILE, help="Speak TLS, trusting the authorities in this PEM file."
        ),
        click.option("--cert", type=_FILE, help="Show the server this certificate (PEM)."),
        click.option("--key", type=_FILE, help="The key of that certificate (PEM)."),
        click.option(
            "--token",
            envvar=TOKEN_VARIABLE,
            show_envvar=True,
            help="Sent with every call, for a server that asks for one.",
        ),
    )

    @functools.wraps(command)
    def run(
        *,
        server: str | None,
        tls: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        token: str | None,
        **rest: object,
    ) -> object:
        connection = Connection(server, tls, ca, cert, key, token)
        return command(connection=connection, **rest)

    for option in reversed(options):
        run = option(run)
    return run


def complete_model(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the models of the server that begin with *incomplete*; none where it cannot be asked."""
    given = {name: context.params.get(name) for name in ("ca", "cert", "key")}
    paths = {name: None if one is None else Path(one) for name, one in given.items()}
    connection = Connection(
        server=context.params.get("server"),
        tls=bool(context.params.get("tls")),
        token=context.params.get("token"),
        **paths,
    )
    try:
        with connection.open() as client:
            models = client.status(timeout=_COMPLETION_TIMEOUT).models
    except (OSError, ServmanError, click.UsageError):
        return []
    return [name for name in models if name.startswith(incomplete)]
