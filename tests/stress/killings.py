"""Worker processes under fire: two replicas of a model, one of which is killed every second.

Its methods are idempotent, so not one request may fail, and no answer be another one's.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from servman import (
    ExponentialBackoff,
    ModelConfig,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    Workers,
)
from tests.stress.soak import Usage

if TYPE_CHECKING:
    import argparse

    import numpy.typing as npt

_THREADS: Final = 8
_PATIENCE: Final = 60.0
"""Seconds that a request is held while no second replica serves, on a machine that is busy as well."""

_SIZES: Final = (1, 1_000, 50_000)
"""Numbers in a request: what goes in a packet, and what lies in shared memory."""

_SOURCE: Final = """\
class Model:
    def double(self, x):
        return 2 * x


def load(context):
    return Model()
"""


class Killings:
    """One run."""

    def __init__(self, folder: Path, seed: int, seconds: float, rate: float) -> None:
        self._seed = seed
        self._seconds = seconds
        self._rate = rate
        self._stop = threading.Event()
        self._counts = [0] * _THREADS
        self._failures: list[str] = []
        version = folder / "m" / "1"
        version.mkdir(parents=True)
        (version / "servable.py").write_text(_SOURCE)
        workers = Workers(
            2,
            idempotent_methods=("double",),
            max_redispatches=10,
            hold_timeout=_PATIENCE,
            max_restarts=1_000_000,
            restart_backoff=ExponentialBackoff(initial=0.01, maximum=0.1),
        )
        model = ModelConfig("m", str(folder / "m"), "python", workers=workers)
        self._core = ServerCore(
            ServerConfig([model]), options=ServerCoreOptions(platforms=("python",))
        )

    def run(self) -> bool:
        """Kill until the time is up; return whether all was well."""
        before = Usage.now()
        with self._core:
            self._core.wait_until_available("m", timeout=_PATIENCE)
            kills = self._kill_under_requests()
        return self._judge(before, Usage.now(), kills)

    def _kill_under_requests(self) -> int:
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        chance, kills = Random(self._seed), 0  # noqa: S311 -- to be had again by its seed
        end = time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0:
            self._stop.wait(min(left, chance.expovariate(self._rate)))
            kills += self._kill(chance)
        self._stop.set()
        for thread in threads:
            thread.join()
        return kills

    def _kill(self, chance: Random) -> bool:
        with self._core.get_servable_handle("m") as handle:
            servable: Any = handle.servable
            pids = [worker.pid for worker in servable.workers() if worker.pid is not None]
        try:
            os.kill(chance.choice(pids), signal.SIGKILL)
        except (IndexError, ProcessLookupError):  # there is none, or it has just died
            return False
        return True

    def _ask(self, number: int) -> None:
        chance = Random(self._seed + number)  # noqa: S311 -- likewise
        while not self._stop.is_set():
            self._counts[number] += 1
            mark = self._counts[number] * _THREADS + number
            try:
                with self._core.get_servable_handle("m") as handle:
                    request = np.full(chance.choice(_SIZES), mark)
                    answer: npt.NDArray[np.int_] = handle.servable.double(request)
            except Exception as error:  # noqa: BLE001 -- what it is about
                self._failures.append(repr(error))
                continue
            if answer.shape != request.shape or not (answer == 2 * mark).all():
                self._failures.append(f"{mark} was answered by {answer}")

    def _judge(self, before: Usage, after: Usage, kills: int) -> bool:
        print(f"requests: {sum(self._counts):,}, failed: {len(self._failures)}, killed: {kills}")
        print(f"threads: {before.threads} -> {after.threads}")
        print(f"file descriptors: {before.descriptors} -> {after.descriptors}")
        for failure in self._failures[:5]:
            print("failed:", failure)
        return (
            not self._failures
            and min(self._counts) > 0
            and after.threads <= before.threads
            and after.descriptors <= before.descriptors
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the run can be asked for."""
    parser.add_argument("--seed", type=int, help="of the killer and of the requests")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1.0, help="kills a second, on average")


def run(asked: argparse.Namespace) -> bool:
    """Run; return whether all was well."""
    seed = SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    print(f"the seed is {seed}")
    with tempfile.TemporaryDirectory() as folder:
        return Killings(Path(folder), seed, asked.seconds, asked.rate).run()
