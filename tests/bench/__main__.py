"""`make bench`: the bars of docs/benchmarks.md, measured and printed beside their floors."""

from __future__ import annotations

import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import detection, handles, waking
from tests.bench.measure import Row


def main() -> int:
    """Measure, print, and return how many bars were missed."""
    console = Console(width=170 if not sys.stdout.isatty() else None)
    rows: list[Row] = []
    for part in (handles, detection, waking):
        console.print(f"measuring {part.__name__.rsplit('.', 1)[-1]} ...")
        rows.extend(part.rows())
    table = Table(title=f"Python {platform.python_version()}, {os.cpu_count()} cores")
    for heading in ("what", "figure", "floor in the same run", "bar", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        verdict = "[green]holds[/]" if row.holds else "[red]missed[/]"
        table.add_row(row.what, row.figure, row.floor, row.bar, verdict)
    console.print(table)
    return sum(not row.holds for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
