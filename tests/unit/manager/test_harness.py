"""The harness: the table of legal moves is that of TensorFlow Serving, and nothing else is legal."""

from __future__ import annotations

import itertools

import pytest

from servman.errors import FailedPreconditionError, InternalError, LoadFailedError
from servman.manager.harness import NEXT, HarnessState, LoaderHarness
from tests.unit.manager.rig import entry

S = HarnessState

LIFE = [
    S.NEW,
    S.LOAD_REQUESTED,
    S.LOAD_APPROVED,
    S.LOADING,
    S.READY,
    S.UNLOAD_REQUESTED,
    S.QUIESCING,
    S.QUIESCED,
    S.UNLOADING,
    S.DISABLED,
]
LEGAL = {
    *itertools.pairwise(LIFE),
    (S.LOADING, S.UNLOADING),
    *((state, S.ERROR) for state in LIFE if state is not S.DISABLED),
}
ALL = list(itertools.product(S, S))


def harness_in(state: HarnessState) -> LoaderHarness:
    """Bring a new harness to *state* by legal moves."""
    harness = LoaderHarness(entry("m:1"), 1, 0.0)
    if state is S.ERROR:
        harness.fail(LoadFailedError("broken"), 0.0)
        return harness
    for step in LIFE[1 : LIFE.index(state) + 1]:
        harness.move(step, 0.0)
    return harness


@pytest.mark.parametrize(("here", "there"), [one for one in ALL if one in LEGAL])
def test_a_legal_move_is_made_and_dated(here: HarnessState, there: HarnessState) -> None:
    harness = harness_in(here)
    harness.move(there, 7.0)
    assert (harness.state, harness.snapshot().since) == (there, 7.0)


@pytest.mark.parametrize(("here", "there"), [one for one in ALL if one not in LEGAL])
def test_any_other_move_raises_and_changes_nothing(here: HarnessState, there: HarnessState) -> None:
    harness = harness_in(here)
    with pytest.raises(InternalError, match=f"m:1: illegal move from {here.value} to"):
        harness.move(there, 7.0)
    assert (harness.state, harness.snapshot().since) == (here, 0.0)


def test_every_state_has_its_moves() -> None:
    assert set(NEXT) == set(S)
    assert {(here, there) for here, nexts in NEXT.items() for there in nexts} == LEGAL


@pytest.mark.parametrize("state", [one for one in S if one is not S.NEW])
def test_a_load_can_be_asked_for_once(state: HarnessState) -> None:
    harness = harness_in(state)
    with pytest.raises(FailedPreconditionError, match="m:1: duplicate load request"):
        harness.request_load(1.0)
    assert harness.state is state


@pytest.mark.parametrize("state", [one for one in S if one is not S.READY])
def test_an_unload_can_be_asked_for_when_ready_only(state: HarnessState) -> None:
    harness = harness_in(state)
    with pytest.raises(FailedPreconditionError, match="servable not loaded, or unload already"):
        harness.request_unload(1.0)
    assert harness.state is state


def test_a_pause_keeps_the_state_the_error_and_the_time_of_the_next_attempt() -> None:
    harness = harness_in(S.LOADING)
    error = LoadFailedError("not yet")
    harness.begin_attempt(1.0)
    harness.pause(error, until=62.0, now=2.0)
    snapshot = harness.snapshot()
    assert harness.paused
    assert (snapshot.state, snapshot.error, snapshot.retry_at) == (S.LOADING, error, 62.0)
    assert (snapshot.attempts, snapshot.since) == (1, 2.0)


def test_a_pause_ends_without_an_attempt_and_an_attempt_is_counted_when_it_begins() -> None:
    harness = harness_in(S.LOADING)
    harness.pause(LoadFailedError("not yet"), until=62.0, now=2.0)
    harness.resume(5.0)
    assert not harness.paused
    assert harness.attempts == 0
    harness.begin_attempt(6.0)
    assert (harness.attempts, harness.snapshot().since) == (1, 6.0)


def test_a_success_clears_the_error_of_the_attempt_before() -> None:
    harness = harness_in(S.LOADING)
    harness.pause(LoadFailedError("not yet"), until=62.0, now=2.0)
    harness.resume(62.0)
    harness.succeed(63.0)
    assert (harness.state, harness.error) == (S.READY, None)


def test_a_failure_in_a_pause_ends_the_pause() -> None:
    harness = harness_in(S.LOADING)
    harness.pause(LoadFailedError("not yet"), until=62.0, now=2.0)
    harness.fail(LoadFailedError("never"), 3.0)
    assert not harness.paused
    assert harness.ended
    assert str(harness.error) == "never"


def test_a_cancelled_load_goes_straight_to_its_unload_with_the_error_it_will_end_with() -> None:
    harness = harness_in(S.LOADING)
    error = LoadFailedError("nobody wants it")
    harness.undo(error, 3.0)
    assert (harness.state, harness.error, harness.ended) == (S.UNLOADING, error, False)


@pytest.mark.parametrize("state", S)
def test_only_the_two_last_states_are_ends(state: HarnessState) -> None:
    assert harness_in(state).ended == (state in (S.DISABLED, S.ERROR))
