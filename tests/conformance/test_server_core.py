"""Catalogue 5.12: the server core, as far as it has the feature yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from servman.adapters import ErrorInjectingAdapter, platforms
from servman.core import ModelConfig, ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import (
    InvalidArgumentError,
    ResourceExhaustedError,
    ServableUnavailableError,
)
from servman.ids import ServableId, ServableRequest
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
