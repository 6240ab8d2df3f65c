"""The cases of section 5.1 on how many loads run at once, and on what may run beside what.

TensorFlow Serving makes a new pool when the number of threads changes, and has none where it is 0;
here one pool grows and shrinks, and the manager hands out its places.
"""

from __future__ import annotations

import threading

import pytest

from servman.errors import InvalidArgumentError
from servman.loader import SimpleLoader
from servman.manager import ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState
from servman.testing.clock import WATCHDOG
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Rig, entry


def memory(size: int) -> ResourceAllocation:
    return ResourceAllocation({MAIN_MEMORY: size})


@pytest.mark.departs("BM-36")
def test_no_load_runs_on_the_thread_that_asks_for_it_as_there_is_always_one_for_loads() -> None:
    loaded_on: list[str] = []

    def create(_: object) -> str:
        loaded_on.append(threading.current_thread().name)
        return "servable"

    live = Live(num_load_threads=1)
    try:
        for count in (1, 2, 1):
            live.manager.num_load_threads = count
            live.bring("m", entry(f"m:{len(loaded_on)}", SimpleLoader(create)))
        with pytest.raises(InvalidArgumentError, match="at least 1, not 0"):
            live.manager.num_load_threads = 0
        assert live.manager.num_load_threads == 1
    finally:
        live.close()
    assert [name.partition("-")[0] for name in loaded_on] == ["load", "load", "load"]


@pytest.mark.case("BM-37")
def test_a_load_that_runs_keeps_its_place_when_the_number_of_threads_is_set_anew() -> None:
    rig = Rig(num_load_threads=1)
    rig.aspire("one", 1)
    rig.manager.num_load_threads = 1
    rig.aspire("two", 1)
    assert len(rig.loads.jobs) == 1, "never two at once"
    rig.load()
    assert len(rig.loads.jobs) == 1, "one after the other"
    rig.load()
    assert rig.serving() == ["one:1", "two:1"]


@pytest.mark.departs("BM-38")
def test_with_fewer_threads_what_runs_goes_on_and_what_comes_later_waits_for_its_turn() -> None:
    rig = Rig(num_load_threads=32)
    names = [f"stream-{number:02}" for number in range(20)]
    for name in names:
        rig.aspire(name, 1)
    rig.manager.num_load_threads = 1  # returns although twenty loads run
    rig.aspire("late", 1)
    assert len(rig.loads.jobs) == 20
    for left in range(19, 0, -1):
        rig.load()
        assert len(rig.loads.jobs) == left, "the late one waits until there is room for one"
    rig.load()
    assert len(rig.serving()) == 20
    rig.load()
    assert "late:1" in rig.serving()
    for name in names:
        rig.bring(name)
        assert rig.ends(f"{name}:1") == [None]


@pytest.mark.case("BM-47")
def test_two_loads_that_fit_together_overlap() -> None:
    live = Live(num_load_threads=2, resource_tracker=ResourceTracker(memory(10)))
    both = threading.Barrier(2)

    def create(_: object) -> str:
        return f"met as {both.wait(WATCHDOG)}"

    try:
        for name in ("one", "two"):
            loader = SimpleLoader(create, estimate=lambda: memory(5))
            live.aspire(name, entry(f"{name}:1", loader))
        for name in ("one", "two"):
            live.wait_for(f"{name}:1", ManagerState.AVAILABLE)
    finally:
        live.close()
