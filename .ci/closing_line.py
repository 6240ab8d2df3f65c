"""Say in one line what `make test` has found: python closing_line.py STARTED REPORT.xml..."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def main(started: str, *reports: str) -> None:
    """Add up the JUnit *reports* and print the sum in pytest's manner."""
    counts: Counter[str] = Counter()
    for report in reports:
        for suite in ET.parse(Path(report)).iter("testsuite"):
            skipped = int(suite.get("skipped", 0))
            counts["skipped"] += skipped
            counts["passed"] += int(suite.get("tests", 0)) - skipped
    found = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()) if number)
    took = time.time() - int(started)
    line = f" lint, types, coverage and wheel are fine; {found} in {took:.0f}s "
    print(line.center(100, "="))


if __name__ == "__main__":
    main(*sys.argv[1:])
