"""Worker processes under a test's eyes: started, spoken to and waited for, without a supervisor."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from servman.ids import ServableId
from servman.loader import LoadContext, Loader
from servman.testing.clock import WATCHDOG
from servman.workers.assignment import assign
from servman.workers.exit_status import ExitStatus
from servman.workers.failure import Failure
from servman.workers.messages import Beat, Ready, Started, Unloaded
from servman.workers.payload import Payload
from servman.workers.process import WorkerProcess
from tests.integration.worker_loaders import ToyLoader

T = TypeVar("T")

ID = ServableId("m", 1)


def start(
    loader: Loader | None = None,
    *,
    path: str | None = None,
    environment: dict[str, str] | None = None,
    log_path: str | None = None,
    concurrency: int = 2,
) -> WorkerProcess:
    context = LoadContext(ID, path)
    assignment = assign(loader or ToyLoader(), context, heartbeat_interval=60.0)
    return WorkerProcess.start(
        assignment, environment=environment or {}, concurrency=concurrency, log_path=log_path
    )


@contextmanager
def worker(
    loader: Loader | None = None, *, timeout: float = WATCHDOG, **options: Any
) -> Iterator[WorkerProcess]:
    """Start a process, wait until it is ready, and see that nothing of it is left."""
    process = start(loader, **options)
    try:
        expect(process, Ready, timeout)
        yield process
    finally:
        process.close()


def expect(process: WorkerProcess, kind: type[T], timeout: float = WATCHDOG) -> T:
    """Return the next message, which has to be of this kind; those before the load are passed over."""
    passed = (Beat,) if kind is Started else (Beat, Started)
    while True:
        wait_for(process.control_fd, timeout)
        message = process.read_control()
        if not isinstance(message, passed):
            assert isinstance(message, kind), f"{message!r}; log: {process.tail()}"
            return message


def call(process: WorkerProcess, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method by the first connection, as a host does; raise what it raises."""
    answer = process.calls[0].exchange(Payload((method, args, kwargs)), WATCHDOG).load()
    if isinstance(answer, Failure):
        raise answer.error(f"m:1: {method}")
    return answer


def send(process: WorkerProcess, method: str, *args: Any) -> None:
    """Send a call that will never be answered."""
    process.calls[1].send((method, args, {}))


def end(process: WorkerProcess) -> ExitStatus:
    """Return how it ended, once it has."""
    wait_for(process.status_fd)
    return process.exit_status()


def unload(process: WorkerProcess) -> Unloaded:
    process.unload()
    return expect(process, Unloaded)


def wait_for(fd: int, timeout: float = WATCHDOG) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(timeout * 1000), f"nothing has come on {fd} in {timeout} s"


@contextmanager
def watched(pids: Iterable[int]) -> Iterator[dict[int, int]]:
    """Hold on to processes, which must be there, so that their end can be waited for."""
    fds = {pid: os.pidfd_open(pid) for pid in pids}
    try:
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def all_gone(fds: dict[int, int], timeout: float = WATCHDOG) -> None:
    """Wait until all have ended, be it as zombies that nobody reaps."""
    deadline = time.monotonic() + timeout
    for pid, fd in fds.items():
        try:
            wait_for(fd, max(0.0, deadline - time.monotonic()))
        except AssertionError:
            raise AssertionError(f"process {pid} lives on after {timeout} s") from None


def is_stopped(pid: int) -> bool:
    """Tell whether every thread of the process has stopped."""
    states = (thread.joinpath("stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir())
    return all(state.rpartition(") ")[2].startswith("T") for state in states)


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def children() -> list[int]:
    """Return the children of this process, over all of its threads."""
    found: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found += map(int, (thread / "children").read_text().split())
    return found
