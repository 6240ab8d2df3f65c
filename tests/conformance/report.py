"""`make conformance`: the sums of the behaviour catalogue, and where the tests contradict it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from rich.console import Console
from rich.table import Table

from tests.conformance.catalogue import Mark, Section, Status, faults, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TESTS: Final = Path(__file__).parents[1]
_CONFIGURATION: Final = TESTS.with_name("pyproject.toml")


def main() -> int:
    """Print the table and the faults; return 1 if there are any."""
    sections = read()
    found = faults(sections, collect(TESTS))
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(_table(sections))
    for fault in found:
        console.print(fault, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(found)} faults between the list and the tests")
    return 1 if found else 0


class _Marks:
    """A plugin of pytest that notes the numbers of all tests that are collected."""

    def __init__(self) -> None:
        self.found: set[Mark] = set()
        self.interrupted = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            for mark in item.iter_markers():
                if mark.name in ("case", "departs"):
                    test, _, _ = item.nodeid.partition("[")  # once, whatever its parameters
                    self.found.update(Mark(mark.name, str(one), test) for one in mark.args)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = excinfo.type is KeyboardInterrupt  # and no kind of pytest's own


def collect(tests: Path) -> list[Mark]:
    """Return the numbers that the tests below a folder carry. None of them is run.

    Raises:
        RuntimeError: A test module could not be collected.
        KeyboardInterrupt: As ever: the run around this one has to end, too.
    """
    marks, output = _Marks(), io.StringIO()
    # Without the cache: it belongs to the run that may be going on around this one.
    options = ("--collect-only", "-q", "-p", "no:cacheprovider", "-c", str(_CONFIGURATION))
    with contextlib.redirect_stdout(output):
        code = pytest.main([*options, str(tests)], plugins=[marks])
    if marks.interrupted:
        raise KeyboardInterrupt
    if code is not pytest.ExitCode.OK:
        raise RuntimeError(f"the tests cannot be collected:\n{output.getvalue()}")
    return sorted(marks.found)


def _table(sections: Sequence[Section]) -> Table:
    table = Table("section", "")
    for heading in (*(status.value for status in Status), "total"):
        table.add_column(heading, justify="right")
    total: Counter[Status] = Counter()
    for section in sections:
        counts = section.counts()
        total += counts
        table.add_row(section.number, section.title, *_figures(counts))
    table.add_section()
    table.add_row("", "all", *_figures(total))
    return table


def _figures(counts: Counter[Status]) -> Iterable[str]:
    for number in (*(counts[status] for status in Status), counts.total()):
        yield str(number or "")


if __name__ == "__main__":
    raise SystemExit(main())
