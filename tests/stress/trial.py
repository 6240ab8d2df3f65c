"""A seeded run in a process of its own: it changes how the interpreter switches, collects and is signalled."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

_ROOT: Final = Path(__file__).parents[2]

_LIMIT: Final = 60.0
"""Seconds after which even the watchdog of the run must have failed."""


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """How a run ended.

    Attributes:
        well: Whether nothing was found.
        seconds: How long it took, the start of the process included.
        said: All that it printed.
    """

    well: bool
    seconds: float
    said: str

    @property
    def found(self) -> str:
        """What was found first; a hang shows as the stack of the main thread, which comes last."""
        return next((line for line in self.said.splitlines() if line.startswith("  ")), "nothing")


def sound(*, seed: int, seconds: float) -> Trial:
    """Run the manager as it is, with the patience that a busy machine may need."""
    return _run("--seed", str(seed), "--seconds", str(seconds), "--round", "0.5")


def broken(fault: str, *, seed: int, seconds: float = 40.0) -> Trial:
    """Run a manager with a fault in it, in short rounds, and with little patience."""
    rounds = ("--round", "0.3", "--patience", "1")
    return _run("--seed", str(seed), "--seconds", str(seconds), *rounds, "--fault", fault)


def _run(*options: str) -> Trial:
    started = time.monotonic()
    ended = subprocess.run(  # noqa: S603 -- our own interpreter on our own module
        [sys.executable, "-m", "tests.stress", "seeded", *options],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    return Trial(ended.returncode == 0, time.monotonic() - started, ended.stdout)
