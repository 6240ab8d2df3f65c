"""`servman publish`: a directory becomes a version, seen whole or not at all."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, final

import click
from click.core import ParameterSource
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from servman.cli.connection import server_options
from servman.cli.deployment import Deployment, check_access
from servman.cli.exits import Exit, codes, exits
from servman.cli.files import directories
from servman.cli.number import Number
from servman.cli.plain import echo, plain_line
from servman.cli.wait_display import show_wait
from servman.ids import MAX_VERSION
from servman.publishing import Progress, publish_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.cli.connection import Connection

_LINES = 10
"""Into how many lines progress is divided where there is no terminal."""


_HELP = f"""Copy SOURCE_DIR into BASE_PATH as VERSION, which is seen whole or not at all.

Without VERSION it takes the number after the highest that is there or being published.

With --wait it waits until the server has it available. A version that fails to load is taken back: it is
removed from BASE_PATH. It has failed when the server gives up, and also when a load has failed and the next
attempt would come too late for --timeout. When the time is up otherwise, or the server is not there, it stays
published.

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
    type=Number(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the server.",
)
@click.option(
    "--fail-fast", is_flag=True, help="With --wait: one failed attempt to load is enough."
)
@click.option("--keep-failed", is_flag=True, help="Leave a version there that fails to load.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def publish(
    *,
    source_dir: str,
    base_path: str,
    version: int | None,
    name: str | None,
    create: bool,
    waits: bool,
    connection: Connection,
    timeout: float,
    fail_fast: bool,
    keep_failed: bool,
    as_json: bool,
) -> None:
    """Publish it as the command line says."""
    console = Console(stderr=True)
    given = click.get_current_context().get_parameter_source("server")
    if given is ParameterSource.COMMANDLINE and not waits:
        raise click.UsageError("--server is of use with --wait: without it nobody is asked")
    with exits(as_json=as_json) as told, contextlib.ExitStack() as stack:
        # First of all: an address that can never be right should not leave a version behind.
        client = stack.enter_context(connection.open()) if waits else None
        if client is not None:  # so should a token that the server refuses
            check_access(client, Path(base_path).name if name is None else name)
        with _show(console) as progress, directories(source_dir, base_path):
            published = publish_version(
                source_dir, base_path, version, name=name, create=create, progress=progress
            )
        told.update(published=str(published), taken_back=False)
        if client is not None:
            kept = None if keep_failed else base_path
            deployment = Deployment(
                client=client, published=published, base_path=kept, fail_fast=fail_fast, told=told
            )
            with show_wait(console, quiet=False) as tell:
                deployment.run(timeout, tell)
        echo(
            json.dumps({"exit_code": int(Exit.WELL), **told}) if as_json else plain_line(published)
        )


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
