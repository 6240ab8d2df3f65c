"""A call knows how long it may take, and what ends it early."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast, final

import pytest

from servman.errors import (
    ClosedError,
    InvalidArgumentError,
    LoadCancelledError,
    ResourceExhaustedError,
)
from servman.server.calls import Call, WaitingRoom
from servman.testing import FakeClock


@final
class Context:
    """Of a call that has so much time."""

    def __init__(self, remaining: float | None = None, *, active: bool = True) -> None:
        self.remaining, self.active = remaining, active
        self.callbacks: list[Callable[[], None]] = []

    def time_remaining(self) -> float | None:
        return self.remaining

    def is_active(self) -> bool:
        return self.active

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.callbacks.append(callback)
        return self.active


def call(context: Context, room: WaitingRoom | None = None) -> Call:
    return Call(cast("Any", context), room or WaitingRoom(1))


@pytest.mark.parametrize(
    ("remaining", "wanted", "expected"),
    [
        (None, 0.0, None),
        (None, 3.0, 3.0),
        (math.inf, 0.0, None),
        (9e9, 0.0, None),
        (100.0, 0.0, 99.75),
        (1.0, 0.0, 0.9),
        (1.0, 0.5, 0.5),
        (1.0, 5.0, 0.9),
        (1.0, math.inf, 0.9),
        (0.1, 0.0, 0.08),
        (0.02, 0.0, 0.01),
        (0.001, 0.0, 0.0005),
        (0.0, 0.0, 0.0),
    ],
)
def test_an_answer_is_back_before_the_deadline(
    remaining: float | None, wanted: float, expected: float | None
) -> None:
    assert call(Context(remaining)).timeout(wanted) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [(None, None), (math.inf, None), (100.0, 99.875), (1.0, 0.95), (0.1, 0.09), (0.02, 0.015)],
)
def test_who_does_not_answer_in_time_is_answered_for_a_little_later(
    remaining: float | None, expected: float | None
) -> None:
    due = call(Context(remaining)).due(FakeClock(now=0.0))
    assert due == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("remaining", [None, 1e12, 0.01, 1.0, 60.0])
def test_what_a_call_passes_on_ends_when_its_own_waits_do(remaining: float | None) -> None:
    one = call(Context(remaining))
    assert one.until is None
    due = one.due(FakeClock(now=0.0))
    timeout = one.timeout()
    assert one.until == (None if timeout is None else pytest.approx(timeout))
    assert due is None or due > (timeout or 0.0)


@pytest.mark.parametrize("wanted", [-1.0, math.nan])
def test_what_is_no_time_is_refused(wanted: float) -> None:
    with pytest.raises(InvalidArgumentError, match="a timeout is a number of seconds"):
        call(Context()).timeout(wanted)


def test_so_many_wait_and_no_more() -> None:
    room = WaitingRoom(2)

    def end() -> None: ...

    full = pytest.raises(ResourceExhaustedError, match="2 calls are waiting already")
    with room.place(end), room.place(end), full, room.place(end):  # which end alike, and are three
        pass
    with room.place(end):
        pass


def test_whoever_waits_is_told_that_the_server_stops() -> None:
    room, ended = WaitingRoom(1), []
    with call(Context(), room).waiting(lambda: ended.append("stop")) as waiting:
        assert waiting is None
        room.close()
    assert ended == ["stop"]
    with pytest.raises(ClosedError), room.place(lambda: None):
        pass
    assert isinstance(call(Context(), room).over(), ClosedError)


def test_whoever_waits_is_told_that_the_caller_has_gone() -> None:
    context, ended = Context(), []
    with call(context).waiting(lambda: ended.append("gone")):
        context.callbacks[0]()
    assert ended == ["gone"]


def test_a_call_that_is_over_does_not_begin_to_wait() -> None:
    over = call(Context(active=False))
    assert over.ended
    with pytest.raises(LoadCancelledError), over.waiting(lambda: None):
        pass
