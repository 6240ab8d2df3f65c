"""The entry point of the `servman` command."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import click

from servman.cli.completion import completion
from servman.cli.demo import run_demo
from servman.cli.demo_models import PythonModels, SavedModels
from servman.cli.explain import explain
from servman.cli.history import history
from servman.cli.number import Number
from servman.cli.plain import speak_any_language
from servman.cli.plan import plan
from servman.cli.publish import publish
from servman.cli.reload import reload
from servman.cli.serve import serve
from servman.cli.status import status
from servman.cli.wait import wait


@click.group()
@click.version_option(importlib.metadata.version("servman"), prog_name="servman")
def main() -> None:
    """Decide which versions of which models are in memory, and say why one is not there yet."""
    speak_any_language()


for command in (completion, explain, history, plan, publish, reload, serve, status, wait):
    main.add_command(command)


@main.command()
@click.option(
    "--platform",
    type=click.Choice(["tensorflow", "python"]),
    default="tensorflow",
    show_default=True,
    help="What writes and loads the models of the demo.",
)
@click.option(
    "--timeout",
    type=Number(min=1),
    default=60.0,
    show_default=True,
    help="Seconds that a step may take before the demo counts it as failed.",
)
def demo(platform: str, timeout: float) -> None:
    """Show what servman does, on models that are written, swapped and broken before your eyes.

    Everything happens in a temporary folder. Exits 0 only if everything that it claims held.
    """
    if platform == "python":
        models: SavedModels | PythonModels = PythonModels()
    elif importlib.util.find_spec("tensorflow") is None:
        raise click.UsageError(
            "TensorFlow is not installed: pip install 'servman[tensorflow]', or use --platform python"
        )
    else:
        models = SavedModels()
    raise SystemExit(0 if run_demo(models, timeout) else 1)
