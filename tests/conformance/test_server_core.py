"""Catalogue 5.12: the server core, its reloads and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servman.adapters import ErrorInjectingAdapter, platforms
from servman.core import (
    ModelConfig,
    ReloadResult,
    ServerConfig,
    ServerCore,
    ServerCoreOptions,
)
from servman.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServableUnavailableError,
)
from servman.ids import ServableId, ServableRequest
from servman.sources import All
from servman.state import ManagerState
from servman.testing.clock import WATCHDOG
from tests.unit.core.rig import Rig, sid

RELATIVE = "is not an absolute path; write it out"


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def check(*models: ModelConfig) -> None:
    ServerCore(ServerConfig(models))


@pytest.mark.departs("SC-02")
def test_a_model_is_waited_for_by_a_wait_and_not_by_the_start(tmp_path: Path) -> None:
    version = tmp_path / "m" / "123"
    version.mkdir(parents=True)
    (version / "servable.py").write_text("def load(context): return 'servable'")
    config = ServerConfig([ModelConfig("m", str(tmp_path / "m"), "python")])
    with ServerCore(config, options=ServerCoreOptions(platforms=("python",))) as core:
        assert core.wait_until("m:123", timeout=WATCHDOG)
        state = core.monitor.get_state(ServableId("m", 123))
        assert state is not None
        assert (state.manager_state, state.error) == (ManagerState.AVAILABLE, None)


@pytest.mark.case("SC-07")
def test_absolute_base_paths_are_accepted() -> None:
    check(ModelConfig("m", "/models/m"), ModelConfig("n", "/models/n"))


@pytest.mark.case("SC-08")
def test_a_relative_base_path_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=RELATIVE):
        check(ModelConfig("m", "models/m"))


@pytest.mark.case("SC-12")
def test_one_relative_base_path_among_absolute_ones_is_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=rf"models\[1\] \('n'\): .* {RELATIVE}"
    ) as raised:
        check(ModelConfig("m", "/models/m"), ModelConfig("n", "models/n"))
    assert "models[0]" not in str(raised.value)


@pytest.mark.departs("SC-13")
def test_what_an_adapter_injects_ends_the_wait_with_that_error_and_not_the_start(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ResourceExhaustedError("injected")
    monkeypatch.setitem(platforms._factories, "bench", lambda: ErrorInjectingAdapter(error))
    core = rig.run()
    rig.bring(1)
    with pytest.raises(ServableUnavailableError, match="injected"):
        core.wait_until_available("m", timeout=0)
    state = core.monitor.get_state(sid(1))
    assert state is not None
    assert state.manager_state is ManagerState.END
    assert isinstance(state.error, ResourceExhaustedError)
    assert str(state.error) == "injected"


@pytest.mark.case("SC-18")
def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"models\[1\] \('m'\): another model has this"):
        check(ModelConfig("m", "/models/a"), ModelConfig("m", "/models/b"))


@pytest.mark.case("SC-19")
def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no platform is called 'not_a_platform'"):
        check(ModelConfig("m", "/models/m", "not_a_platform"))


@pytest.mark.case("SC-20")
def test_each_model_is_loaded_by_the_adapter_of_its_platform(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ResourceExhaustedError("the other platform")
    monkeypatch.setitem(platforms._factories, "other", lambda: ErrorInjectingAdapter(error))
    (rig.folder / "n" / "1").mkdir(parents=True)
    models = rig.model("m"), rig.model("n", platform="other")
    core = rig.run(*models, platforms=("bench", "other"))
    rig.bring(1)
    result = core.wait_until(["m", "n"], timeout=0)
    assert result.states[sid(1)].manager_state is ManagerState.AVAILABLE
    assert str(result.states[ServableId("n", 1)].error) == "the other platform"
    assert list(result.reasons) == [ServableRequest.latest("n")]


# ---- reloads -----------------------------------------------------------------------------------


def reload(rig: Rig, *models: ModelConfig, **options: Any) -> ReloadResult:
    """Reload; whatever waits for that does what there is to do."""
    return rig.core.reload_config(ServerConfig(models), **options)


@pytest.mark.case("SC-01")
def test_the_hook_of_the_core_is_called_with_the_id_before_a_load(rig: Rig) -> None:
    called: list[ServableId] = []
    rig.run(pre_load_hook=called.append)
    rig.publish(123)
    rig.look()
    assert called == []
    rig.load()
    assert called == [sid(123)]


@pytest.mark.case("SC-03")
def test_a_reload_that_adds_a_model_returns_when_it_is_available(rig: Rig) -> None:
    rig.publish(123)
    core = rig.run(rig.model("other"))
    reload(rig)  # nothing is served
    assert reload(rig, rig.model())
    assert core.manager.list_available_ids() == [sid(123)]


@pytest.mark.case("SC-04")
def test_a_reload_to_no_models_ends_them_and_the_monitor_remembers(rig: Rig) -> None:
    rig.publish(123)
    core = rig.serve()
    assert reload(rig)
    state = core.monitor.get_state(sid(123))
    assert state is not None
    assert (state.manager_state, state.error) == (ManagerState.END, None)


# ---- labels ------------------------------------------------------------------------------------


def find(core: ServerCore, request: str) -> str:
    with core.get_servable_handle(request) as handle:
        return str(handle.id)


@pytest.mark.case("SC-25")
def test_lookups_without_a_version_with_one_and_by_label_also_after_labels_moved(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.serve(rig.model(version_policy=All()))
    assert [find(core, one) for one in ("m", "m:1", "m:2")] == ["m:2", "m:1", "m:2"]
    for labels in ({"A": 1, "B": 2}, {"A": 2, "B": 1}):
        assert reload(rig, rig.model(version_policy=All(), version_labels=labels))
        assert {one: find(core, f"m@{one}") for one in labels} == {
            one: f"m:{version}" for one, version in labels.items()
        }
    with pytest.raises(InvalidArgumentError, match=r"(?i)unrecognized servable version label"):
        find(core, "m@C")


@pytest.mark.case("SC-26")
def test_strict_labels_refuse_what_is_not_loaded(rig: Rig) -> None:
    rig.publish(1)
    rig.serve(strict_version_labels=True)
    with pytest.raises(
        FailedPreconditionError, match="not currently available for inference"
    ) as raised:
        reload(rig, rig.model(version_labels={"A": 1, "B": 2}))
    assert "'B'" in str(raised.value)
    assert "'A'" not in str(raised.value)


@pytest.mark.case("SC-27", "SC-29")
@pytest.mark.departs("SC-26")
def test_by_default_a_label_may_name_what_is_not_loaded_and_moves_when_it_is(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    assert not reload(rig, rig.model(version_labels={"A": 2}), timeout=0)
    rig.publish(2)
    rig.look()
    rig.load()
    assert find(core, "m@A") == "m:2"


@pytest.mark.departs("SC-26")
def test_a_label_keeps_its_old_version_until_the_new_one_is_available(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve(rig.model(version_policy=All(), version_labels={"A": 1}))
    rig.publish(2)
    reload(rig, rig.model(version_policy=All(), version_labels={"A": 2}), wait=False)
    rig.look()
    assert find(core, "m@A") == "m:1"
    rig.load()
    assert find(core, "m@A") == "m:2"


# ---- where a reload departs --------------------------------------------------------------------


@pytest.mark.departs("SC-03")
def test_a_reload_that_waits_keeps_nobody_from_reading_the_config_or_correcting_it(
    rig: Rig,
) -> None:
    rig.publish(123)
    core = rig.serve()
    typo = rig.model("n", base_path=str(rig.folder / "typo"))
    seen: list[ServerConfig] = []
    rig.meanwhile = [
        lambda: seen.append(core.config),
        lambda: reload(rig, rig.model(), wait=False),
    ]
    result = reload(rig, rig.model(), typo, timeout=None)
    assert (result.superseded_by, seen) == (3, [ServerConfig([rig.model(), typo])])
    assert core.config == ServerConfig([rig.model()])
