"""The guide tells every field of a model and every option, with the default that it has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from servman.core.config import ModelConfig
from servman.core.options import ServerCoreOptions
from servman.sources import immediate

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "configuring.md").read_text()


def shown(value: object) -> str:
    return "immediate" if value is immediate else repr(value)


@pytest.mark.parametrize(
    ("heading", "holder", "leaves_out"),
    [
        ("| field |", ModelConfig("m", "/m"), {"name", "base_path"}),
        ("| option |", ServerCoreOptions(), set()),
    ],
    ids=["fields", "options"],
)
def test_the_guide_tells_each_with_its_default(
    heading: str, holder: ModelConfig | ServerCoreOptions, leaves_out: set[str]
) -> None:
    table, _, _ = GUIDE[GUIDE.index(heading) :].partition("\n\n")
    told = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", table, re.MULTILINE)
    names = [field.name for field in fields(holder) if field.name not in leaves_out]
    assert told == [(name, shown(getattr(holder, name))) for name in names]
