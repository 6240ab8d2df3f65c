"""The table of states, as text."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from servman.cli.state_table import StateTable
from servman.sources import All
from servman.testing import FailingLoader
from tests.unit.core.rig import Rig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def rows(rig: Rig) -> list[list[str]]:
    """Return the cells of the table, without its head."""
    screen = io.StringIO()
    Console(file=screen, width=400).print(StateTable(rig.core))
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_a_model_without_versions_shows_why(rig: Rig) -> None:
    rig.run()
    rig.look()
    ((name, version, state, handles, why),) = rows(rig)
    assert (name, version, state, handles) == ("m", "-", "-", "-")
    assert why.startswith("servable 'm': no versions found in")


def test_each_version_shows_its_state_and_its_handles(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    assert rows(rig) == [["m", "1", "AVAILABLE", "-", ""]]
    with core.get_servable_handle("m"):
        assert rows(rig) == [["m", "1", "AVAILABLE", "1", ""]]


def test_of_several_versions_the_newest_stands_first_each_with_its_own_handles(rig: Rig) -> None:
    core = rig.run(rig.model(version_policy=All()))
    rig.bring(1, 2)
    with core.get_servable_handle("m:1"):
        assert [row[1::2] for row in rows(rig)] == [["2", "-"], ["1", "1"]]


def test_a_failed_version_shows_its_error_as_it_is_spelled(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(ValueError("got [/red] and [bold]"))
    rig.run(max_num_load_retries=0)
    rig.bring(1)
    assert rows(rig) == [["m", "1", "END", "-", "ValueError: got [/red] and [bold]"]]
