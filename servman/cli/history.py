"""`servman history`: what has happened on a server."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click

from servman.cli.connection import complete_model, server_options
from servman.cli.exits import codes, exits
from servman.cli.plain import plain_line
from servman.core import Transition

if TYPE_CHECKING:
    from servman.cli.connection import Connection

_FIELDS: Final = frozenset(field.name for field in fields(Transition)) - {"facts"}

_HELP = f"""Tell what has happened to MODEL on a server, or to all models and to the configuration, oldest first.

{codes("when it is told", "when the server has refused it")}
"""


@click.command(help=_HELP)
@click.argument("model", required=False, shell_complete=complete_model)
@server_options
@click.option("--limit", type=click.IntRange(min=1), help="How many of the newest.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def history(model: str | None, connection: Connection, limit: int | None, *, as_json: bool) -> None:
    """Tell it as the command line says."""
    with exits(as_json=as_json), connection.open() as client:
        for one in client.history(model, limit=limit):
            click.echo(json.dumps(one) if as_json else plain_line(_transition(one)))


def _transition(told: dict[str, Any]) -> Transition:
    known = {name: value for name, value in told.items() if name in _FIELDS}
    return Transition(**{"time": 0.0, "event": "", **known})
