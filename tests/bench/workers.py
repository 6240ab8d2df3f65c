"""What it costs that a servable lives in worker processes: calls, arrays, replicas, and a restart.

Everything is measured in a process of its own, which lets its children keep their byte code, as installed programs do.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import pickle
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from servman.adapters.python_model import PythonModelLoader
from servman.errors import WorkerDiedError
from servman.ids import ServableId
from servman.loader import LoadContext, Loader
from servman.workers.loader import IsolatedLoader
from servman.workers.options import Workers
from tests.bench.measure import Row, ms, percentile

_ID = ServableId("m", 1)
_BURST, _BURSTS = 20, 150
"""Short turns, of which some meet no other program."""
_ARRAYS = 100
_SPINS, _SPIN_SECONDS, _CALLERS = 12, 0.3, 4
_COUNTS = (100_000, 20_000)
"""How far a call counts: for some milliseconds, and for about one, of which the way to a worker is a larger part."""
_BARE_SPEED_UP = 1.85
"""What two bare processes reach beside one where both cores are there for them; below it there is no verdict."""
_KILLS = 15

_MODEL = """
class Model:
    def predict(self, inputs):
        return inputs

    def spin(self, count):
        return sum(number % 7 for number in range(count))

def load(context):
    return Model()
"""

_BARE_MODEL = """
import sys
names = {}
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), names)
model = names["load"](None)
print(flush=True)
"""

Figures = dict[str, Any]


def rows() -> list[Row]:
    """Run them all."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    done = subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-m", __name__], stdout=subprocess.PIPE, check=True, env=environment
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return [
        _small_row(*figures["small"]),
        _array_row(*figures["array"]),
        *(_speed_up_row(*one) for one in figures["speed_up"]),
        _restart_row(*figures["restart"]),
    ]


def _small_row(call: float, echo: float) -> Row:
    return Row(
        "small call through a worker",
        f"p50 {call / echo:.2f} x ({call * 1e6:.0f} us)",
        f"echo over multiprocessing.Pipe: {echo * 1e6:.0f} us",
        "p50 at most 3 x",
        call <= 3 * echo,
    )


def _array_row(call: float, copies: float) -> Row:
    return Row(
        "10 MB array to a worker and back",
        f"p10 {ms(call)}",
        f"two copies in memory: p10 {ms(copies)}",
        "at most 2 x, and 0.5 ms",
        call <= 2 * copies + 0.0005,
    )


def _speed_up_row(seconds: float, replicas: float, bare: float) -> Row:
    return Row(
        f"two replicas of a servable that holds the interpreter for {ms(seconds)}, beside one in-process",
        f"{replicas:.2f} x, {replicas / bare * 100:.0f} % of what two bare processes reach",
        f"two bare processes beside one: {bare:.2f} x",
        "at least 1.7 x",
        replicas >= 1.7 or (None if bare < _BARE_SPEED_UP else False),
    )


def _restart_row(again: float, bare: float) -> Row:
    return Row(
        "kill -9 of a sole replica -> serving again",
        f"{again:.3f} s",
        f"bare interpreter that loads the model: {bare:.3f} s",
        "at most 0.3 s more",
        again <= bare + 0.3,
    )


