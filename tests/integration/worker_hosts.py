"""Hosts of worker processes, to be killed and confused by tests: `python -m tests.integration.worker_hosts NAME`.

Each prints, on one line, the processes that it has started.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from servman.workers.messages import Ready, Started
from tests.integration.worker_children import call, children, end, expect, start, worker
from tests.integration.worker_loaders import ToyLoader


def plain() -> None:
    """Wait, with a worker that has descendants of all kinds."""
    with worker() as process:
        tell(process.keeper_pid, process.pid, *call(process, "have_family"))
        signal.pause()


def loading() -> None:
    """Wait, while a worker holds its interpreter lock."""
    process = start(ToyLoader("stuck_in_c"))
    child = expect(process, Started).pid
    while not (lines := process.log.read_lines()):
        pass
    tell(process.keeper_pid, child, *map(int, lines[0].split()[1:]))
    signal.pause()


def stopped() -> None:
    """Wait, with a worker that somebody has stopped."""
    with worker() as process:
        family = call(process, "have_family")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        tell(process.keeper_pid, process.pid, *family)
        signal.pause()


def replaced() -> None:
    """Become another program, which knows of no worker."""
    with worker() as process:
        tell(process.keeper_pid, process.pid, *call(process, "have_family"))
        sys.stdin.readline()
        os.execlp("sleep", "sleep", "1000")  # noqa: S606, S607 -- no shell, and any sleep will do


def forked() -> None:
    """Wait, with a fork of this process that lives on and holds copies of all sockets."""
    with worker() as process:
        family = call(process, "have_family")
        fork = os.fork()
        if fork:
            tell(fork, process.keeper_pid, process.pid, *family)
        signal.pause()


def ignorant() -> None:
    """Ignore the end of children, which lets the system reap them unseen, and block signals."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1})
    with worker() as process:
        process.calls[0].send(("leave", (3,), {}))
        first = end(process)
    with worker() as process:
        process.terminate()
        second = end(process)
    with worker() as process:
        process.kill()
        print(first, end(process), second, sep="; ", flush=True)


def bare() -> None:
    """Have no standard descriptors, as some daemons do."""
    answers = os.dup(1)
    for fd in (0, 1, 2):
        os.close(fd)
    with worker(log_path=sys.argv[2]) as process:
        sent = call(process, "evaluate", "os.readlink('/proc/self/fd/0')")
        call(process, "write", "hello")
        os.write(answers, f"{sent} {process.tail()!r}\n".encode())


def interrupted() -> None:
    """Be interrupted at a terminal, and find the worker alive."""
    with worker() as process:
        try:
            print("ready", flush=True)  # after which it may come at any time
            signal.pause()
        except KeyboardInterrupt:
            print("alive", call(process, "echo", 7), flush=True)


def tensorflow() -> None:
    """Serve the SavedModel in the folder named second, and tell whether TensorFlow is here."""
    from servman.adapters.saved_model import SavedModelLoader  # noqa: PLC0415 -- for this host alone
    from tests.integration.worker_children import ID  # noqa: PLC0415

    with worker(SavedModelLoader(ID, sys.argv[2]), path=sys.argv[2], timeout=90.0) as process:
        print(call(process, "predict", {"x": [1.0, 2.0]}), "tensorflow" in sys.modules, flush=True)


def core() -> None:
    """Wait, with a core that serves the model in the folder named second."""
    from tests.integration.worker_models import ask, model, serving  # noqa: PLC0415 -- likewise

    with serving(model(Path(sys.argv[2]))) as one:
        tell(*children(), ask(one, "pid"))
        signal.pause()


def relative() -> None:
    """Find a loader by a relative entry of sys.path, and another in a zip, from where nobody else finds them."""
    os.chdir(sys.argv[2])
    sys.path[:0] = ["beside", "packed.zip"]
    for name in ("besides", "packed"):
        loader = __import__(name).Loader()
        process = start(loader)
        ready = expect(process, Ready)
        print(ready.description.type_name, flush=True)
        process.close()


def homeless() -> None:
    """Have no working directory any more, which sys.path names, as that of `python -c` does."""
    os.chdir(sys.argv[2])
    os.rmdir(sys.argv[2])  # noqa: PTH106 -- a text
    sys.path[:0] = ["", "beside"]
    with worker() as process:
        print(call(process, "echo", 7), flush=True)


def tell(*pids: int | None) -> None:
    print(*pids, flush=True)


if __name__ == "__main__":
    assert Path(sys.argv[0]).name == "worker_hosts.py"
    globals()[sys.argv[1]]()
