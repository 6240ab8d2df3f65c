"""`make bench`: the bars of docs/benchmarks.md, measured and printed beside their floors."""

from __future__ import annotations

import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import (
    detection,
    handles,
    neighbours,
    polling,
    reloads,
    saved_models,
    serving,
    streams,
    swaps,
    waking,
    worker_neighbours,
    workers,
)
from tests.bench.measure import Row

_VERDICTS = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}


def main() -> int:
    """Measure, print, and return how many bars were missed."""
    console = Console(width=170 if not sys.stdout.isatty() else None)
    rows: list[Row] = []
    parts = (
        handles,
        swaps,
        detection,
        polling,
        waking,
        streams,
        reloads,
        neighbours,
        saved_models,
        serving,
        workers,
        worker_neighbours,
    )
    for part in parts:
        console.print(f"measuring {part.__name__.rsplit('.', 1)[-1]} ...")
        rows.extend(part.rows())
    table = Table(title=f"Python {platform.python_version()}, {os.cpu_count()} cores")
    for heading in ("what", "figure", "floor in the same run", "bar", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row.what, row.figure, row.floor, row.bar, _VERDICTS[row.holds])
    console.print(table)
    return sum(row.holds is False for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
