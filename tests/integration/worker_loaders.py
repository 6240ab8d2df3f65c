"""Loaders that tests send to worker processes, and what they load there."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from servman.deadline import remaining
from servman.errors import NotFoundError
from servman.loader import LoadContext
from servman.resources import ResourceAllocation


class Toy:
    """A servable for every accident."""

    def __init__(self, detail: Any) -> None:
        self.detail = detail
        self.signatures = MappingProxyType({"one": MappingProxyType({"x": "float"})})
        self.lock = threading.Lock()
        self.weights = bytes(1 << 20)

    def __call__(self, number: int) -> int:
        return number + 1

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and not kwargs else (args, kwargs)

    def evaluate(self, expression: str) -> Any:
        return eval(expression, globals(), {"self": self})  # noqa: S307 -- the test's own

    def throw(self, name: str) -> None:
        raise THROWN[name]

    def leave(self, code: int) -> None:
        os._exit(code)

    def die(self, number: int) -> None:
        os.kill(os.getpid(), number)

    def crash(self) -> None:
        ctypes.string_at(0)

    def write(self, text: str) -> None:
        print(text)
        os.write(2, b"native\n")

    def remaining(self) -> float | None:
        return remaining()

    def have_family(self) -> list[int]:
        return family()


class ForeignError(Exception):
    """Survives pickling; but a host may not have its class."""


class FussyError(Exception):
    """Cannot be pickled and made again."""

    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(f"{one} and {two}")


THROWN: dict[str, BaseException] = {
    "value": ValueError("not this one"),
    "own": NotFoundError("no such key"),
    "foreign": ForeignError("from afar"),
    "fussy": FussyError(1, two=2),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
}


@dataclass(frozen=True)
class ToyLoader:
    """Loads a `Toy` whose `detail` is what the function *happens* below returns of *detail*."""

    happens: str = "as_given"
    detail: Any = None

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation()

    def load(self, context: LoadContext) -> object:
        return Toy(globals()[self.happens](self.detail))

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Toy)
        if servable.detail == "stays":
            raise ForeignError("it stays")
        print("unloaded")


def as_given(detail: Any) -> Any:
    return detail


def family(detail: Any = None) -> list[int]:
    """Start a child, one in a session of its own, one that is stopped, and an orphan with a child of its own."""
    sleep = [sys.executable, "-c", "import signal; signal.pause()"]
    near = subprocess.Popen(sleep).pid  # noqa: S603 -- our own, as below
    far = subprocess.Popen(sleep, start_new_session=True).pid  # noqa: S603
    stopped = subprocess.Popen(sleep, start_new_session=True).pid  # noqa: S603
    os.kill(stopped, signal.SIGSTOP)
    script = (
        "import os, signal\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "child = os.fork()\n"
        "if child: print(os.getpid(), child, flush=True)\n"
        "signal.pause()\n"
    )
    orphans = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)  # noqa: S603
    assert orphans.stdout is not None
    told = [int(pid) for pid in orphans.stdout.readline().split()]
    orphans.wait()
    return [near, far, stopped, *told]


def stuck_in_c(detail: Any) -> None:
    """Hold the interpreter lock for ever, as an extension may."""
    print("stuck", *family(), flush=True)
    ctypes.PyDLL(None).pause()


def stuck(detail: Any) -> None:
    print("stuck", *family(), flush=True)
    signal.pause()


def throw(name: str) -> None:
    raise THROWN[name]


def leave(code: int) -> None:
    os._exit(code)
