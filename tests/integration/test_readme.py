"""What a newcomer reads is what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from servman.core import ServerCore

ROOT = Path(__file__).parents[2]
EXAMPLES = ("embed", "deploy")
MODEL = """
class HalfPlus:
    def predict(self, inputs):
        return {"y": [x / 2 + 1 for x in inputs["x"]]}

def load(context):
    return HalfPlus()
"""


def begin(example: str, *arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 -- our own interpreter on our own file
        [sys.executable, ROOT / "examples" / f"{example}.py", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for *process*; return its exit code, and what it printed and complained."""
    try:
        out, err = process.communicate(timeout=18)
    finally:
        process.kill()
    return process.returncode, out, err


def run(example: str, *arguments: object, cwd: Path) -> tuple[int, str, str]:
    return end(begin(example, *arguments, cwd=cwd))


def write(version: Path, text: str = MODEL) -> Path:
    version.mkdir(parents=True)
    (version / "servable.py").write_text(text)
    return version


def test_the_readme_shows_the_examples_as_they_are() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown == [(ROOT / "examples" / f"{name}.py").read_text() for name in EXAMPLES]


def test_the_example_of_embedding_stays_about_twenty_lines() -> None:
    assert len((ROOT / "examples" / "embed.py").read_text().splitlines()) <= 20


def test_every_file_that_the_readme_links_is_there() -> None:
    links = re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_name_of_a_core_that_the_readme_mentions_is_there() -> None:
    called = re.findall(r"core\.(\w+)\(", (ROOT / "README.md").read_text())
    assert {"wait_until_available", "get_servable_handle", "explain", "reload_config"} <= set(
        called
    )
    assert all(hasattr(ServerCore, name) for name in called)


def test_embedding_serves_what_is_in_the_base_path(tmp_path: Path) -> None:
    write(tmp_path / "half_plus" / "1")
    write(tmp_path / "half_plus" / "2")
    assert run("embed", "half_plus", cwd=tmp_path) == (0, "half_plus:2 {'y': [2.0]}\n", "")


def test_embedding_ends_with_the_reason_where_nothing_comes_up(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "broken" / "1", "def load(context): raise ValueError('no such layer')")
    reasons = {
        "missing": f"base path {tmp_path / 'missing'} does not exist",
        "empty": f"no versions found in {tmp_path / 'empty'}",
        "broken": "no such layer",
    }
    # All at once: each waits for some seconds before it gives up.
    processes = {name: begin("embed", name, cwd=tmp_path) for name in reasons}
    for name, process in processes.items():
        code, out, err = end(process)
        assert (code, out) == (1, ""), name
        assert reasons[name] in err.partition("not serving: ")[2]
        assert "Traceback" not in err


def test_deploying_copies_the_version_and_returns_when_it_serves(tmp_path: Path) -> None:
    base_path, source = tmp_path / "models", write(tmp_path / "staging" / "new")
    write(base_path / "2")
    assert run("deploy", source, "models", cwd=tmp_path) == (0, "", "")
    assert (base_path / "3" / "servable.py").read_text() == MODEL
    assert source.exists()


@pytest.mark.parametrize("text", ["def load(context): raise ValueError('no such layer')", "def"])
def test_deploying_a_broken_version_fails_at_once_with_its_error(tmp_path: Path, text: str) -> None:
    base_path, source = tmp_path / "half_plus", write(tmp_path / "staging" / "new", text)
    base_path.mkdir()
    code, out, err = run("deploy", source, base_path, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert "half_plus:1 is not serving: half_plus:1 failed" in err
    assert ("no such layer" if "layer" in text else "SyntaxError") in err
    assert "Traceback" not in err


def test_deploying_to_a_base_path_that_is_missing_fails_with_its_name(tmp_path: Path) -> None:
    source = write(tmp_path / "staging" / "new")
    code, out, err = run("deploy", source, tmp_path / "gone", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert "not published: servable 'half_plus': " in err
    assert f"base path {tmp_path / 'gone'} does not exist" in err
    assert "Traceback" not in err
    assert source.exists()