def main() -> None:
    """Measure in this process, and print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "python"
        path.mkdir()
        path.joinpath("servable.py").write_text(_MODEL)
        figures = {
            "small": _small(path),
            "array": _array(path),
            "speed_up": [_speed_up(path, count) for count in _COUNTS],
            "restart": _restart(path),
        }
    print(json.dumps(figures))


@contextmanager
def _serving(loader: Loader, workers: Workers) -> Iterator[Any]:
    isolated = IsolatedLoader(_ID, loader, workers)
    servable = isolated.load(LoadContext(_ID))
    try:
        yield servable
    finally:
        isolated.unload(servable)


def _python(path: Path) -> Loader:
    return PythonModelLoader(_ID, str(path))


def _small(path: Path) -> tuple[float, float]:
    """Return how long a call and an echo of the same bytes take, each the median of all."""
    request = {"x": [1.0, 2.0, 3.0]}
    said = pickle.dumps(("predict", (request,), {}), pickle.HIGHEST_PROTOCOL)
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(far,))
    process.start()
    far.close()

    def echo() -> None:
        near.send_bytes(said)
        near.recv_bytes()

    with _serving(_python(path), Workers()) as servable:
        result = _in_turns(lambda: servable.predict(request), echo, _BURST, _BURSTS)
    near.close()
    process.join()
    return result


def _echo(end: Connection) -> None:
    try:
        while True:
            end.send_bytes(end.recv_bytes())
    except EOFError:
        pass


def _array(path: Path) -> tuple[float, float]:
    """Return how long a call and two copies take: the fastest tenth, for the others meet other programs."""
    array = np.ones(2_500_000, np.float32)
    one, other = array.copy(), array.copy()

    def copy() -> None:
        np.copyto(one, array)
        np.copyto(other, one)

    with _serving(_python(path), Workers()) as servable:
        return _in_turns(lambda: servable.predict(array), copy, 1, _ARRAYS, share=0.1)


def _in_turns(
    subject: Callable[[], object],
    floor: Callable[[], object],
    burst: int,
    bursts: int,
    *,
    share: float = 0.5,
) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = [], []
    for _ in range(bursts):
        for call, taken in zip((subject, floor), times, strict=True):
            for _ in range(burst):
                started = time.perf_counter()
                call()
                taken.append(time.perf_counter() - started)
    return percentile(times[0], share), percentile(times[1], share)


def _speed_up(path: Path, count: int) -> tuple[float, float, float]:
    """Return how long a call takes here, and how much faster two replicas are than that, and two bare processes than one."""
    here: Any = _python(path).load(LoadContext(_ID))
    replicas, bares = [], []
    with (
        _serving(_python(path), Workers(replicas=2)) as servable,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        for _ in range(_SPINS):
            remote, local = (functools.partial(one.spin, count) for one in (servable, here))
            replicas.append(_rate(remote) / _rate(local))
            one, two = (
                sum(
                    pool.map(
                        _spins, [str(path / "servable.py")] * processes, itertools.repeat(count)
                    )
                )
                for processes in (1, 2)
            )
            bares.append(two / one)
        seconds = min(timeit.repeat(functools.partial(here.spin, count), number=1, repeat=20))
    return seconds, statistics.median(replicas), statistics.median(bares)


def _rate(spin: Callable[[], object]) -> int:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(_count(spin))) for _ in range(_CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _spins(path: str, count: int) -> int:
    return _count(functools.partial(runpy.run_path(path)["load"](None).spin, count))


def _count(spin: Callable[[], object]) -> int:
    count, end = 0, time.monotonic() + _SPIN_SECONDS
    while time.monotonic() < end:
        spin()
        count += 1
    return count


def _restart(path: Path) -> tuple[float, float]:
    """Return after how long a killed worker serves again, and how long a bare child takes to begin."""
    again, bare = [], []
    with _serving(_python(path), Workers(max_restarts=_KILLS)) as servable:
        for _ in range(_KILLS):
            servable.predict(0)
            bare.append(_bare_start(path))
            started = time.perf_counter()
            os.kill(servable.workers()[0].pid, signal.SIGKILL)
            _await_answer(servable)
            again.append(time.perf_counter() - started)
    return statistics.median(again), statistics.median(bare)


def _bare_start(path: Path) -> float:
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", _BARE_MODEL, str(path / "servable.py")], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        return time.perf_counter() - started


def _await_answer(servable: Any) -> None:
    while True:
        try:
            servable.predict(0)
        except WorkerDiedError:  # it was sent to the one that died
            continue
        return


if __name__ == "__main__":
    main()
