from __future__ import annotations

import pytest

from servman.errors import InvalidArgumentError, LoadCancelledError, LoadFailedError, ServmanError
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.monitor.answer import Answer
from servman.monitor.goals import Question, decide
from servman.monitor.stream import StreamView
from servman.state import ManagerState, ServableState, StreamAspiration

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
FAILURE = LoadFailedError("broken")
CANCELLED = LoadCancelledError("not wanted")

Script = tuple[int, ManagerState] | tuple[int, ManagerState, ServmanError] | set[int]


def view_of(*script: Script, name: str = "m") -> StreamView:
    """Return the view after states of versions and sets of aspired versions."""
    view = StreamView(name)
    for event in script:
        if isinstance(event, set):
            view = view.with_aspiration(StreamAspiration(name, frozenset(event)), 100)
        else:
            version, manager_state, *error = event
            failure = error[0] if error else None
            state = ServableState(ServableId(name, version), manager_state, failure)
            view = view.with_state(state, 100)
    return view


def verdict(text: str, *script: Script, goal: ManagerState = AVAILABLE) -> tuple[bool, int] | None:
    """Return whether the request was reached and by which version, or None while undecided."""
    decision = decide(ServableRequest.parse(text), goal, view_of(*script))
    return None if decision is None else (decision.reached, decision.state.id.version)


FAILED_1: tuple[Script, ...] = ((1, START), (1, END, FAILURE))
FAILED_2: tuple[Script, ...] = ((2, START), (2, END, FAILURE))


@pytest.mark.parametrize(
    ("request_text", "script", "expected"),
    [
        # specific
        ("m:1", [{1}], None),
        ("m:1", [{1}, (1, START), (1, LOADING)], None),
        ("m:1", [{1}, (1, START), (1, AVAILABLE)], (True, 1)),
        ("m:1", [{1}, (1, START), (1, AVAILABLE), set()], (True, 1)),
        ("m:1", [{1}, (1, START), (1, AVAILABLE), set(), (1, UNLOADING)], None),
        ("m:1", [{1}, *FAILED_1], (False, 1)),
        ("m:1", [{1}, *FAILED_1, {1, 2}], (False, 1)),
        ("m:1", [{1}, *FAILED_1, {2}], None),
        ("m:1", [{1}, *FAILED_1, (1, START)], None),
        ("m:1", [{1}, (1, START), (1, END)], None),
        ("m:1", [{1}, (1, START), (1, END, CANCELLED)], None),
        ("m:1", [{2}, *FAILED_2], None),
        # latest
        ("m", [set()], None),
        ("m", [{1, 2}, (2, START), (1, AVAILABLE)], (True, 1)),
        ("m", [{1, 2}, (1, AVAILABLE), (2, AVAILABLE)], (True, 2)),
        ("m", [{1, 2}, *FAILED_2, (1, AVAILABLE)], (True, 1)),
        ("m", [{1, 2}, *FAILED_2], None),
        ("m", [{1, 2}, *FAILED_2, (1, START), (1, LOADING)], None),
        ("m", [{1, 2}, *FAILED_2, *FAILED_1], (False, 2)),
        ("m", [{1, 2}, *FAILED_1, *FAILED_2, {2}], (False, 2)),
        ("m", [{1, 2}, *FAILED_1, *FAILED_2, {1, 2, 3}], None),
        ("m", [{1}, *FAILED_1, set()], None),
        ("m", [{1}, (1, START), (1, END, CANCELLED)], None),
        # earliest
        ("m:earliest", [{1, 2}, (1, AVAILABLE), (2, AVAILABLE)], (True, 1)),
        ("m:earliest", [{1, 2}, (1, START), (2, AVAILABLE)], (True, 2)),
        ("m:earliest", [{1, 2}, *FAILED_1], None),
        ("m:earliest", [{1, 2}, *FAILED_1, *FAILED_2], (False, 2)),
        # newest
        ("m:newest", [set()], None),
        ("m:newest", [{1, 2}, (1, AVAILABLE)], None),
        ("m:newest", [{1, 2}, (1, AVAILABLE), (2, AVAILABLE)], (True, 2)),
        ("m:newest", [{1, 2}, (1, AVAILABLE), *FAILED_2], (False, 2)),
        ("m:newest", [{1, 2}, (1, AVAILABLE), *FAILED_2, {1}], (True, 1)),
        ("m:newest", [{1}, (2, AVAILABLE)], None),
    ],
)
def test_a_wait_for_available_is_decided_by_what_is_aspired(
    request_text: str, script: list[Script], expected: tuple[bool, int] | None
) -> None:
    assert verdict(request_text, *script) == expected


@pytest.mark.parametrize("request_text", ["m:1", "m", "m:earliest", "m:newest"])
def test_a_failure_of_an_earlier_time_does_not_decide_after_aspiring_again(
    request_text: str,
) -> None:
    assert verdict(request_text, {1}, *FAILED_1, set(), {1}) is None
    assert verdict(request_text, {1}, *FAILED_1, set(), {1}, *FAILED_1) == (False, 1)


