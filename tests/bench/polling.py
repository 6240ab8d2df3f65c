"""What one round of polls costs, beside listing the same directories with nothing around it."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, final

from servman import FileSystemStoragePathSource, ServableToMonitor, connect
from servman.sources.listing import SETTLED
from servman.sources.look import list_directory
from tests.bench.measure import RUNS, Row, ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman import ServableData
    from servman.sources.look import Lister

_PATHS = 1_000
_ROUNDS = 10
_BAR = 2.0


def rows() -> list[Row]:
    """Run them all."""
    each = "where the file system does not tell of changes, as over a network: all are listed"
    return [
        _row("nothing changed", 2, _BAR),
        _row("nothing changed", 100, _BAR),
        _row(each, 2, None, list_directory),
    ]


def _row(what: str, versions: int, bar: float | None, lister: Lister | None = None) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        paths = _fill(Path(folder), versions)
        ratios, rounds, floors = [], [], []
        with_source = _Round(paths, lister)
        for _ in range(RUNS):
            floors.append(min(_listed(paths) for _ in range(_ROUNDS)))
            rounds.append(min(with_source.run() for _ in range(_ROUNDS)))
            ratios.append(rounds[-1] / floors[-1])
        with_source.close()
    ratio = statistics.median(ratios)
    return Row(
        f"one poll round of {_PATHS:,} base paths with {versions} versions each, {what}",
        f"{ratio:.2f} x ({ms(statistics.median(rounds))})",
        f"os.listdir: {ms(statistics.median(floors))}",
        "-" if bar is None else f"at most {bar:g} x",
        None if bar is None else ratio <= bar,
    )


def _fill(root: Path, versions: int) -> list[str]:
    paths = [root / f"m{number}" for number in range(_PATHS)]
    for path in paths:
        for version in range(1, versions + 1):
            (path / str(version)).mkdir(parents=True)
    return [str(path) for path in paths]


def _listed(paths: list[str]) -> float:
    started = time.perf_counter()
    for path in paths:
        os.listdir(path)  # noqa: PTH208 -- the floor
    return time.perf_counter() - started


@final
class _Round:
    """A started source that polls when told, and knows when a round is over.

    One more base path, the last of the round, holds another version each time.
    """

    def __init__(self, paths: list[str], lister: Lister | None) -> None:
        self._versions = 1
        self._told = threading.Semaphore(0)
        self._folder = tempfile.TemporaryDirectory()
        last = Path(self._folder.name)
        (last / "1").mkdir()
        self._last = last
        servables = [ServableToMonitor(f"m{n}", path) for n, path in enumerate(paths)]
        self._source = FileSystemStoragePathSource(
            [*servables, ServableToMonitor("last", str(last))],
            poll_interval=-1,
            watch=False,
            lister=lister,
        )
        connect(self._source, self)
        self._source.start()
        self._source.poll()
        self._told.acquire()
        time.sleep(SETTLED)  # until what has not changed is known not to have
        self.run()

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[str]]) -> None:
        if name == "last":
            self._told.release()

    def run(self) -> float:
        self._versions += 1
        (self._last / str(self._versions)).mkdir()
        started = time.perf_counter()
        self._source.poll()
        self._told.acquire()
        return time.perf_counter() - started

    def close(self) -> None:
        self._source.close()
        self._folder.cleanup()
