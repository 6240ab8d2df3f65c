"""One worker process, as its host sees it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, final

from servman.errors import FailedPreconditionError, ResourceExhaustedError, UnimplementedError
from servman.workers.control import ControlChannel
from servman.workers.keeper_process import KeeperProcess, fill_standard_descriptors
from servman.workers.logs import open_log
from servman.workers.messages import Started, Unload
from servman.workers.wire import pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from servman.errors import ServmanError
    from servman.workers.exit_status import ExitStatus
    from servman.workers.logs import WorkerLog
    from servman.workers.messages import Assignment, ChildMessage
    from servman.workers.wire import Connection

_ROOT: Final = Path(__file__).parents[2]
"""Where servman itself is found, should that be by other means than sys.path."""


_EXHAUSTED: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC}
)


@final
class WorkerProcess:
    """A child with its keeper, the connections to it, and its log. Made by `start`.

    The keeper is the child's parent: a process that watches both child and host, kills what is left when one
    of them is gone, and reports how the child ended. The host takes no signal, and hears of the end by the
    status pipe alone.

    A supervisor watches three descriptors:

    - `status_fd` is readable when child and descendants are gone: call `exit_status`, then `close`.
    - `control_fd` is readable when there is something for `read_control`.
    - `log.fileno()`, if not None, is readable when there is something for `log.read_lines`.

    Attributes:
        pid: The child, None until its `Started` was read.
        keeper_pid: Its parent, which is also the number of their session and process group.
        calls: One connection for each call that it takes at a time.
        log: Its output.

    Threads: one at a time, but `calls`, which are for any.
    """

    def __init__(
        self,
        keeper: KeeperProcess,
        control: ControlChannel,
        calls: tuple[Connection, ...],
        log: WorkerLog,
    ) -> None:
        self.pid: int | None = None
        self.keeper_pid = keeper.pid
        self.calls = calls
        self._closing = calls
        self.log = log
        self._keeper = keeper
        self._control = control
        self._closed = False

    @classmethod
    def start(
        cls,
        assignment: Assignment,
        *,
        environment: Mapping[str, str],
        concurrency: int,
        log_path: str | None = None,
    ) -> WorkerProcess:
        """Start keeper and child; the child loads at once.

        Args:
            assignment: What to load, from `assign`.
            environment: Variables beside the host's own, set before the child's interpreter starts.
            concurrency: How many calls it takes at a time.
            log_path: The file that its output is appended to; a pipe when None.

        Blocks: for the spawn, some milliseconds, not for the child.

        Raises:
            ResourceExhaustedError: No descriptor, process or memory is left for it; nothing is left behind.
            UnimplementedError: This is not Linux.
            FailedPreconditionError: The log file cannot be opened, or the interpreter not be started.
        """
        if sys.platform != "linux":
            raise UnimplementedError(
                f"{assignment.id}: worker processes need Linux, and this is {sys.platform}; serve it"
                " without workers"
            )
        try:
            with ExitStack() as undo:
                process = cls._start(assignment, environment, concurrency, log_path, undo)
                undo.pop_all()
        except OSError as error:
            raise _refusal(assignment, error) from error
        return process

    @classmethod
    def _start(
        cls,
        assignment: Assignment,
        environment: Mapping[str, str],
        concurrency: int,
        log_path: str | None,
        undo: ExitStack,
    ) -> WorkerProcess:
        with ExitStack() as passed:
            fill_standard_descriptors(passed)
            log = open_log(log_path)
            undo.callback(log.close)
            passed.callback(log.started)
            control, control_end = ControlChannel.pair()
            undo.callback(control.close)
            passed.callback(control_end.close)
            fds = [control_end.fileno()]
            calls = []
            for _ in range(concurrency):
                near, far = pair()
                undo.callback(near.close)
                passed.callback(far.close)
                calls.append(near)
                fds.append(far.fileno())
            keeper = KeeperProcess(fds, log.child_fd, {**os.environ, **environment})
            undo.callback(keeper.end)
        control.send_text("\0".join(_module_paths()))
        control.send(assignment)
        return cls(keeper, control, tuple(calls), log)

    @property
    def control_fd(self) -> int:
        """Readable when `read_control` has something to say."""
        return self._control.fileno()

    @property
    def status_fd(self) -> int:
        """Readable when the process, and all that it has started, is gone."""
        return self._keeper.status_fd

    def read_control(self) -> ChildMessage | None:
        """Return the next message of the child; None when there will be none any more (stop watching).

        Blocks: till there is one; not at all when `control_fd` is readable.
        """
        message = cast("ChildMessage | None", self._control.receive())
        if isinstance(message, Started):
            self.pid = message.pid
        return message

    def unload(self) -> None:
        """Tell the child to unload and exit. No call may be running. A child that is gone is no error."""
        self._control.send(Unload())

    def terminate(self) -> None:
        """Send SIGTERM to the child. When it has ended, its descendants are killed."""
        self._keeper.send(signal.SIGTERM)

    def kill(self) -> None:
        """Have the child and all of its descendants killed. Returns at once: `status_fd` tells when it is done."""
        self._keeper.kill_child()

    def exit_status(self) -> ExitStatus:
        """Return how the process ended, and reap its keeper.

        Blocks: until it has ended; not (but for a millisecond) when `status_fd` is readable.
        """
        return self._keeper.exit_status()

    def tail(self) -> str:
        """Return the end of its log: `log.tail()`."""
        return self.log.tail()

    def hand_over_calls(self) -> tuple[Connection, ...]:
        """Return `calls`, which are the caller's to close from now on: `close` shuts them down, and no more.

        Only who knows that no thread is in a call may close one: its number might be that of another at once.
        """
        self._closing = ()
        return self.calls

    def close(self) -> None:
        """Close everything on the host's side, killing and reaping the process if it still runs. Idempotent.

        The connections in `calls` are closed as well, or shut down if handed over: whoever is in a call on one
        finds it lost.

        Blocks: until the process is gone.
        """
        if self._closed:
            return
        self._closed = True
        self._keeper.end()
        for connection in self.calls:
            connection.shutdown()
        for connection in self._closing:
            connection.close()
        self._control.close()
        self.log.close()


def _module_paths() -> list[str]:
    """Return where this process finds its modules, whatever directory it was started in."""
    paths = [entry for entry in sys.path if isinstance(entry, str)]
    return [*_absolute(paths), os.path.abspath(_ROOT)]  # noqa: PTH100 -- a text


def _absolute(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        # Where the working directory was removed, an import passes over what is relative to it.
        with suppress(FileNotFoundError):
            yield os.path.abspath(path)  # noqa: PTH100 -- likewise


def _refusal(assignment: Assignment, error: OSError) -> ServmanError:
    what = f"{assignment.id}: no worker process can be started ({error})"
    if error.errno in _EXHAUSTED:
        return ResourceExhaustedError(
            f"{what}; raise the limits of open files and processes, or serve with fewer workers"
        )
    return FailedPreconditionError(f"{what}; see to it, and the version is tried again")
