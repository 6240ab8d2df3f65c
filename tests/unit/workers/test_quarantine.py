"""Which requests are refused, from when on, and for how long."""

from __future__ import annotations

import signal

import pytest

from servman.workers.quarantine import _MOST, Quarantine, is_crash
from tests.unit.workers.dispatching import died

A, B = b"a", b"b"


def test_nothing_is_suspected_at_first() -> None:
    quarantine = Quarantine(60.0)
    assert quarantine.empty
    assert quarantine.refused_for(A, 0.0) == 0.0
    assert not quarantine.may_know(10)


def test_one_crash_makes_a_suspicion_and_two_a_refusal() -> None:
    quarantine = Quarantine(60.0)
    quarantine.accuse(A, 1, 10, 0.0)
    assert not quarantine.empty
    assert quarantine.refused_for(A, 1.0) == 0.0
    assert quarantine.suspects(A)
    assert not quarantine.suspects(B)
    quarantine.accuse(A, 2, 10, 5.0)
    assert quarantine.refused_for(A, 5.0) == 60.0
    assert quarantine.refused_for(A, 64.0) == 1.0
    assert quarantine.refused_for(B, 6.0) == 0.0


def test_a_refusal_ends_with_the_period_and_counts_anew() -> None:
    quarantine = Quarantine(60.0)
    quarantine.accuse(A, 1, 10, 0.0)
    quarantine.accuse(A, 2, 10, 0.0)
    assert quarantine.refused_for(A, 60.0) == 0.0
    assert quarantine.empty
    quarantine.accuse(A, 3, 10, 61.0)
    assert quarantine.refused_for(A, 61.0) == 0.0


def test_a_suspicion_that_is_too_old_does_not_count() -> None:
    quarantine = Quarantine(60.0)
    quarantine.accuse(A, 1, 10, 0.0)
    quarantine.accuse(A, 2, 10, 60.0)
    assert quarantine.refused_for(A, 60.0) == 0.0


def test_a_crash_counts_once_however_often_the_request_was_running() -> None:
    quarantine = Quarantine(60.0)
    for _ in range(3):
        quarantine.accuse(A, 1, 10, 0.0)
    assert quarantine.refused_for(A, 0.0) == 0.0
    assert quarantine.suspects(A)


def test_an_acquittal_clears_one_request_alone() -> None:
    quarantine = Quarantine(60.0)
    for process in (1, 2):
        quarantine.accuse(A, process, 10, 0.0)
        quarantine.accuse(B, process, 10, 0.0)
    quarantine.acquit(A)
    assert quarantine.refused_for(A, 1.0) == 0.0
    assert quarantine.refused_for(B, 1.0) > 0.0
    quarantine.acquit(B)
    assert quarantine.empty
    quarantine.acquit(B)


def test_only_requests_of_a_size_that_is_suspected_need_a_closer_look() -> None:
    quarantine = Quarantine(60.0)
    quarantine.accuse(A, 1, 10, 0.0)
    assert quarantine.may_know(10)
    assert not quarantine.may_know(11)


def test_a_suspicion_that_is_renewed_does_not_keep_others_from_being_forgotten() -> None:
    quarantine = Quarantine(60.0)
    quarantine.accuse(A, 1, 10, 0.0)
    quarantine.accuse(B, 2, 11, 1.0)
    quarantine.accuse(A, 3, 10, 30.0)
    assert quarantine.refused_for(A, 62.0) > 0.0
    assert quarantine.may_know(10)
    assert not quarantine.may_know(11)


def test_without_a_period_nothing_is_remembered() -> None:
    quarantine = Quarantine(0.0)
    quarantine.accuse(A, 1, 10, 0.0)
    quarantine.accuse(A, 2, 10, 0.0)
    assert quarantine.empty


def test_of_very_many_suspicions_the_oldest_are_forgotten() -> None:
    quarantine = Quarantine(60.0)
    for number in range(_MOST + 5):
        quarantine.accuse(str(number).encode(), 1, number, 0.0)
    assert not quarantine.may_know(4)
    assert quarantine.may_know(5)


@pytest.mark.parametrize(
    ("exit_code", "number", "crash"),
    [
        (0, None, True),
        (1, None, True),
        (None, signal.SIGSEGV, True),
        (None, signal.SIGABRT, True),
        (None, signal.SIGKILL, False),
        (None, signal.SIGTERM, False),
        (None, signal.SIGINT, False),
        (None, None, False),
    ],
)
def test_only_an_end_that_came_from_inside_is_a_crash(
    exit_code: int | None, number: int | None, crash: bool
) -> None:
    assert is_crash(died(exit_code=exit_code, signal=number)) is crash
