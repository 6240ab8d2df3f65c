"""The last handle, the unload, and what comes back meanwhile, in every order."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence

import pytest

from servman.errors import FailedPreconditionError, NotFoundError
from servman.loader import SimpleLoader
from servman.manager import (
    AvailabilityPreservingPolicy,
    HarnessState,
    ServableAction,
    ServableHandle,
    ServableStateSnapshot,
)
from servman.state import ManagerState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import (
    Bystander,
    Gate,
    halts,
    let_it_act,
    let_it_hear,
    outcome,
    together,
)
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, entry

# ---- the last close against the unload ----------------------------------------------------------


def test_a_last_handle_closed_while_the_map_still_has_the_version_is_followed_by_one_unload(
    live: Live,
) -> None:
    loader = ModelLoader()
    live.bring("m", entry("m:1", loader))
    handle = live.handle("m")
    Bystander(live, ManagerState.UNLOADING, handle.close)
    live.aspire("m")
    live.wait_for("m:1", ManagerState.END)
    assert (loader.unloads, live.ends("m:1")) == (1, [None])
    assert outcome(lambda: handle.id) is FailedPreconditionError


def test_a_last_handle_closed_when_the_map_has_let_go_is_followed_by_one_unload(
    live: Live,
) -> None:
    loader = ModelLoader()
    live.bring("m", entry("m:1", loader))
    handle = live.handle("m")
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    let_it_act(live)
    assert (loader.unloads, live.state("m:1")) == (0, HarnessState.QUIESCING)
    handle.close()
    live.wait_for("m:1", ManagerState.END)
    assert (loader.unloads, live.ends("m:1")) == (1, [None])


def test_a_handle_taken_while_unloading_is_published_keeps_the_version_loaded(live: Live) -> None:
    loader = ModelLoader()
    live.bring("m", entry("m:1", loader))
    taken: list[ServableHandle[Model]] = []
    Bystander(live, ManagerState.UNLOADING, lambda: taken.append(live.handle("m")))
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    let_it_act(live)
    assert (live.state("m:1"), loader.unloads) == (HarnessState.QUIESCING, 0)
    assert taken[0].servable.loaded
    taken[0].close()
    live.wait_for("m:1", ManagerState.END)
    assert loader.unloads == 1


def test_no_lookup_finds_a_version_while_it_is_unloaded(live: Live) -> None:
    loader = GatedLoader(gate_load=False, gate_unload=True)
    live.bring("m", entry("m:1", loader))
    live.aspire("m")
    assert loader.unload_entered.wait(WATCHDOG)
    for request in ("m", "m:1"):
        assert outcome(lambda request=request: live.handle(request)) is NotFoundError  # type: ignore[misc]
    loader.let_unload.set()
    live.wait_for("m:1", ManagerState.END)


def test_a_handle_that_many_threads_close_at_once_is_let_go_once(live: Live) -> None:
    for name in (f"m{number}" for number in range(20)):
        loader = ModelLoader()
        live.bring(name, entry(f"{name}:1", loader))
        handle, other = live.handle(name), live.handle(name)
        live.aspire(name)
        for one in together(*[handle.close] * 4):
            one.result()
        assert other.servable.loaded
        other.close()
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loader.unloads == 1


def test_a_close_halted_anywhere_while_another_thread_closes_the_same_handle(live: Live) -> None:
    handles: dict[str, ServableHandle[Model]] = {}
    loaders: dict[str, ModelLoader] = {}

    def begin(name: str) -> Callable[[], None]:
        loaders[name] = ModelLoader()
        live.bring(name, entry(f"{name}:1", loaders[name]))
        handles[name] = live.handle(name)
        return handles[name].close

    for name, halted in halts(begin):
        other = live.handle(name)
        Spawned(handles[name].close).result()
        live.aspire(name)
        halted.resume()
        let_it_act(live)
        assert other.servable.loaded
        assert loaders[name].unloads == 0
        other.close()
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loaders[name].unloads == 1


def test_a_handle_passed_on_to_another_thread_holds_until_that_one_closes_it(live: Live) -> None:
    loader, gate = ModelLoader(), Gate()
    live.bring("m", entry("m:1", loader))

    def work(handle: ServableHandle[Model]) -> bool:
        with handle:
            gate()
            return handle.servable.loaded

    worker = Spawned(functools.partial(work, live.handle("m")))
    gate.wait()
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    let_it_act(live)
    gate.open()
    assert worker.result()
    live.wait_for("m:1", ManagerState.END)
    assert loader.unloads == 1


# ---- handles that are dropped on threads of the manager's own -----------------------------------


class Cycle:
    """Garbage that only the collector frees, with a handle in it."""

    def __init__(self, handle: ServableHandle[Model]) -> None:
        self.handle = handle
        self.cycle = self


class Collecting:
    """A policy that runs the collector on the manager's own thread."""

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        gc.collect()
        return AvailabilityPreservingPolicy().next_action(snapshots)


