"""`servman status`: what a server has, and why something is missing."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from servman.cli.connection import complete_model, server_options
from servman.cli.exits import Exit, codes, exits, state_as_dict
from servman.cli.number import Number
from servman.cli.plain import plain_line
from servman.cli.status_table import status_as_dict, status_lines, status_table, trouble_text
from servman.client import ServerStatus, Snapshot
from servman.clock import SystemClock
from servman.errors import ResourceExhaustedError, WaitTimeoutError
from servman.reasons import ReasonCode
from servman.state import ServableState, StreamAspiration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.cli.connection import Connection
    from servman.client import Client, ModelStatus, WatchEvent

_LOOK_INTERVAL: Final = 0.5
"""Seconds from one look to the next, of a table that lives: eyes need no more."""

_HELP = f"""Show what a server has of each MODEL, or of all, and why something is missing.

With --watch the table lives on; in a pipe, what happens is told line by line instead. A server that is not
there yet, restarts, or cannot answer for a while is waited for. It ends by Ctrl-C.

{codes("when every required model is available", "when one is not, or no MODEL of that name is configured")}
"""


@click.command(help=_HELP)
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@server_options
@click.option("--watch", is_flag=True, help="Go on and show what changes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch, an object a line.")
@click.option(
    "--timeout",
    type=Number(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds for the server to answer.",
)
def status(
    models: tuple[str, ...],
    connection: Connection,
    timeout: float,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Show it as the command line says."""
    console = Console()
    with exits(as_json=as_json), connection.open() as client:
        if watch and console.is_terminal and not as_json:
            _live(client, models, timeout, console)
        elif watch:
            for event in client.watch(models):
                for line in _event_as_json(event) if as_json else _event_lines(event):
                    click.echo(plain_line(line))
        else:
            found = client.status(models, timeout=timeout)
            _show(found, client.server, console, as_json=as_json)
            well = found and not any(_is_unknown(found.models.get(name)) for name in models)
            raise SystemExit(Exit.WELL if well else Exit.FAILED)


def _is_unknown(model: ModelStatus | None) -> bool:
    reason = None if model is None else model.reason
    return reason is not None and reason.code is ReasonCode.NOT_CONFIGURED


def _show(found: ServerStatus, server: str, console: Console, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(status_as_dict(found)))
    elif console.is_terminal:
        console.print(status_table(found, server))
    else:
        for line in status_lines(found, server):
            click.echo(plain_line(line))


def _live(client: Client, models: tuple[str, ...], timeout: float, console: Console) -> None:
    """Show the table until Ctrl-C; why a look has found nothing is told beneath the last one."""
    found: ServerStatus | None = None
    clock = SystemClock()
    never = threading.Condition()  # guards nothing: it is waited on for the time alone
    with Live(Text(f"waiting for {client.server}"), console=console, auto_refresh=False) as live:
        while True:
            trouble = ""
            try:
                found = client.status(models, timeout=timeout)
            except (WaitTimeoutError, ResourceExhaustedError) as error:  # they may pass
                trouble = f"waiting: {error}"
            table = None if found is None else status_table(found, client.server, trouble)
            live.update(table or trouble_text(trouble), refresh=True)
            with never:
                clock.wait_until(never, clock.monotonic() + _LOOK_INTERVAL)


def _event_lines(event: WatchEvent) -> Iterator[str]:
    match event:
        case Snapshot():
            yield f"server {event.server}"
            yield from map(str, event.states.values())
            for one in _rest(event):
                yield from _event_lines(one)
        case ServableState():
            yield f"{event} ({event.cause})" if event.cause else str(event)
        case StreamAspiration():
            wanted = ", ".join(map(str, sorted(event.versions))) or "nothing"
            yield f"{event.name}: wanted {wanted}"
        case _:
            targets = ", ".join(f"{label} is {version}" for label, version in event.targets.items())
            yield f"{event.name}: labels {targets or 'none'}"


def _event_as_json(event: WatchEvent) -> Iterator[str]:
    match event:
        case Snapshot():
            states = [state_as_dict(state) for state in event.states.values()]
            told: dict[str, object] = {"snapshot": states, "server": event.server}
        case ServableState():
            told = {"state": state_as_dict(event)}
        case StreamAspiration():
            told = {"wanted": {"name": event.name, "versions": sorted(event.versions)}}
        case _:
            labels = {"wanted": dict(event.wanted), "targets": dict(event.targets)}
            told = {"labels": {"name": event.name, **labels}}
    yield json.dumps(told)
    if isinstance(event, Snapshot):
        for one in _rest(event):
            yield from _event_as_json(one)


def _rest(snapshot: Snapshot) -> Iterator[WatchEvent]:
    """Yield what *snapshot* tells besides states, each as it is told when it changes."""
    yield from snapshot.aspirations.values()
    yield from snapshot.labels.values()
