"""The guide tells every option of workers with its default, and names tests that there are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from servman.workers.options import Workers

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guide"


def test_each_option_is_told_with_its_default() -> None:
    _, _, behind = (GUIDE / "workers.md").read_text().partition("| option |")
    table, _, _ = behind.partition("\n\n")
    told = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", table, re.MULTILINE)
    assert told == [(field.name, repr(getattr(Workers(), field.name))) for field in fields(Workers)]


def test_the_tests_that_are_named_are_there() -> None:
    page = (GUIDE / "from-mindspore-serving.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 26  # one for each weakness at least
    assert [name for name in named if f"def {name}(" not in tests] == []
