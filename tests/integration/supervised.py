"""Versions in real worker processes, with a loader that does as the test says."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from servman.clock import SystemClock
from servman.ids import ServableId
from servman.loader import CancelEvent, LoadContext
from servman.manager.backoff import ExponentialBackoff
from servman.testing.clock import WATCHDOG
from servman.worker_state import WorkerState
from servman.workers.loader import IsolatedLoader
from servman.workers.options import Workers
from tests.integration.obedient import Obedient
from tests.integration.worker_children import all_gone, children, watched

ID = ServableId("m", 1)
QUICK = ExponentialBackoff(initial=0.01, maximum=0.05, jitter=0.0)


HANG = "threading.Event().wait()"
IGNORE_TERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def from_the_second_on(directory: Path, happens: str) -> str:
    """Return what to run in a load: nothing in the first one, *happens* in all later ones."""
    flag = str(directory / "loaded-once")
    return f"if os.path.exists({flag!r}):\n    {happens}\nelse:\n    open({flag!r}, 'w').close()\n"


def options(replicas: int | None = 1, **more: Any) -> Workers:
    return Workers(
        **{"replicas": replicas, "restart_backoff": QUICK, "hold_timeout": WATCHDOG, **more}
    )


@final
@dataclass
class Served:
    """A version in worker processes, and what was reported of it."""

    loader: IsolatedLoader
    servable: Any
    reported: list[BaseException]
    told: threading.Event

    def pids(self) -> list[int]:
        """Return the processes, which have all to be there."""
        pids = [worker.pid for worker in self.loader.workers()]
        assert None not in pids
        return [pid for pid in pids if pid is not None]

    def states(self) -> list[WorkerState]:
        return [worker.state for worker in self.loader.workers()]

    def failure(self) -> BaseException:
        """Return what was reported, once something is."""
        assert self.told.wait(WATCHDOG), self.loader.workers()
        (failure,) = self.reported
        return failure

    def unload(self) -> None:
        self.loader.unload(self.servable)

    def restored(self, *gone: int) -> bool:
        """Return whether all workers are ready, and none is a process that was there before."""
        workers = self.loader.workers()
        return all(
            worker.state is WorkerState.READY and worker.pid not in gone for worker in workers
        )


def serve(loader: Obedient | None = None, **more: Any) -> Served:
    isolated = IsolatedLoader(ID, loader or Obedient(), options(**more))
    reported: list[BaseException] = []
    told = threading.Event()

    def report(error: BaseException) -> None:
        reported.append(error)
        told.set()

    servable = isolated.load(LoadContext(ID, report_failure=report))
    return Served(isolated, servable, reported, told)


@contextmanager
def served(loader: Obedient | None = None, **more: Any) -> Iterator[Served]:
    """Load a version, and see that nothing of it is left in the end."""
    version = serve(loader, **more)
    try:
        yield version
    finally:
        version.unload()
        assert children() == []


@final
@dataclass
class Refused:
    """A load that fails."""

    loader: Obedient
    more: dict[str, Any] = field(default_factory=dict)
    cancelled: CancelEvent = field(default_factory=CancelEvent)

    def __post_init__(self) -> None:
        self.isolated = IsolatedLoader(ID, self.loader, options(**self.more))

    def error(self) -> BaseException:
        """Load, and return what that raises; see that no process is left then."""
        try:
            self.isolated.load(LoadContext(ID, cancelled=self.cancelled))
        except BaseException as error:  # noqa: BLE001 -- what is asked for
            assert children() == []
            return error
        raise AssertionError("it was loaded")

    def until_started(self) -> None:
        """Wait until every worker has a process that has said its number."""
        eventually(
            lambda: all(each.pid for each in self.isolated.workers() or [_Nobody()]),
        )


class _Nobody:
    pid = None


def kill(pid: int, number: int) -> None:
    """Send a signal, and wait for the end that it brings."""
    with watched([pid]) as fds:
        os.kill(pid, number)
        all_gone(fds)


def eventually(truth: Callable[[], object]) -> None:
    """Look until it is true, a hundred times a second: nobody calls out what happens in other processes."""
    clock, looks = SystemClock(), threading.Condition(threading.Lock())
    deadline = clock.monotonic() + WATCHDOG
    with looks:
        while not truth():
            assert clock.monotonic() < deadline, "it has not come true"
            clock.wait_until(looks, clock.monotonic() + 0.01)
