"""`servman completion`: what a shell has to know to complete servman's commands."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, and the models of the server.

    For bash and zsh: eval "$(servman completion bash)" in ~/.bashrc, or zsh in ~/.zshrc. For fish: servman
    completion fish > ~/.config/fish/completions/servman.fish
    """
    program = context.find_root()
    made = get_completion_class(shell)
    if made is None:  # one of those above is always there
        raise click.UsageError(f"{shell} is not known here")
    click.echo(made(program.command, {}, "servman", "_SERVMAN_COMPLETE").source())
