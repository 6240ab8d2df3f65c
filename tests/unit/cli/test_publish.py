"""`servman publish`: what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from servman.cli import publish as command
from servman.cli.main import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x" * 2000)
    return tmp_path / "source"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["publish", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_it_is_listed_among_the_commands() -> None:
    assert "publish" in CliRunner().invoke(main, ["--help"]).output


def test_it_prints_the_id_alone_and_exits_0(source: Path, base: Path) -> None:
    assert run(source, base)[:2] == (0, "m:1\n")
    assert run(source, base, 7)[:2] == (0, "m:7\n")
    assert run(source, base, "--name", "other")[:2] == (0, "other:8\n")
    assert (base / "7" / "file").stat().st_size == 2000


def test_it_creates_the_base_path_only_when_told_to(source: Path, base: Path) -> None:
    code, out, err = run(source, base / "x")
    assert (code, out) == (2, "")
    assert "does not exist; create it (create=True, or --create)" in err
    assert run(source, base / "x", "--create")[:2] == (0, "x:1\n")


def test_what_cannot_be_published_exits_1_with_the_reason_alone(source: Path, base: Path) -> None:
    (base / "3").mkdir()
    code, out, err = run(source, base, 3)
    assert (code, out) == (1, "")
    assert err.startswith("Error: m:3 is there already, as ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["only one"],
        ["SOURCE", "BASE", "-1"],
        ["SOURCE", "BASE", "x"],
        ["SOURCE", "BASE", 2**63],
    ],
)
def test_a_call_with_other_arguments_exits_2(
    arguments: list[object], source: Path, base: Path
) -> None:
    places: dict[object, Path] = {"SOURCE": source, "BASE": base}
    assert run(*[places.get(one, one) for one in arguments])[:2] == (2, "")
    assert list(base.iterdir()) == []


def test_a_call_that_can_never_be_right_exits_2(source: Path, base: Path) -> None:
    code, out, err = run(source, base, "--name", "a:b")
    assert (code, out) == (2, "")
    assert "not a servable name: 'a:b'" in err


def test_an_empty_path_is_not_the_working_directory(
    source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    code, out, err = run("", base)
    assert (code, out) == (2, "")
    assert "source_dir is ''" in err
    monkeypatch.chdir(base)
    assert run(source, "")[:2] == (2, "")
    assert list(base.iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (("nodir", "m"), "there is no "),
        (("source/file", "m"), "source/file is not a directory"),
        (("/dev/null", "m"), "/dev/null is not a directory"),
        (("source", "/dev/null"), "/dev/null cannot be read (Not a directory)"),
        (("source", "/dev/null/m", "--create"), "/dev/null/m cannot be written"),
        (("source", "m" * 300), "File name too long"),
        (("source", "nodir"), "does not exist; create it"),
    ],
)
def test_paths_that_are_not_there_are_bad_usage(
    paths: tuple[str, ...], text: str, source: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    code, out, err = run(*paths)
    assert (code, out) == (2, "")
    assert text in err
    assert list(base.iterdir()) == []


def test_as_json_it_is_one_object(source: Path, base: Path) -> None:
    code, out, _ = run(source, base, "--json")
    told = {"exit_code": 0, "published": "m:1", "taken_back": False}
    assert (code, json.loads(out)) == (0, told)
    code, out, _ = run(source, base, 1, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "ALREADY_EXISTS")


def test_without_a_terminal_progress_is_a_line_for_each_tenth_at_most() -> None:
    screen = io.StringIO()
    with command._show(Console(file=screen)) as progress:
        for done in range(0, 100_001, 1_000):
            progress(done, 100_000)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "0 bytes of 100.0 kB"
    assert lines[-1] == "100.0 kB of 100.0 kB"


def test_of_a_version_without_bytes_one_line_tells() -> None:
    screen = io.StringIO()
    with command._show(Console(file=screen)) as progress:
        progress(0, 0)
        progress(0, 0)
    assert screen.getvalue() == "0 bytes of 0 bytes\n"


def test_on_a_terminal_progress_is_a_bar_that_goes_when_it_is_done() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with command._show(console) as progress:
        progress(50_000, 100_000)
    shown = screen.getvalue()
    assert "publishing ━" in shown
    assert "50.0/100.0 kB" in shown
    assert shown.endswith("\x1b[1A\x1b[2K")
