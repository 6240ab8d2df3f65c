"""`servman publish`: a directory becomes a version, seen whole or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, final

import click
from click.core import ParameterSource
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from servman.cli.connection import server_options
from servman.cli.exits import codes, exits
from servman.cli.wait_display import show_wait
from servman.errors import ServableUnavailableError, ServmanError
from servman.ids import MAX_VERSION
from servman.publishing import Progress, publish_version, withdraw_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.cli.connection import Connection
    from servman.client import Client
    from servman.ids import ServableId

_LINES = 10
"""Into how many lines progress is divided where there is no terminal."""


_HELP = f"""Copy SOURCE_DIR into BASE_PATH as VERSION, which is seen whole or not at all.

Without VERSION it takes the number after the highest that is there or being published.

With --wait it waits until the server has it available. A version that fails to load is taken back: it is
removed from BASE_PATH. When the time is up, or the server is not there, it stays published.

It prints the id of what it published, such as "half_plus:3", and nothing else on the standard output.

{codes("when it is published, and with --wait available", "when it is not, with the reason")}
"""


@click.command(help=_HELP)
@click.argument("source_dir", type=click.Path())
@click.argument("base_path", type=click.Path())
@click.argument("version", type=click.IntRange(0, MAX_VERSION), required=False)
@click.option(
    "--name",
    help="The servable, as the server calls it.  [default: the last part of BASE_PATH]",
)
@click.option("--create", is_flag=True, help="Create BASE_PATH where it is missing.")
@click.option("--wait", "waits", is_flag=True, help="Wait until it is available on the server.")
@server_options
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the server.",
)
@click.option("--keep-failed", is_flag=True, help="Leave a version there that fails to load.")
def publish(
    *,
    source_dir: str,
    base_path: str,
    version: int | None,
    name: str | None,
    connection: Connection,
    timeout: float,
    create: bool,
    waits: bool,
    keep_failed: bool,
) -> None:
    """Publish it as the command line says."""
    console = Console(stderr=True)
    given = click.get_current_context().get_parameter_source("server")
    if given is ParameterSource.COMMANDLINE and not waits:
        raise click.UsageError("--server is of use with --wait: without it nobody is asked")
    with exits(), contextlib.ExitStack() as stack:
        # Made first: an address that can never be right should not leave a version behind.
        client = stack.enter_context(connection.open()) if waits else None
        with _show(console) as progress:
            published = publish_version(
                source_dir, base_path, version, name=name, create=create, progress=progress
            )
        if client is not None:
            _wait(client, published, None if keep_failed else base_path, timeout, console)
        click.echo(str(published))


def _wait(
    client: Client, published: ServableId, base_path: str | None, timeout: float, console: Console
) -> None:
    """Wait until it is available; take it back from *base_path*, if there is one, where it fails."""
    try:
        with show_wait(console, quiet=False) as tell:
            client.wait_until_available(published, timeout=timeout, progress=tell)
    except ServableUnavailableError:
        if base_path is not None:
            _take_back(published, base_path)
        raise
    except BaseException:
        click.echo(f"{published} is published, and stays so", err=True)
        raise


def _take_back(published: ServableId, base_path: str) -> None:
    try:
        withdraw_version(base_path, published)
    except ServmanError as error:  # told beside the reason for which it was to go
        click.echo(f"{published} could not be taken back: {error}", err=True)
    else:
        click.echo(f"{published} was taken back", err=True)


@contextlib.contextmanager
def _show(console: Console) -> Iterator[Progress]:
    """Yield what shows the progress: as a bar on a terminal, else in plain lines."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = TextColumn("publishing"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("publishing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@final
class Lines:
    """Prints a line for the beginning, and one whenever another tenth is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = -1

    def __call__(self, done: int, total: int) -> None:
        """Tell that *done* bytes of *total* are through, if that is a tenth more."""
        tenths = _LINES * done // total if total else _LINES
        if tenths > self._told:
            self._told = tenths
            self._console.print(
                f"{decimal(done)} of {decimal(total)}", soft_wrap=True, highlight=False
            )
