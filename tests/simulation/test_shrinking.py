"""Shrinking: what is left still fails, and nothing of it can be left out."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from servman.testing import FakeClock
from tests.simulation.shrinking import shrink


@given(st.sets(st.integers(0, 40), min_size=1))
def test_what_is_left_is_exactly_what_is_needed(needed: set[int]) -> None:
    def fails(items: Sequence[int]) -> bool:
        return needed <= set(items)

    assert shrink(range(41), fails, 60.0) == sorted(needed)


def test_what_needs_nothing_shrinks_to_nothing() -> None:
    assert shrink([1, 2, 3], lambda _: True, 60.0) == []


def test_when_its_time_is_over_it_returns_the_shortest_that_it_has_found() -> None:
    clock = FakeClock()

    def fails(items: Sequence[int]) -> bool:
        clock.advance(1.0)
        return 3 in items

    assert shrink(range(8), fails, 2.0, clock) == [0, 1, 2, 3]
