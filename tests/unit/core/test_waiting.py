"""What a core offers to those who wait, beyond what test_server_core.py has of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from servman.core import ServerCore
from servman.data import ServableData
from servman.errors import (
    InvalidArgumentError,
    LoadFailedError,
    ServableUnavailableError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.loader import Loader
from servman.monitor import WaitProgress, WaitResult
from servman.reasons import ReasonCode
from servman.state import ManagerState
from servman.testing import FailingLoader
from servman.testing.clock import WATCHDOG
from tests.unit.core.rig import Rig, sid

M, N = ServableRequest.latest("m"), ServableRequest.latest("n")

Call = Callable[..., Any]


def awaited(method: Callable[..., Awaitable[Any]]) -> Call:
    """Return what runs a method of a core to its end in a loop of its own."""

    def call(*args: Any, **options: Any) -> Any:
        async def main() -> Any:
            return await method(*args, **options)

        return asyncio.run(main())

    return call


def future_of(core: ServerCore) -> Call:
    def call(*args: Any, **options: Any) -> WaitResult:
        return core.wait_future(*args, **options).result(WATCHDOG)

    return call


def waits(core: ServerCore) -> list[Call]:
    """Return each form in which a core waits until requests are decided."""
    return [core.wait_until, awaited(core.wait_until_async), future_of(core)]


def availabilities(core: ServerCore) -> list[Call]:
    return [core.wait_until_available, awaited(core.wait_until_available_async)]


def settlements(core: ServerCore) -> list[Call]:
    return [core.wait_until_settled, awaited(core.wait_until_settled_async)]


@pytest.fixture
def pair(rig: Rig) -> Rig:
    """Return a bench on which "m:1" is available, and "n" has no base path."""
    rig.run(rig.model(), rig.model("n"))
    rig.bring(1)
    return rig


def test_a_wait_for_nothing_in_particular_is_for_every_model_in_each_form(pair: Rig) -> None:
    for wait in waits(pair.core):
        assert wait(timeout=0).pending == (N,)
        assert wait([], timeout=0).pending == (N,)
        assert wait("m", timeout=0)
    for wait in availabilities(pair.core):
        with pytest.raises(WaitTimeoutError, match="n"):
            wait(timeout=0)


def test_a_mapping_of_states_is_refused_for_its_states_would_count_for_nothing(pair: Rig) -> None:
    with pytest.raises(InvalidArgumentError):
        pair.core.wait_until({"m:1": ManagerState.END}, timeout=0)


def test_any_of_the_models_may_be_enough_in_each_form(pair: Rig) -> None:
    for wait in waits(pair.core):
        result = wait(timeout=0, count=1)
        assert result
        assert result.reasons[N].code is ReasonCode.BASE_PATH_MISSING
        with pytest.raises(InvalidArgumentError, match="here 2, not 3"):
            wait(timeout=0, count=3)
    for wait in availabilities(pair.core):
        assert wait(timeout=0, count=1) == {M: sid(1)}
        assert wait("m", "n", timeout=0, count=1) == {M: sid(1)}


def test_progress_is_told_in_each_form_that_has_somebody_to_tell(pair: Rig) -> None:
    told: list[WaitProgress] = []
    *lasting, _ = waits(pair.core)
    for wait in (*lasting, *settlements(pair.core)):
        wait(timeout=0, progress=told.append)
    for wait in availabilities(pair.core):
        wait("m", timeout=0, progress=told.append)
    assert [str(one) for one in told] == [
        *["1 of 2 decided; pending: n (nothing known)"] * 4,
        *["1 of 1 decided"] * 2,
    ]


def test_a_core_has_settled_when_every_model_has(pair: Rig) -> None:
    for wait in settlements(pair.core):
        result = wait(timeout=0)
        assert result.timed_out
        assert result.pending == (N,)
        assert result.reasons[N].code is ReasonCode.BASE_PATH_MISSING
        assert wait("m", timeout=0)
        assert wait(["m"], timeout=0)
        with pytest.raises(InvalidArgumentError):
            wait(None, timeout=0)
    (pair.folder / "n").mkdir()
    pair.look()
    for wait in settlements(pair.core):
        assert wait(timeout=0)  # nothing is wanted of "n"


def test_a_version_kept_by_its_handles_alone_has_not_settled(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    with core.get_servable_handle("m"):
        rig.bring(2)
        result = core.wait_until_settled(timeout=0)
        assert result.timed_out
        (request,) = result.pending
        assert str(request) == "m:1"
        assert result.reasons[request].code is ReasonCode.WAITING_FOR_HANDLES
        assert set(result.states) == {sid(2)}
    rig.settle()
    assert core.wait_until_settled(timeout=0)


def test_what_is_left_of_a_stream_that_is_not_configured_has_to_settle_too(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    assert core.wait_until_settled(timeout=0)
    other = ServableData[Loader](ServableId("other", 1), FailingLoader())
    core.manager.set_aspired_versions("other", [other])
    rig.settle()
    assert [str(one) for one in core.wait_until_settled(timeout=0).pending] == ["other:1"]
    assert core.wait_until_settled("m", timeout=0)


def test_a_held_version_has_not_settled_before_the_commit(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    core.manager.hold(["m"])
    rig.bring(2)
    result = core.wait_until_settled(timeout=0)
    assert result.timed_out
    assert {str(one): reason.code for one, reason in result.reasons.items()} == {
        "m:1": ReasonCode.WAITING,
        "m:2": ReasonCode.HELD,
    }
    core.manager.commit(["m"])
    rig.settle()
    assert core.wait_until_settled(timeout=0)


def test_what_failed_has_settled_and_is_told(rig: Rig) -> None:
    rig.loaders["m:1"] = FailingLoader(LoadFailedError("torn"))
    core = rig.run(max_num_load_retries=0)
    rig.bring(1)
    result = core.wait_until_settled(timeout=0)
    assert (result.reached, result.timed_out) == (False, False)
    assert "torn" in str(*result.reasons.values())


def test_a_label_is_waited_for_in_each_form(rig: Rig) -> None:
    core = rig.run()
    stable = ServableRequest.labeled("m", "stable")
    rig.bring(1)
    core.manager.set_labels({"m": {"stable": 1}})
    rig.settle()
    for wait in waits(core):
        assert wait("m@stable", timeout=0)
    for wait in availabilities(core):
        assert wait(stable, timeout=0) == {stable: sid(1)}


def test_a_label_moves_when_the_version_that_it_is_to_mean_is_there(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    core.manager.set_labels({"m": {"stable": 1, "canary": 2}})
    rig.settle()
    canary = core.wait_future("m@canary")
    assert core.wait_until("m@canary", timeout=0).timed_out
    core.manager.set_labels({"m": {"stable": 2, "canary": 2}})
    rig.settle()
    assert core.wait_until("m@stable", timeout=0).timed_out  # it still means 1
    rig.bring(2)
    assert canary.result(WATCHDOG)
    assert core.wait_until_available("m@stable", timeout=0).popitem()[1] == sid(2)
    core.close()


def test_a_label_fails_with_the_version_that_it_is_to_mean(rig: Rig) -> None:
    rig.loaders["m:2"] = FailingLoader(LoadFailedError("torn"))
    core = rig.run(max_num_load_retries=0)
    rig.bring(1)
    core.manager.set_labels({"m": {"stable": 2}})
    rig.bring(2)
    with pytest.raises(ServableUnavailableError, match=r"m@stable.*\n.*torn"):
        core.wait_until_available("m@stable", timeout=0)


def test_a_label_that_nobody_has_given_is_pending(rig: Rig) -> None:
    core = rig.run()
    rig.bring(1)
    result = core.wait_until(["m@stable", "gone@stable"], timeout=0)
    assert result.timed_out
    assert len(result.pending) == 2


def test_cancelling_a_future_withdraws_the_wait(rig: Rig) -> None:
    core = rig.run()
    futures = [core.wait_future("m"), core.wait_future()]
    assert all(future.cancel() for future in futures)
    assert core.monitor._dispatcher._waiters == {}
    core.close()


def test_the_forms_are_all_that_there_are() -> None:
    public = {name for name in dir(ServerCore) if name.startswith("wait_")}
    core = ServerCore()
    forms = [*waits(core), *availabilities(core), *settlements(core)]
    assert len(public) == len(forms)
