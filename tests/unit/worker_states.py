"""Workers as a test says that they are."""

from __future__ import annotations

from typing import Any

from servman.errors import WorkerDiedError
from servman.worker_state import WorkerSnapshot, WorkerState


def worker(index: int = 0, state: WorkerState = WorkerState.READY, **more: Any) -> WorkerSnapshot:
    """Make a worker without a device that has a process where its state has one."""
    living = state in (WorkerState.STARTING, WorkerState.READY, WorkerState.STOPPING)
    usual: dict[str, Any] = {
        "kind": "plain",
        "device": None,
        "pid": 100 + index if living else None,
        "restarts": 0,
        "since": 0.0,
        "running": 0,
        "error": None,
        "log_path": None,
    }
    return WorkerSnapshot(index=index, state=state, **{**usual, **more})


def waiting(index: int = 0, due: float | None = None) -> WorkerSnapshot:
    """Make a worker whose process was killed."""
    died = WorkerDiedError(f"m:1: worker {index} was killed by SIGKILL\nand wrote much")
    return worker(index, WorkerState.WAITING, error=died, due=due, restarts=2)
