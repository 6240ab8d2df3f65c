"""How a worker process ended."""

from __future__ import annotations

import signal as signals
from typing import NamedTuple, final


@final
class ExitStatus(NamedTuple):
    """How a worker process ended, as its keeper saw it.

    Attributes:
        code: What it exited with, or None.
        signal: What killed it, or None. Both are None where its keeper was killed, and it with it.

    Threads: immutable; any thread.
    """

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        """Return what follows "the process", such as "was killed by SIGKILL"."""
        if self.signal is not None:
            return f"was killed by {_name(self.signal)}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return "was killed together with the process that keeps it"


def _name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
