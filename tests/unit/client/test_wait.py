"""A wait on a server, with every way in which a server can be there or not."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from servman.client.question import Question
from servman.client.result import RemoteProgress, RemoteWaitResult
from servman.client.talk import Answer, Failure
from servman.client.wait import RemoteWait
from servman.errors import (
    AccessDeniedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ServableUnavailableError,
    ServerUnreachableError,
    WaitTimeoutError,
)
from servman.ids import ServableId, ServableRequest
from servman.reasons import ReasonCode
from servman.state import ManagerState
from tests.unit.client.script import (
    BUSY,
    DROPPED,
    REFUSED,
    SERVER,
    SILENT,
    Line,
    Script,
    message,
    pending,
    reached,
    reason,
    state,
    waited,
)

M = ServableRequest.latest("m")


def wait(
    script: Script,
    *requests: str,
    timeout: float | None = 60.0,
    tell: Callable[[RemoteProgress], None] | None = None,
    give_up: Callable[[RemoteProgress], bool] | None = None,
) -> RemoteWaitResult:
    question = Question.of(requests or ("m",), fail_fast=True)
    made = RemoteWait(question, timeout, SERVER, script.clock, tell, give_up=give_up)
    return script.play(made.talk())


# ---- the question ------------------------------------------------------------------------------


def test_what_is_asked_goes_to_the_server_as_it_is() -> None:
    script = Script(waited(reached=True))
    question = Question.of(["m:3", "n@stable", "m:3"], ManagerState.END, count=1)
    script.play(RemoteWait(question, 7.0, SERVER, script.clock).talk())
    (asked,) = script.asked
    assert list(asked.requests) == ["m:3", "n@stable"]
    assert (asked.goal, asked.count, asked.fail_fast) == (50, 1, False)


def test_without_a_request_none_is_sent_and_the_server_says_which_it_has() -> None:
    script = Script(reached(m="m:3", n="n:1"))
    question = Question.of((), fail_fast=True)
    result = script.play(RemoteWait(question, None, SERVER, script.clock).talk())
    assert list(script.asked[0].requests) == []
    assert dict(result.ids) == {
        M: ServableId("m", 3),
        ServableRequest.latest("n"): ServableId("n", 1),
    }


@pytest.mark.parametrize("count", [0, -1, True, 1.5, 2])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="a count is None"):
        Question.of("m", count=count)


def test_a_goal_that_is_none_is_refused() -> None:
    goal: object = "END"
    with pytest.raises(InvalidArgumentError, match="a goal is a ManagerState, not 'END'"):
        Question.of("m", goal)  # type: ignore[arg-type] # what a caller may do


def test_a_request_that_is_none_is_refused() -> None:
    wrong: object = 3
    with pytest.raises(InvalidArgumentError, match="not a servable request: 3"):
        Question.of(wrong)  # type: ignore[arg-type] # what a caller may do


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), "60"])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgumentError, match="a timeout is None or a number"):
        RemoteWait(Question.of("m"), timeout, SERVER, Script().clock)


def test_a_callback_that_cannot_be_called_is_refused() -> None:
    wrong: object = "print"
    with pytest.raises(InvalidArgumentError, match="something to call, not 'print'"):
        RemoteWait(Question.of("m"), 1.0, SERVER, Script().clock, wrong)  # type: ignore[arg-type] # as above


# ---- the answer --------------------------------------------------------------------------------


def test_what_is_available_at_once_is_answered_by_one_call() -> None:
    script = Script(reached(m="m:3"))
    result = wait(script)
    assert result
    assert dict(result.ids) == {M: ServableId("m", 3)}
    assert (len(script.calls), script.pauses) == (1, [])


def test_what_is_told_is_in_the_order_in_which_it_was_asked_for() -> None:
    names = [f"m{number}" for number in range(9, -1, -1)]
    result = wait(Script(reached(**{one: f"{one}:1" for one in sorted(names)})), *names)
    assert [str(request) for request in result.ids] == names
    result = wait(Script(pending(*sorted(names))), *names, timeout=0)
    assert [str(request) for request in result.reasons] == names


def test_a_failure_ends_the_wait_with_the_error_of_the_load() -> None:
    failed = waited(
        states=[state("m", 3, 50, "the weights are torn")],
        reasons={"m:3": reason("failed", "m:3 failed: the weights are torn")},
        pending=["n"],
    )
    result = wait(Script(failed), "m:3", "n")
    error = result.error(60.0)
    assert isinstance(error, ServableUnavailableError)
    assert str(error) == (
        "m:3 failed on host:8500, which ended the wait; missing:\n  m:3 failed: the weights are torn"
    )
    request = ServableRequest.specific("m", 3)
    assert result.failed == (request,)
    told = error.reasons[request]
    assert told.code is ReasonCode.FAILED
    assert str(told.error) == "the weights are torn"
    assert error.states[ServableId("m", 3)].manager_state is ManagerState.END


def test_at_the_deadline_the_error_says_what_is_missing_and_why() -> None:
    script = Script(pending("m"))
    result = wait(script, timeout=10.0)
    assert (result.timed_out, result.pending, result.note) == (True, (M,), "")
    error = result.error(10.0)
    assert type(error) is WaitTimeoutError
    assert str(error) == (
        "not everything was available on host:8500 within 10 s; missing:\n  m is loading"
    )
    assert error.reasons[M].code is ReasonCode.LOADING


def test_the_error_for_another_goal_names_it() -> None:
    result = RemoteWaitResult(reached=False, timed_out=True, server=SERVER)
    assert "not everything was END on" in str(result.error(1.0, ManagerState.END))
    result = RemoteWaitResult(reached=False, timed_out=False, server=SERVER)
    assert "can no longer be LOADING" in str(result.error(1.0, ManagerState.LOADING))


def test_a_code_of_a_newer_server_is_unknown_here_and_its_text_is_kept() -> None:
    result = wait(Script(pending("m", code="waiting for the moon")), timeout=1.0)
    told = result.reasons[M]
    assert (told.code, told.text) == (ReasonCode.UNKNOWN, "m is waiting for the moon")


def test_a_long_wait_is_asked_in_slices_so_that_a_server_that_is_gone_is_noticed() -> None:
    script = Script()
    script.add(
        pending("m"),
        script.lasting(20.0, pending("m")),
        script.lasting(20.0, pending("m")),
        script.lasting(10.0, pending("m")),
    )
    result = wait(script, timeout=50.0)
    assert result.timed_out
    assert [one.timeout for one in script.asked] == [0.001, 20.0, 20.0, 10.0]
    assert [call.timeout for call in script.calls] == [5.001, 25.0, 25.0, 11.0]
    assert script.pauses == [], "it is the server that waits"


def test_after_a_lost_contact_the_first_call_is_a_look_again() -> None:
    script = Script(pending("m"), DROPPED, pending("m"), reached(m="m:1"))
    assert wait(script)
    assert [one.timeout for one in script.asked] == [0.001, 20.0, 0.001, 20.0]


def test_a_wait_without_end_goes_on_until_it_is_answered() -> None:
    script = Script()
    script.add(pending("m"), *[script.lasting(20.0, pending("m"))] * 1000, reached(m="m:1"))
    assert wait(script, timeout=None)
    assert script.clock.monotonic() >= 21_000.0


def test_a_timeout_of_0_asks_once_and_gives_the_connection_time() -> None:
    script = Script(pending("m"))
    result = wait(script, timeout=0)
    assert result.timed_out
    assert [call.timeout for call in script.calls] == [5.0]
    assert 0 < script.asked[0].timeout < 0.01


# ---- a server that is not there ------------------------------------------------------------------


def test_a_server_that_is_not_up_yet_is_waited_for() -> None:
    script = Script(REFUSED, REFUSED, REFUSED, reached(m="m:3"))
    result = wait(script)
    assert result
    assert result.note == ""
    assert script.pauses == pytest.approx([0.1, 0.2, 0.2])


def test_a_server_that_was_there_too_shortly_to_answer_is_told_as_that() -> None:
    with pytest.raises(ServerUnreachableError) as raised:
        wait(Script(REFUSED, DROPPED, REFUSED), timeout=5.0)
    assert not raised.value.ever_reached
    assert (
        "was never reached within 5 s: ipv4:127.0.0.1:1: Connection refused (it was there for a while, and"
        " did not answer: Socket closed); is the server running" in str(raised.value)
    )
    with pytest.raises(ServerUnreachableError, match="within 5 s: Socket closed; is the server"):
        wait(Script(DROPPED), timeout=5.0)
    with pytest.raises(ServerUnreachableError, match="refused; is the server"):
        wait(Script(SILENT, REFUSED), timeout=5.0)


def test_a_call_that_has_not_left_is_tried_again_soon_for_a_server_may_not_live_long() -> None:
    script = Script(*[REFUSED] * 9, reached(m="m:3"))
    assert wait(script)
    assert max(script.pauses) == pytest.approx(0.2)


def test_pauses_grow_to_a_second_and_begin_anew_after_an_answer() -> None:
    script = Script(*[DROPPED] * 6, pending("m"), DROPPED, reached(m="m:3"))
    assert wait(script, timeout=None)
    assert script.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1])


def test_a_server_that_was_never_reached_is_told_as_that() -> None:
    script = Script(REFUSED)
    with pytest.raises(ServerUnreachableError) as raised:
        wait(script, "m:3", "n", timeout=30.0)
    error = raised.value
    assert str(error) == (
        "host:8500 was never reached within 30 s: ipv4:127.0.0.1:1: Connection refused; is the server"
        " running, and is this its address? What was asked for: m:3, n"
    )
    assert (error.server, error.ever_reached, error.restarts) == (SERVER, False, 0)
    assert (error.states, error.reasons) == ({}, {})
    assert script.clock.monotonic() == pytest.approx(1_030.0)


def test_a_timeout_of_0_tries_once_to_reach_the_server() -> None:
    script = Script(REFUSED)
    with pytest.raises(ServerUnreachableError, match="never reached within 0 s"):
        wait(script, timeout=0)
    assert len(script.calls) == 1


def test_a_server_that_goes_away_and_stays_away_is_told_as_that_with_what_it_said() -> None:
    script = Script(pending("m"), DROPPED, REFUSED)
    with pytest.raises(ServerUnreachableError) as raised:
        wait(script)
    error = raised.value
    assert str(error) == (
        "host:8500 has gone away, and was not back within 60 s: ipv4:127.0.0.1:1: Connection refused;"
        " what was missing before:\n  m is loading"
    )
    assert (error.ever_reached, error.restarts) == (True, 0)
    assert error.reasons[M].code is ReasonCode.LOADING


def test_a_server_that_restarts_is_waited_for_and_told() -> None:
    script = Script(pending("m", life="a"), DROPPED, REFUSED, reached(m="m:3", life="b"))
    result = wait(script)
    assert result
    assert result.note == " (meanwhile the server was restarted)"


def test_a_deadline_after_a_restart_says_that_there_was_one() -> None:
    lives: list[Line] = [pending("m", life="a"), DROPPED, pending("m", life="b"), DROPPED]
    script = Script(*lives)
    script.add(script.lasting(60.0, pending("m", life="c")), pending("m", life="c"))
    result = wait(script)
    assert "within 60 s (meanwhile the server was restarted 2 times); missing:" in str(
        result.error(60.0)
    )


def test_a_server_that_restarts_and_goes_away_again_is_told_as_that() -> None:
    script = Script(pending("m", life="a"), DROPPED, pending("m", life="b"), DROPPED)
    with pytest.raises(
        ServerUnreachableError, match="restarted, and has gone away again"
    ) as raised:
        wait(script)
    assert raised.value.restarts == 1


def test_a_connection_that_drops_without_a_restart_is_told_as_that() -> None:
    script = Script(pending("m"), DROPPED, pending("m"), DROPPED, reached(m="m:3"))
    assert wait(script).note == " (meanwhile the connection to it was lost 2 times)"


def test_a_server_that_does_not_answer_is_told_as_that() -> None:
    script = Script()
    script.add(script.lasting(25.0, SILENT))
    with pytest.raises(
        ServerUnreachableError, match="never reached within 60 s: it does not answer"
    ):
        wait(script)


def test_a_server_that_says_why_it_is_late_is_asked_again_and_told_as_that() -> None:
    assert wait(Script(BUSY, reached(m="m:3")))
    with pytest.raises(WaitTimeoutError, match=r"did not take the wait.*no free thread") as raised:
        wait(Script(BUSY))
    assert type(raised.value) is WaitTimeoutError


def test_a_server_with_no_room_for_the_wait_is_asked_again_and_told_as_that() -> None:
    full = Failure("RESOURCE_EXHAUSTED", "256 calls are waiting already")
    assert wait(Script(full, full, reached(m="m:3")))
    with pytest.raises(WaitTimeoutError) as raised:
        wait(Script(full))
    assert type(raised.value) is WaitTimeoutError
    assert str(raised.value) == (
        "host:8500 did not take the wait for m within 60 s: 256 calls are waiting already"
    )


@pytest.mark.parametrize(
    "failure",
    [
        Failure("UNIMPLEMENTED", "Received http2 header with status: 404"),
        Failure("UNKNOWN", "Stream removed"),
        Failure("INTERNAL", "Received RST_STREAM with error code 2"),
        Failure("CANCELLED", "CANCELLED"),
    ],
)
def test_what_a_proxy_or_a_broken_connection_answers_is_waited_out(failure: Failure) -> None:
    assert wait(Script(failure, reached(m="m:3")))
    with pytest.raises(ServerUnreachableError, match="was never reached"):
        wait(Script(failure))


def test_an_answer_by_what_is_no_grpc_server_is_told_as_that() -> None:
    proxy = Failure("UNIMPLEMENTED", "Received http2 header with status: 404")
    with pytest.raises(ServerUnreachableError, match="what answers there is no gRPC server"):
        wait(Script(proxy))


# ---- what never helps ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Failure("INVALID_ARGUMENT", "bad"), InvalidArgumentError, "host:8500: bad"),
        (Failure("UNAUTHENTICATED", "no token"), AccessDeniedError, "pass the token"),
        (Failure("PERMISSION_DENIED", "not you"), AccessDeniedError, "refuses the call: not you"),
        (Failure("FAILED_PRECONDITION", "no"), FailedPreconditionError, "host:8500: no"),
    ],
)
def test_a_refusal_ends_the_wait_at_once(
    failure: Failure, kind: type[Exception], text: str
) -> None:
    script = Script(failure)
    with pytest.raises(kind, match=text):
        wait(script)
    assert (len(script.calls), script.pauses) == (1, [])


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xff\xff",
        b"",
        waited(reached=True, ids={"m": "m"}).content,
        waited(reached=True, ids={"m": "m:x"}).content,
        waited(states=[state("m", 3, 99)]).content,
        waited(states=[state("m", -3, 30)]).content,
        waited(states=[state("a:b", 3, 30)]).content,
        waited(pending=["@"]).content,
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_wait_and_says_whose_it_was(content: bytes) -> None:
    with pytest.raises(InternalError, match="what host:8500 has answered cannot be read"):
        wait(Script(Answer(content)))


# ---- telling how far it is -----------------------------------------------------------------------


def test_progress_is_told_when_something_has_changed() -> None:
    told: list[str] = []
    script = Script(REFUSED, REFUSED, pending("m", "n"), pending("m", "n"))
    one = waited(
        timed_out=True,
        ids={"n": "n:1"},
        pending=["m"],
        reasons={"m": reason("queued", "m is queued")},
    )
    script.add(one, DROPPED, reached(m="m:3", n="n:1"))
    assert wait(script, "m", "n", tell=lambda progress: told.append(str(progress)))
    assert told == [
        "host:8500 is not reachable: ipv4:127.0.0.1:1: Connection refused",
        "0 of 2 decided; pending: m is loading; n is loading",
        "1 of 2 decided; pending: m is queued",
        "host:8500 is not reachable: Socket closed",
    ]


def test_a_name_of_several_addresses_that_refuse_in_turn_is_told_once() -> None:
    told: list[RemoteProgress] = []
    other = Failure(REFUSED.code, REFUSED.text.replace("ipv4:127.0.0.1", "ipv6:%5B::1%5D"))
    assert other != REFUSED
    assert wait(Script(REFUSED, other, REFUSED, other, reached(m="m:3")), tell=told.append)
    assert len(told) == 1


def repeated(attempts: int, retry_in: float | None) -> Answer:
    """Return the answer that a load has failed, and when the next is due."""
    known = message("servman.v1.Reason", code="retry pending", text="m is torn", attempts=attempts)
    if retry_in is not None:
        known.retry_in = retry_in
    return waited(timed_out=True, pending=["m"], reasons={"m": known}, server="a")


def test_each_failed_attempt_is_told_though_the_reason_is_the_same() -> None:
    told: list[RemoteProgress] = []
    script = Script(repeated(1, 60.0), repeated(1, 58.0), repeated(2, None), reached(m="m:3"))
    assert wait(script, tell=told.append)
    assert [one.pending[M].facts for one in told] == [
        {"attempts": 1, "retry_in": 60.0},
        {"attempts": 2},
    ]


def test_who_has_enough_ends_the_wait_before_its_time() -> None:
    asked: list[RemoteProgress] = []

    def give_up(progress: RemoteProgress) -> bool:
        asked.append(progress)
        return M in progress.pending and progress.pending[M].code is ReasonCode.RETRYING

    script = Script(REFUSED, pending("m"))
    script.add(script.lasting(0.5, pending("m")), repeated(1, 60.0))
    result = wait(script, timeout=9.0, give_up=give_up)
    assert (result.reached, result.timed_out, result.given_up) == (False, True, True)
    assert [one.remaining for one in asked] == pytest.approx([8.9, 8.4, 8.4])
    text = str(result.error(9.0))
    assert text.startswith("not everything was available on host:8500, and the wait was given up")


def test_what_is_decided_is_not_given_up() -> None:
    assert wait(Script(reached(m="m:3")), give_up=lambda _: True)
    assert not wait(Script(pending("m")), timeout=0.0, give_up=lambda _: True).given_up


def test_where_progress_is_told_the_first_answer_comes_at_once_and_the_next_ones_soon() -> None:
    script = Script(pending("m"))
    script.add(
        *[script.lasting(seconds, pending("m")) for seconds in (0.5, 1.0, 2.0, 2.0)],
        reached(m="m:3"),
    )
    assert wait(script, tell=lambda _: None)
    assert [one.timeout for one in script.asked] == [0.001, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_server_that_takes_no_wait_is_told_as_that() -> None:
    told: list[RemoteProgress] = []
    full = Failure("RESOURCE_EXHAUSTED", "no room")
    assert wait(Script(full, reached(m="m:3")), tell=told.append)
    assert [str(one) for one in told] == ["host:8500 does not take the wait yet: no room"]


def test_what_the_callback_raises_is_logged_and_the_wait_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tell(_: RemoteProgress) -> None:
        raise ValueError("no terminal")

    assert wait(Script(REFUSED, reached(m="m:3")), tell=tell)
    assert "a progress callback raised" in caplog.text


def test_many_pending_requests_are_told_by_the_first_ten() -> None:
    names = [f"m{number:02}" for number in range(12)]
    told: list[RemoteProgress] = []
    script = Script(pending(*names), reached())
    assert wait(script, *names, tell=told.append)
    assert str(told[0]).startswith("0 of 12 decided; pending: m00 is loading; ")
    assert str(told[0]).endswith("m09 is loading; and 2 more")


def test_where_nobody_is_told_a_lost_contact_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script(REFUSED, REFUSED, pending("m"), DROPPED, REFUSED, reached(m="m:3"))
    with caplog.at_level(logging.WARNING, "servman"):
        assert wait(script)
    assert [record.getMessage() for record in caplog.records] == [
        "host:8500 cannot be reached yet (ipv4:127.0.0.1:1: Connection refused); waiting for it",
        "host:8500 has gone away (Socket closed); waiting for it",
    ]


def test_where_progress_is_told_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert wait(Script(REFUSED, reached(m="m:3")), tell=lambda _: None)
    assert caplog.records == []
