"""The demo, as a command, and with each of its claims broken: one that cannot fail shows nothing."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from servman.cli import demo
from servman.cli.demo_models import DemoModels, PythonModels

SERVMAN = Path(sys.executable).with_name("servman")
CLAIMS = [
    "the core starts without waiting for a model",
    "version 1 came up",
    "version 2 took over and version 1 was unloaded",
    "the corrupt version 3 was refused with its reason",
    "version 2 went on serving",
    "the wait ended at its deadline and said that the base path is missing",
    "the missing model came up when its path appeared",
    "version 1 was loaded again and serves",
    "no request failed, through every swap",
    "everything was unloaded at the end",
]

Play = Callable[[DemoModels], tuple[bool, str]]


def verdicts(screen: str) -> dict[str, bool]:
    """Return each claim that was printed, with whether it held."""
    rows = [line.split("│") for line in screen.splitlines() if line.startswith("│")]
    return {
        row[2].strip(): row[1].strip() == "held"
        for row in rows
        if len(row) == 4 and row[1].strip() in {"held", "BROKEN"}
    }


def broken(screen: str) -> list[str]:
    return [claim for claim, held in verdicts(screen).items() if not held]


def assert_all_held(screen: str) -> None:
    held = verdicts(screen)
    assert all(held.values()), screen
    assert len(held) == len(CLAIMS), screen
    assert all(claim.startswith(text) for claim, text in zip(held, CLAIMS, strict=True)), screen


def run_command(platform: str, timeout: float) -> str:
    """Run the demo in a process of its own, with exit code 0, and return what it printed."""
    command = [sys.executable, str(SERVMAN), "demo", "--platform", platform]
    run = subprocess.run(  # noqa: S603 -- our own command
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={"COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout


@pytest.mark.timeout(60)
def test_the_command_plays_the_demo_on_python_models_and_every_claim_holds() -> None:
    screen = run_command("python", 50)
    assert_all_held(screen)
    assert "requests failed" in screen


@pytest.mark.tensorflow
@pytest.mark.timeout(120)
def test_the_command_plays_the_demo_on_saved_models_and_every_claim_holds() -> None:
    screen = run_command("tensorflow", 110)
    assert_all_held(screen)
    assert "SavedModels by TensorFlow" in screen


# ---- broken, one claim at a time ---------------------------------------------------------------


class Models:
    """The models of the demo, of which a test breaks one."""

    platform = "python"

    def describe(self) -> str:
        return "models of a test"

    def write(self, directory: Path, version: int) -> None:
        PythonModels().write(directory, version)

    def write_corrupt(self, directory: Path) -> None:
        PythonModels().write_corrupt(directory)


class Harmless(Models):
    """The version that should be corrupt loads."""

    def write_corrupt(self, directory: Path) -> None:
        self.write(directory, 3)


class Miscounting(Models):
    """Version 2 answers 7 wrongly."""

    def write(self, directory: Path, version: int) -> None:
        super().write(directory, version)
        if version == 2:
            source = directory / "servable.py"
            source.write_text(source.read_text().replace("x / 2 + 2", "x / 2 + 2 + (x == 7)"))


class Unloadable(Models):
    """No version but the corrupt one's like can be written."""

    def write(self, directory: Path, version: int) -> None:
        PythonModels().write_corrupt(directory)


class Punctual(Models):
    """The base path that should be missing is there from the start."""

    def write(self, directory: Path, version: int) -> None:
        super().write(directory, version)
        (directory.parent.parent / "models" / "late").mkdir(exist_ok=True)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Return what plays the demo in short; it returns the verdict and what was printed."""
    monkeypatch.setattr(demo, "_MISSING_FOR", 0.5)
    monkeypatch.setattr(demo, "_THREADS", 2)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # as the command does

    def run(models: DemoModels) -> tuple[bool, str]:
        screen = io.StringIO()
        console = Console(file=screen, width=300)
        return demo.Demo(models, tmp_path, 5.0, console).run(), screen.getvalue()

    yield run
    sys.setswitchinterval(interval)


def test_the_demo_holds_on_the_models_of_these_tests(play: Play) -> None:
    verdict, screen = play(Models())
    assert verdict
    assert_all_held(screen)


def test_a_corrupt_version_that_loads_breaks_what_is_said_of_it(play: Play) -> None:
    verdict, screen = play(Harmless())
    assert not verdict
    assert {CLAIMS[3], CLAIMS[4]} <= set(broken(screen))


def test_a_wrong_answer_is_a_failed_request(play: Play) -> None:
    verdict, screen = play(Miscounting())
    assert not verdict
    assert broken(screen) == [CLAIMS[8]]
    assert "a request failed: version 2 answered 6.5 to 7.0" in screen


def test_a_step_that_fails_is_told_and_everything_is_closed_all_the_same(play: Play) -> None:
    verdict, screen = play(Unloadable())
    assert not verdict
    (claim,) = broken(screen)
    assert claim.startswith("no step fails, but one did: half_plus:1 failed")
    assert verdicts(screen)[CLAIMS[-1]]


def test_a_base_path_that_is_there_when_it_should_be_missing_is_told(play: Play) -> None:
    verdict, screen = play(Punctual())
    assert not verdict
    assert CLAIMS[5] in broken(screen)
