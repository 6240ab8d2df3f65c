"""A wait on TensorFlow Serving, which has no call that waits and does not tell what is wanted."""

from __future__ import annotations

import pytest

from servman.client import questions
from servman.client.question import Question
from servman.client.result import RemoteWaitResult
from servman.client.talk import Answer, Call, Failure
from servman.client.wait import RemoteWait
from servman.errors import (
    AccessDeniedError,
    InternalError,
    ServableUnavailableError,
    ServerUnreachableError,
    UnimplementedError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import ReasonCode
from servman.state import ManagerState
from tests.unit.client.script import (
    DROPPED,
    NOT_FOUND,
    SERVER,
    UNIMPLEMENTED,
    Line,
    Script,
    answer,
)

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
M = ServableRequest.latest("m")


def tensorflow_serving(*lines: Line) -> Script:
    """Return a script that answers what is not TensorFlow Serving's as that does."""
    return Script(UNIMPLEMENTED, *lines)


def versions(*pairs: tuple[int, int], error: str = "") -> Answer:
    made = [{"version": version, "state": state} for version, state in pairs]
    for one in made:
        if one["state"] == END and error:
            one["status"] = {"error_code": 2, "error_message": error}  # type: ignore[assignment] # a message's fields
    return answer("tensorflow.serving.GetModelStatusResponse", model_version_status=made)


def wait(
    script: Script,
    *requests: str,
    timeout: float | None = 60.0,
    goal: ManagerState = ManagerState.AVAILABLE,
    count: int | None = None,
    fail_fast: bool = True,
) -> RemoteWaitResult:
    question = Question.of(requests or ("m",), goal, count=count, fail_fast=fail_fast)
    return script.play(RemoteWait(question, timeout, SERVER, script.clock).talk())


def models_asked(script: Script) -> list[str]:
    return [
        call.request.model_spec.name
        for call in script.calls
        if call.method.path == "/tensorflow.serving.ModelService/GetModelStatus"
    ]


def test_it_is_asked_for_states_until_the_version_is_there() -> None:
    script = tensorflow_serving(
        NOT_FOUND, versions((3, START)), versions((3, LOADING)), versions((3, AVAILABLE))
    )
    result = wait(script, "m:3")
    assert result
    assert dict(result.ids) == {ServableRequest.specific("m", 3): ServableId("m", 3)}
    assert [call.request.model_spec.version.value for call in script.calls[1:]] == [3] * 4
    assert script.pauses == pytest.approx([0.1, 0.15, 0.225])


def test_it_is_asked_no_more_than_once_a_second_in_the_end() -> None:
    script = tensorflow_serving(versions((3, LOADING)))
    assert wait(script, "m:3", timeout=300.0).timed_out
    assert max(script.pauses) == 1.0
    assert len(script.calls) < 320


def test_at_the_deadline_it_says_how_it_stands() -> None:
    result = wait(tensorflow_serving(versions((3, LOADING))), "m:3", timeout=10.0)
    error = result.error(10.0)
    assert type(error) is WaitTimeoutError
    assert str(error).endswith("missing:\n  m:3 is in the state LOADING")
    assert [one.code for one in error.reasons.values()] == [ReasonCode.LOADING]


def test_what_it_does_not_know_is_pending() -> None:
    result = wait(tensorflow_serving(NOT_FOUND), "m:3", timeout=1.0)
    assert [one.code for one in result.reasons.values()] == [ReasonCode.NOT_CONFIGURED]
    assert "m:3 is not known to the server" in str(result.error(1.0))


def test_a_timeout_of_0_asks_once() -> None:
    script = tensorflow_serving(versions((3, LOADING)))
    assert wait(script, "m:3", timeout=0).timed_out
    assert len(script.calls) == 2


def test_a_version_that_has_failed_ends_the_wait_with_its_error() -> None:
    result = wait(tensorflow_serving(versions((3, END), error="torn weights")), "m:3")
    error = result.error(60.0)
    assert isinstance(error, ServableUnavailableError)
    assert "m:3 failed: torn weights" in str(error)
    assert str(error.states[ServableId("m", 3)].error) == "torn weights"


def test_a_version_that_was_unloaded_may_come_back() -> None:
    script = tensorflow_serving(versions((3, END)), versions((3, AVAILABLE)))
    assert wait(script, "m:3")


@pytest.mark.parametrize(
    ("request_", "version"), [("m", 4), ("m:earliest", 2)], ids=["latest", "earliest"]
)
def test_any_version_that_is_available_will_do(request_: str, version: int) -> None:
    found = versions((5, LOADING), (4, AVAILABLE), (2, AVAILABLE), (1, END))
    result = wait(tensorflow_serving(found), request_)
    assert list(result.ids.values()) == [ServableId("m", version)]


def test_any_version_is_failed_only_when_nothing_else_is_on_its_way() -> None:
    script = tensorflow_serving(
        versions((3, END), (2, LOADING), error="torn"), versions((3, END), (2, AVAILABLE))
    )
    assert wait(script, "m")
    assert wait(tensorflow_serving(versions((3, END), (2, END), error="torn")), "m").failed == (M,)


@pytest.mark.parametrize(
    ("goal", "states", "reached"),
    [
        (ManagerState.END, [(3, END)], True),
        (ManagerState.LOADING, [(3, LOADING)], True),
        (ManagerState.LOADING, [(3, END)], False),
        (ManagerState.UNLOADING, [(4, LOADING), (3, END)], False),
    ],
)
def test_another_goal_is_decided_by_the_states(
    goal: ManagerState, states: list[tuple[int, int]], *, reached: bool
) -> None:
    result = wait(tensorflow_serving(versions(*states)), "m", goal=goal)
    assert (result.reached, result.timed_out) == (reached, False)
    specific = wait(tensorflow_serving(versions(*states)), "m:3", goal=goal)
    assert (specific.reached, specific.timed_out) == (reached, False)


def test_another_goal_that_is_not_decided_is_pending_with_the_state() -> None:
    script = tensorflow_serving(versions((3, AVAILABLE)))
    result = wait(script, "m:3", goal=ManagerState.END, timeout=1.0)
    assert [one.code for one in result.reasons.values()] == [ReasonCode.AVAILABLE]
    assert wait(tensorflow_serving(NOT_FOUND), "m", goal=ManagerState.END, timeout=1.0).timed_out


def by_name(call: Call) -> Answer | Failure:
    """Answer that "a" is available, "b" has failed, and "c" is on its way."""
    name = call.request.model_spec.name
    states = {"a": AVAILABLE, "b": END, "c": LOADING}
    return versions((1, states[name]), error="torn")


def test_the_first_failure_ends_a_wait_for_all() -> None:
    result = wait(tensorflow_serving(by_name), "a", "b", "c")
    assert (result.reached, result.timed_out) == (False, False)
    assert result.pending == (ServableRequest.latest("c"),)


def test_a_wait_for_each_goes_on_until_each_is_decided() -> None:
    result = wait(tensorflow_serving(by_name), "a", "b", "c", timeout=5.0, fail_fast=False)
    assert result.timed_out
    result = wait(tensorflow_serving(by_name), "a", "b", timeout=5.0, fail_fast=False)
    assert (result.reached, result.timed_out) == (False, False)


@pytest.mark.parametrize(
    ("count", "reached", "late"), [(1, True, False), (2, False, True), (3, False, False)]
)
def test_a_count_ends_the_wait_when_so_many_are_there_or_no_longer_can_be(
    count: int, *, reached: bool, late: bool
) -> None:
    result = wait(tensorflow_serving(by_name), "a", "b", "c", count=count, timeout=5.0)
    assert (result.reached, result.timed_out) == (reached, late)


# ---- labels --------------------------------------------------------------------------------------


def metadata(version: int) -> Answer:
    return answer(
        "tensorflow.serving.GetModelMetadataResponse",
        model_spec={"name": "m", "version": {"value": version}},
    )


@pytest.mark.parametrize(
    "refusal",
    [
        Failure("INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
        Failure("NOT_FOUND", "Servable not found for request: Specific(m, 3)"),
        Failure("UNAVAILABLE", "Request contained a version_label but no labels are set"),
    ],
)
def test_a_label_is_asked_for_where_labels_are_understood(refusal: Failure) -> None:
    script = tensorflow_serving(refusal, metadata(3))
    result = wait(script, "m@stable")
    assert list(result.ids.values()) == [ServableId("m", 3)]
    spec = script.asked[-1].model_spec
    assert (spec.name, spec.version_label) == ("m", "stable")
    assert models_asked(script) == []


def test_a_label_that_cannot_be_used_yet_is_pending_with_what_the_server_says() -> None:
    script = tensorflow_serving(Failure("NOT_FOUND", "no such servable"))
    result = wait(script, "m@stable", timeout=1.0)
    assert [one.code for one in result.reasons.values()] == [ReasonCode.NO_LABEL]
    assert "m@stable cannot be used yet: no such servable" in str(result.error(1.0))


# ---- what it cannot answer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "goal", "why"),
    [
        (["m:newest"], ManagerState.AVAILABLE, 'name it, as in "m:3"'),
        (["m@stable"], ManagerState.END, "name the version"),
    ],
)
def test_what_it_does_not_tell_is_refused_with_what_to_ask(
    requests: list[str], goal: ManagerState, why: str
) -> None:
    with pytest.raises(UnimplementedError, match="is a TensorFlow Serving") as raised:
        wait(tensorflow_serving(NOT_FOUND), *requests, goal=goal)
    assert why in str(raised.value)


def test_all_its_models_cannot_be_waited_for() -> None:
    script = tensorflow_serving(NOT_FOUND)
    talk = RemoteWait(Question.of(()), 60.0, SERVER, script.clock).talk()
    with pytest.raises(UnimplementedError, match="name those to wait for"):
        script.play(talk)


def test_what_speaks_grpc_and_neither_service_is_told_as_that() -> None:
    with pytest.raises(
        UnimplementedError, match="neither a servman server nor a TensorFlow Serving"
    ):
        wait(Script(UNIMPLEMENTED))


def test_a_refusal_ends_the_wait_at_once() -> None:
    script = tensorflow_serving(Failure("PERMISSION_DENIED", "not you"))
    with pytest.raises(AccessDeniedError):
        wait(script)


def test_an_answer_that_makes_no_sense_is_told_as_that() -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        wait(tensorflow_serving(Answer(b"\xff")))


# ---- a server that goes away ---------------------------------------------------------------------


def test_a_server_that_goes_away_and_comes_back_is_waited_for_and_told() -> None:
    script = tensorflow_serving(versions((3, LOADING)), DROPPED, versions((3, AVAILABLE)))
    result = wait(script, "m:3")
    assert result
    assert result.note == " (meanwhile the connection to it was lost)"


def test_a_server_that_goes_away_and_stays_away_is_told_as_that() -> None:
    script = tensorflow_serving(versions((3, LOADING)), DROPPED)
    with pytest.raises(ServerUnreachableError, match="has gone away") as raised:
        wait(script, "m:3")
    assert [one.code for one in raised.value.reasons.values()] == [ReasonCode.LOADING]


# ---- its status ----------------------------------------------------------------------------------


def test_the_status_of_named_models_is_told() -> None:
    script = tensorflow_serving(versions((1, END), (2, AVAILABLE)), NOT_FOUND)
    status = script.play(questions.status(SERVER, ["m", "n"], 10.0))
    assert status.models["m"].available == (2,)
    assert [state.id.version for state in status.models["m"].versions] == [2, 1]
    assert status.models["m"]
    assert not status.models["n"]
    assert not status
    assert list(status.healthy.missing) == ["n"]


def test_the_status_of_all_models_cannot_be_told() -> None:
    with pytest.raises(UnimplementedError, match="name them"):
        Script(UNIMPLEMENTED).play(questions.status(SERVER, (), 10.0))


def test_the_status_of_what_is_no_server_of_models_is_an_error() -> None:
    with pytest.raises(UnimplementedError, match="neither"):
        Script(UNIMPLEMENTED).play(questions.status(SERVER, "m", 10.0))
    with pytest.raises(ServerUnreachableError):
        tensorflow_serving(DROPPED).play(questions.status(SERVER, "m", 10.0))