@pytest.mark.parametrize(
    ("request_text", "script", "expected"),
    [
        ("m:1", [], None),
        ("m:1", [(1, LOADING)], None),
        ("m:1", [(1, AVAILABLE)], (True, 1)),
        ("m:1", [(1, END)], (False, 1)),
        ("m:1", [(1, END, CANCELLED)], (False, 1)),
        ("m:1", [(2, END)], None),
        ("m", [(1, AVAILABLE), (2, LOADING)], (True, 1)),
        ("m", [(1, AVAILABLE), (2, END, FAILURE)], (False, 2)),
        ("m", [(1, END), (2, AVAILABLE)], (True, 2)),
        ("m:earliest", [(1, AVAILABLE), (2, END)], (False, 2)),
        ("m:newest", [], None),
        ("m:newest", [(1, AVAILABLE), (2, LOADING)], None),
        ("m:newest", [(1, LOADING), (2, AVAILABLE)], (True, 2)),
        ("m:newest", [(1, AVAILABLE), (2, END)], (False, 2)),
    ],
)
def test_without_any_aspiration_an_end_counts_as_tensorflow_serving_counts_it(
    request_text: str, script: list[Script], expected: tuple[bool, int] | None
) -> None:
    assert verdict(request_text, *script) == expected


@pytest.mark.parametrize(
    ("request_text", "goal", "script", "expected"),
    [
        ("m:1", LOADING, [{1}, (1, START)], None),
        ("m:1", LOADING, [{1}, (1, START), (1, LOADING)], (True, 1)),
        ("m:1", LOADING, [{1}, (1, START), (1, AVAILABLE)], None),
        ("m:1", LOADING, [{1}, (1, START), (1, END, CANCELLED)], (False, 1)),
        ("m:1", END, [{1}, *FAILED_1], (True, 1)),
        ("m:1", END, [{1}, (1, START), (1, END)], (True, 1)),
        ("m:1", UNLOADING, [{1}, (1, START), (1, UNLOADING)], (True, 1)),
        ("m", LOADING, [{1, 2}, (1, LOADING), (2, START)], (True, 1)),
        ("m", LOADING, [{1, 2}, (1, LOADING), (2, END)], (False, 2)),
        ("m", END, [{1, 2}, (1, END), (2, LOADING)], (True, 1)),
        ("m:newest", LOADING, [{1, 2}, (1, LOADING), (2, START)], None),
        ("m:newest", LOADING, [{1, 2}, (2, START), (2, LOADING)], (True, 2)),
        ("m:newest", END, [{1}, (2, END)], None),
        ("m:newest", END, [set(), (2, END)], None),
    ],
)
def test_any_other_goal_is_decided_by_the_states_alone(
    request_text: str,
    goal: ManagerState,
    script: list[Script],
    expected: tuple[bool, int] | None,
) -> None:
    assert verdict(request_text, *script, goal=goal) == expected


def test_a_question_takes_one_request_or_several_and_keeps_each_once() -> None:
    m, m1 = ServableRequest.latest("m"), ServableRequest.specific("m", 1)
    n = ServableRequest.newest("n")
    assert Question.of("m", AVAILABLE).requests == (m,)
    assert Question.of(ServableId("m", 1), AVAILABLE).requests == (m1,)
    assert Question.of(m1, AVAILABLE).requests == (m1,)
    requests: list[AnyRequest] = ["m", ServableId("m", 1), "n:newest", "m:1"]
    several = Question.of(iter(requests), AVAILABLE)
    assert several.requests == (m, m1, n)
    assert several.streams == {"m": (m, m1), "n": (n,)}


@pytest.mark.parametrize(
    "requests", [5, None, ["m", 5], [["m"]], "m:x", "", b"m", ["m", ""], {"m:1": ManagerState.END}]
)
def test_a_question_refuses_what_is_no_request(requests: object) -> None:
    with pytest.raises(InvalidArgumentError):
        Question.of(requests, AVAILABLE)  # type: ignore[arg-type] # the point


@pytest.mark.parametrize("goal", [30, "AVAILABLE", None])
def test_a_question_refuses_what_is_no_goal(goal: object) -> None:
    with pytest.raises(InvalidArgumentError, match="ManagerState"):
        Question.of("m", goal)  # type: ignore[arg-type] # the point


def test_an_answer_is_complete_when_all_is_decided_at_one_moment() -> None:
    answer = Answer(Question.of(["a", "b"], AVAILABLE))
    assert not answer.see(view_of({1}, (1, AVAILABLE), name="a"))
    assert not answer.see(view_of({1}, (1, UNLOADING), name="a"))
    assert not answer.see(view_of({1}, (1, AVAILABLE), name="b"))
    assert answer.see(view_of({1}, (1, AVAILABLE), name="a"))
    assert answer.reached


def test_an_answer_with_a_failure_is_complete_but_not_reached() -> None:
    answer = Answer(Question.of(["a", "b"], AVAILABLE))
    assert not answer.see(view_of({1}, *FAILED_1, name="a"))
    assert answer.see(view_of({1}, (1, AVAILABLE), name="b"))
    assert not answer.reached


def test_where_it_fails_fast_one_failure_completes_an_answer() -> None:
    answer = Answer(Question.of(["a", "b"], AVAILABLE, fail_fast=True))
    assert not answer.see(view_of({1}, (1, AVAILABLE), name="b"))
    assert answer.see(view_of({1}, *FAILED_1, name="a"))
    assert answer.complete
    assert not answer.reached


def test_an_answer_to_nothing_is_complete_and_reached() -> None:
    answer = Answer(Question.of([], AVAILABLE))
    assert answer.complete
    assert answer.reached
