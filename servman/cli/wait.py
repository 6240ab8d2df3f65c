"""`servman wait`: until models are available on a server, for deploy scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.console import Console

from servman.cli.connection import complete_model, server_options
from servman.cli.exits import Exit, codes, exits
from servman.cli.number import Number
from servman.cli.plain import plain_line
from servman.cli.wait_display import show_wait
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.cli.connection import Connection
    from servman.cli.wait_display import Tell
    from servman.client import Client
    from servman.ids import ServableId, ServableRequest

_HELP = f"""Wait until each REQUEST is available on a server; without one, every configured model.

A REQUEST is "m" for any version, "m:3", "m:newest" for the version that is wanted, or "m@stable". A server that
is not up yet, or restarts, is waited for.

It prints a line for each request, such as "m:newest m:3". A failure ends the wait at once, with the reason on
the standard error.

{codes("when all is available", "when something has failed")}
"""


@click.command(help=_HELP)
@click.argument("requests", metavar="[REQUEST]...", nargs=-1, shell_complete=complete_model)
@server_options
@click.option(
    "--timeout",
    type=Number(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait; 0 asks once.",
)
@click.option(
    "--for",
    "goal",
    type=click.Choice([state.name.lower() for state in ManagerState]),
    default="available",
    show_default=True,
    help="The state to wait for.",
)
@click.option("--any", "any_of", is_flag=True, help="One of the requests is enough.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="Tell nothing while it lasts.")
def wait(
    requests: tuple[str, ...],
    connection: Connection,
    timeout: float,
    goal: str,
    *,
    any_of: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Wait as the command line says."""
    with exits(as_json=as_json), connection.open() as client:
        with show_wait(Console(stderr=True), quiet=quiet) as tell:
            count = 1 if any_of else None
            state = ManagerState[goal.upper()]
            ids = _wait(client, requests, state, timeout=timeout, count=count, tell=tell)
        told = {str(request): str(version) for request, version in ids.items()}
        if as_json:
            click.echo(json.dumps({"exit_code": int(Exit.WELL), "ids": told}))
        for request, version in () if as_json else told.items():
            click.echo(plain_line(f"{request} {version}"))


def _wait(
    client: Client,
    requests: tuple[str, ...],
    goal: ManagerState,
    *,
    timeout: float,
    count: int | None,
    tell: Tell,
) -> Mapping[ServableRequest, ServableId]:
    """Wait; return which version each request has come to mean, or raise why it has not."""
    if goal is ManagerState.AVAILABLE:
        return client.wait_until_available(*requests, timeout=timeout, count=count, progress=tell)
    result = client.wait_until(requests, goal, timeout=timeout, count=count, progress=tell)
    if not result:
        raise result.error(timeout, goal)
    return result.ids
