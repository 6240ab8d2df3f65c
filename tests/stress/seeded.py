"""The seeded run: rounds of random threads around a manager, until the time is up or something is wrong."""

from __future__ import annotations

import gc
import sys
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import pytest

from tests.stress.faults import FAULTS
from tests.stress.round import Round

if TYPE_CHECKING:
    import argparse

_SWITCH_INTERVAL: Final = 1e-6
"""Seconds: threads take turns nearly as often as the interpreter can let them."""

_COLLECTIONS: Final = (30, 3, 3)
"""The collector's thresholds: it runs all the time, on whatever thread."""

_SHOWN: Final = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the run can be asked for."""
    parser.add_argument(
        "--seed", type=int, help="of the first round; each further one has the next"
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--round", type=float, default=2.0, help="seconds of one")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds until it is a hang")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="what to break beforehand")


def run(asked: argparse.Namespace) -> bool:
    """Run; return whether all was well."""
    seed = SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    print(f"the first seed is {seed}")
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.freeze()  # what was imported: the collector shall look at what the run makes
    gc.set_threshold(*_COLLECTIONS)
    with pytest.MonkeyPatch.context() as patch:
        if asked.fault is not None:
            FAULTS[asked.fault].plant(patch)
        return _rounds(seed, asked)


def _rounds(seed: int, asked: argparse.Namespace) -> bool:
    end = time.monotonic() + asked.seconds
    while (left := end - time.monotonic()) > 0.0:
        print(f"seed {seed}: ", end="", flush=True)
        one = Round(seed, asked.patience)
        failures = one.run(min(asked.round, left))
        print(one, flush=True)
        if failures:
            _tell(seed, failures)
            return False
        seed += 1
    return True


def _tell(seed: int, failures: list[str]) -> None:
    print(f"seed {seed} failed:")
    for failure in failures[:_SHOWN]:
        print(f"  {failure}")
    if len(failures) > _SHOWN:
        print(f"  and {len(failures) - _SHOWN} more")
    print(f"once more: make stress SEED={seed}")
