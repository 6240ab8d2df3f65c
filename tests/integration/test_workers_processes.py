"""How worker processes end, and what is left of them: nothing."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from servman.errors import ResourceExhaustedError
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from servman.workers.exit_status import ExitStatus
from servman.workers.messages import Ready, Started
from servman.workers.process import WorkerProcess
from servman.workers.wire import ConnectionLostError
from tests.integration.worker_children import (
    all_gone,
    call,
    children,
    end,
    expect,
    open_files,
    send,
    start,
    unload,
    wait_for,
    watched,
    worker,
)
from tests.integration.worker_loaders import ToyLoader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")

SOON = 1.0
"""Seconds in which everything is gone."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    files, before = open_files(), children()
    yield
    assert open_files() == files
    assert children() == before


def test_a_process_loads_answers_unloads_and_exits() -> None:
    with worker() as process:
        assert call(process, "echo", {"x": [1, 2]}) == {"x": [1, 2]}
        assert call(process, "__call__", 41) == 42
        assert call(process, "evaluate", "os.getpid()") == process.pid
        assert call(process, "evaluate", "os.getppid()") == process.keeper_pid
        assert unload(process).error is None
        assert end(process) == ExitStatus(code=0)
        assert process.tail() == "unloaded\n"


ENDS = [
    ("die", signal.SIGKILL, ExitStatus(signal=9), "was killed by SIGKILL"),
    ("die", signal.SIGSEGV, ExitStatus(signal=11), "was killed by SIGSEGV"),
    ("die", signal.SIGTERM, ExitStatus(signal=15), "was killed by SIGTERM"),
    ("die", signal.SIGINT, ExitStatus(signal=2), "was killed by SIGINT"),
    ("leave", 0, ExitStatus(code=0), "exited with code 0"),
    ("leave", 3, ExitStatus(code=3), "exited with code 3"),
    ("leave", 255, ExitStatus(code=255), "exited with code 255"),
]


@pytest.mark.parametrize(("method", "how", "status", "text"), ENDS)
def test_each_end_is_told_apart_and_takes_the_descendants_along(
    method: str, how: int, status: ExitStatus, text: str
) -> None:
    with worker() as process:
        with watched(call(process, "have_family")) as family:
            send(process, method, how)
            assert end(process) == status
            all_gone(family, SOON)
        assert str(status) == text
        with pytest.raises(ConnectionLostError):
            call(process, "echo", 1)


def test_a_segmentation_fault_leaves_its_place_in_the_log() -> None:
    with worker() as process:
        send(process, "crash")
        assert end(process) == ExitStatus(signal=11)
        assert "Segmentation fault" in process.tail()
        last = process.tail().splitlines()[-20:]  # which are what an error quotes
        assert any("worker_loaders.py" in line for line in last)


def test_a_call_learns_of_the_death_at_once() -> None:
    with worker() as process, pytest.raises(ConnectionLostError):
        call(process, "leave", 3)


@pytest.mark.parametrize("happens", ["stuck", "stuck_in_c"])
def test_a_load_that_hangs_is_killed_from_outside_with_its_descendants(happens: str) -> None:
    process = start(ToyLoader(happens))
    child = expect(process, Started).pid
    with watched([child, *said(process, "stuck")]) as family:
        process.kill()
        assert end(process) == ExitStatus(signal=9)
        all_gone(family, SOON)
    process.close()


def test_a_stopped_child_and_its_stopped_keeper_can_be_killed() -> None:
    with worker() as process:
        assert process.pid is not None
        os.kill(process.keeper_pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGSTOP)
        process.kill()
        assert end(process) == ExitStatus(signal=9)


def test_terminate_reaches_the_child() -> None:
    with worker() as process:
        process.terminate()
        assert end(process) == ExitStatus(signal=15)


def test_a_keeper_that_is_killed_takes_the_child_along() -> None:
    with worker() as process:
        assert process.pid is not None
        near = call(process, "have_family")[:1]
        with watched([process.pid, *near]) as family:
            os.kill(process.keeper_pid, signal.SIGKILL)
            assert end(process) == ExitStatus()
            all_gone(family, SOON)
            kill_leftovers(family)


