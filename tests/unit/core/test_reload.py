"""Plain reloads: in force at once, awaited to the end, and told model by model."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from servman.core import Cancellation, ModelConfig, ReloadResult, ServerConfig, reloader
from servman.core.standing import Stand
from servman.core.validation import check
from servman.errors import ClosedError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.loader import SimpleLoader
from servman.manager import ResourcePreservingPolicy
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.sources import All, Latest, Specific
from servman.sources.actor import SourceActor
from servman.testing import FailingLoader
from tests.unit.core.rig import Rig, sid

BIG = SimpleLoader(lambda _: "big", estimate=lambda: ResourceAllocation({MAIN_MEMORY: 6}))


def outcomes(result: ReloadResult) -> dict[str, str]:
    return {name: one.outcome.value for name, one in result.models.items()}


def reload(rig: Rig, *models: ModelConfig, **options: Any) -> ReloadResult:
    return rig.core.reload_config(ServerConfig(models), **options)


def why(result: ReloadResult, name: str) -> ReasonCode | None:
    reason = result.models[name].reason
    return None if reason is None else reason.code


# ---- what becomes of models --------------------------------------------------------------------


def test_a_reload_returns_when_what_is_new_is_available_and_what_is_gone_has_gone(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    core = rig.serve()
    result = reload(rig, rig.model("n"))
    assert result
    assert outcomes(result) == {"n": "available", "m": "removed"}
    assert core.manager.list_available_ids() == [ServableId("n", 1)]
    assert (result.timed_out, result.superseded_by, result.rolled_back) == (False, None, False)


def test_what_was_not_waited_for_is_not_called_unwell(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    result = reload(rig, rig.model(), rig.model("n"), wait=False)
    assert not result
    assert str(result).startswith("generation 2: in force, and not all of it is there yet")


def test_what_is_no_cancellation_is_refused_before_anything_changes(rig: Rig) -> None:
    rig.serve()
    wrong: Any = "cancel"
    with pytest.raises(InvalidArgumentError, match="'cancel' is no Cancellation"):
        reload(rig, rig.model("n"), cancellation=wrong)
    assert rig.core.config.generation == 1


def test_a_cancellation_ends_the_wait_on_an_event_loop_as_well(rig: Rig) -> None:
    rig.serve()
    cancellation = Cancellation()
    cancellation.cancel()
    wanted = ServerConfig([rig.model("n")])
    result = asyncio.run(
        rig.core.reload_config_async(wanted, timeout=None, cancellation=cancellation)
    )
    assert outcomes(result)["n"] == "pending"
    assert rig.core.config == wanted


def test_what_stays_is_unchanged_and_is_not_loaded_again(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    core = rig.serve()
    before = core.get_servable_handle("m").servable
    result = reload(rig, rig.model(), rig.model("n"))
    assert outcomes(result) == {"m": "unchanged", "n": "available"}
    assert core.get_servable_handle("m").servable is before


def test_a_model_that_fails_is_told_with_its_reason_and_harms_no_other(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.loaders["n:1"] = FailingLoader(ValueError("torn"))
    core = rig.serve(max_num_load_retries=0)
    result = reload(rig, rig.model(), rig.model("n"))
    assert not result
    assert outcomes(result) == {"m": "unchanged", "n": "failed"}
    assert why(result, "n") is ReasonCode.FAILED
    assert list(result.failed) == ["n"]
    assert "torn" in str(result)
    assert core.manager.list_available_ids() == [sid(1)]


def test_a_model_that_does_not_come_is_pending_with_its_reason(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    typo = rig.model("n", base_path=str(rig.folder / "typo"))
    result = reload(rig, rig.model(), typo, timeout=7)
    assert (bool(result), result.timed_out, rig.clock.monotonic()) == (False, True, 1_007)
    assert outcomes(result) == {"m": "unchanged", "n": "pending"}
    assert why(result, "n") is ReasonCode.BASE_PATH_MISSING
    assert str(result).startswith("generation 2: the time was up")


def test_what_is_optional_is_not_waited_for_and_does_not_count(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    optional = rig.model("n", required=False)
    result = reload(rig, rig.model(), optional, timeout=None)
    assert result
    assert outcomes(result) == {"m": "unchanged", "n": "pending"}
    assert not result.models["n"].required


def test_a_model_of_which_only_an_older_version_fails_is_available(rig: Rig) -> None:
    rig.publish(1, 2)
    rig.loaders["m:1"] = FailingLoader(ValueError("torn"))
    rig.serve(max_num_load_retries=0)
    assert outcomes(reload(rig, rig.model(version_policy=All()))) == {"m": "available"}


def test_of_versions_that_are_named_each_counts(rig: Rig) -> None:
    rig.publish(1, 2)
    rig.loaders["m:1"] = FailingLoader(ValueError("torn"))
    rig.serve(max_num_load_retries=0)
    assert outcomes(reload(rig, rig.model(version_policy=Specific(1, 2)))) == {"m": "failed"}


def test_versions_that_are_not_there_are_pending_and_named(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    result = reload(rig, rig.model(version_policy=Specific(1, 8, 9)), timeout=1)
    assert outcomes(result) == {"m": "pending"}
    assert why(result, "m") is ReasonCode.NOT_ON_DISK
    assert "8" in str(result.models["m"].reason)


def test_a_removal_waits_for_handles(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    with core.get_servable_handle("m"):
        result = reload(rig, timeout=3)
        assert outcomes(result) == {"m": "pending"}
        assert why(result, "m") is ReasonCode.WAITING_FOR_HANDLES
    rig.settle()
    assert core.monitor.get_live_states() == {}


def test_a_change_waits_for_what_is_not_wanted_any_more_to_go(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.serve(rig.model(version_policy=All()))
    with core.get_servable_handle("m:1"):
        result = reload(rig, rig.model(), timeout=3)
        assert outcomes(result) == {"m": "pending"}
        assert why(result, "m") is ReasonCode.WAITING_FOR_HANDLES


def test_a_platform_that_is_not_enabled_is_a_failure_of_its_models(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.serve()
    result = reload(rig, rig.model(), rig.model("n", platform="python"))
    assert outcomes(result) == {"m": "unchanged", "n": "failed"}
    assert why(result, "n") is ReasonCode.PLATFORM_UNAVAILABLE


def test_what_fits_into_no_memory_has_failed(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.loaders["n:1"] = BIG
    rig.serve(total_model_memory_limit_bytes=5)
    result = reload(rig, rig.model(), rig.model("n"))
    assert outcomes(result) == {"m": "unchanged", "n": "failed"}


def test_a_model_may_be_said_to_take_less_memory_than_its_loader_says(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.loaders["n:1"] = BIG
    rig.serve(total_model_memory_limit_bytes=5)
    assert reload(rig, rig.model(), rig.model("n", memory_bytes=2))


def test_what_fits_into_no_memory_is_tried_again_when_less_is_said_to_be_needed(rig: Rig) -> None:
    rig.publish(1)
    rig.loaders["m:1"] = BIG
    core = rig.serve(total_model_memory_limit_bytes=5)
    assert outcomes(reload(rig, rig.model(required=False))) == {"m": "failed"}
    result = reload(rig, rig.model(memory_bytes=2))
    assert outcomes(result) == {"m": "available"}
    assert core.get_servable_handle("m").id == sid(1)


# ---- places ------------------------------------------------------------------------------------


def test_the_same_number_at_another_base_path_is_awaited_from_there(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="elsewhere")
    core = rig.serve()
    moved = rig.model(base_path=str(rig.folder / "elsewhere"))
    paths: list[str | None] = []
    rig.meanwhile = [lambda: paths.append(core.manager.snapshots("m")[0].origin)]
    result = reload(rig, moved)
    assert outcomes(result) == {"m": "available"}
    assert core.manager.snapshots("m")[0].origin == str(rig.folder / "elsewhere" / "1")
    assert core.get_servable_handle("m").id == sid(1)
    assert paths == [str(rig.base / "1")]  # it has waited while the old one was there


def test_another_root_moves_the_models_with_relative_paths(rig: Rig) -> None:
    rig.publish(1)
    for root in ("a", "b"):
        (rig.folder / root / "n" / "1").mkdir(parents=True)
    core = rig.serve()

    def below(root: str) -> ServerConfig:
        models = [rig.model(), rig.model("n", base_path="n")]
        return ServerConfig(models, root_dir=str(rig.folder / root))

    assert core.reload_config(below("a"))
    result = core.reload_config(below("b"))
    assert outcomes(result) == {"m": "unchanged", "n": "available"}
    assert core.manager.snapshots("n")[0].origin == str(rig.folder / "b" / "n" / "1")


def test_a_root_alone_is_a_change_too(rig: Rig) -> None:
    core = rig.serve()
    core.reload_config(ServerConfig([rig.model()], root_dir=str(rig.folder)), wait=False)
    assert core.config.root_dir == str(rig.folder)
    assert core.config.generation == 2


def test_another_prefix_loads_every_model_from_there(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    result = core.reload_config(ServerConfig([rig.model()], storage_path_prefix="/mnt"))
    assert outcomes(result) == {"m": "available"}
    assert core.manager.snapshots("m")[0].origin == f"/mnt{rig.base / '1'}"


# ---- in force ----------------------------------------------------------------------------------


def test_a_config_is_in_force_before_anything_is_waited_for(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    wanted = ServerConfig([rig.model("n")])
    seen: list[ServerConfig] = []
    rig.meanwhile = [lambda: seen.append(core.config)]
    core.reload_config(wanted, timeout=1)
    assert seen == [wanted]


def test_without_waiting_what_changes_is_pending_and_in_force(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    result = reload(rig, rig.model("n"), rig.model(), wait=False)
    assert outcomes(result) == {"n": "pending", "m": "unchanged"}
    assert [model.name for model in core.config.models] == ["n", "m"]


def test_who_does_not_wait_is_told_which_models_count(rig: Rig) -> None:
    rig.publish(1)
    rig.serve(rig.model(required=False), rig.model("n"))
    result = reload(rig, rig.model(required=False), rig.model("n"), rig.model("o"), wait=False)
    required = {name: one.required for name, one in result.models.items()}
    assert required == {"m": False, "n": True, "o": True}


def test_who_does_not_wait_at_all_is_told_of_nothing_that_is_not_certain(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    # It serves, but what is new about it may not have come to the manager yet.
    result = reload(rig, rig.model(max_num_load_retries=0), timeout=0)
    assert outcomes(result) == {"m": "pending"}
    assert result.timed_out
    assert not result


@pytest.mark.parametrize("interval", [0, -1])
def test_a_reload_is_applied_at_once_whatever_the_poll_interval(rig: Rig, interval: float) -> None:
    rig.publish(1)
    rig.run(poll_interval=interval)
    result = reload(rig, rig.model(version_policy=Latest(2)))
    assert outcomes(result) == {"m": "available"}


def test_a_config_with_faults_changes_nothing_and_all_are_told(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    before = core.config
    bad = ModelConfig("a:b", "relative", "torch")
    with pytest.raises(InvalidArgumentError) as raised:
        reload(rig, rig.model(), bad)
    assert len(raised.value.faults) == 3
    assert core.config is before
    assert not rig.work()


@pytest.mark.parametrize("config", [None, [], "config.txt"])
def test_what_is_no_config_is_refused(rig: Rig, config: Any) -> None:
    core = rig.serve()
    with pytest.raises(InvalidArgumentError, match="is no ServerConfig"):
        core.reload_config(config)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
def test_a_timeout_that_is_none_changes_nothing(rig: Rig, timeout: Any) -> None:
    core = rig.serve()
    with pytest.raises(InvalidArgumentError, match="timeout"):
        reload(rig, timeout=timeout)
    assert core.config.generation == 1


def test_the_platform_of_a_model_cannot_change(rig: Rig) -> None:
    core = rig.serve()
    with pytest.raises(InvalidArgumentError, match="platform cannot change from 'bench'"):
        reload(rig, rig.model(platform="python"))
    assert core.config.generation == 1


def test_a_model_may_come_back_with_another_platform(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    reload(rig, wait=False)
    result = reload(rig, rig.model(platform="python"))
    assert outcomes(result) == {"m": "failed"}
    assert core.manager.list_available_ids() == []


def test_the_same_config_again_is_no_new_generation_and_waits_for_what_is_not_there(
    rig: Rig,
) -> None:
    rig.publish(1)
    core = rig.serve()
    config = ServerConfig([rig.model(), rig.model("n")])
    assert not core.reload_config(config, timeout=0)
    rig.meanwhile = [lambda: rig.publish(1, name="n"), rig.look]
    result = core.reload_config(ServerConfig(config.models), timeout=5)
    assert (result.generation, core.config.generation) == (2, 2)
    assert outcomes(result) == {"m": "unchanged", "n": "unchanged"}


def test_the_same_config_again_sends_nothing(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    core.reload_config(ServerConfig([rig.model()]), wait=False)
    assert not rig.work()


def test_an_empty_config_unloads_everything(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    assert outcomes(core.reload_config(ServerConfig())) == {"m": "removed"}
    assert core.manager.snapshots() == ()


def test_a_removed_model_is_no_longer_configured(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    reload(rig)
    with pytest.raises(NotFoundError) as raised:
        core.get_servable_handle("m")
    assert raised.value.reason is not None
    assert raised.value.reason.code is ReasonCode.NOT_CONFIGURED


# ---- one reload after the other ----------------------------------------------------------------


def test_a_typo_is_corrected_by_another_reload_while_the_first_one_waits(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    core = rig.serve()
    typo = rig.model("n", base_path=str(rig.folder / "typo"))
    rig.meanwhile = [lambda: reload(rig, rig.model(), rig.model("n"), wait=False)]
    first = reload(rig, rig.model(), typo, timeout=None)
    assert (first.generation, first.superseded_by, first.timed_out) == (2, 3, False)
    assert not first
    assert "superseded by generation 3" in str(first)
    assert outcomes(reload(rig, rig.model(), rig.model("n"))) == {
        "m": "unchanged",
        "n": "unchanged",
    }
    assert core.config.generation == 3


def test_a_failed_reload_is_taken_back_by_the_config_before_it(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="broken")
    rig.loaders["broken:1"] = FailingLoader(ValueError("torn"))
    core = rig.serve(max_num_load_retries=0)
    before = core.config
    assert not reload(rig, rig.model("broken"))
    result = core.reload_config(before)
    assert outcomes(result) == {"m": "available", "broken": "removed"}


def test_the_very_first_reload_may_fail_and_be_corrected(rig: Rig) -> None:
    rig.publish(1)
    rig.loaders["m:1"] = FailingLoader(ValueError("torn"))
    core = rig.run(rig.model("other"), max_num_load_retries=0)
    assert outcomes(reload(rig, rig.model())) == {"m": "failed", "other": "removed"}
    rig.publish(2)
    rig.look()
    assert core.reload_config(core.config)


def test_a_model_that_is_removed_and_added_in_quick_succession_serves(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    for _ in range(5):
        reload(rig, wait=False)
        reload(rig, rig.model(), wait=False)
    assert reload(rig, rig.model())
    assert core.get_servable_handle("m").id == sid(1)
    assert core.manager.snapshots("m")[0].incarnation > 1
    assert not rig.work()  # nothing was on its way any more


def test_a_removed_model_is_not_gone_before_the_manager_has_taken_that_up(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    seen: list[object] = []
    rig.meanwhile = [lambda: seen.append(core.manager.list_available_ids())]
    assert outcomes(reload(rig)) == {"m": "removed"}
    assert seen == [[sid(1)]]


def test_a_removed_model_is_not_gone_before_the_source_has_taken_that_up(rig: Rig) -> None:
    rig.serve()  # of "m" there is no version
    rig.meanwhile = [rig.keep_source_busy()]
    assert outcomes(reload(rig)) == {"m": "removed"}
    assert rig.meanwhile == []


def test_what_is_to_come_from_another_place_is_pending_from_the_moment_that_is_taken_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.publish(1)
    core = rig.serve(rig.model("other"))
    assert reload(rig, rig.model())
    add, seen = SourceActor.add, []

    def look(actor: SourceActor, *args: Any) -> Any:
        found = core._reloader._standing(core._stages.configuration.in_force, "m")
        seen.append(found and found.stand)
        return add(actor, *args)

    monkeypatch.setattr(SourceActor, "add", look)
    core.reload_config(ServerConfig([rig.model()], storage_path_prefix="/mnt"))
    assert seen == [Stand.PENDING]


def test_a_hundred_reloads_in_a_row_leave_what_the_last_one_says(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.serve(history_capacity=50)
    configs = [ServerConfig([rig.model(version_policy=one)]) for one in (Latest(1), Latest(2))]
    for number in range(100):
        core.reload_config(configs[number % 2], wait=False)
    rig.work()
    result = core.reload_config(configs[1])
    assert (result.generation, bool(result)) == (100, True)
    assert core.manager.list_available_ids() == [sid(1), sid(2)]
    assert len(core.history("m")) <= 50


# ---- who asked, and what is expected -----------------------------------------------------------


def test_generations_count_and_tell_who_asked(rig: Rig) -> None:
    core = rig.serve()
    seen = [(core.config.generation, core.config.origin)]
    for origin in ("call", "rpc:10.0.0.1"):
        reload(rig, rig.model(version_policy=Latest(len(origin))), wait=False, origin=origin)
        seen.append((core.config.generation, core.config.origin))
    assert seen == [(1, "start"), (2, "call"), (3, "rpc:10.0.0.1")]


def test_two_deployers_do_not_overwrite_each_other(rig: Rig) -> None:
    core = rig.serve()
    seen = core.config.generation
    core.add_model(rig.model("a"), wait=False, expected_generation=seen)
    with pytest.raises(FailedPreconditionError, match=r"generation 2 .* is in force, not 1"):
        core.add_model(rig.model("b"), wait=False, expected_generation=seen)
    assert sorted(core.models) == ["a", "m"]


def test_a_change_is_made_to_what_is_in_force_when_it_is_accepted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.serve()
    others = [rig.model("a")]

    def check_late(*args: Any) -> None:
        check(*args)
        if others:
            core.add_model(others.pop(), wait=False)

    monkeypatch.setattr(reloader, "check", check_late)
    core.add_model(rig.model("b"), wait=False)
    assert list(core.models) == ["m", "a", "b"]


# ---- labels ------------------------------------------------------------------------------------


def test_a_label_may_name_a_version_that_comes_with_the_same_config(rig: Rig) -> None:
    rig.publish(1, 2)
    core = rig.run()
    config = rig.model(version_policy=All(), version_labels={"stable": 1, "canary": 2})
    assert reload(rig, config)
    assert [core.get_servable_handle(f"m@{one}").id for one in ("stable", "canary")] == [
        sid(1),
        sid(2),
    ]


def test_a_label_whose_version_does_not_come_is_pending(rig: Rig) -> None:
    rig.publish(1)
    rig.serve()
    result = reload(rig, rig.model(version_labels={"canary": 7}), timeout=1)
    assert outcomes(result) == {"m": "pending"}
    assert why(result, "m") is ReasonCode.NOT_ON_DISK
    assert "m@canary" in str(result)


def test_a_label_that_is_no_longer_configured_is_awaited_to_go(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve(rig.model(version_labels={"stable": 1, "old": 1}))
    result = reload(rig, rig.model(version_labels={"stable": 1}))
    assert outcomes(result) == {"m": "available"}
    assert core.manager.labels("m") == {"stable": 1}


def test_strict_labels_refuse_what_is_not_available_and_change_nothing(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve(strict_version_labels=True)
    with pytest.raises(
        FailedPreconditionError, match=r"label 'canary' of model 'm' names version 2"
    ):
        reload(rig, rig.model(version_labels={"stable": 1, "canary": 2}))
    assert core.config.generation == 1
    assert reload(rig, rig.model(version_labels={"stable": 1}))


# ---- before the start, and after the end -------------------------------------------------------


def test_before_the_start_a_reload_only_counts_for_it(rig: Rig) -> None:
    rig.publish(1, name="n")
    core = rig.build()
    for atomic in (False, True):
        result = reload(rig, rig.model("n", memory_bytes=int(atomic)), atomic=atomic)
        assert outcomes(result)["n"] == "pending"
    core._started = core._pipeline._started = True
    rig.look()
    rig.load()
    assert core.manager.list_available_ids() == [ServableId("n", 1)]
    assert core.manager.snapshots("m") == ()


def test_after_closing_a_reload_is_refused(rig: Rig) -> None:
    core = rig.build()
    core.close()
    with pytest.raises(ClosedError):
        reload(rig, rig.model("n"))
    assert core.config.generation == 1


def test_closing_ends_a_wait(rig: Rig) -> None:
    core = rig.serve()

    def close() -> None:
        core._stages.configuration.close()
        core._stages.noticeboard.wake()

    rig.meanwhile = [close]
    with pytest.raises(ClosedError, match="while a reload waited"):
        reload(rig, rig.model("n"), timeout=None)


# ---- policies of a model's own -----------------------------------------------------------------


def test_a_policy_of_its_own_counts_from_the_reload_on(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    assert reload(rig, rig.model(aspired_version_policy=ResourcePreservingPolicy()))
    rig.publish(2)
    rig.look()
    assert core.manager.list_available_ids() == []  # what is old goes first
    rig.load()
    assert core.manager.list_available_ids() == [sid(2)]


def test_retries_of_its_own_count_from_the_reload_on(rig: Rig) -> None:
    rig.publish(1)
    rig.loaders["m:1"] = FailingLoader(ValueError("torn"))
    rig.run(rig.model("n"))
    result = reload(rig, rig.model(max_num_load_retries=0))
    assert outcomes(result) == {"m": "failed", "n": "removed"}


# ---- bad storage -------------------------------------------------------------------------------


def test_a_base_path_that_can_no_longer_be_read_does_not_hold_up_what_serves(rig: Rig) -> None:
    rig.publish(1)
    rig.publish(1, name="n")
    rig.serve()
    shutil.rmtree(rig.base)
    rig.look()
    assert outcomes(reload(rig, rig.model(), rig.model("n"))) == {
        "m": "unchanged",
        "n": "available",
    }


def test_a_served_model_that_is_sent_astray_is_pending_because_of_its_base_path(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    result = reload(rig, rig.model(base_path=str(rig.folder / "typo")), timeout=1)
    assert outcomes(result) == {"m": "pending"}
    assert why(result, "m") is ReasonCode.BASE_PATH_MISSING
    assert core.get_servable_handle("m").id == sid(1)  # what is there stays


def test_a_model_of_which_nothing_is_asked_for_serves_nothing_and_is_well(rig: Rig) -> None:
    rig.publish(1)
    core = rig.serve()
    assert reload(rig, rig.model(version_policy=Specific()))
    assert core.manager.list_available_ids() == []
