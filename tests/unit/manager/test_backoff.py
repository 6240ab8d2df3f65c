"""Pauses between attempts: their growth, their limit, and what chance may do to them."""

from __future__ import annotations

import math
import pickle
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servman.errors import InvalidArgumentError
from servman.manager.backoff import ExponentialBackoff, pause_after

ALMOST_ONE = math.nextafter(1.0, 0.0)

seconds = st.floats(0.0, sys.float_info.max)
jitters = st.floats(0.0, 1.0)
chances = st.floats(0.0, 1.0, exclude_max=True)
attempts = st.integers(1, 10_000)


@st.composite
def backoffs(draw: st.DrawFn, jitter: st.SearchStrategy[float] = jitters) -> ExponentialBackoff:
    initial, maximum = sorted((draw(seconds), draw(seconds)))
    multiplier = draw(st.floats(1.0, sys.float_info.max) | st.integers(1, 10))
    return ExponentialBackoff(
        initial=initial, maximum=maximum, multiplier=multiplier, jitter=draw(jitter)
    )


def pauses(backoff: ExponentialBackoff, count: int, chance: float = 0.0) -> list[float]:
    return [backoff.pause(attempt, chance) for attempt in range(1, count + 1)]


def test_pauses_double_from_a_second_to_a_minute_by_default() -> None:
    assert pauses(ExponentialBackoff(), 8) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_pauses_grow_by_the_multiplier_from_the_initial_one() -> None:
    backoff = ExponentialBackoff(initial=0.5, multiplier=3, maximum=10.0)
    assert pauses(backoff, 4) == [0.5, 1.5, 4.5, 10.0]


@pytest.mark.parametrize(
    ("jitter", "least", "mean"), [(0.0, 8.0, 8.0), (0.5, 4.0, 6.0), (1.0, 0.0, 4.0)]
)
def test_chance_takes_away_the_part_that_is_jitter(
    jitter: float, least: float, mean: float
) -> None:
    backoff = ExponentialBackoff(initial=8.0, jitter=jitter)
    assert backoff.pause(1, 0.0) == 8.0
    assert backoff.pause(1, 0.5) == mean
    assert backoff.pause(1, ALMOST_ONE) == pytest.approx(least)


def test_the_limit_holds_before_chance_so_that_late_pauses_differ_too() -> None:
    backoff = ExponentialBackoff(maximum=60.0, jitter=0.5)
    assert backoff.pause(100, 0.5) == 45.0


def test_a_multiplier_of_one_keeps_the_pauses_at_the_initial_one() -> None:
    assert pauses(ExponentialBackoff(initial=3.0, multiplier=1), 3) == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("multiplier", [2.0, 2, 1e300])
@pytest.mark.parametrize("attempt", [10_000, 10**400])
def test_no_number_of_attempts_is_too_large(multiplier: float, attempt: int) -> None:
    backoff = ExponentialBackoff(multiplier=multiplier)
    assert backoff.pause(attempt, 0.0) == 60.0


def test_an_initial_pause_of_nothing_stays_nothing() -> None:
    assert set(pauses(ExponentialBackoff(initial=0.0), 2_000)) == {0.0}


@given(backoffs(), attempts, chances)
@example(ExponentialBackoff(), 10_000, ALMOST_ONE)
def test_a_pause_stays_between_what_is_certain_of_it_and_the_limit(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:
    longest = backoff.pause(attempt, 0.0)
    assert min(backoff.initial, backoff.maximum) <= longest <= backoff.maximum
    assert longest * (1.0 - backoff.jitter) <= backoff.pause(attempt, chance) <= longest


@given(backoffs(), attempts, chances)
def test_for_the_same_chance_no_pause_is_shorter_than_the_one_before(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:

    assert backoff.pause(attempt, chance) <= backoff.pause(attempt + 1, chance)


@given(backoffs(), attempts, chances, chances)
def test_a_larger_chance_never_means_a_longer_pause(
    backoff: ExponentialBackoff, attempt: int, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    assert backoff.pause(attempt, large) <= backoff.pause(attempt, small)


@given(backoffs(jitter=st.just(0.0)), attempts, chances)
def test_without_jitter_chance_changes_nothing(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:
    assert backoff.pause(attempt, chance) == backoff.pause(attempt, 0.0)


@given(attempts, chances)
def test_a_fixed_interval_is_the_pause_after_every_attempt(attempt: int, chance: float) -> None:
    assert pause_after(7.5, attempt, chance) == 7.5


@given(backoffs(), attempts, chances)
def test_a_back_off_says_the_pause_itself(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:
    assert pause_after(backoff, attempt, chance) == backoff.pause(attempt, chance)


NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, True, "1", None]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("initial", "maximum", "multiplier") for value in NO_NUMBERS),
        *(("jitter", value) for value in NO_NUMBERS),
        ("initial", -0.1),
        ("maximum", 0.9),
        ("multiplier", 0.9),
        ("multiplier", -2.0),
        ("jitter", -0.1),
        ("jitter", 1.1),
    ],
)
def test_a_field_that_can_never_be_right_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{field} of an ExponentialBackoff must be"):
        ExponentialBackoff(**{field: value})  # type: ignore[arg-type] # as said


def test_bounds_that_leave_one_pause_or_no_chance_are_fine() -> None:
    ExponentialBackoff(initial=60.0, maximum=60.0, multiplier=1.0, jitter=0.0)
    ExponentialBackoff(initial=0.0, maximum=0.0, jitter=1.0)


@pytest.mark.parametrize(
    ("attempt", "chance"), [(0, 0.5), (-1, 0.5), (1, -0.1), (1, 1.0), (1, math.nan)]
)
def test_no_pause_comes_before_an_attempt_or_from_what_is_no_chance(
    attempt: int, chance: float
) -> None:
    with pytest.raises(InvalidArgumentError, match="a pause comes after 1 or more attempts"):
        ExponentialBackoff().pause(attempt, chance)


def test_back_offs_are_values() -> None:
    backoff = ExponentialBackoff(initial=2.0)
    assert backoff == ExponentialBackoff(initial=2.0) != ExponentialBackoff()
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert len({backoff, ExponentialBackoff(initial=2.0)}) == 1
