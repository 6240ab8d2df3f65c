"""The soak: a whole server core swaps versions under eight request threads.

Not one request may fail, and threads, file descriptors and memory must not grow.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from servman import (
    ManagerState,
    ModelConfig,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    ServmanError,
)

if TYPE_CHECKING:
    import argparse

_THREADS = 8
_WARM_UP = 300
"""Swaps after which growth is measured: the log and the pools have filled by then."""

_MOST_GROWTH = 8 * 1024 * 1024
"""Bytes of resident memory that count as noise of the allocator over the whole run."""

_SOURCE = """\
VERSION = {version}
BALLAST = bytes(1_000_000)


class Model:
    def __init__(self):
        self.gone = False

    def predict(self, inputs, signature_name="serving_default", output_filter=None):
        if self.gone:
            raise RuntimeError("asked after its unload")
        return {{"version": VERSION}}


def load(context):
    return Model()


def unload(model):
    model.gone = True
"""


@dataclass(frozen=True)
class Usage:
    """What the process holds."""

    threads: int
    descriptors: int
    memory: int

    @classmethod
    def now(cls) -> Usage:
        """Read it from the system."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            threading.active_count(),
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )


class Soak:
    """One run."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._base = folder / "base"
        self._staging = folder / "staging"
        self._seconds = seconds
        self._version = 1
        self._base.mkdir()
        self._staging.mkdir()
        self._stop = threading.Event()
        self._counts = [0] * _THREADS
        self._failures: list[str] = []
        config = ServerConfig([ModelConfig("m", str(self._base), "python")])
        self._core = ServerCore(config, options=ServerCoreOptions(platforms=("python",)))

    def run(self) -> bool:
        """Swap until the time is up; return whether all was well."""
        self._core.start()
        self._publish(1)
        self._core.wait_until_available("m:1", timeout=30)
        for _ in range(_WARM_UP):
            self._swap()
        before = Usage.now()
        swaps = self._swap_under_requests()
        after = Usage.now()
        report = self._core.close()
        return self._judge(before, after, swaps, closed=bool(report))

    def _swap_under_requests(self) -> int:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        started, first = time.monotonic(), self._version
        try:
            while time.monotonic() - started < self._seconds:
                self._swap()
                if self._version % 10 == 0:
                    self._roll_back()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        return self._version - first

    def _swap(self) -> None:
        old, self._version = self._version, self._version + 1
        self._publish(self._version)
        self._core.wait_until_available(f"m:{self._version}", timeout=30)
        self._core.wait_until(f"m:{old}", ManagerState.END, timeout=30)
        shutil.rmtree(self._base / str(old))

    def _roll_back(self) -> None:
        """Withdraw a new version while the old one, held by a long request, is still on its way out."""
        new = self._version + 1
        with self._core.get_servable_handle("m"):
            self._publish(new)
            self._core.wait_until_available(f"m:{new}", timeout=30)
            (self._base / str(new)).rename(self._staging / f"withdrawn-{new}")
        self._core.wait_until(f"m:{new}", ManagerState.END, timeout=30)
        self._core.wait_until_available(f"m:{self._version}", timeout=30)
        shutil.rmtree(self._staging / f"withdrawn-{new}")

    def _publish(self, version: int) -> None:
        staged = self._staging / str(version)
        staged.mkdir()
        (staged / "servable.py").write_text(_SOURCE.format(version=version))
        staged.rename(self._base / str(version))

    def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                with self._core.get_servable_handle("m") as handle:
                    answer = handle.servable.predict({})["version"]
                    if answer != handle.id.version:
                        self._failures.append(f"{handle.id} answered {answer}")
            except (ServmanError, RuntimeError) as error:
                self._failures.append(repr(error))
            self._counts[number] += 1

    def _judge(self, before: Usage, after: Usage, swaps: int, *, closed: bool) -> bool:
        print(f"requests: {sum(self._counts):,}, failed: {len(self._failures)}, swaps: {swaps:,}")
        print(f"threads: {before.threads} -> {after.threads}")
        print(f"file descriptors: {before.descriptors} -> {after.descriptors}")
        print(f"memory: {before.memory / 2**20:.1f} -> {after.memory / 2**20:.1f} MiB")
        print(f"closed cleanly: {closed}")
        for failure in self._failures[:5]:
            print("failed:", failure)
        return (
            not self._failures
            and closed
            and min(self._counts) > 0
            and after.threads <= before.threads
            and after.descriptors <= before.descriptors
            and after.memory - before.memory <= _MOST_GROWTH
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the run can be asked for."""
    parser.add_argument("--seconds", type=float, default=60.0)


def run(asked: argparse.Namespace) -> bool:
    """Run; return whether all was well."""
    # Eight threads that only compute hold up every other thread by default for 5 ms each, at every
    # hand-over; a process that serves chooses less, and so there are more swaps to fail at.
    sys.setswitchinterval(0.0005)
    with tempfile.TemporaryDirectory() as folder:
        return Soak(Path(folder), asked.seconds).run()
