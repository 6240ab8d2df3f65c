"""`servman publish`: a directory becomes a version, seen whole or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, final

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from servman.errors import InvalidArgumentError, ServmanError
from servman.ids import MAX_VERSION
from servman.publishing import Progress, publish_version

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINES = 10
"""Into how many lines progress is divided where there is no terminal."""


@click.command()
@click.argument("source_dir", type=click.Path(path_type=Path))
@click.argument("base_path", type=click.Path(path_type=Path))
@click.argument("version", type=click.IntRange(0, MAX_VERSION), required=False)
@click.option("--name", help="The servable.  [default: the last part of BASE_PATH]")
@click.option("--create", is_flag=True, help="Create BASE_PATH where it is missing.")
def publish(
    source_dir: Path, base_path: Path, version: int | None, name: str | None, *, create: bool
) -> None:
    """Copy SOURCE_DIR into BASE_PATH as VERSION, which is seen whole or not at all.

    Without VERSION it takes the number after the highest that is there or being published.

    It prints the id of what it published, such as "half_plus:3", and nothing else on the standard output.
    Exits 0 when it is published, 1 when it is not, with the reason, and 2 for a call that can never be
    right.
    """
    console = Console(stderr=True)
    try:
        with _show(console) as progress:
            published = publish_version(
                source_dir, base_path, version, name=name, create=create, progress=progress
            )
    except InvalidArgumentError as error:
        raise click.UsageError(str(error)) from error
    except ServmanError as error:
        raise click.ClickException(str(error)) from error
    click.echo(str(published))


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