def kill_leftovers(family: dict[int, int]) -> None:
    for fd in family.values():
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)


def test_closing_kills_what_still_runs() -> None:
    with worker() as process:
        assert process.pid is not None
        with watched([process.pid, process.keeper_pid, *call(process, "have_family")]) as family:
            process.close()
            all_gone(family, 0.0)
            process.close()


def test_a_thread_that_starts_a_process_may_end_before_it() -> None:
    process = Spawned(start).result()
    expect(process, Ready)
    assert call(process, "echo", 1) == 1
    process.close()


def test_other_children_of_the_host_are_not_touched() -> None:
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    with subprocess.Popen([sys.executable, "-c", "input(); exit(7)"], stdin=subprocess.PIPE) as own:
        assert own.stdin is not None
        with worker() as process:
            own.stdin.write(b"\n")
            own.stdin.flush()
            send(process, "leave", 3)
            assert end(process) == ExitStatus(code=3)
        assert own.wait(WATCHDOG) == 7
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers


def test_orphans_that_end_are_reaped_while_the_child_lives() -> None:
    with worker() as process:
        orphan = call(process, "have_family")[3]
        with watched([orphan]) as watch:
            os.kill(orphan, signal.SIGKILL)
            all_gone(watch)
        assert is_reaped(orphan, process)


def is_reaped(pid: int, process: WorkerProcess) -> bool:
    """Return whether the keeper, which has to wake up first, has let *pid* go."""
    children = Path(f"/proc/{process.keeper_pid}/task/{process.keeper_pid}/children")
    pause = select.poll()
    for _ in range(200):
        if str(pid) not in children.read_text().split():
            return True
        pause.poll(20)
    return False


def test_a_host_without_descriptors_is_told_so_and_loses_none() -> None:
    refusals = []
    with no_gaps() as free:
        files, limits = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)
        for spare in range(100):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, limits[1]))
            try:
                start().close()
                break
            except ResourceExhaustedError as error:
                refusals.append(str(error))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert open_files() == files
            assert not keepers()
    assert len(refusals) > 10
    assert "m:1: no worker process can be started" in refusals[-1]


@contextmanager
def no_gaps() -> Iterator[int]:
    """Open files until those that are open have the lowest numbers; yield the next number."""
    highest = max(int(fd) for fd in open_files())
    with ExitStack() as fillers:
        while (fd := os.open(os.devnull, os.O_RDONLY)) < highest:
            fillers.callback(os.close, fd)
        os.close(fd)
        yield fd


@pytest.mark.parametrize("function", ["memfd_create", "pidfd_open"])
def test_a_start_that_fails_late_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def exhausted(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    files = open_files()
    monkeypatch.setattr(os, function, exhausted)
    with pytest.raises(ResourceExhaustedError):
        start(ToyLoader(detail="x" * 1_000_000))
    assert open_files() == files
    assert not keepers()


def keepers() -> list[int]:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()}
    return [pid for pid, command in commands.items() if b"keeper.py" in command]


@pytest.mark.timeout(90)
def test_fifty_lives_leave_no_descriptor_and_no_process() -> None:
    files, processes = open_files(), children()
    for _ in range(10):
        started = [start(concurrency=1) for _ in range(5)]
        for number, process in enumerate(started):
            expect(process, Ready)
            if number % 2:
                process.kill()
            else:
                process.unload()
        for process in started:
            end(process)
            process.close()
    assert open_files() == files
    assert children() == processes


def said(process: WorkerProcess, word: str) -> list[int]:
    """Return the numbers on the line of its log that begins with *word*."""
    while True:
        fd = process.log.fileno()
        assert fd is not None
        wait_for(fd)
        for line in process.log.read_lines() or ():
            if line.startswith(word):
                return [int(number) for number in line.split()[1:]]
