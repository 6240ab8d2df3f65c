"""Every fault planted in turn, and how long the seeded run takes to find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stress.faults import FAULTS
from tests.stress.trial import broken

if TYPE_CHECKING:
    import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the run can be asked for."""
    parser.add_argument("--seed", type=int, default=1, help="of the first round of each")


def run(asked: argparse.Namespace) -> bool:
    """Run; return whether each was found."""
    missed = 0
    for text in FAULTS:
        trial = broken(text, seed=asked.seed, seconds=20.0)
        missed += trial.well
        print(f"{trial.seconds:4.1f} s  {text}\n        {trial.found.strip()}", flush=True)
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} planted faults found")
    return not missed
