"""What a core of ten thousand models costs whoever changes one of them, or asks.

The floor of a reload is what nobody can do without who is given a whole configuration: to compare each of its models with
the one before. That of a question is to read an attribute as often.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, final

from servman import (
    ModelConfig,
    ServableData,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    SimpleLoader,
    SourceAdapter,
    Specific,
    register_platform,
)
from tests.bench.assembly import Arrivals
from tests.bench.measure import RUNS, Row, ms, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman import Loader

_MANY = 10_000
_CHANGED = "m5000"
_PLATFORM = "bench-reloads"
_READS = 100_000
_QUESTIONS = 1_000


@final
class _Trivial(SourceAdapter[str, "Loader"]):
    """Loads nothing."""

    def convert(self, data: ServableData[str]) -> ServableData[Loader]:
        return ServableData(data.id, SimpleLoader(lambda context: context.id))


def rows() -> list[Row]:
    """Run them all."""
    register_platform(_PLATFORM, _Trivial)
    options = ServerCoreOptions(platforms=(_PLATFORM,), poll_interval=0, watch=False)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_MANY):
            (Path(folder) / f"m{number}" / "1").mkdir(parents=True)
        (Path(folder) / _CHANGED / "2").mkdir()
        with ServerCore(_config(folder, 1), options=options) as core:
            core.wait_until_available(timeout=120)
            return [*_changes(core, folder), _reads(core, folder), _questions(core)]


def _config(folder: str, version: int) -> ServerConfig:
    """Return a configuration of objects of its own, as one is that was read from a file."""
    return ServerConfig(
        [
            ModelConfig(
                name,
                f"{folder}/{name}",
                _PLATFORM,
                version_policy=Specific(version if name == _CHANGED else 1),
            )
            for name in (f"m{number}" for number in range(_MANY))
        ]
    )


def _changes(core: ServerCore, folder: str) -> list[Row]:
    floors, whole, single = [], [], []
    version = 1
    for _ in range(RUNS):
        version = 3 - version
        wanted = _config(folder, version)
        floors.append(_timed(lambda wanted=wanted: core.config.models == wanted.models))  # type: ignore[misc]
        whole.append(_applied(core, lambda wanted=wanted: core.reload_config(wanted, wait=False)))  # type: ignore[misc]
        version = 3 - version
        model = ModelConfig(
            _CHANGED, f"{folder}/{_CHANGED}", _PLATFORM, version_policy=Specific(version)
        )
        single.append(
            _applied(core, lambda model=model: core.update_model(model, wait=False))  # type: ignore[misc]
        )
    floor = f"comparing them: {ms(statistics.median(floors))}"
    return [
        _reload("reload of a 10,000-model config with one change, until applied", whole, floor),
        _reload("update_model among 10,000, until applied", single, floor),
    ]


def _reload(what: str, times: list[float], floor: str) -> Row:
    took = statistics.median(times)
    return Row(what, ms(took), floor, "at most 100 ms", took <= 0.1)


def _applied(core: ServerCore, change: Callable[[], object]) -> float:
    """Return how long it takes from the call until the changed model serves what it should."""
    arrivals = Arrivals(core.event_bus, awaited=1)

    def run() -> None:
        change()
        arrivals.wait()

    took = _timed(run)
    core.reload_config(core.config)  # until what it has replaced has gone
    return took


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _reads(core: ServerCore, folder: str) -> Row:
    """Read the configuration while a reload waits for a base path that is not there."""
    before = core.config
    typo = ModelConfig("typo", f"{folder}/typo", _PLATFORM)
    stuck = threading.Thread(target=lambda: core.add_model(typo, timeout=None))
    stuck.start()
    while core.config is before:
        time.sleep(0.01)
    floor = _each(lambda: core.closed, _READS)
    reads = _each(lambda: core.config, _READS)
    core.reload_config(before, wait=False)
    stuck.join()
    worst = max(reads)
    return Row(
        "config read during a stuck reload",
        f"p50 {ms(statistics.median(reads))}, worst {ms(worst)}",
        f"another attribute: worst {ms(max(floor))}",
        "below 1 ms",
        worst < 1e-3 if max(floor) < 1e-3 else None,
    )


def _questions(core: ServerCore) -> Row:
    asked = _each(lambda: core.explain(_CHANGED), _QUESTIONS)
    took = statistics.median(asked)
    return Row(
        "explain of one model among 10,000",
        f"p50 {ms(took)}, p99 {ms(percentile(asked, 0.99))}",
        bar="below 1 ms",
        holds=percentile(asked, 0.99) < 1e-3,
    )


def _each(work: Callable[[], object], count: int) -> list[float]:
    return [_timed(work) for _ in range(count)]
