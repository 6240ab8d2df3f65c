"""`servman plan`: what a change of the configuration would do."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from servman.adapters.platforms import registered_platforms
from servman.cli.connection import server_options
from servman.cli.exits import Exit, codes, exits
from servman.cli.files import read_config
from servman.cli.number import Number
from servman.cli.plain import echo
from servman.clock import SystemClock
from servman.core import ServerConfig, ServerCoreOptions, format_model_config
from servman.core.planner import Planner

if TYPE_CHECKING:
    from servman.cli.connection import Connection
    from servman.client import RemotePlan
    from servman.core import Plan

_ALONE = ("old", "platforms", "memory_limit")
"""What a server knows better than the command line."""

_HELP = f"""Say what it would do to put the configuration in the file NEW in force, as the disk stands now.

With --server the server says it, for what it serves now; SERVMAN_SERVER is not looked at. Otherwise it is
compared with the file given by --from.

Nothing is loaded or changed.

{codes("when NEW could be put in force", "with all its faults when it could not")}
"""


@click.command(help=_HELP)
@click.argument("new", type=click.Path())
@click.option(
    "--from", "old", type=click.Path(), help="The configuration in force.  [default: none]"
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    default=("tensorflow",),
    show_default=True,
    help="A platform that the server has enabled; may be given several times.",
)
@click.option(
    "--memory-limit",
    type=click.IntRange(min=0),
    help="How many bytes the models may take together.  [default: no limit]",
)
@click.option(
    "--timeout",
    type=Number(min=0),
    default=30.0,
    show_default=True,
    help="Seconds for base paths and loaders to answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@functools.partial(server_options, variable=None)
@click.pass_context
def plan(
    context: click.Context,
    *,
    new: str,
    old: str | None,
    platforms: tuple[str, ...],
    memory_limit: int | None,
    timeout: float,
    connection: Connection,
    as_json: bool,
) -> None:
    """Plan it as the command line says."""
    with exits(as_json=as_json):
        after = read_config(new)
        made: Plan | RemotePlan
        if connection.server is not None:
            _refuse_local(context)
            with connection.open() as client:
                made = client.plan(format_model_config(after), timeout=timeout)
        else:
            _check_platforms(platforms)
            options = ServerCoreOptions(
                platforms=platforms, total_model_memory_limit_bytes=memory_limit
            )
            before = ServerConfig() if old is None else read_config(old)
            made = Planner(options, SystemClock()).plan(before, after, timeout=timeout)
        code = Exit.WELL if made else Exit.FAILED
        echo(json.dumps({"exit_code": int(code), **_as_dict(made)}) if as_json else made)
        raise SystemExit(code)


def _refuse_local(context: click.Context) -> None:
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "")
        if parameter.name in _ALONE and given is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is what the server knows: leave it away")


def _check_platforms(platforms: tuple[str, ...]) -> None:
    known = registered_platforms()
    for platform in platforms:
        if platform not in known:
            there = ", ".join(sorted(known))
            raise click.UsageError(f"--platform: none is called {platform!r}; there are {there}")


def _as_dict(made: Plan | RemotePlan) -> dict[str, object]:
    return {
        "faults": list(made.faults),
        "interruptions": dict(made.interruptions),
        "atomic_obstacles": list(made.atomic_obstacles),
        "text": str(made),
    }
