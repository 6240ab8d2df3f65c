"""Reloads on real folders, with real threads: what goes wrong in production, and the way back."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, final

import pytest

from servman.core import (
    ModelConfig,
    ReloadResult,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
    pipeline,
)
from servman.ids import ServableRequest
from servman.reasons import ReasonCode
from servman.sources import All, FileSystemStoragePathSource, Specific
from servman.sources.look import list_directory
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.house import House, ask

BROKEN = "def load(context): raise ValueError('torn')"

HANGING = """
import gate

def load(context):
    gate.entered.set()
    gate.opened.wait(10)
    return "late"
"""


@final
class Gate(ModuleType):
    """What hanging models import, and hanging base paths stop at."""

    def __init__(self) -> None:
        super().__init__("gate")
        self.entered = threading.Event()
        self.opened = threading.Event()

    def list_directory(self, path: str) -> list[tuple[str, bool]]:
        """List a base path; one that is called so hangs."""
        if path.endswith("hanging"):
            self.entered.set()
            self.opened.wait(10)
        return list_directory(path)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate", gate)

    def source(*args: Any, **options: Any) -> FileSystemStoragePathSource:
        return FileSystemStoragePathSource(*args, lister=gate.list_directory, **options)

    monkeypatch.setattr(pipeline, "FileSystemStoragePathSource", source)
    yield gate
    gate.opened.set()


def model(house: House, name: str, **fields: Any) -> ModelConfig:
    return ModelConfig(name, fields.pop("base_path", str(house.folder / name)), "python", **fields)


def config(house: House, *models: ModelConfig) -> ServerConfig:
    """Return a configuration of the healthy model, and others."""
    return ServerConfig([model(house, "healthy"), *models])


def serve(house: House, **options: Any) -> ServerCore:
    options = {"platforms": ("python",), "poll_interval": 0.05, **options}
    house.core = ServerCore(config(house), options=ServerCoreOptions(**options))
    return house.core


def outcomes(result: ReloadResult) -> dict[str, str]:
    return {name: one.outcome.value for name, one in result.models.items()}


def reloading(core: ServerCore, wanted: ServerConfig) -> Spawned[ReloadResult]:
    """Reload in a thread, and wait for ever."""
    return Spawned(lambda: core.reload_config(wanted, timeout=None))


# ---- the story ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["typo", "hanging base path", "hanging load", "broken model"])
def test_what_is_wrong_with_one_model_holds_up_nobody_and_is_corrected_while_it_is_awaited(
    house: House, gate: Gate, fault: str
) -> None:
    house.publish("good", 2)
    bad, code = {
        "typo": (model(house, "m", base_path=str(house.folder / "goood")), "base path missing"),
        "hanging base path": (
            model(house, "m", base_path=str(house.folder / "hanging")),
            "not looked yet",
        ),
        "hanging load": (model(house, "m", base_path=str(house.folder / "slow")), "loading"),
        "broken model": (
            model(house, "m", base_path=str(house.folder / "broken")),
            "retry pending",
        ),
    }[fault]
    house.publish("slow", 1, HANGING)
    house.publish("broken", 1, BROKEN)
    with serve(house) as core:
        house.assert_healthy()
        stuck = reloading(core, config(house, bad))
        if fault.startswith("hanging"):
            assert gate.entered.wait(WATCHDOG)
        if code != "not looked yet":
            house.why("m", ReasonCode(code))
        assert core.config == config(house, bad)
        assert str(core.explain("m"))
        house.assert_healthy()  # it is discovered, loaded and served
        assert not stuck.done
        good = config(house, model(house, "m", base_path=str(house.folder / "good")))
        core.reload_config(good, wait=False)
        assert stuck.result().superseded_by == 3
        core.wait_until_available("m:2", timeout=WATCHDOG)  # even while the other still loads
        assert ask(core, "m") == 2
        gate.opened.set()
        assert core.reload_config(good, timeout=WATCHDOG).generation == 3


def test_a_reload_that_takes_a_broken_one_back_restores_what_was(house: House) -> None:
    house.publish("m", 1, BROKEN)
    with serve(house, max_num_load_retries=0) as core:
        before = core.config
        result = core.reload_config(config(house, model(house, "m")), timeout=WATCHDOG)
        assert outcomes(result) == {"healthy": "unchanged", "m": "failed"}
        assert "torn" in str(result)
        assert outcomes(core.reload_config(before, timeout=WATCHDOG)) == {
            "healthy": "unchanged",
            "m": "removed",
        }


def test_a_broken_model_is_tried_again_when_its_files_change_and_the_same_config_waits(
    house: House,
) -> None:
    version = house.publish("m", 1, BROKEN)
    with serve(house, max_num_load_retries=0) as core:
        wanted = config(house, model(house, "m"))
        assert not core.reload_config(wanted, timeout=WATCHDOG)
        (version / "servable.py").write_text("def load(context): return 'well'")
        core.wait_until("m", timeout=WATCHDOG)
        assert core.reload_config(wanted, timeout=WATCHDOG).generation == 2


# ---- at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0.0, -1.0, 3_600.0])
@pytest.mark.parametrize("watch", [True, False])
def test_a_reload_is_applied_at_once_whatever_is_polled_or_watched(
    house: House, interval: float, watch: bool
) -> None:
    house.publish("m", 1)
    with serve(house, poll_interval=interval, watch=watch) as core:
        assert core.reload_config(ServerConfig([model(house, "m")]), timeout=WATCHDOG)
        assert ask(core, "m") == 1


def test_another_base_path_with_the_same_number_serves_from_there_when_that_is_said(
    house: House,
) -> None:
    house.publish("m", 1, "def load(context): return 'old'")
    house.publish("moved", 1, "def load(context): return 'new'")
    with serve(house) as core:
        assert core.add_model(model(house, "m"), timeout=WATCHDOG)
        moved = model(house, "m", base_path=str(house.folder / "moved"))
        assert core.update_model(moved, timeout=WATCHDOG)
        assert core.get_servable_handle("m:1").servable == "new"


# ---- in one step -------------------------------------------------------------------------------


def test_an_atomic_reload_that_cannot_be_leaves_everything_as_it_was(
    house: House, gate: Gate
) -> None:
    house.publish("m", 1)
    house.publish("m", 2)
    house.publish("slow", 1, HANGING)
    labelled = model(house, "m", version_policy=Specific(1), version_labels={"stable": 1})
    with serve(house) as core:
        assert core.add_model(labelled, timeout=WATCHDOG)
        before = core.config
        wanted = config(
            house,
            model(house, "m", version_policy=Specific(2), version_labels={"stable": 2}),
            model(house, "slow"),
        )
        result = core.reload_config(wanted, atomic=True, timeout=0.2)
        assert (result.rolled_back, result.timed_out, bool(result)) == (True, True, False)
        assert outcomes(result)["slow"] == "pending"
        assert core.config is before
        assert (ask(core, "m"), ask(core, "m@stable")) == (1, 1)
        house.assert_healthy()
        gate.opened.set()
        assert core.reload_config(wanted, atomic=True, timeout=WATCHDOG)
        assert (ask(core, "m"), ask(core, "m@stable")) == (2, 2)


def test_blue_and_green_switch_under_one_config(house: House) -> None:
    for version in (1, 2):
        house.publish("m", version)
    with serve(house) as core:
        for version in (1, 2, 1):
            labels = {"live": version, "idle": 3 - version}
            one = model(house, "m", version_policy=All(), version_labels=labels)
            assert core.reload_config(config(house, one), atomic=True, timeout=WATCHDOG)
            assert (ask(core, "m@live"), ask(core, "m@idle")) == (version, 3 - version)


# ---- readiness, and the rest of the core -------------------------------------------------------


def test_a_core_stays_ready_during_reloads(house: House) -> None:
    with serve(house) as core:
        core.wait_until_available(timeout=WATCHDOG)
        assert core.ready
        core.reload_config(config(house, model(house, "never")), timeout=0)
        assert core.ready
        assert not core.healthy
        assert list(core.healthy.missing) == ["never"]


def test_history_tells_of_every_generation_and_of_what_it_caused(house: House) -> None:
    house.publish("m", 1)
    with serve(house) as core:
        core.add_model(model(house, "m"), timeout=WATCHDOG)
        core.remove_model("m", timeout=WATCHDOG)
        generations = [one.generation for one in core.history() if one.event.startswith("CONFIG")]
        assert generations == [1, 2, 3]
        assert {"START", "AVAILABLE", "END"} <= {one.event for one in core.history("m")}


def test_a_reload_can_be_awaited_on_an_event_loop(house: House) -> None:
    house.publish("m", 1)

    async def run() -> ReloadResult:
        async with serve(house) as core:
            return await core.reload_config_async(
                config(house, model(house, "m")), timeout=WATCHDOG
            )

    assert outcomes(asyncio.run(run())) == {"healthy": "unchanged", "m": "available"}


@pytest.mark.parametrize("atomic", [False, True])
def test_cancelling_the_task_ends_the_wait_and_takes_back_what_is_not_in_force(
    house: House, atomic: bool
) -> None:
    house.publish("m", 1)

    async def run(core: ServerCore) -> None:
        never = model(house, "m", version_policy=Specific(9))
        reload = core.reload_config_async(config(house, never), timeout=None, atomic=atomic)
        task = asyncio.create_task(reload)
        while core._stages.configuration.latest == 1:  # noqa: ASYNC110 -- nobody tells of it
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serve(house) as core:
        core.wait_until_available(timeout=WATCHDOG)
        Spawned(lambda: asyncio.run(run(core))).result()  # which waits for the threads of the loop
        assert core.config.generation == (1 if atomic else 2)
        assert core._stages.configuration.wanted is core._stages.configuration.in_force


def test_a_plan_tells_what_a_reload_then_does(house: House) -> None:
    house.publish("m", 1)
    house.publish("m", 2)
    with serve(house) as core:
        core.wait_until_available(timeout=WATCHDOG)
        wanted = ServerConfig([model(house, "m", version_policy=All())])
        plan = core.plan(wanted)
        assert plan
        assert plan.models["m"].load == (1, 2)
        assert plan.models["healthy"].unload == (1,)
        assert core.config.generation == 1
        assert core.reload_config(wanted, timeout=WATCHDOG)
        assert {str(one) for one in core.manager.list_available_ids()} == {"m:1", "m:2"}
        assert core.wait_until(ServableRequest.parse("m:2"), timeout=0)
