"""The guide for those who come from TensorFlow Serving tells of every flag."""

from __future__ import annotations

import pytest

from servman.cli.serve_flags import FLAGS, UNIMPLEMENTED
from tests.unit.cli.flag_table import BEGIN, DOCUMENT, END, OURS, rewritten


def test_the_table_of_flags_is_up_to_date() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    command = ".venv/bin/python -m tests.unit.cli.flag_table"
    assert rewritten(document) == document, f"the flags have changed; run {command}"


def test_every_flag_is_in_the_table_once() -> None:
    table = rewritten(f"{BEGIN}{END}")
    names = [flag.name for flag in FLAGS] + list(UNIMPLEMENTED)
    assert [table.count(f"| `--{name}` |") for name in names] == [1] * len(names)


def test_what_is_our_own_is_a_flag() -> None:
    assert {flag.name for flag in FLAGS} >= OURS


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        rewritten("no flags here")
