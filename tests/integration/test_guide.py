"""The guide's programs run, and its table of options is that of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from servman import AspiredVersionsManager

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))


def programs(page: Path) -> str:
    """Return the page's programs as one, which they are to who reads from top to bottom."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_programs_of_the_guide_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # they may write files
    code = compile(programs(page), page.name, "exec")
    exec(code, {"__name__": "guide"})  # noqa: S102 -- our own text
    capsys.readouterr()


def test_the_guide_tells_each_option_of_the_manager_with_its_default() -> None:
    told = dict(
        re.findall(r"^\| `(\w+)` \| `(.+?)` \|", (GUIDE / "managing.md").read_text(), re.MULTILINE)
    )
    parameters = inspect.signature(AspiredVersionsManager).parameters.values()
    options = {one.name: repr(one.default) for one in parameters if not one.name.startswith("_")}
    assert told == options
