"""The assembly: what it builds, what it passes on, and its life."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from servman.core import ServerConfig, ServerCore, ServerCoreOptions
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServableUnavailableError,
    WaitTimeoutError,
)
from servman.ids import ServableRequest
from servman.loader import LoadContext
from servman.manager import AvailabilityPreservingPolicy, ResourcePreservingPolicy
from servman.manager.serving import ServingMap
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.sources import All
from servman.state import ManagerState
from servman.testing import FailingLoader, GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from servman.threads import spawn
from tests.unit.core.rig import Rig, sid


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_core_of_nothing_can_be_made_without_arguments() -> None:
    core = ServerCore()
    assert core.config == ServerConfig()
    assert core.wait_until_available(timeout=0) == {}


def test_faults_are_found_by_the_constructor(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match="no platform is called 'torch'"):
        rig.build(rig.model(platform="torch"))


@pytest.mark.parametrize("nothing", [[], {}, "", 0, False])
def test_what_is_empty_is_no_configuration_and_no_options(nothing: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no ServerConfig;"):
        ServerCore(nothing)
    with pytest.raises(InvalidArgumentError, match="is no ServerCoreOptions;"):
        ServerCore(options=nothing)


@pytest.mark.parametrize(
    "option",
    [
        {"num_load_threads": 0},
        {"num_unload_threads": 0},
        {"max_num_load_retries": -1},
        {"load_retry_interval": -1.0},
        {"log_capacity": -1},
        {"poll_interval": float("nan")},
    ],
)
def test_a_fault_of_an_option_is_found_by_the_constructor(rig: Rig, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(option))):
        rig.build(**option)


def test_making_a_core_starts_no_thread(rig: Rig) -> None:
    before = names_of_threads()
    core = rig.build()
    assert (names_of_threads(), core.started, core.closed) == (before, False, False)


def test_the_config_in_force_is_the_one_that_was_given(rig: Rig) -> None:
    config = ServerConfig([rig.model()])
    core = ServerCore(config, options=ServerCoreOptions(platforms=("bench",)))
    assert core.config == config


def test_the_stages_are_those_that_work(rig: Rig) -> None:
    core = rig.run()
    seen: list[str] = []
    told = threading.Event()

    def tell(state: object) -> None:
        seen.append(str(state))
        told.set()

    with core.event_bus.subscribe(tell):
        rig.publish(1)
        rig.look()
        assert told.wait(WATCHDOG)
    assert seen[0] == "m:1 START"
    rig.load()
    assert core.manager.list_available_ids() == [sid(1)]
    assert core.monitor.get_available_names() == {"m"}
    core.close()


def test_the_monitor_keeps_as_many_events_as_it_is_told_to(rig: Rig) -> None:
    core = rig.run(log_capacity=2)
    rig.bring(1)
    assert [state.manager_state.name for state in core.monitor.get_log()] == [
        "LOADING",
        "AVAILABLE",
    ]


def test_versions_that_vanish_at_once_are_unloaded_or_kept_as_asked(rig: Rig) -> None:
    for keep, left in ((False, []), (True, [sid(1)])):
        core = rig.run(servable_versions_always_present=keep)
        rig.bring(1)
        (rig.base / "1").rmdir()
        rig.look()
        assert core.manager.list_available_ids() == left


def test_the_policy_decides_what_goes_first(rig: Rig) -> None:
    for policy, left in (
        (AvailabilityPreservingPolicy(), [sid(1)]),
        (ResourcePreservingPolicy(), []),
    ):
        core = rig.run(aspired_version_policy=policy)
        rig.publish(1)
        rig.look()
        rig.load()
        rig.publish(2)
        rig.look()
        assert core.manager.list_available_ids() == left
        (rig.base / "1").rmdir()
        (rig.base / "2").rmdir()


# ---- lookups ---------------------------------------------------------------------------------


def test_a_handle_gives_the_servable_of_the_asked_version(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(servable="the servable")
    core = rig.run()
    rig.bring(1)
    for request in ("m", "m:1", "m:newest", sid(1), ServableRequest.latest("m")):
        with core.get_servable_handle(request, str) as handle:
            assert (handle.id, handle.servable) == (sid(1), "the servable")


def test_a_lookup_that_fails_has_the_reason_that_only_the_source_knows(rig: Rig) -> None:
    core = rig.run(rig.model("gone"))
    rig.look()
    with pytest.raises(NotFoundError, match="gone does not exist") as raised:
        core.get_servable_handle("gone")
    assert raised.value.reason is not None
    assert raised.value.reason.code is ReasonCode.BASE_PATH_MISSING
    assert raised.value.__context__ is None


def test_a_lookup_just_before_the_version_came_up_does_not_say_that_it_is_available(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.run()
    rig.bring(1)
    monkeypatch.setattr(ServingMap, "find", lambda *_: None)
    with pytest.raises(NotFoundError, match="m:1 is on its way; ask again") as raised:
        core.get_servable_handle("m:1")
    assert raised.value.reason is not None
    assert raised.value.reason.code is ReasonCode.UNKNOWN


def test_between_the_look_and_the_manager_a_version_is_on_its_way(rig: Rig) -> None:
    core = rig.run()
    rig.publish(1)
    core._pipeline.source.poll()
    with pytest.raises(NotFoundError, match="m is on its way; ask again"):
        core.get_servable_handle("m")


def test_a_lookup_of_a_servable_of_another_type_is_refused(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    with pytest.raises(InvalidArgumentError, match="m:1 is a str, not the int"):
        core.get_servable_handle("m", int)


@pytest.mark.parametrize("request_", ["", "m:x", "m:-1", None, 3])
def test_a_lookup_of_what_is_no_request_is_refused(rig: Rig, request_: str) -> None:
    core = rig.run()
    with pytest.raises(InvalidArgumentError):
        core.get_servable_handle(request_)


# ---- waiting ---------------------------------------------------------------------------------


def test_a_wait_for_nothing_in_particular_is_for_every_model(rig: Rig) -> None:
    core = rig.run(rig.model(), rig.model("gone"))
    rig.bring(1)
    result = core.wait_until(timeout=0)
    assert (result.reached, result.timed_out) == (False, True)
    assert result.pending == (ServableRequest.latest("gone"),)
    (rig.folder / "gone" / "3").mkdir(parents=True)
    rig.look()
    rig.load()
    answers = core.wait_until_available(timeout=0)
    assert {str(request): str(one) for request, one in answers.items()} == {
        "m": "m:1",
        "gone": "gone:3",
    }


def test_a_wait_that_times_out_tells_each_reason_once(rig: Rig) -> None:
    core = rig.run(rig.model("gone"), rig.model())
    rig.look()
    with pytest.raises(WaitTimeoutError) as raised:
        core.wait_until_available("gone", "m", "x", timeout=0)
    codes = [reason.code for reason in raised.value.reasons.values()]
    expected = [ReasonCode.BASE_PATH_MISSING, ReasonCode.NO_VERSIONS, ReasonCode.NOT_CONFIGURED]
    assert codes == expected
    assert str(raised.value).count("does not exist") == 1


def test_a_wait_ends_when_the_wanted_version_has_failed(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(ValueError("no such layer"))
    core = rig.run(max_num_load_retries=0)
    rig.bring(1)
    rig.bring(2)
    for request in ("m:2", "m:newest"):
        with pytest.raises(ServableUnavailableError, match="no such layer"):
            core.wait_until_available(request, timeout=0)
    assert core.wait_until_available("m", timeout=0) == {ServableRequest.latest("m"): sid(1)}


def test_a_wait_for_another_state_is_reached_there(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    assert not core.wait_until("m:1", ManagerState.END, timeout=0)
    (rig.base / "1").rmdir()
    rig.look()
    rig.load()
    assert core.wait_until(["m:1"], ManagerState.END, timeout=0)


# ---- life ------------------------------------------------------------------------------------


def test_starting_and_closing_twice_is_starting_and_closing_once(rig: Rig) -> None:
    core = rig.build()
    core.start()
    core.start()
    assert core.started
    first, second = Spawned(core.close).result(), Spawned(core.close).result()
    assert core.closed
    assert (bool(first), bool(second), str(first)) == (True, True, "closed, nothing left")


def test_a_core_that_was_never_started_can_be_closed(rig: Rig) -> None:
    core = rig.build()
    assert Spawned(core.close).result()


def test_a_context_manager_starts_and_closes(rig: Rig) -> None:
    with rig.build() as core:
        assert core.started
        assert not core.closed
    assert core.closed


def test_more_loads_may_run_at_once_until_the_first_models_are_decided(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.build(num_load_threads=2, num_initial_load_threads=8)
    awaited: list[Any] = []
    monkeypatch.setattr(core.monitor, "notify_when", lambda *args: awaited.append(args))
    with core:
        core.start()  # which changes nothing: what is usual stays known
        assert core.manager.num_load_threads == 8
        ((requests, goal, decided),) = awaited
        assert ([str(one) for one in requests], goal) == (["m"], ManagerState.AVAILABLE)
        decided(core.wait_until(timeout=0))
        assert core.manager.num_load_threads == 2


def test_after_closing_nothing_can_be_asked_but_why(rig: Rig) -> None:
    core = rig.build()
    core.close()
    with pytest.raises(ClosedError, match="the server core was closed; make a new one"):
        core.start()
    with pytest.raises(ClosedError):
        core.get_servable_handle("m")
    with pytest.raises(ClosedError):
        core.wait_until_available("m", timeout=0)
    reason = core.explain("m").reason
    assert reason is not None
    assert reason.code is ReasonCode.CLOSED


def test_what_is_served_is_unloaded_by_closing(rig: Rig) -> None:
    loader = GatedLoader(gate_load=False)
    rig.loaders["m:1"] = loader
    core = rig.run()
    rig.bring(1)
    assert Spawned(core.close).result()
    assert loader.unloaded == ["servable"]
    assert core.monitor.get_live_states() == {}


def test_what_is_wanted_no_more_because_of_closing_is_told_so(rig: Rig) -> None:
    core = rig.run(rig.model())
    rig.bring(1)
    core.close()
    aspired = [one for one in core.history("m") if one.event == "ASPIRED"]
    assert [(one.text, one.cause) for one in aspired][1:] == [("no version", "closing")]


def test_closing_leaves_what_has_a_handle_at_the_deadline_and_names_it(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    with core.get_servable_handle("m") as handle:
        closing = Spawned(lambda: core.close(5))
        rig.clock.wait_until_parked(2)  # the manager, and who closes
        rig.clock.advance(5)
        report = closing.result()
        assert [one.id for one in report.left] == [sid(1)]
        assert str(report) == "left: m:1 (quiescing, 1 handle)"
        assert handle.servable == "servable"


def test_closing_with_a_timeout_that_is_none_changes_nothing(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    with pytest.raises(InvalidArgumentError, match="'soon'"):
        core.close("soon")  # type: ignore[arg-type] # the point
    assert not core.closed
    assert core.explain("m")


def test_closing_from_a_thread_of_servman_is_refused_and_changes_nothing(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    errors: list[BaseException] = []

    def close() -> None:
        try:
            core.close()
        except FailedPreconditionError as error:
            errors.append(error)

    spawn("own", close, owner=core).join(WATCHDOG)
    assert "call it from a thread of yours" in str(errors[0])
    assert core.explain("m")


def test_one_stage_that_cannot_be_closed_keeps_no_other_from_closing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = rig.build()
    core.start()
    close = core._pipeline.source.close

    def fail(timeout: float | None) -> None:
        close(timeout)
        raise OSError("the storage is gone")

    monkeypatch.setattr(core._pipeline.source, "close", fail)
    with pytest.raises(OSError, match="the storage is gone"):
        core.close()
    with pytest.raises(ClosedError):
        core.monitor.wait_until("m", timeout=0)
    with pytest.raises(ClosedError):
        core.event_bus.subscribe(print)
    assert not any(name.startswith(("source", "manager")) for name in names_of_threads())


def test_with_zero_versions_at_startup_nothing_is_started(rig: Rig) -> None:
    core = rig.build(fail_if_zero_versions_at_startup=True)
    before = names_of_threads()
    with pytest.raises(NotFoundError, match=r"servable 'm': no versions found.*publish"):
        core.start()
    assert (core.started, names_of_threads()) == (False, before)


def test_a_block_that_cannot_be_entered_leaves_no_thread_behind(rig: Rig) -> None:
    before = names_of_threads()
    config = str(rig.folder / "models.config")  # is followed from before the models are looked at
    core = rig.build(rig.model(), fail_if_zero_versions_at_startup=True, config_file=config)
    with pytest.raises(NotFoundError), core:
        pass
    assert core.closed
    assert names_of_threads() <= before


def test_an_asynchronous_block_that_cannot_be_entered_leaves_no_thread_behind(rig: Rig) -> None:
    core = rig.build(rig.model(), fail_if_zero_versions_at_startup=True)

    async def main() -> None:
        async with core:
            pass

    with pytest.raises(NotFoundError):
        asyncio.run(main())
    assert core.closed


def test_models_share_the_memory_that_there_is(rig: Rig) -> None:
    class Big:
        def estimate_resources(self) -> ResourceAllocation:
            return ResourceAllocation({MAIN_MEMORY: 6})

        def load(self, context: LoadContext) -> object:
            return "servable"

        def unload(self, servable: object) -> None:
            pass

    rig.loaders["m:1"] = rig.loaders["m:2"] = Big()
    core = rig.run(
        rig.model(version_policy=All()), total_model_memory_limit_bytes=10, max_num_load_retries=0
    )
    rig.bring(1, 2)
    assert [str(one) for one in core.manager.list_available_ids()] == ["m:2"]
    assert "m:1 failed" in str(rig.why("m:1"))
    assert "needs 6 ram_bytes on main, of 10 there are 6 in use (m:2 6)" in str(rig.why("m:1"))


def test_a_load_timeout_is_the_cores_to_set(rig: Rig) -> None:
    rig.run(load_timeout=5.0)
    rig.publish(1)
    rig.look()
    rig.clock.advance(5.0)
    rig.settle()
    assert "has not returned within 5 s" in str(rig.why("m"))


def test_a_wait_for_what_is_no_request_is_refused(rig: Rig) -> None:
    core = rig.run()
    with pytest.raises(InvalidArgumentError, match="not a servable request: None"):
        core.wait_until(None, timeout=0)  # type: ignore[arg-type] # the point


def test_who_has_turned_polling_off_says_when_to_look(rig: Rig) -> None:
    core = rig.serve(poll_interval=-1.0)
    rig.publish(1)
    rig.finish()
    assert core.manager.list_available_ids() == []
    core.poll()
    rig.finish()
    assert core.manager.list_available_ids() == [sid(1)]


def test_a_core_that_is_not_started_or_is_closed_does_not_look(rig: Rig) -> None:
    core = rig.build()
    with pytest.raises(FailedPreconditionError, match=r"call start\(\) first"):
        core.poll()
    core.close()
    with pytest.raises(ClosedError, match="make a new one"):
        core.poll()


def test_a_poll_looks_at_the_config_file_too(rig: Rig) -> None:
    core: Any = rig.serve()
    looks: list[str] = []
    core._config_file = SimpleNamespace(poll=lambda: looks.append("file"), close=lambda _: None)
    core.poll()
    assert looks == ["file"]
