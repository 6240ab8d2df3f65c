"""Our own service: waiting without polling, watching without missing anything, and asking why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, final

import grpc
import pytest

from servman.client import Client, Snapshot
from servman.clock import SystemClock
from servman.core import ModelConfig, ServerConfig
from servman.core.config_writing import write_message
from servman.ids import ServableId
from servman.protos import message_class
from servman.server import ModelServer, ServerOptions
from servman.sources import All
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from servman.testing.clock import WATCHDOG
from tests.integration.served import SERVABLES, Served, eventually, new

WatchResponse = message_class("servman.v1.WatchResponse")

BROKEN = "raise OSError('no such device')\n"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.publish("m", 1)
    return made


@pytest.fixture
def running(served: Served) -> Iterator[Served]:
    model = served.model(version_policy=All(), version_labels={"stable": 1}, max_num_load_retries=0)
    with served.open(model):
        served.core.wait_until_available(timeout=WATCHDOG)
        yield served


def call(served: Served, name: str, /, **fields: Any) -> Any:
    options = fields.pop("options", {})
    return served.call(f"{SERVABLES}/{name}", new(f"{name}Request", **fields), **options)


def failure(served: Served, name: str, /, **fields: Any) -> Any:
    return served.failure(f"{SERVABLES}/{name}", new(f"{name}Request", **fields))


def config_of(*models: Any) -> Any:
    message = message_class("tensorflow.serving.ModelServerConfig")()
    assert not list(write_message(ServerConfig(models), message))
    return message


def places(served: Served) -> int:
    return len(served.server._room._ends)


# ---- WaitUntil ---------------------------------------------------------------------------------


def test_a_wait_tells_which_versions_were_reached(running: Served) -> None:
    response = call(running, "WaitUntil", requests=["m", "m:1", "m@stable", "m:newest"])
    assert response.reached
    assert set(response.ids) == {"m", "m:1", "m@stable", "m:newest"}
    assert set(response.ids.values()) == {"m:1"}
    assert [(one.name, one.version, one.state) for one in response.states] == [("m", 1, 30)]


def test_a_wait_for_nothing_in_particular_is_for_every_model(running: Served) -> None:
    assert dict(call(running, "WaitUntil").ids) == {"m": "m:1"}


def test_a_wait_ends_with_the_load(running: Served) -> None:
    path = f"{SERVABLES}/WaitUntil"
    request = new("WaitUntilRequest", requests=["m:2"]).SerializeToString()
    wait = running.unary(path).future(request, timeout=WATCHDOG)
    assert eventually(lambda: places(running) == 1)
    running.publish("m", 2)
    response = message_class("servman.v1.WaitUntilResponse").FromString(wait.result())
    assert response.ids["m:2"] == "m:2"
    assert places(running) == 0


def test_a_wait_tells_the_reasons_before_the_deadline_of_its_caller(running: Served) -> None:
    response = call(running, "WaitUntil", requests=["m:7"], options={"timeout": 0.5})
    assert not response.reached
    assert response.timed_out
    assert list(response.pending) == ["m:7"]
    assert response.reasons["m:7"].code == "version not on disk"


def test_a_wait_may_be_shorter_than_its_call(running: Served) -> None:
    began = SystemClock().monotonic()
    assert call(running, "WaitUntil", requests=["m:7"], timeout=0.01).timed_out
    assert SystemClock().monotonic() - began < WATCHDOG / 2


def test_a_wait_that_is_to_fail_fast_ends_with_the_first_failure(running: Served) -> None:
    running.publish("m", 2, BROKEN)
    response = call(running, "WaitUntil", requests=["m:2", "m:7"], fail_fast=True)
    assert not response.reached
    assert not response.timed_out
    assert "no such device" in response.reasons["m:2"].text
    (state,) = response.states
    assert state.state == ManagerState.END
    assert "no such device" in state.error.error_message


def test_a_wait_may_be_for_some_and_for_another_state(running: Served) -> None:
    assert call(running, "WaitUntil", requests=["m:1", "m:7"], count=1).reached
    assert call(running, "WaitUntil", requests=["m:1"], goal=ManagerState.AVAILABLE).reached
    response = call(running, "WaitUntil", requests=["m:1"], goal=ManagerState.END, timeout=0.01)
    assert not response.reached


@pytest.mark.parametrize(
    "fields",
    [
        {"requests": ["m:x"]},
        {"requests": [""]},
        {"goal": 7},
        {"count": 3, "requests": ["m"]},
        {"count": -1},
        {"timeout": -1.0},
        {"timeout": float("nan")},
    ],
)
def test_a_wait_for_what_cannot_be_is_the_callers_fault(
    fields: dict[str, Any], running: Served
) -> None:
    assert failure(running, "WaitUntil", **fields).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_wait_that_nobody_waits_for_any_more_ends(running: Served) -> None:
    path = f"{SERVABLES}/WaitUntil"
    request = new("WaitUntilRequest", requests=["m:7"]).SerializeToString()
    wait = running.unary(path).future(request)
    assert eventually(lambda: places(running) == 1)
    wait.cancel()
    assert eventually(lambda: places(running) == 0)


# ---- Watch -------------------------------------------------------------------------------------


@final
class Watch:
    """A stream of changes, read up to what is looked for."""

    def __init__(self, served: Served, **fields: Any) -> None:
        path = f"{SERVABLES}/Watch"
        request = new("WatchRequest", **fields).SerializeToString()
        stub = served.stream(path, WatchResponse.FromString)
        self.stream = stub(request, timeout=WATCHDOG)
        self.seen: list[Any] = []

    def next(self) -> Any:
        self.seen.append(next(self.stream))
        return self.seen[-1]

    def until(self, found: Callable[[Any], bool]) -> Any:
        while not found(self.next()):
            pass
        return self.seen[-1]

    def until_state(self, version: int, state: ManagerState) -> Any:
        return self.until(lambda one: (one.state.version, one.state.state) == (version, state))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.cancel()


def test_one_who_watches_is_told_how_things_stand_and_then_every_change(running: Served) -> None:
    with Watch(running) as watch:
        first = watch.next()
        assert [(one.version, one.state) for one in first.snapshot.states] == [(1, 30)]
        running.publish("m", 2)
        watch.until_state(2, ManagerState.AVAILABLE)
        numbers = [one.number for one in watch.seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        states = [one.state.state for one in watch.seen if one.WhichOneof("event") == "state"]
        assert states == [10, 20, 30]
        assert [list(one.aspiration.versions) for one in watch.seen if one.aspiration.name] == [
            [1, 2]
        ]


def test_one_who_comes_back_has_missed_nothing(running: Served) -> None:
    with Watch(running) as watch:
        seen = watch.next()
    running.publish("m", 2)
    running.core.wait_until_available("m:2", timeout=WATCHDOG)
    with Watch(running, server=seen.server, after=seen.number) as again:
        last = again.until_state(2, ManagerState.AVAILABLE)
    assert again.seen[0].number == seen.number + 1
    assert all(one.WhichOneof("event") != "snapshot" for one in again.seen)
    with Watch(running, server="another life", after=seen.number) as other:
        assert [one.version for one in other.next().snapshot.states] == [1, 2]
    with Watch(running, server=seen.server, after=last.number + 100) as ahead:
        assert ahead.next().WhichOneof("event") == "snapshot"


def test_one_who_comes_back_too_late_is_told_how_things_stand(served: Served) -> None:
    with served.open(served.model(version_policy=All()), watch_capacity=2):
        served.core.wait_until_available(timeout=WATCHDOG)
        with Watch(served) as watch:
            seen = watch.next()
        served.publish("m", 2)
        served.core.wait_until_available("m:2", timeout=WATCHDOG)
        with Watch(served, server=seen.server, after=seen.number) as again:
            assert [one.version for one in again.next().snapshot.states] == [1, 2]


def test_how_things_stand_tells_what_is_wanted_and_the_labels(served: Served) -> None:
    served.publish("m", 2)
    served.publish("other", 1)
    labels = {"stable": 1}
    models = [served.model(version_policy=All(), version_labels=labels), served.model("other")]
    with served.open(*models, watch_capacity=2):
        served.core.wait_until_available("m@stable", "m:2", "other", timeout=WATCHDOG)
        with Watch(served) as watch:
            seen = watch.next()
        told = seen.snapshot
        assert [(one.name, [*one.versions]) for one in told.aspirations] == [
            ("m", [1, 2]),
            ("other", [1]),
        ]
        assert [(one.name, one.wanted, one.targets) for one in told.labels] == [
            ("m", labels, labels)
        ]
        moved = served.model(version_policy=All(), version_labels={"stable": 2})
        assert served.core.reload_config(ServerConfig([moved]), timeout=WATCHDOG)
        with Watch(served, server=seen.server, after=seen.number) as again:
            told = again.next().snapshot
        assert [one.name for one in told.aspirations] == ["m"], "what is wanted no more is gone"
        assert [dict(one.targets) for one in told.labels] == [{"stable": 2}]
        with Watch(served, names=["other"]) as other:
            told = other.next().snapshot
        assert (len(told.aspirations), len(told.labels)) == (0, 0)


def test_a_server_for_a_core_that_runs_already_tells_what_is_wanted_and_the_labels(
    served: Served,
) -> None:
    labels = {"stable": 1}
    with served.open(served.model(version_labels=labels)):
        served.core.wait_until_available("m@stable", timeout=WATCHDOG)
        options = ServerOptions(addresses=("127.0.0.1:0",))
        with ModelServer(served.core, options) as late, Client(late.addresses[0]) as client:
            snapshot = next(client.watch())
    assert isinstance(snapshot, Snapshot)
    assert snapshot.aspirations == {"m": StreamAspiration("m", frozenset([1]))}
    assert snapshot.labels == {"m": StreamLabels("m", labels, labels)}


def test_how_things_stand_tells_what_has_ended(running: Served) -> None:
    running.publish("m", 2)
    running.core.wait_until_available("m:2", timeout=WATCHDOG)
    (running.folder / "m" / "2").rename(running.folder / "staging" / "gone")
    assert running.core.wait_until("m:2", ManagerState.END, timeout=WATCHDOG)
    with Watch(running) as watch:
        states = {one.version: one.state for one in watch.next().snapshot.states}
    assert states == {1: ManagerState.AVAILABLE, 2: ManagerState.END}


def test_one_may_watch_some_models_only(served: Served) -> None:
    served.publish("other", 1)
    with served.open(
        served.model(version_policy=All()), served.model("other", version_policy=All())
    ):
        served.core.wait_until_available(timeout=WATCHDOG)
        with Watch(served, names=["other"]) as watch:
            assert [one.name for one in watch.next().snapshot.states] == ["other"]
            served.publish("m", 2)
            served.core.wait_until_available("m:2", timeout=WATCHDOG)
            served.publish("other", 2)
            watch.until_state(2, ManagerState.AVAILABLE)
            assert {one.state.name or one.aspiration.name for one in watch.seen[1:]} == {"other"}


def test_one_who_reads_slowly_delays_nobody(served: Served) -> None:
    with served.open(served.model(version_policy=All()), watch_capacity=4):
        served.core.wait_until_available(timeout=WATCHDOG)
        with Watch(served) as slow:
            slow.next()
            for version in range(2, 30):
                served.publish("m", version)
                served.core.wait_until_available(f"m:{version}", timeout=WATCHDOG)
            with Watch(served) as quick:
                assert len(quick.next().snapshot.states) == 29
            known = {1}
            while 29 not in known:
                one = slow.next()
                known |= {state.version for state in one.snapshot.states}
                known |= {one.state.version} if one.state.state == 30 else set()


def test_one_who_does_not_read_at_all_holds_up_neither_the_others_nor_the_end(
    served: Served,
) -> None:
    with served.open(watch_capacity=4):
        served.core.wait_until_available(timeout=WATCHDOG)
        with Watch(served) as slow:
            slow.next()
            for version in range(5000):  # a megabyte: more than fits on the way
                state = ServableState(ServableId("x" * 200, version), ManagerState.START)
                served.core.event_bus.publish(state)
            with Watch(served, names=["m"]) as quick:
                assert [one.name for one in quick.next().snapshot.states] == ["m"]
            assert served.ask() == 3.0
            assert eventually(lambda: places(served) == 1)
            clock = SystemClock()
            begun = clock.monotonic()
            assert served.server.stop(WATCHDOG)
            assert clock.monotonic() - begun < WATCHDOG / 2
            assert places(served) == 0


def test_a_watch_ends_with_its_caller_and_with_the_server(running: Served) -> None:
    with Watch(running) as watch:
        watch.next()
        assert places(running) == 1
    assert eventually(lambda: places(running) == 0)
    with Watch(running) as watch:
        watch.next()
        running.server.stop()
        with pytest.raises(grpc.RpcError) as raised:
            watch.next()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


# ---- asking ------------------------------------------------------------------------------------


def test_the_status_tells_of_models_and_of_the_server(running: Served) -> None:
    running.publish("m", 2, BROKEN)
    running.core.wait_until("m:2", timeout=WATCHDOG)
    response = call(running, "GetStatus")
    (model,) = response.models
    assert (model.name, model.platform) == ("m", "python")
    assert model.base_path == str(running.folder / "m")
    assert list(model.wanted) == [1, 2]
    assert [(one.version, one.state) for one in model.versions] == [(2, 50), (1, 30)]
    assert dict(model.labels) == {"stable": 1}
    assert "no such device" in model.reason.text
    assert response.live.ok
    assert response.ready.ok
    assert response.healthy.ok
    assert response.generation == running.core.config.generation
    (model,) = call(running, "GetStatus", names=["no"]).models
    assert model.reason.code == "not configured"


def test_the_status_says_what_the_server_lacks(served: Served) -> None:
    with served.open(served.model("w")):
        response = call(served, "GetStatus")
        assert not response.ready.ok
        assert response.ready.missing["w"].text


def test_an_explanation_is_for_people_and_for_programs(running: Served) -> None:
    assert call(running, "Explain", request="m").well
    response = call(running, "Explain", request="m:7")
    assert not response.well
    assert response.reason.code == "version not on disk"
    assert "you can:" in response.text or "why:" in response.text
    assert failure(running, "Explain", request="").code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_history_is_told_line_by_line(running: Served) -> None:
    response = call(running, "GetHistory", name="m")
    events = [json.loads(line)["event"] for line in response.transitions]
    assert events[-1] == "AVAILABLE"
    assert len(call(running, "GetHistory", limit=2).transitions) == 2
    assert failure(running, "GetHistory", limit=-1).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_configuration_in_force_is_told(running: Served) -> None:
    response = call(running, "GetConfig")
    assert response.config == config_of(*running.core.config.models)
    assert (response.generation, response.origin) == (running.core.config.generation, "start")


# ---- another configuration ---------------------------------------------------------------------


def test_a_plan_tells_what_a_reload_would_do(running: Served) -> None:
    running.publish("new", 1)
    config = config_of(*running.core.config.models, running.model("new"))
    response = call(running, "Plan", config=config)
    assert list(response.faults) == []
    assert "add new: load 1" in response.text
    assert [model.name for model in running.core.config.models] == ["m"]
    faulty = call(running, "Plan", config=config_of(ModelConfig("new", "relative", "python")))
    assert "relative" in faulty.faults[0]


def test_a_reload_tells_the_outcome_of_each_model(running: Served) -> None:
    running.publish("new", 1)
    running.publish("bad", 1, BROKEN)
    bad = running.model("bad", max_num_load_retries=0)
    config = config_of(*running.core.config.models, running.model("new"), bad)
    response = call(running, "ReloadConfig", config=config)
    assert not response.well
    outcomes = {name: one.outcome for name, one in response.models.items()}
    assert outcomes == {"m": "unchanged", "new": "available", "bad": "failed"}
    assert "no such device" in response.models["bad"].reason.text
    assert response.generation == running.core.config.generation
    assert running.core.config.origin == "rpc"


def test_an_atomic_reload_is_all_or_nothing(running: Served) -> None:
    running.publish("new", 1)
    running.publish("bad", 1, BROKEN)
    before = running.core.config
    bad = running.model("bad", max_num_load_retries=0)
    config = config_of(*before.models, running.model("new"), bad)
    response = call(running, "ReloadConfig", config=config, atomic=True)
    assert response.rolled_back
    assert running.core.config is before


def test_a_reload_need_not_be_waited_for_and_may_expect_a_generation(running: Served) -> None:
    config = config_of(running.model("nowhere"))
    generation = running.core.config.generation
    error = failure(running, "ReloadConfig", config=config, expected_generation=generation + 1)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    response = call(
        running, "ReloadConfig", config=config, no_wait=True, expected_generation=generation
    )
    assert response.models["nowhere"].outcome == "pending"
    assert not response.timed_out


def test_a_reload_that_nobody_waits_for_any_more_stops_waiting(running: Served) -> None:
    request = new("ReloadConfigRequest", config=config_of(running.model("nowhere")))
    path = f"{SERVABLES}/ReloadConfig"
    reload = running.unary(path).future(request.SerializeToString())
    assert eventually(lambda: places(running) == 1 and running.core.config.origin == "rpc")
    reload.cancel()
    assert eventually(lambda: places(running) == 0)
    assert [model.name for model in running.core.config.models] == ["nowhere"]


def test_an_atomic_reload_that_nobody_waits_for_any_more_is_taken_back(running: Served) -> None:
    config = config_of(*running.core.config.models, running.model("nowhere"))
    request = new("ReloadConfigRequest", config=config, atomic=True)
    path = f"{SERVABLES}/ReloadConfig"
    reload = running.unary(path).future(request.SerializeToString())
    assert eventually(lambda: places(running) == 1)
    reload.cancel()
    assert eventually(lambda: places(running) == 0)
    assert [model.name for model in running.core.config.models] == ["m"]
    assert running.ask() == 3.0


@pytest.mark.parametrize("name", ["ReloadConfig", "Plan"])
def test_a_request_that_forgot_its_configuration_unloads_nothing(
    running: Served, name: str
) -> None:
    error = failure(running, name)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "there is no model_config_list" in error.details()
    assert running.ask() == 3.0


def test_an_empty_list_of_models_unloads_everything(running: Served) -> None:
    assert call(running, "ReloadConfig", config=config_of()).well
    assert not running.core.monitor.get_live_states()
