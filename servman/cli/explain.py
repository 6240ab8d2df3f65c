"""`servman explain`: why something is as it is on a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from servman.cli.connection import complete_model, server_options
from servman.cli.exits import Exit, codes, exits, reason_as_dict
from servman.cli.plain import echo

if TYPE_CHECKING:
    from servman.cli.connection import Connection

_HELP = f"""Say what stands between REQUEST and being available on a server, and what you can do.

A REQUEST is "m", "m:3", "m:newest" or "m@stable".

{codes("when it is available", "when it is not")}
"""


@click.command(help=_HELP)
@click.argument("request", shell_complete=complete_model)
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(request: str, connection: Connection, *, as_json: bool) -> None:
    """Explain it as the command line says."""
    with exits(as_json=as_json), connection.open() as client:
        told = client.explain(request)
        code = Exit.WELL if told else Exit.FAILED
        if as_json:
            reason = None if told.reason is None else reason_as_dict(told.reason)
            what = {"exit_code": int(code), "request": told.request, "reason": reason}
            click.echo(json.dumps({**what, "text": told.text}))
        else:
            echo(told.text)
        raise SystemExit(code)
