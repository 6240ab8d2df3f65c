"""The parent of a worker process, which outlives it, and sees to it that nothing else does. Run as a script.

    python -P keeper.py STATUS HOST CONTROL CALL...

STATUS, CONTROL and CALL are inherited descriptors, HOST is the process that started it. It forks at once: the
child goes on to `servman.workers.child`, and this process waits for the end of the child or of the host, be it by
kill -9 or by exec, kills the child and all that descends from it, and writes to STATUS how the child ended, as
`os.waitstatus_to_exitcode` has it.

A process of its own does this, since neither of the two can: the host can be killed, may have forked (so that
its sockets outlive it), and its thread that started the child may end before it does, which would set off a
death signal; and the child may hold the interpreter lock, or be stopped.

It imports as little as it can: it is there once per worker, and its start is part of every start.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL = signal.SIGUSR1
"""What the host sends to have child and descendants killed. SIGKILL would end the keeper alone."""


def main() -> int:
    """Fork; be the child in one process and its keeper in the other. Return what the child exits with."""
    status, host_pid, control, *calls = map(int, sys.argv[1:])
    forget_signals()
    host = os.pidfd_open(host_pid)
    if os.getppid() != host_pid:  # it was gone before, and another process may have its number now
        return 1
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    child = os.fork()
    if not child:
        os.close(status)
        os.close(host)
        return serve(keeper, control, calls)
    for fd in (control, *calls):  # so that the child's death is what closes them
        os.close(fd)
    silence()
    code = keep(child, host, status)
    try:  # noqa: SIM105 -- contextlib takes long to import
        os.write(status, b"%d" % code)
    except BrokenPipeError:
        pass  # the host is gone, and was not waited for
    os._exit(code if code >= 0 else 128 - code)


def forget_signals() -> None:
    """Take signals as a new process would: what the host ignores or blocks is inherited."""
    for number in (
        signal.SIGCHLD,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(number, signal.SIG_DFL)  # noqa: TID251 -- a process of our own, here and below
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def silence() -> None:
    """Let go of the log, which is the child's."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)


def serve(keeper: int, control: int, calls: list[int]) -> int:
    """Be the worker process."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the keeper has one thread, so its end is the keeper's
    if os.getppid() != keeper:
        return 1
    for fd in (control, *calls):
        os.set_inheritable(fd, False)  # noqa: FBT003 -- it takes no keyword
    del sys.argv[1:]  # which are not for the model
    # The host's way to its modules, packed as one text, comes before anything of servman is imported.
    sys.path[:] = os.fsdecode(os.read(control, 1 << 20)).split("\0")
    from servman.workers.child import run  # noqa: PLC0415 -- not for the keeper

    return run(control, calls)


def keep(child: int, host: int, status: int) -> int:
    """Wait for the end of *child*, or of the host; return how the child ended.

    The host has gone when the process behind the pidfd *host* has, or when nobody can read *status* any more:
    it has become another program, by exec.
    """

    def pass_on(number: int, frame: object) -> None:
        del frame
        os.kill(child, signal.SIGKILL if number == KILL else number)

    def reap_orphans(number: int, frame: object) -> None:
        del number, frame
        reap_all_but(child)

    for number in (signal.SIGTERM, signal.SIGINT, KILL):
        signal.signal(number, pass_on)  # noqa: TID251 -- as above
    signal.signal(signal.SIGCHLD, reap_orphans)  # noqa: TID251 -- as above
    poll = select.poll()
    poll.register(os.pidfd_open(child), select.POLLIN)
    poll.register(host, select.POLLIN)
    poll.register(status, 0)  # of which errors are told in any case
    poll.poll()
    for number in (signal.SIGTERM, signal.SIGINT, KILL, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # noqa: TID251 -- as above
    os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still its own
    _, ending = os.waitpid(child, 0)
    end_descendants()
    return os.waitstatus_to_exitcode(ending)


def reap_all_but(child: int) -> None:
    """Reap what the child has left to this process, and not the child, whose end is read later."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while (dead := os.waitid(os.P_ALL, 0, options)) and dead.si_pid != child:
        os.waitpid(dead.si_pid, 0)


def end_descendants() -> None:
    """Kill all that has come of the child, wherever it has gone: orphans become children of this process."""
    while True:
        children = list_children()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if children else os.WNOHANG)
        except ChildProcessError:
            return


def list_children() -> list[int]:
    """Return the children of this process, dead ones that were not reaped included."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 -- pathlib takes long to import
        return [int(pid) for pid in file.read().split()]


if __name__ == "__main__":
    sys.exit(main())
