"""The deadline of the request that a thread works for."""

from __future__ import annotations

import asyncio
import math

import pytest

from servman.deadline import current_deadline, deadline, deadline_at, remaining
from servman.errors import InvalidArgumentError
from servman.testing import FakeClock, Spawned


def test_there_is_none_unless_it_is_set() -> None:
    assert current_deadline() is None
    assert remaining() is None


def test_it_holds_inside_the_with_alone() -> None:
    clock = FakeClock()
    with deadline(3.0, clock=clock):
        assert current_deadline() == clock.monotonic() + 3.0
        clock.advance(1.0)
        assert remaining(clock=clock) == 2.0
    assert current_deadline() is None


def test_it_ends_with_the_with_though_that_raises() -> None:
    with pytest.raises(KeyError), deadline(3.0):
        raise KeyError
    assert current_deadline() is None


def test_one_inside_another_only_tightens() -> None:
    with deadline_at(50.0):
        with deadline_at(80.0):
            assert current_deadline() == 50.0
        with deadline_at(None):
            assert current_deadline() == 50.0
        with deadline_at(20.0):
            assert current_deadline() == 20.0
            with deadline_at(50.0):
                assert current_deadline() == 20.0
        assert current_deadline() == 50.0


def test_none_sets_none() -> None:
    with deadline(None):
        assert current_deadline() is None


def test_nothing_is_left_of_one_that_has_passed() -> None:
    clock = FakeClock()
    with deadline(1.0, clock=clock):
        clock.advance(5.0)
        assert remaining(clock=clock) == 0.0


def test_each_thread_has_its_own() -> None:
    with deadline(3.0):
        assert Spawned(current_deadline).result() is None


def test_each_task_has_its_own() -> None:
    async def inner() -> float | None:
        with deadline_at(1.0):
            await asyncio.sleep(0)
            return current_deadline()

    async def outer() -> list[float | None]:
        with deadline_at(7.0):
            task = asyncio.create_task(inner())
            await asyncio.sleep(0)
            return [current_deadline(), await task, current_deadline()]

    assert asyncio.run(outer()) == [7.0, 1.0, 7.0]


@pytest.mark.parametrize("seconds", [-1.0, math.nan, "3", True])
def test_what_is_no_number_of_seconds_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgumentError):
        deadline(seconds)
