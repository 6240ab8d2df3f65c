"""Calls that do not end in time are answered, each once, and no others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final, cast, final

import grpc._server as grpc_server
import pytest

from servman.ids import ServableId
from servman.server.calls import Call, WaitingRoom
from servman.server.deadlines import Deadlines
from servman.testing import FakeClock
from servman.testing.clock import WATCHDOG
from servman.threads import WorkerPool

_server: Final[Any] = grpc_server


@final
class Context:
    """What grpc knows of a call that has so much time left.

    Attributes:
        answered: Set once something was sent to the caller.
    """

    def __init__(self, remaining: float) -> None:
        self.remaining = remaining
        self.answered = threading.Event()
        self._state = _server._RPCState()
        self._rpc_event = SimpleNamespace(call=self)

    def time_remaining(self) -> float:
        return self.remaining

    def is_active(self) -> bool:
        return bool(_server._is_rpc_state_active(self._state))

    def start_server_batch(self, *_: object) -> None:
        assert not self.answered.is_set()
        self.answered.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def deadlines(clock: FakeClock) -> Iterator[Deadlines]:
    pool = WorkerPool("calls", 0, clock)  # which is full
    made = Deadlines(clock, WaitingRoom(1), pool)
    made.start()
    yield made
    made.close()


def call(remaining: float) -> tuple[Call, Context]:
    context = Context(remaining)
    return Call(cast("Any", context), WaitingRoom(1), "Predict"), context


def test_a_call_is_answered_shortly_before_its_deadline(
    deadlines: Deadlines, clock: FakeClock
) -> None:
    slow, context = call(10.0)
    deadlines.begin(slow)
    clock.wait_until_parked(1)
    clock.advance(9.8)
    assert not context.answered.is_set()
    clock.advance(0.1)
    assert context.answered.wait(WATCHDOG)


def test_an_earlier_deadline_wakes_and_a_later_one_is_not_forgotten(
    deadlines: Deadlines, clock: FakeClock
) -> None:
    calls = [call(seconds) for seconds in (10.0, 1.0, 5.0)]
    for one, _ in calls:
        deadlines.begin(one)
    for index in (1, 2, 0):
        clock.wait_until_parked(1)
        clock.advance(4.0 if index else 2.0)
        assert calls[index][1].answered.wait(WATCHDOG)
        later = {1: (0, 2), 2: (0,), 0: ()}[index]
        assert not any(calls[one][1].answered.is_set() for one in later)


def test_a_call_that_has_ended_is_not_answered(deadlines: Deadlines, clock: FakeClock) -> None:
    (ended, ended_context), (slow, slow_context) = call(1.0), call(1.0)
    deadlines.begin(ended)
    deadlines.begin(slow)
    deadlines.end(ended)
    clock.wait_until_parked(1)
    clock.advance(1.0)
    assert slow_context.answered.wait(WATCHDOG)
    assert not ended_context.answered.is_set()


def test_a_call_that_its_caller_has_given_up_is_not_answered(
    deadlines: Deadlines, clock: FakeClock
) -> None:
    (gone, gone_context), (slow, slow_context) = call(1.0), call(2.0)
    gone_context._state.client = _server._CANCELLED
    deadlines.begin(gone)
    deadlines.begin(slow)
    clock.wait_until_parked(1)
    clock.advance(2.0)
    assert slow_context.answered.wait(WATCHDOG)
    assert not gone_context.answered.is_set()


def test_what_is_said_names_the_servable_or_the_threads() -> None:
    late, _ = call(1.0)
    assert late.due(FakeClock()) is not None
    assert late.lateness().startswith("Predict did not end within 0.950 s")
    late.servable = ServableId("m", 3)
    assert late.lateness().startswith("Predict of m:3 did not end within 0.950 s")
    late.threads = 4
    assert late.lateness().startswith("Predict found no free thread within 0.950 s")
    assert "all 4 are busy" in late.lateness()


def test_a_grpc_that_hands_over_something_else_harms_nobody(
    deadlines: Deadlines, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert deadlines.wait("something", "else") is None
    assert "a call that waits for a thread cannot be read" in caplog.text
