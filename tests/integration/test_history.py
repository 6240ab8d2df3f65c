"""What a core that serves real folders tells of its past, and of its readiness, through reloads of all kinds."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.state import ManagerState
from servman.testing.clock import WATCHDOG
from tests.integration.house import House

BROKEN = """
def load(context):
    raise ValueError("no such layer")
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def config(house: House, *names: str, **fields: Any) -> ServerConfig:
    """Return a configuration of the model "healthy" and of models called so."""
    return ServerConfig(
        [
            ModelConfig(name, str(house.folder / name), "python", **fields)
            for name in ("healthy", *names)
        ]
    )


def make(house: House, *names: str, **options: Any) -> ServerCore:
    """Make a core that does not try again what has failed."""
    settings: dict[str, Any] = {
        "platforms": ("python",),
        "poll_interval": 0.05,
        "max_num_load_retries": 0,
    }
    return ServerCore(config(house, *names), options=ServerCoreOptions(**(settings | options)))


def configs(core: ServerCore) -> list[tuple[str, int, str, str]]:
    return [
        (one.event, one.generation, one.cause, one.text)
        for one in core.history()
        if one.event.startswith("CONFIG")
    ]


def eventually(core: ServerCore, event: str) -> None:
    """Wait until the history tells of such an event."""
    clock = SystemClock()
    deadline = clock.monotonic() + WATCHDOG
    while event not in {one.event for one in core.history()}:
        core.wait_until("nobody", timeout=0.01)
        assert clock.monotonic() < deadline


def test_a_version_that_appears_is_told_with_what_noticed_it(house: House) -> None:
    with make(house, poll_interval=0.0) as core:
        core.wait_until_available("healthy:1", timeout=WATCHDOG)
        house.publish("healthy", 2)
        core.wait_until_available("healthy:2", timeout=WATCHDOG)
        aspired = [one for one in core.history("healthy") if one.event == "ASPIRED"]
        assert [(one.cause, one.text) for one in aspired] == [("start", "1"), ("file event", "2")]
        assert core.history("healthy")[-1].event in {"AVAILABLE", "UNLOADING", "END"}
        events = [str(one.id) for one in core.history("healthy") if one.event == "AVAILABLE"]
        assert events == ["healthy:1", "healthy:2"]  # as soon as the wait has returned


def test_each_configuration_is_told_with_its_number_and_who_asked(house: House) -> None:
    house.publish("m", 1)
    with make(house) as core:
        assert core.reload_config(config(house, "m"), timeout=WATCHDOG)
        assert core.reload_config(config(house, "m"), timeout=WATCHDOG)  # the same again is none
        assert core.reload_config(config(house), timeout=WATCHDOG)
        assert configs(core) == [
            ("CONFIG", 1, "start", "1 model; new: healthy"),
            ("CONFIG", 2, "call", "2 models; new: m"),
            ("CONFIG", 3, "call", "1 model; gone: m"),
        ]
        of_m = core.history("m")
        assert {one.generation for one in of_m} == {2, 3}
        assert {one.cause for one in of_m if one.event == "ASPIRED"} == {"configuration"}


def test_an_atomic_reload_is_told_when_it_comes_into_force_and_a_failed_one_with_why(
    house: House,
) -> None:
    house.publish("m", 1)
    house.publish("broken", 1, BROKEN)
    with make(house) as core:
        core.wait_until_available("healthy", timeout=WATCHDOG)
        refused = core.reload_config(config(house, "m", "broken"), atomic=True, timeout=WATCHDOG)
        assert not refused
        assert core.wait_until("m:1", ManagerState.END, timeout=WATCHDOG)  # what was loaded unseen
        assert core.reload_config(config(house, "m"), atomic=True, timeout=WATCHDOG)
        first, failed, last = [one for one in core.history() if one.event.startswith("CONFIG")]
        assert (first.generation, failed.event, failed.generation) == (1, "CONFIG_REFUSED", 1)
        assert failed.text == "generation 2 did not come into force"
        assert "no such layer" in failed.error
        assert "\n" not in failed.error
        assert (last.event, last.generation) == ("CONFIG", core.config.generation)


def test_a_config_file_that_is_refused_is_told(house: House) -> None:
    file = house.folder / "models.config"
    file.write_text("model_config_list { config { name: ")
    with make(house, config_file=str(file)) as core:
        eventually(core, "CONFIG_REFUSED")
        (refused,) = [one for one in core.history() if one.event == "CONFIG_REFUSED"]
        assert (refused.cause, refused.generation) == ("file", core.config.generation)
        assert str(file) in refused.error


def test_reloads_do_not_make_a_ready_server_unready(house: House) -> None:
    house.publish("broken", 1, BROKEN)
    with make(house) as core:
        core.wait_until_available("healthy", timeout=WATCHDOG)
        assert core.ready  # as soon as the wait has returned
        assert not core.reload_config(config(house, "broken"), timeout=WATCHDOG)
        assert (bool(core.ready), list(core.healthy.missing)) == (True, ["broken"])
        assert "no such layer" in str(core.healthy)
        assert core.reload_config(config(house), timeout=WATCHDOG)
        assert (str(core.ready), str(core.healthy)) == ("ready", "healthy")
        core.reload_config(ServerConfig(), timeout=WATCHDOG)
        assert "no model is configured" in str(core.ready)


def test_a_reload_can_make_a_server_ready_that_never_was(house: House) -> None:
    house.publish("broken", 1, BROKEN)
    with make(house, "broken") as core:
        core.wait_until_available("healthy", timeout=WATCHDOG)
        assert list(core.ready.missing) == ["broken"]
        assert core.reload_config(config(house), timeout=WATCHDOG)
        assert core.ready


def test_the_history_file_and_the_log_tell_what_the_history_tells(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    path = house.folder / "history.jsonl"
    with (
        caplog.at_level(logging.INFO, "servman.history"),
        make(house, history_file=str(path)) as core,
    ):
        core.wait_until_available("healthy", timeout=WATCHDOG)
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [one.as_dict() for one in core.history()]
    logged = [one.getMessage() for one in caplog.records if one.name == "servman.history"]
    assert logged == lines
    assert json.loads(lines[-1])["event"] == "END"
