"""`servman reload`: another configuration for a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from servman.cli.connection import server_options
from servman.cli.exits import Exit, codes, exits, reason_as_dict
from servman.cli.files import read_config
from servman.cli.number import Number
from servman.cli.plain import echo
from servman.core import format_model_config

if TYPE_CHECKING:
    from servman.cli.connection import Connection
    from servman.client import RemoteReload

_HELP = f"""Put the configuration in the file NEW in force on a server, in place of the one that it has.

It waits until every model is as wanted or has failed, and says what has become of each.

{codes("when all is well", "when a model has failed, or nothing was put in force")}
"""


@click.command(help=_HELP)
@click.argument("new", type=click.Path())
@server_options
@click.option("--atomic", is_flag=True, help="All at once, when all of it is ready, or not at all.")
@click.option("--allow-empty", is_flag=True, help="Unload everything where NEW lists no models.")
@click.option("--no-wait", is_flag=True, help="Only put it in force.")
@click.option(
    "--timeout",
    type=Number(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait.",
)
@click.option(
    "--expected-generation",
    type=click.IntRange(min=0),
    help="Refuse if another configuration than this is in force.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reload(
    new: str,
    connection: Connection,
    timeout: float,
    expected_generation: int | None,
    *,
    atomic: bool,
    allow_empty: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Reload it as the command line says."""
    with exits(as_json=as_json):
        config = read_config(new)
        if not config.models and not allow_empty:
            raise click.UsageError(
                f"{new} lists no models, which would unload everything; give --allow-empty if that is meant"
            )
        text = format_model_config(config)
        with connection.open() as client:
            done = client.reload(
                text,
                wait=not no_wait,
                timeout=timeout,
                atomic=atomic,
                expected_generation=expected_generation,
            )
        code = _exit(done, waited=not no_wait)
        echo(json.dumps({"exit_code": int(code), **_as_dict(done)}) if as_json else done)
        raise SystemExit(code)


def _exit(done: RemoteReload, *, waited: bool) -> Exit:
    if done or (not waited and not done.rolled_back and done.superseded_by is None):
        return Exit.WELL
    return Exit.DEADLINE if done.timed_out else Exit.FAILED


def _as_dict(done: RemoteReload) -> dict[str, object]:
    return {
        "well": done.well,
        "generation": done.generation,
        "superseded_by": done.superseded_by,
        "timed_out": done.timed_out,
        "rolled_back": done.rolled_back,
        "models": {
            name: {
                "outcome": one.outcome,
                "required": one.required,
                "reason": None if one.reason is None else reason_as_dict(one.reason),
            }
            for name, one in done.models.items()
        },
        "text": done.text,
    }
