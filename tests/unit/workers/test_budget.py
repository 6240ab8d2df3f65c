"""Serving time, and how many starts it allows."""

from __future__ import annotations

import math

from servman.workers.budget import Budget, ServingTime


def test_the_watch_runs_only_while_something_serves() -> None:
    watch = ServingTime()
    watch.run(serving=True, now=10.0)
    watch.run(serving=True, now=12.0)
    watch.run(serving=False, now=15.0)
    assert watch.at(100.0) == 5.0
    watch.run(serving=True, now=100.0)
    assert watch.at(101.0) == 6.0


def test_the_watch_tells_when_it_will_show_a_reading() -> None:
    watch = ServingTime()
    assert watch.when(0.0, 10.0) == 10.0
    assert watch.when(1.0, 10.0) == math.inf  # it stands
    watch.run(serving=True, now=10.0)
    assert watch.when(3.0, 11.0) == 13.0


def test_a_reading_counts_as_reached_in_spite_of_rounding() -> None:
    watch = ServingTime()
    watch.run(serving=True, now=0.1)
    target = 0.1 + 0.2
    assert watch.at(target + 0.1 - 1e-9) < target
    assert watch.when(target, target + 0.1 - 1e-9) == target + 0.1 - 1e-9


def test_a_budget_is_free_again_a_window_after_the_oldest_start() -> None:
    budget = Budget(2, 60.0)
    assert budget.free_at() == -math.inf
    budget.spend(1.0)
    assert budget.free_at() == -math.inf
    budget.spend(5.0)
    assert budget.free_at() == 61.0
    budget.spend(61.0)
    assert budget.free_at() == 65.0


def test_a_budget_of_none_is_never_free() -> None:
    assert Budget(0, 60.0).free_at() == math.inf
