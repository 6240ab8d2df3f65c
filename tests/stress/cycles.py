"""Loads and unloads in worker processes, again and again: nothing of them may be left.

Neither a process, a thread, a descriptor, shared memory nor a file.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from servman import (
    ManagerState,
    ModelConfig,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    Workers,
)
from tests.integration.worker_children import children, open_files

if TYPE_CHECKING:
    import argparse

_PATIENCE: Final = 60.0

_SOURCE: Final = """\
class Model:
    def double(self, x):
        return 2 * x


def load(context):
    return Model()
"""


@dataclass(frozen=True)
class Left:
    """What may be left behind. Kept results are let go of before it is read."""

    children: tuple[int, ...]
    threads: int
    descriptors: tuple[str, ...]
    shared: int
    files: tuple[str, ...]

    @classmethod
    def now(cls, folder: Path) -> Left:
        """Read it from the system."""
        gc.collect()
        return cls(
            tuple(children()),
            threading.active_count(),
            tuple(open_files()),
            Path("/proc/self/maps").read_text().count("memfd:"),
            tuple(sorted(str(path) for path in folder.rglob("*"))),
        )


class Cycles:
    """One run, in a core that goes on while its model comes and goes."""

    def __init__(self, folder: Path, cycles: int) -> None:
        self._folder = folder
        self._cycles = cycles
        version = folder / "m" / "1"
        version.mkdir(parents=True)
        (version / "servable.py").write_text(_SOURCE)
        workers = Workers(environment={"TMPDIR": str(folder)})  # what they leave there is seen
        model = ModelConfig("m", str(folder / "m"), "python", workers=workers)
        self._config = ServerConfig([model])

    def run(self) -> bool:
        """Load and unload so often; return whether all was well."""
        options = ServerCoreOptions(platforms=("python",))
        with ServerCore(ServerConfig(), options=options) as core:
            self._cycle(core)
            before = Left.now(self._folder)
            started = time.monotonic()
            for _ in range(self._cycles):
                self._cycle(core)
            seconds = time.monotonic() - started
            after = Left.now(self._folder)
        print(f"{self._cycles} loads and unloads in {seconds:.1f} s")
        print(f"before: {before}\nafter:  {after}")
        return before == after

    def _cycle(self, core: ServerCore) -> None:
        core.reload_config(self._config, timeout=_PATIENCE)
        core.wait_until_available("m", timeout=_PATIENCE)
        with core.get_servable_handle("m") as handle:
            servable: Any = handle.servable
            assert servable.double(np.ones(100_000)).sum() == 200_000
        core.reload_config(ServerConfig(), timeout=_PATIENCE)
        assert core.wait_until("m:1", ManagerState.END, timeout=_PATIENCE)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the run can be asked for."""
    parser.add_argument("--cycles", type=int, default=200)


def run(asked: argparse.Namespace) -> bool:
    """Run; return whether all was well."""
    with tempfile.TemporaryDirectory() as folder:
        return Cycles(Path(folder), asked.cycles).run()
