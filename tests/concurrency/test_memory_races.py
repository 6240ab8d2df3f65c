"""Loads that compete for the last memory, in every order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servman.errors import LoadCancelledError, ResourceExhaustedError
from servman.manager import HarnessState
from servman.manager.tracker import ResourceTracker
from servman.reasons import ReasonCode
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState
from servman.testing import FakeClock
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Bystander, Gate, Held, let_it_act, let_it_hear, together
from tests.unit.manager.live import Live
from tests.unit.manager.rig import ModelLoader, Rig, entry

TOTAL = 10


def ram(quantity: int) -> ResourceAllocation:
    return ResourceAllocation({MAIN_MEMORY: quantity})


class Hungry(ModelLoader):
    """A loader that needs memory."""

    def __init__(self, needs: int) -> None:
        super().__init__()
        self._needs = ram(needs)

    def estimate_resources(self) -> ResourceAllocation:
        return self._needs


class HungryHeld(Held):
    """A loader that needs memory, whose load waits at a gate."""

    def estimate_resources(self) -> ResourceAllocation:
        return ram(6)


class Pondering(ModelLoader):
    """A loader that needs memory, and waits at the next of its gates before it says how much."""

    def __init__(self, needs: int, gates: int = 1) -> None:
        super().__init__()
        self.gates = [Gate(ram(needs)) for _ in range(gates)]
        self._next = iter(self.gates)
        self._needs = ram(needs)

    def estimate_resources(self) -> ResourceAllocation:
        gate = next(self._next, None)
        return self._needs if gate is None else gate()


def with_memory(load_threads: int, **options: Any) -> Live:
    """Return a started manager that has 10 bytes."""
    return Live(
        resource_tracker=ResourceTracker(ram(TOTAL)),
        num_load_threads=load_threads,
        num_unload_threads=1,
        **options,
    )


@pytest.fixture
def live() -> Iterator[Live]:
    """Return a manager with memory and one load thread, and close it."""
    live = with_memory(1)
    yield live
    live.close()


@pytest.fixture
def wide() -> Iterator[Live]:
    """Return a manager with memory and a second load thread, and close it."""
    live = with_memory(2)
    yield live
    live.close()


def everything_is_free(live: Live) -> bool:
    """Return whether a version that needs all there is can load."""
    live.bring("all", entry("all:1", Hungry(TOTAL)))
    return "all:1" in live.serving()


# ---- two at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), ["ab", "ba"])
def test_of_two_that_are_estimated_at_once_the_first_to_answer_loads_and_the_other_gets_the_numbers(
    wide: Live, first: str, second: str
) -> None:
    loaders = {name: Pondering(6) for name in "ab"}
    for name, loader in loaders.items():
        wide.aspire(name, entry(f"{name}:1", loader))
    for loader in loaders.values():
        loader.gates[0].wait()
    loaders[first].gates[0].open()
    wide.wait_for(f"{first}:1", ManagerState.AVAILABLE)
    loaders[second].gates[0].open()
    wide.wait_for(f"{second}:1", ManagerState.END)
    (error,) = wide.ends(f"{second}:1")
    assert isinstance(error, ResourceExhaustedError)
    assert f"needs 6 ram_bytes on main, of 10 there are 6 in use ({first}:1 6)" in str(error)
    assert loaders[second].contexts == []
    wide.aspire(first)
    wide.wait_for(f"{second}:1", ManagerState.AVAILABLE)


def test_of_several_that_answer_at_one_moment_one_is_loaded() -> None:
    live, gate = with_memory(3), Gate()

    class Together(ModelLoader):
        def estimate_resources(self) -> ResourceAllocation:
            gate()
            return ram(6)

    bringing = together(
        *(functools.partial(live.bring, name, entry(f"{name}:1", Together())) for name in "abc")
    )
    gate.wait()
    gate.open()
    for one in bringing:
        one.result()
    (winner,) = live.serving()
    losers = [f"{name}:1" for name in "abc" if f"{name}:1" != winner]
    assert all(f"({winner} 6)" in str(live.ends(one)[0]) for one in losers)
    live.close()


# ---- waiting for what is on its way out ----------------------------------------------------------


def leaving(live: Live) -> Callable[[], None]:
    """Let "old:1", which has 8 bytes, go as far as its open handle lets it; return its `close`."""
    live.bring("old", entry("old:1", Hungry(8)))
    handle = live.handle("old")
    live.aspire("old")
    live.wait_for("old:1", ManagerState.UNLOADING)
    return handle.close


def waits(live: Live, request: str) -> bool:
    """Return whether the load of *request* waits for memory."""
    reason = live.manager.explain(request)
    return reason is not None and reason.code is ReasonCode.WAITING_FOR_MEMORY


def test_one_that_waits_loads_as_soon_as_the_last_handle_of_what_goes_is_closed(live: Live) -> None:
    let_go, loader = leaving(live), Hungry(6)
    live.aspire("m", entry("m:1", loader))
    let_it_act(live)
    assert (waits(live, "m"), loader.contexts) == (True, [])
    let_go()
    live.wait_for("m:1", ManagerState.AVAILABLE)


def test_one_that_waits_for_a_load_that_nobody_wants_any_more_loads_when_that_is_unloaded(
    wide: Live,
) -> None:
    held = HungryHeld()
    wide.aspire("old", entry("old:1", held))
    held.gate.wait()
    wide.aspire("old")
    assert held.contexts[0].cancelled.wait(WATCHDOG)
    wide.aspire("m", entry("m:1", Hungry(6)))
    let_it_act(wide)
    assert waits(wide, "m")
    held.gate.open()
    wide.wait_for("m:1", ManagerState.AVAILABLE)
    assert held.unloads == 1


def test_one_that_waits_for_a_load_given_up_at_its_timeout_loads_when_that_comes_back() -> None:
    clock, held = FakeClock(), HungryHeld()
    live = with_memory(1, load_timeout=10.0, clock=clock)
    live.aspire("old", entry("old:1", held))
    held.gate.wait()
    clock.advance(10.0)
    live.wait_for("old:1", ManagerState.END)
    live.aspire("m", entry("m:1", Hungry(6)))
    let_it_act(live)
    assert waits(live, "m")
    held.gate.open()
    live.wait_for("m:1", ManagerState.AVAILABLE)
    assert (held.unloads, len(live.ends("old:1"))) == (1, 1)
    live.close()


@pytest.mark.parametrize("newcomer_first", [True, False])
def test_memory_that_is_returned_goes_to_one_of_those_who_compete_and_later_to_the_other(
    newcomer_first: bool,
) -> None:
    rig = Rig(resource_tracker=ResourceTracker(ram(TOTAL)))
    rig.bring("old", entry("old:1", Hungry(8)))
    rig.aspire("old")
    rig.aspire("waits", entry("waits:1", Hungry(6)))
    rig.load()  # its estimate
    assert rig.why("waits").code is ReasonCode.WAITING_FOR_MEMORY
    rig.aspire("new", entry("new:1", Hungry(6)))
    estimate, unload = rig.loads.run, rig.unloads.run
    # Who answers first after the return gets it: the newcomer has only to answer, the other is asked
    # anew. Who answers before it waits, and is asked anew after the other.
    for message in (unload, estimate) if newcomer_first else (estimate, unload):
        message()
    rig.settle()
    winner, loser = ("new", "waits") if newcomer_first else ("waits", "new")
    assert rig.serving() == [f"{winner}:1"]
    assert f"({winner}:1 6)" in str(rig.end(f"{loser}:1"))
    rig.bring(winner)
    assert rig.serving() == [f"{loser}:1"]


# ---- left out while it waits ---------------------------------------------------------------------


def test_one_left_out_while_it_waits_ends_before_memory_returns_and_takes_none(live: Live) -> None:
    let_go, loader = leaving(live), Hungry(6)
    live.aspire("m", entry("m:1", loader))
    let_it_act(live)
    live.aspire("m")
    live.wait_for("m:1", ManagerState.END)
    assert live.state("old:1") is HarnessState.QUIESCING
    let_go()
    let_it_act(live)
    assert loader.contexts == []
    assert everything_is_free(live)


def test_one_left_out_at_the_moment_when_memory_returns_takes_none(live: Live) -> None:
    let_go, loader = leaving(live), Pondering(6, gates=2)
    live.aspire("m", entry("m:1", loader))
    loader.gates[0].open()
    let_it_act(live)
    let_go()
    loader.gates[1].wait()  # memory has returned, it is asked anew
    live.aspire("m")
    let_it_hear(live)
    loader.gates[1].open()
    live.wait_for("m:1", ManagerState.END)
    assert isinstance(live.ends("m:1")[0], LoadCancelledError)
    assert loader.contexts == []
    assert everything_is_free(live)


def test_one_left_out_when_it_has_got_its_memory_returns_it(live: Live) -> None:
    let_go, held = leaving(live), HungryHeld()
    live.aspire("m", entry("m:1", held))
    let_it_act(live)
    let_go()
    held.gate.wait()
    live.aspire("m")
    assert held.contexts[0].cancelled.wait(WATCHDOG)
    held.gate.open()
    live.wait_for("m:1", ManagerState.END)
    assert held.unloads == 1
    assert everything_is_free(live)


def test_one_left_out_and_wanted_anew_while_it_waits_loads_by_its_new_loader(live: Live) -> None:
    let_go, old, new = leaving(live), Hungry(6), Hungry(6)
    live.aspire("m", entry("m:1", old))
    let_it_act(live)
    live.aspire("m")
    live.wait_for("m:1", ManagerState.END)
    live.aspire("m", entry("m:1", new))
    let_it_act(live)
    assert waits(live, "m")
    let_go()
    live.wait_for("m:1", ManagerState.AVAILABLE)
    assert (len(old.contexts), len(new.contexts)) == (0, 1)


def test_what_goes_and_is_wanted_anew_queues_behind_the_one_that_waits_for_its_memory(
    live: Live,
) -> None:
    let_go = leaving(live)
    live.aspire("m", entry("m:1", Hungry(6)))
    let_it_act(live)
    live.aspire("old", entry("old:1", Hungry(8)))
    let_it_act(live)
    let_go()
    live.wait_for("m:1", ManagerState.AVAILABLE)
    let_it_act(live)
    assert live.serving() == ["m:1"]
    assert isinstance(live.ends("old:1")[-1], ResourceExhaustedError)
    live.bring("m")
    live.wait_for("old:1", ManagerState.AVAILABLE)
    let_it_act(live)
    assert live.serving() == ["old:1"]


def test_one_left_out_as_it_begins_to_load_gives_its_memory_to_the_one_that_was_refused(
    wide: Live,
) -> None:
    held = HungryHeld()
    Bystander(wide, ManagerState.LOADING, lambda: wide.aspire("m"))
    wide.aspire("m", entry("m:1", held))
    wide.aspire("n", entry("n:1", Hungry(6)))
    held.gate.wait()
    assert held.contexts[0].cancelled.wait(WATCHDOG)
    let_it_act(wide)
    held.gate.open()
    wide.wait_for("n:1", ManagerState.AVAILABLE)
    assert held.unloads == 1
