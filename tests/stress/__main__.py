"""`make stress`: real threads around a manager, from a seed; a soak of a whole server core; and workers that are killed."""

from __future__ import annotations

import argparse
import sys

from tests.stress import cycles, killings, planted, seeded, soak

_RUNS = {
    "seeded": seeded,
    "soak": soak,
    "killings": killings,
    "cycles": cycles,
    "faults": planted,
}


def main() -> int:
    """Run what the command line asks for; return 0 if all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    runs = parser.add_subparsers(dest="run", required=True)
    for name, module in _RUNS.items():
        module.add_options(runs.add_parser(name, description=module.__doc__))
    asked = parser.parse_args()
    well = _RUNS[asked.run].run(asked)
    print("all is well" if well else "NOT WELL")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
