"""Models in Python for worker processes to serve, and cores that serve them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.testing.clock import WATCHDOG
from servman.workers.options import Workers
from tests.integration.supervised import options

MODEL = """
import os, signal, threading
from pathlib import Path


def tell(path):
    with open(path, "w") as pipe:
        pipe.write(str(os.getpid()))


class Model:
    def __init__(self, version=0):
        self.version = version

    def echo(self, x):
        return x

    def pid(self):
        return os.getpid()

    def variable(self, name):
        return os.environ.get(name)

    def leave(self, code):
        os._exit(code)

    def crash(self, request):
        os.abort()

    def hang(self, path):
        tell(path)
        threading.Event().wait()


def load(context):
    return Model(context.id.version)
"""
"""`tell` says to a named pipe which process this is."""

HANGS_ONCE = """
def load(context):
    if context.attempt == 1:
        tell({pipe!r})
        threading.Event().wait()
    return Model()
"""

HANGS_IN_UNLOAD = """
def unload(model):
    tell({pipe!r})
    threading.Event().wait()
"""

HANGS_IF_THERE_IS = """
class TellsOnce(Model):
    def tell_once(self, path):
        flag = Path(path + " once")
        if flag.exists():
            return "told before"
        flag.touch()
        tell(path)
        threading.Event().wait()


def load(context):
    if Path({flag!r}).exists():
        Path({pipe!r}).read_text()
    return TellsOnce()
"""
"""Loads only when a named pipe says so, once a file is there."""

NEVER_READY = "\ndef load(context):\n    threading.Event().wait()\n"

DIES_WHILE_THERE_IS = """
def load(context):
    if Path({flag!r}).exists():
        threading.Timer(0.05, lambda: (print("I am so sorry", flush=True), os._exit(7))).start()
    return Model()
"""
"""Is ready, and dies at once."""


def write_model(store: Path, name: str = "m", version: int = 1, code: str = "") -> Path:
    """Write a model, with *code* at its end, and return the directory of its versions."""
    directory = store / name / str(version)
    directory.mkdir(parents=True)
    (directory / "servable.py").write_text(MODEL + code)
    return store / name


def model(store: Path, name: str = "m", **more: Any) -> ModelConfig:
    """Return a model in worker processes; what `ModelConfig` does not know is for `Workers`."""
    ours = {key: more.pop(key) for key in tuple(more) if key in ModelConfig.__slots__}
    workers: Workers = options(**more)
    return ModelConfig(name, str(store / name), "python", **{"workers": workers, **ours})


@contextmanager
def serving(*models: ModelConfig, wait: bool = True, **more: Any) -> Iterator[ServerCore]:
    """Serve *models*, the workers of which are ready if they are waited for."""
    chosen = ServerCoreOptions(**{"platforms": ("python",), "max_num_load_retries": 0, **more})
    with ServerCore(ServerConfig(models), options=chosen) as core:
        if wait:
            core.wait_until_available(*(one.name for one in models), timeout=WATCHDOG)
        yield core


def ask(core: ServerCore, method: str, *arguments: Any, of: str = "m") -> Any:
    """Call a method of a model."""
    with core.get_servable_handle(of) as handle:
        servable: Any = handle.servable
        return getattr(servable, method)(*arguments)


def named_pipe(folder: Path) -> str:
    """Make what `tell` tells."""
    path = str(folder / "told")
    os.mkfifo(path)
    return path


def told(pipe: str) -> int:
    """Return which process has told. Blocks: until one does."""
    return int(Path(pipe).read_text())
