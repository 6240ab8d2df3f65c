"""The keeper of a worker process, as the host sees it: started, signalled and reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from servman.workers.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_STANDARD_ERROR: Final = 2


@final
class KeeperProcess:
    """The keeper process: a pidfd to signal it by, whatever becomes of its number, and its status pipe.

    Args:
        fds: What the child inherits: its control channel, then its connections.
        output: Where the output of both goes.
        environment: All of their environment.

    Attributes:
        status_fd: Readable when it and the child are gone.

    Threads: one at a time.

    Raises:
        OSError: It cannot be started; nothing is left behind.
    """

    def __init__(self, fds: Sequence[int], output: int, environment: Mapping[str, str]) -> None:
        self._ended: ExitStatus | None = None
        with ExitStack() as undo:
            self.status_fd, status_end = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self.status_fd)
            try:
                self._process = _spawn(status_end, fds, output, environment)
            finally:
                os.close(status_end)
            undo.callback(self._kill_group)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Return its number, which is also that of its session and process group."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGTERM and SIGINT it passes on, SIGUSR1 has it kill the child."""
        if self._ended is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill_child(self) -> None:
        """Have it kill the child; SIGCONT in case that somebody has stopped it."""
        self.send(signal.SIGUSR1)
        self.send(signal.SIGCONT)

    def exit_status(self) -> ExitStatus:
        """Return how the child ended. Blocks: until then."""
        if self._ended is None:
            written = b"".join(iter(lambda: os.read(self.status_fd, 64), b""))
            if written:
                self._process.wait()
            else:
                self._kill_group()
            self._ended = self._read(written)
            os.close(self.status_fd)
            os.close(self._pidfd)
        return self._ended

    def end(self) -> None:
        """Kill what is left, and reap it. Blocks: until it is gone."""
        self.kill_child()
        self.exit_status()

    def _read(self, written: bytes) -> ExitStatus:
        """Return what it wrote; if it wrote nothing it never got as far as a child, or was killed."""
        code = int(written or max(0, self._process.returncode))
        if code < 0:
            return ExitStatus(signal=-code)
        return ExitStatus(code=code) if written or code else ExitStatus()

    def _kill_group(self) -> None:
        """Kill the session's first group. Its number is the keeper's, and in use until that is reaped."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _spawn(
    status_end: int, fds: Sequence[int], output: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise FileNotFoundError("sys.executable, the interpreter to start, is not known")
    numbers = map(str, (status_end, os.getpid(), *fds))
    return subprocess.Popen(  # noqa: S603 -- our own script
        [sys.executable, "-P", str(_KEEPER), *numbers],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(status_end, *fds),
        env=environment,
        start_new_session=True,  # Ctrl-C at a terminal is for the host
    )


def fill_standard_descriptors(undo: ExitStack) -> None:
    """Take 0, 1 and 2 where a daemon has closed them: what is passed on must not be there."""
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _STANDARD_ERROR:
        undo.callback(os.close, fd)
    os.close(fd)
