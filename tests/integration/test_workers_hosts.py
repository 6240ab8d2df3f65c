"""Worker processes whose host is killed, forks, ignores signals, or has a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from servman.testing.clock import WATCHDOG
from tests.integration.worker_children import all_gone, wait_for, watched

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux"),
    pytest.mark.timeout(60),
]

SOON = 1.0
"""Seconds in which everything is gone."""

COMMAND = [sys.executable, "-m", "tests.integration.worker_hosts"]

LOADER = """
import os

class Loader:
    def load(self, context):
        os.chdir("/")
        import late
        return self
    def unload(self, servable):
        pass
"""


@contextmanager
def host(name: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a host; yield it, and the processes that it tells of."""
    with subprocess.Popen(  # noqa: S603 -- our own host
        [*COMMAND, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), 2 * WATCHDOG)
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert pids, f"the host has said nothing; it exited with {process.wait(WATCHDOG)}"
        try:
            yield process, pids
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()


def output(name: str, *arguments: str) -> str:
    """Return what a host prints that ends by itself."""
    done = subprocess.run(  # noqa: S603 -- likewise
        [*COMMAND, name, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["plain", "loading", "stopped"])
def test_when_the_host_is_killed_everything_is_gone_within_a_second(kind: str) -> None:
    with host(kind) as (process, pids), watched(pids) as family:
        assert len(pids) == 7
        process.kill()
        all_gone(family, SOON)


def test_when_the_host_becomes_another_program_everything_is_gone_within_a_second() -> None:
    with host("replaced") as (process, pids), watched(pids) as family:
        assert process.stdin is not None
        print(file=process.stdin, flush=True)
        all_gone(family, SOON)
        assert process.poll() is None
        process.kill()


def test_a_fork_of_the_host_that_lives_on_keeps_no_worker_alive() -> None:
    with host("forked") as (process, (fork, *pids)), watched(pids) as family:
        process.kill()
        all_gone(family, SOON)
        os.kill(fork, 0)


def test_a_worker_whose_keeper_and_host_can_do_nothing_goes_with_the_keeper() -> None:
    with host("plain") as (process, (keeper, child, *_)), watched([child]) as watch:
        process.send_signal(signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        all_gone(watch, SOON)


def test_a_host_that_ignores_and_blocks_signals_learns_how_its_workers_end() -> None:
    assert output("ignorant") == (
        "exited with code 3; was killed by SIGKILL; was killed by SIGTERM\n"
    )


def test_a_host_without_standard_descriptors_has_workers_with_theirs(tmp_path: Path) -> None:
    assert output("bare", str(tmp_path / "log")) == r"/dev/null 'hello\nnative\n'" + "\n"


def test_ctrl_c_at_the_terminal_of_the_host_does_not_reach_its_workers() -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [*COMMAND, "interrupted"])  # noqa: S606 -- likewise
    try:
        assert "ready" in read_line(terminal)
        os.write(terminal, b"\x03")
        assert "alive 7" in read_line(terminal)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_line(terminal: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        wait_for(terminal, 2 * WATCHDOG)
        text += os.read(terminal, 1)
    return text.decode()


@pytest.mark.tensorflow
@pytest.mark.timeout(150)
def test_a_saved_model_is_served_and_the_host_has_no_tensorflow(tmp_path: Path) -> None:
    script = (
        "import sys, tensorflow as tf\n"
        "module = tf.Module()\n"
        "spec = tf.TensorSpec([None], tf.float32, name='x')\n"
        "module.double = tf.function(lambda x: {'y': 2 * x}, input_signature=[spec])\n"
        "tf.saved_model.save(module, sys.argv[1], signatures=module.double)\n"
    )
    folder = tmp_path / "ein Modell für 模型"
    command = [sys.executable, "-c", script, str(folder)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 -- likewise
    assert output("tensorflow", str(folder)) == "{'y': array([2., 4.], dtype=float32)} False\n"


def test_loaders_are_found_by_relative_paths_and_in_zip_files(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "besides.py").write_text(LOADER)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed.py", LOADER)
        archive.writestr("late.py", "")
    assert output("relative", str(tmp_path)) == "Loader\nLoader\n"


def test_a_host_whose_working_directory_is_gone_has_workers(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    assert output("homeless", str(tmp_path / "gone")) == "7\n"
