"""Pauses between attempts that grow, and differ by chance, as the manager takes them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import pytest

from servman.manager import ExponentialBackoff, ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.unit.manager.rig import FileLoader, ModelLoader, Rig, entry, failing, sid

DOUBLING = ExponentialBackoff(initial=1.0, maximum=8.0, multiplier=2.0, jitter=0.0)


def rig_with(interval: float | ExponentialBackoff, chances: Iterable[float] = (0.0,)) -> Rig:
    """Make a manager whose jitter comes from *chances*, over and over."""
    rig = Rig(load_retry_interval=interval, max_num_load_retries=6)
    reconciler = rig.manager._actor._reconciler
    chance: Callable[[], float] = itertools.cycle(chances).__next__
    reconciler._options = dataclasses.replace(reconciler._options, chance=chance)
    return rig


def pause(rig: Rig, id: str) -> float:
    """Return how long *id* pauses from now on."""
    retry_at = rig.snapshot(id).retry_at
    assert retry_at is not None
    return retry_at - rig.clock.monotonic()


def pauses(rig: Rig, id: str, count: int) -> list[float]:
    """Return the next *count* pauses of *id*, and be in the pause after them."""
    found = []
    for _ in range(count):
        found.append(pause(rig, id))
        rig.advance(found[-1])
    return found


def test_pauses_grow_up_to_their_limit() -> None:
    rig = rig_with(DOUBLING)
    rig.bring("m", entry("m:1", failing()))
    assert pauses(rig, "m:1", 6) == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert len(rig.ends("m:1")) == 1


def test_a_fixed_interval_stays_as_it_is() -> None:
    rig = rig_with(3.0)
    rig.bring("m", entry("m:1", failing()))
    assert pauses(rig, "m:1", 3) == [3.0, 3.0, 3.0]


def test_no_attempt_is_made_before_its_pause_is_over() -> None:
    rig, loader = rig_with(DOUBLING), failing()
    rig.bring("m", entry("m:1", loader))
    rig.advance(1.0)
    rig.advance(1.9)
    assert len(loader.contexts) == 2
    rig.advance(0.1)
    assert len(loader.contexts) == 3


def test_a_retry_that_was_asked_for_lets_the_pauses_grow_from_the_first_again() -> None:
    rig = rig_with(DOUBLING)
    rig.bring("m", entry("m:1", failing()))
    assert pauses(rig, "m:1", 3) == [1.0, 2.0, 4.0]
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert rig.snapshot("m:1").attempts == 1
    assert pauses(rig, "m:1", 2) == [1.0, 2.0]


def test_so_do_files_that_have_changed() -> None:
    rig = rig_with(dataclasses.replace(DOUBLING, initial=4.0))
    loader = FileLoader(*[ValueError("planted")] * 9)
    rig.bring("m", entry("m:1", loader))
    rig.advance(4.0)
    assert pause(rig, "m:1") == 8.0
    loader.files = 1
    rig.advance(1.0)
    assert rig.snapshot("m:1").attempts == 1
    assert pause(rig, "m:1") == 4.0


def test_each_pause_draws_its_own_chance() -> None:
    rig = rig_with(dataclasses.replace(DOUBLING, jitter=0.5), chances=(0.0, 0.5, 0.25))
    rig.bring("m", entry("m:1", failing()))
    assert pauses(rig, "m:1", 3) == [1.0, 1.5, 3.5]


def test_versions_that_failed_together_are_not_tried_again_together() -> None:
    rig = rig_with(dataclasses.replace(DOUBLING, jitter=0.5), chances=(0.0, 0.5))
    rig.bring("a", entry("a:1", failing()))
    rig.bring("b", entry("b:1", failing()))
    assert (pause(rig, "a:1"), pause(rig, "b:1")) == (1.0, 0.75)


@pytest.mark.parametrize("interval", [0.0, 1.0])
def test_two_that_always_fail_and_do_not_fit_together_do_not_go_on_for_ever(
    interval: float,
) -> None:
    class Large(ModelLoader):
        def estimate_resources(self) -> ResourceAllocation:
            return ResourceAllocation({MAIN_MEMORY: 6})

    tracker = ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))
    rig = Rig(load_retry_interval=interval, max_num_load_retries=2, resource_tracker=tracker)
    loaders = {name: Large(*[ValueError("planted")] * 99) for name in "ab"}
    for name, loader in loaders.items():
        rig.aspire(name, entry(f"{name}:1", loader))
    for _ in range(20):
        for _ in range(10):
            rig.step()
            rig.loads.run_all()
        rig.clock.advance(1.0)
    for name, loader in loaders.items():
        assert [context.attempt for context in loader.contexts] == [1, 2, 3]
        assert "planted" in str(rig.snapshot(f"{name}:1").error)


def test_left_to_itself_a_manager_draws_chances_that_differ() -> None:
    rig = Rig(load_retry_interval=ExponentialBackoff())
    wanted = [entry(f"m:{version}", failing()) for version in range(8)]
    rig.bring("m", *wanted)
    found = [pause(rig, str(one.id)) for one in wanted]
    assert all(0.5 < one <= 1.0 for one in found)
    assert len(set(found)) > 1