def test_a_handle_that_is_collected_on_the_managers_own_thread_lets_go() -> None:
    gc.disable()
    live = Live(policy=Collecting())
    try:
        loader = ModelLoader()
        live.bring("m", entry("m:1", loader))
        Cycle(live.handle("m"))
        live.aspire("m")
        live.wait_for("m:1", ManagerState.END)
        assert loader.unloads == 1
    finally:
        gc.enable()
        live.close()


def test_a_handle_that_is_dropped_with_the_loader_that_kept_it_lets_go(live: Live) -> None:
    class Keeper(ModelLoader):
        def __init__(self) -> None:
            super().__init__()
            self.handle = live.handle("m")

    loader = ModelLoader()
    live.bring("m", entry("m:1", loader))
    live.bring("keeper", entry("keeper:1", Keeper()))
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    let_it_act(live)
    assert loader.unloads == 0
    live.aspire("keeper")  # its loader dies on a thread of the manager's
    live.wait_for("m:1", ManagerState.END)
    assert loader.unloads == 1


def test_a_handle_that_is_closed_in_the_unload_of_another_version_lets_go(
    live: Live,
) -> None:
    loader = ModelLoader()
    live.bring("m", entry("m:1", loader))
    handle = live.handle("m")
    close = SimpleLoader(lambda _: "servable", destroy=lambda _: handle.close())
    live.bring("n", entry("n:1", close))
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    live.aspire("n")
    live.wait_for("m:1", ManagerState.END)
    assert loader.unloads == 1


def test_a_servable_whose_destructor_takes_and_closes_handles_goes_as_others_do(live: Live) -> None:
    seen: list[bool] = []

    class Nosy:
        def __del__(self) -> None:
            with live.handle("other") as handle:
                seen.append(handle.servable.loaded)

    live.bring("other", 1)
    live.bring("m", entry("m:1", SimpleLoader(lambda _: Nosy())))
    live.aspire("m")
    live.wait_for("m:1", ManagerState.END)
    let_it_act(live)
    assert seen == [True]


# ---- what comes back while it goes --------------------------------------------------------------


def test_a_version_aspired_anew_while_its_handles_are_open_comes_back_by_its_last_loader(
    live: Live,
) -> None:
    old, never, new = ModelLoader(), ModelLoader(), ModelLoader()
    live.bring("m", entry("m:1", old))
    handle = live.handle("m")
    live.aspire("m")
    live.wait_for("m:1", ManagerState.UNLOADING)
    live.aspire("m", entry("m:1", never))
    let_it_act(live)
    live.aspire("m", entry("m:1", new), 2)
    live.wait_for("m:2", ManagerState.AVAILABLE)
    assert handle.servable.loaded
    assert (live.serving(), old.unloads, new.contexts) == (["m:2"], 0, [])
    handle.close()
    live.wait_for("m:1", ManagerState.END)
    let_it_act(live)
    assert (old.unloads, len(never.models), live.serving()) == (1, 0, ["m:1", "m:2"])
    assert live.states("m:1").count("START") == 2


@pytest.mark.parametrize("again", [True, False], ids=["aspired anew", "aspired anew and left out"])
def test_a_version_that_is_being_unloaded_comes_back_if_it_is_wanted_in_the_end(
    live: Live, again: bool
) -> None:
    old, new = GatedLoader(gate_load=False, gate_unload=True), ModelLoader()
    live.bring("m", entry("m:1", old))
    live.aspire("m")
    assert old.unload_entered.wait(WATCHDOG)
    live.aspire("m", entry("m:1", new))
    let_it_hear(live)
    if not again:
        live.aspire("m")
        let_it_hear(live)
    assert new.contexts == [], "not before the old one has gone"
    old.let_unload.set()
    live.wait_for("m:1", ManagerState.END)
    let_it_act(live)
    assert (len(old.unloaded), len(new.models)) == (1, 1 if again else 0)
    assert live.ends("m:1") == [None]


def test_a_version_replaced_by_one_of_another_origin_waits_for_the_handles_of_the_old(
    live: Live,
) -> None:
    old, new = ModelLoader(), ModelLoader()
    live.bring("m", entry("m:1", old, origin="/a"))
    handle = live.handle("m")
    live.aspire("m", entry("m:1", new, origin="/b"))
    live.wait_for("m:1", ManagerState.UNLOADING)
    let_it_act(live)
    assert (handle.servable.loaded, old.unloads, new.contexts) == (True, 0, [])
    handle.close()
    live.wait_for("m:1", ManagerState.END)
    let_it_act(live)
    assert (old.unloads, new.contexts[0].path, live.serving()) == (1, "/b", ["m:1"])
