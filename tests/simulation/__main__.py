"""`make simulate` runs histories from seeds, `make mutants` counts the seeds that planted faults take."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys

import pytest
from click import echo

from tests.simulation import core_history
from tests.simulation.core_faults import CORE_FAULTS
from tests.simulation.core_history import CoreHistory
from tests.simulation.faults import FAULTS
from tests.simulation.history import History, minimised, run
from tests.simulation.plants import Fault, seeds_to_find

_MOST = 1_000
"""Seeds of a manager after which a planted fault counts as not found."""

_MOST_OF_CORE = 2_000
"""The same of a core."""


def main() -> int:
    """Run what the command line asks for; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("what", choices=("seeds", "faults"))
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    if asked.what == "faults":
        return _find_faults()
    return _simulate(range(asked.first, asked.first + asked.seeds))


def _simulate(seeds: range) -> int:
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for fails, told in ((_fails, _tell_of_manager), (_core_fails, _tell_of_core)):
            found = zip(seeds, pool.imap(fails, seeds, chunksize=20), strict=True)
            failing = next((seed for seed, failed in found if failed), None)
            if failing is not None:
                echo(told(failing) or f"seed {failing} failed once, and not again")
                echo(f"once more: make simulate FIRST={failing} SEEDS=1")
                return 1
    echo(
        f"{len(seeds)} seeds from {seeds.start}: every rule held in every history, of managers and cores"
    )
    return 0


def _fails(seed: int) -> bool:
    return run(History.of(seed)) is not None


def _core_fails(seed: int) -> bool:
    return core_history.run(CoreHistory.of(seed)) is not None


def _tell_of_manager(seed: int) -> str:
    failure = run(History.of(seed))
    return str(minimised(failure)) if failure is not None else ""


def _tell_of_core(seed: int) -> str:
    failure = core_history.run(CoreHistory.of(seed))
    return str(core_history.minimised(failure)) if failure is not None else ""


def _find_faults() -> int:
    missed = 0
    faults = (*FAULTS, *CORE_FAULTS)
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for fault, (seeds, rule) in zip(faults, pool.imap(_find, range(len(faults))), strict=True):
            missed += seeds == 0
            found = f"{seeds:4}  {rule}" if seeds else "   -  not found"
            echo(f"{fault.part:12} {fault.text:75} {found}")
    echo(
        f"{len(faults) - missed} of {len(faults)} planted faults found; the seeds that each took, and the rule"
    )
    return 1 if missed else 0


def _find(index: int) -> tuple[int, str]:
    if index >= len(FAULTS):
        return _find_in_core(CORE_FAULTS[index - len(FAULTS)])
    fault: Fault = FAULTS[index]
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        found = seeds_to_find(_MOST)
    return (found[0], found[1].violation.rule) if found else (0, "")


def _find_in_core(fault: Fault) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        found = core_history.seeds_to_find(_MOST_OF_CORE)
    return (found[0], found[1].violation.rule) if found else (0, "")


if __name__ == "__main__":
    sys.exit(main())
