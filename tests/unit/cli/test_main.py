"""The `servman` command, without the work behind it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import pytest
from click.testing import CliRunner

from servman.cli import main as command
from servman.cli.demo_models import PythonModels, SavedModels


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, float]]:
    """Put a log of calls in the place of the demo; it claims what the models' platform says."""
    calls: list[tuple[Any, float]] = []

    def run_demo(models: Any, timeout: float) -> bool:
        calls.append((models, timeout))
        return bool(models.platform == "python")

    monkeypatch.setattr(command, "run_demo", run_demo)
    return calls


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command.main, arguments)
    return result.exit_code, result.output


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == (0, f"servman, version {importlib.metadata.version('servman')}\n")


def test_without_a_command_the_commands_are_listed() -> None:
    code, text = run("--help")
    assert code == 0
    assert "demo" in text


def test_the_demo_says_what_it_takes() -> None:
    code, text = run("demo", "--help")
    assert code == 0
    assert "Exits 0 only if everything that it claims held." in " ".join(text.split())


def test_a_demo_that_held_exits_0(played: list[tuple[Any, float]]) -> None:
    assert run("demo", "--platform", "python", "--timeout", "7")[0] == 0
    ((models, timeout),) = played
    assert (type(models), timeout) == (PythonModels, 7.0)


def test_a_demo_that_did_not_hold_exits_1(
    played: list[tuple[Any, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert run("demo")[0] == 1
    ((models, timeout),) = played
    assert (type(models), timeout) == (SavedModels, 60.0)


def test_without_tensorflow_the_demo_says_what_to_do_instead(
    played: list[tuple[Any, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, text = run("demo", "--platform", "tensorflow")
    assert (code, played) == (2, [])
    assert "pip install 'servman[tensorflow]', or use --platform python" in text


@pytest.mark.parametrize("arguments", [["--platform", "torch"], ["--timeout", "0"]])
def test_the_demo_refuses_what_it_does_not_know(
    arguments: list[str], played: list[tuple[Any, float]]
) -> None:
    assert run("demo", *arguments)[0] == 2
    assert played == []
