"""What a client asks besides waiting: one call, and what becomes of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from servman.client import questions
from servman.client.configuration import to_message
from servman.client.talk import Answer, Failure, Talk
from servman.core import ModelConfig, ServerConfig, format_model_config
from servman.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    LoadCancelledError,
    NotFoundError,
    ResourceExhaustedError,
    ServerUnreachableError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.ids import ServableId
from servman.reasons import ReasonCode
from tests.unit.client.script import (
    BUSY,
    DROPPED,
    REFUSED,
    SERVER,
    SILENT,
    UNIMPLEMENTED,
    Script,
    answer,
    reason,
    state,
)

CONFIG = 'model_config_list { config { name: "m" base_path: "/m" model_platform: "python" } }'


def talks(timeout: float | None = 10.0) -> dict[str, Talk[Any]]:
    return {
        "status": questions.status(SERVER, "m", timeout),
        "explain": questions.explain(SERVER, "m:3", timeout),
        "history": questions.history(SERVER, "m", 5, timeout),
        "config": questions.config(SERVER, timeout),
        "plan": questions.plan(SERVER, CONFIG, timeout),
        "reload": questions.reload(
            SERVER, CONFIG, timeout, wait=True, atomic=False, expected_generation=None
        ),
    }


NAMES = sorted(talks())


def test_the_status_tells_models_versions_labels_and_probes() -> None:
    model: dict[str, Any] = {
        "name": "m",
        "base_path": "/models/m",
        "platform": "python",
        "wanted": [4],
        "versions": [state("m", 3, 30), state("m", 4, 50, "torn")],
        "labels": {"stable": 3},
        "reason": reason("failed", "m:4 failed: torn"),
    }
    missing = {"m": reason("failed", "m:4 failed: torn")}
    script = Script(
        answer(
            "servman.v1.GetStatusResponse",
            models=[model, {"name": "n"}],
            live={"ok": True},
            ready={"ok": True},
            healthy={"ok": False, "missing": missing},
            generation=7,
        )
    )
    status = script.play(questions.status(SERVER, ["m", "n"], 10.0))
    assert list(script.asked[0].names) == ["m", "n"]
    assert (status.generation, bool(status), bool(status.ready)) == (7, False, True)
    told = status.models["m"]
    assert (told.base_path, told.platform, told.wanted) == ("/models/m", "python", (4,))
    assert [(one.id, str(one.error or "")) for one in told.versions] == [
        (ServableId("m", 4), "torn"),
        (ServableId("m", 3), ""),
    ]
    assert (dict(told.labels), told.available, bool(told)) == ({"stable": 3}, (3,), False)
    assert status.healthy.missing["m"].code is ReasonCode.FAILED
    assert status.models["n"]


def test_an_explanation_is_what_the_server_says() -> None:
    script = Script(
        answer("servman.v1.ExplainResponse", reason=reason(), text="m: not well\n  why: loading")
    )
    told = script.play(questions.explain(SERVER, ServableId("m", 3), 10.0))
    assert script.asked[0].request == "m:3"
    assert (bool(told), told.request) == (False, "m:3")
    assert str(told) == "m: not well\n  why: loading"
    assert Script(answer("servman.v1.ExplainResponse", well=True)).play(
        questions.explain(SERVER, "m", 10.0)
    )


def test_the_history_is_told_as_objects() -> None:
    lines = [json.dumps({"time": 1.5, "event": "START", "name": "m"})]
    script = Script(answer("servman.v1.GetHistoryResponse", transitions=lines))
    told = script.play(questions.history(SERVER, "m", 5, 10.0))
    assert told == ({"time": 1.5, "event": "START", "name": "m"},)
    assert (script.asked[0].name, script.asked[0].limit) == ("m", 5)
    script.play(questions.history(SERVER, None, None, None))
    assert (script.asked[1].name, script.asked[1].limit) == ("", 0)


@pytest.mark.parametrize("line", ["[]", "{", "3"])
def test_a_history_that_makes_no_sense_is_the_servers_fault(line: str) -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        Script(answer("servman.v1.GetHistoryResponse", transitions=[line])).play(
            questions.history(SERVER, "m", None, 10.0)
        )


@pytest.mark.parametrize("limit", [0, -1, "5"])
def test_a_limit_that_is_none_is_refused(limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match="a limit is None"):
        questions.history(SERVER, "m", limit, 10.0)


def test_the_configuration_comes_back_as_the_text_of_a_file() -> None:
    config = ServerConfig([ModelConfig("m", "/m", "python")])
    text = format_model_config(config)
    script = Script(
        answer("servman.v1.GetConfigResponse", config=to_message(text), generation=3, origin="file")
    )
    told = script.play(questions.config(SERVER, 10.0))
    assert (told.text, told.generation, told.origin, str(told)) == (text, 3, "file", text)


def test_a_plan_is_what_the_server_says() -> None:
    script = Script(
        answer(
            "servman.v1.PlanResponse",
            interruptions={"m": "1 is unloaded first"},
            atomic_obstacles=["memory"],
            text="add m",
        )
    )
    plan = script.play(questions.plan(SERVER, CONFIG, 10.0))
    assert plan
    assert (dict(plan.interruptions), plan.atomic_obstacles) == (
        {"m": "1 is unloaded first"},
        ("memory",),
    )
    assert str(plan) == "add m"
    assert script.asked[0].config.model_config_list.config[0].name == "m"
    assert (script.asked[0].timeout, script.calls[0].timeout) == (10.0, 12.0)
    assert not Script(answer("servman.v1.PlanResponse", faults=["x"])).play(
        questions.plan(SERVER, CONFIG, None)
    )


def test_a_reload_tells_what_has_become_of_each_model() -> None:
    script = Script(
        answer(
            "servman.v1.ReloadConfigResponse",
            generation=4,
            models={
                "m": {"outcome": "failed", "reason": reason("failed", "torn"), "required": True},
                "n": {"outcome": "available"},
            },
            timed_out=True,
            rolled_back=True,
            superseded_by=5,
            text="generation 4",
        )
    )
    done = script.play(
        questions.reload(SERVER, CONFIG, 60.0, wait=False, atomic=True, expected_generation=0)
    )
    asked = script.asked[0]
    assert (asked.atomic, asked.no_wait, asked.expected_generation) == (True, True, 0)
    assert asked.HasField("expected_generation")
    assert (bool(done), done.generation, done.superseded_by) == (False, 4, 5)
    assert (done.timed_out, done.rolled_back, str(done)) == (True, True, "generation 4")
    assert [bool(one) for one in done.models.values()] == [False, True]


def test_without_an_expected_generation_none_is_sent_and_none_superseded_is_none() -> None:
    script = Script(answer("servman.v1.ReloadConfigResponse", well=True))
    done = script.play(talks()["reload"])
    assert not script.asked[0].HasField("expected_generation")
    assert (bool(done), done.superseded_by) == (True, None)


def test_a_configuration_may_be_json() -> None:
    config = {"model_config_list": {"config": [{"name": "m"}]}}
    assert to_message(json.dumps(config)).model_config_list.config[0].name == "m"


@pytest.mark.parametrize("text", ["nonsense {", '{"model_config_list": 3}', "{", "[" * 5000])
def test_a_text_that_is_no_configuration_is_refused_before_it_is_sent(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a configuration: "):
        questions.plan(SERVER, text, 10.0)


def test_a_config_object_is_refused_with_what_makes_a_text_of_it() -> None:
    wrong: object = ServerConfig()
    with pytest.raises(InvalidArgumentError, match="format_model_config makes one"):
        questions.plan(SERVER, wrong, 10.0)  # type: ignore[arg-type] # what a caller may do


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timeout", [float("inf"), 1e12, 10**400])
def test_a_timeout_of_centuries_is_none(name: str, timeout: float) -> None:
    script = Script(DROPPED)
    with pytest.raises(ServerUnreachableError):
        script.play(talks(timeout)[name])
    assert script.calls[0].timeout is None


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), True, "10"])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgumentError, match="the timeout of a call is None"):
        Script(DROPPED).play(questions.explain(SERVER, "m", timeout))


# ---- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("failure", [REFUSED, SILENT, Failure("UNKNOWN", "Stream removed")])
def test_a_server_that_does_not_answer_is_told_at_once_and_asked_once(
    name: str, failure: Failure
) -> None:
    script = Script(failure)
    with pytest.raises(ServerUnreachableError, match="host:8500"):
        script.play(talks()[name])
    assert (len(script.calls), script.pauses) == (1, [])


@pytest.mark.parametrize("name", [one for one in NAMES if one != "reload"])
def test_a_server_that_says_why_it_is_late_is_there(name: str) -> None:
    with pytest.raises(WaitTimeoutError, match="host:8500: it found no free thread") as raised:
        Script(BUSY).play(talks()[name])
    assert type(raised.value) is WaitTimeoutError


@pytest.mark.parametrize("name", [one for one in NAMES if one != "status"])
def test_a_server_without_the_call_is_told_as_that(name: str) -> None:
    with pytest.raises(UnimplementedError, match="no servman server, or an older one"):
        Script(UNIMPLEMENTED).play(talks()[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("NOT_FOUND", "no m"), NotFoundError),
        (Failure("FAILED_PRECONDITION", "generation 3"), FailedPreconditionError),
        (Failure("RESOURCE_EXHAUSTED", "full"), ResourceExhaustedError),
        (Failure("INTERNAL", "bug"), InternalError),
    ],
)
def test_a_refusal_keeps_its_kind_and_text(
    name: str, failure: Failure, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=failure.text):
        Script(failure).play(talks()[name])


@pytest.mark.parametrize("name", [one for one in NAMES if one != "config"])
def test_an_answer_that_makes_no_sense_is_the_servers_fault(name: str) -> None:
    with pytest.raises(InternalError, match="what host:8500 has answered cannot be read"):
        Script(Answer(b"\xff\xff")).play(talks()[name])


@pytest.mark.parametrize("failure", [DROPPED, SILENT, BUSY])
def test_a_reload_whose_end_is_not_known_says_so(failure: Failure) -> None:
    with pytest.raises(ServerUnreachableError, match="it is not known whether") as raised:
        Script(failure).play(talks()["reload"])
    assert raised.value.ever_reached


def test_a_reload_that_was_never_sent_says_that_the_server_is_not_there() -> None:
    with pytest.raises(ServerUnreachableError, match="cannot be reached") as raised:
        Script(REFUSED).play(talks()["reload"])
    assert not raised.value.ever_reached


def test_a_cancelled_load_is_told_as_that() -> None:
    made = state("m", 3, 50, "no longer wanted")
    made.error.error_code = 1
    script = Script(
        answer("servman.v1.GetStatusResponse", models=[{"name": "m", "versions": [made]}])
    )
    status = script.play(questions.status(SERVER, (), 10.0))
    assert type(status.models["m"].versions[0].error) is LoadCancelledError
