from __future__ import annotations

import pytest

from servman.errors import LoadCancelledError, LoadFailedError, ServmanError
from servman.ids import ServableId, ServableRequest
from servman.monitor.explanation import explain
from servman.monitor.stream import StreamView
from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
FAILURE = LoadFailedError("broken")
CANCELLED = LoadCancelledError("not wanted")

Script = tuple[int, ManagerState] | tuple[int, ManagerState, ServmanError] | set[int]


def view_of(*script: Script) -> StreamView:
    """Return the view after states of versions, all at 100 s, and sets of aspired versions."""
    view = StreamView("m")
    for event in script:
        if isinstance(event, set):
            view = view.with_aspiration(StreamAspiration("m", frozenset(event)), 100)
        else:
            version, manager_state, *error = event
            failure = error[0] if error else None
            state = ServableState(ServableId("m", version), manager_state, failure, time=100.0)
            view = view.with_state(state, 100)
    return view


@pytest.mark.parametrize(
    ("request_text", "script", "code", "text"),
    [
        ("m", [], ReasonCode.NOT_CONFIGURED, "nothing is known of 'm': no source has asked"),
        ("m:1", [], ReasonCode.NOT_CONFIGURED, "nothing is known of 'm'"),
        ("m", [set()], ReasonCode.NOT_ASPIRED, "no version of 'm' is aspired"),
        ("m:1", [set()], ReasonCode.NOT_ASPIRED, "no version of 'm' is aspired"),
        ("m:4", [{1, 2}], ReasonCode.NOT_ASPIRED, "m:4 is not aspired; aspired of 'm': 1, 2"),
        ("m:4", [(1, START)], ReasonCode.NOT_ASPIRED, "m:4 is not known; known of 'm': 1"),
        (
            "m:4",
            [(1, END), set()],
            ReasonCode.NOT_ASPIRED,
            "m:4 is not aspired; aspired of 'm': none",
        ),
        ("m", [{1, 2}], ReasonCode.QUEUED, "m:2 is aspired, and the manager has not started"),
        (
            "m:1",
            [{1}, (1, START), (1, END, FAILURE), set(), {1}],
            ReasonCode.QUEUED,
            "m:1 is aspired",
        ),
        ("m:1", [{1}, (1, START)], ReasonCode.QUEUED, "m:1 has waited for its turn for 2.5 s"),
        (
            "m:1",
            [{1}, (1, START), (1, LOADING)],
            ReasonCode.LOADING,
            "m:1 has been loading for 2.5 s",
        ),
        ("m:1", [{1}, (1, START), (1, AVAILABLE)], ReasonCode.AVAILABLE, "m:1 is available"),
        ("m:1", [(1, UNLOADING)], ReasonCode.UNLOADING, "m:1 has been unloading for 2.5 s"),
        ("m:1", [(1, END)], ReasonCode.UNLOADED, "m:1 was unloaded 2.5 s ago"),
        ("m:1", [set(), (1, END)], ReasonCode.UNLOADED, "ago, and is no longer aspired"),
        ("m:1", [(1, END, CANCELLED)], ReasonCode.UNLOADED, "m:1 was cancelled 2.5 s ago"),
        ("m:1", [(1, END, FAILURE)], ReasonCode.FAILED, "m:1 failed 2.5 s ago: broken"),
        ("m:1", [set(), (1, END, FAILURE)], ReasonCode.FAILED, "no longer aspired: broken"),
        # of several versions, the newest that may still come
        ("m", [{1, 2}, (1, START), (2, START), (2, END, FAILURE)], ReasonCode.QUEUED, "m:1 has"),
        ("m:newest", [{1, 2}, (1, START), (2, START), (2, END, FAILURE)], ReasonCode.FAILED, "m:2"),
        ("m", [{1}, (1, START), (1, END, FAILURE), (2, LOADING)], ReasonCode.FAILED, "m:1"),
        ("m", [(1, START), (2, LOADING)], ReasonCode.LOADING, "m:2"),
    ],
)
def test_the_states_alone_tell_why(
    request_text: str, script: list[Script], code: ReasonCode, text: str
) -> None:
    reason = explain(ServableRequest.parse(request_text), view_of(*script), now=102.5)
    assert reason.code is code
    assert text in reason.text
    if code is ReasonCode.FAILED:
        assert reason.error is FAILURE


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    reason = explain(ServableRequest.parse("m:1"), view_of((1, LOADING)), now=50.0)
    assert "for 0.0 s" in reason.text
    assert reason.facts == {"version": 1, "since": 100.0}
