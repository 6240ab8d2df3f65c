"""How long it takes from a rename to AVAILABLE."""

from __future__ import annotations

import queue
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from servman import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from tests.bench.measure import Row, ms, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMES = 200


def rows() -> list[Row]:
    """Run them all."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        floor = _floor(root / "floor")
        return [
            _row(
                "rename from outside -> AVAILABLE", _detect(root / "outside", inside=False), floor
            ),
            _row(
                "rename within the base path -> AVAILABLE",
                _detect(root / "inside", inside=True),
                floor,
            ),
        ]


def _row(what: str, times: list[float], floor: list[float]) -> Row:
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return Row(
        f"version directory: {what}",
        f"p50 {ms(p50)}, p99 {ms(p99)}",
        f"bare watch: p50 {ms(percentile(floor, 0.5))}, p99 {ms(percentile(floor, 0.99))}",
        "p50 at most 5 ms, p99 at most 50 ms",
        p50 <= 0.005 and p99 <= 0.050,
    )


def _floor(folder: Path) -> list[float]:
    """Time a bare watch: from the rename to the handler."""
    base, staging = _folders(folder)
    seen: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            seen.put(time.perf_counter())

    observer = Observer()
    observer.schedule(Handler(), str(base))
    observer.start()
    times = []
    for version in range(_TIMES):
        (staging / str(version)).mkdir()
        times.append(
            _timed(staging / str(version), base / str(version), lambda: seen.get(timeout=5))
        )
        time.sleep(0.005)
        while not seen.empty():
            seen.get()
    observer.stop()
    observer.join()
    return times


def _detect(folder: Path, *, inside: bool) -> list[float]:
    base, staging = _folders(folder)
    if inside:
        staging = base
    config = ServerConfig([ModelConfig("m", str(base), "python")])
    options = ServerCoreOptions(platforms=("python",), poll_interval=3600)
    times = []
    with ServerCore(config, options=options) as core:
        for version in range(1, _TIMES + 1):
            source, target = staging / f"tmp-{version}", base / str(version)
            source.mkdir()
            (source / "servable.py").write_text("def load(context):\n    return object()\n")
            time.sleep(0.005)
            request = f"m:{version}"
            times.append(
                _timed(source, target, lambda: core.wait_until_available(request, timeout=10))  # noqa: B023 -- called at once
            )
    return times


def _timed(source: Path, target: Path, wait: Callable[[], object]) -> float:
    started = time.perf_counter()
    source.rename(target)
    wait()
    return time.perf_counter() - started


def _folders(folder: Path) -> tuple[Path, Path]:
    base, staging = folder / "base", folder / "staging"
    base.mkdir(parents=True)
    staging.mkdir()
    return base, staging
