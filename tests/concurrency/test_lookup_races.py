"""Lookups, halted at every line of their way, while what they look for comes, changes and goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from servman.errors import ClosedError, FailedPreconditionError, NotFoundError
from servman.ids import ServableId, ServableRequest
from servman.manager import ServableHandle
from servman.state import ManagerState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Sentinels, halts, let_it_act, outcome
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, entry

Look = Callable[[Live, str], object]


def use(handle: ServableHandle[Model]) -> None:
    with handle:
        assert handle.servable.loaded
        assert handle.id == handle.servable.id


def use_available(live: Live, name: str) -> None:
    handles = live.manager.get_available_handles(Model)
    for handle in handles.values():
        assert isinstance(handle.servable, Model)
        assert handle.servable.loaded
        handle.close()


LOOKUPS: dict[str, Look] = {
    "latest": lambda live, name: use(live.handle(name)),
    "text": lambda live, name: use(live.handle(f"{name}:1")),
    "odd text": lambda live, name: use(live.handle(f"{name}:01")),
    "id": lambda live, name: use(live.manager.get_servable_handle(ServableId(name, 1))),
    "newest": lambda live, name: use(
        live.manager.get_servable_handle(ServableRequest.newest(name), Model)
    ),
    "all": use_available,
}


@pytest.mark.parametrize("look", LOOKUPS.values(), ids=LOOKUPS)
def test_a_lookup_halted_anywhere_while_its_version_is_replaced_finds_one_that_is_loaded(
    live: Live, look: Look
) -> None:
    loaders: dict[str, ModelLoader] = {}

    def begin(name: str) -> Callable[[], object]:
        loaders[name] = ModelLoader()
        live.bring(name, entry(f"{name}:1", loaders[name]))
        return lambda: outcome(functools.partial(look, live, name))

    for name, halted in halts(begin):
        live.aspire(name, 2)
        live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        let_it_act(live)
        assert halted.resume() in (None, NotFoundError)
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loaders[name].unloads == 1
        live.bring(name)


@pytest.mark.parametrize("kind", ["latest", "text", "all"])
def test_a_lookup_halted_anywhere_while_its_stream_goes_finds_it_loaded_or_not_at_all(
    live: Live, kind: str
) -> None:
    loaders: dict[str, ModelLoader] = {}

    def begin(name: str) -> Callable[[], object]:
        loaders[name] = ModelLoader()
        live.bring(name, entry(f"{name}:1", loaders[name]))
        return lambda: outcome(functools.partial(LOOKUPS[kind], live, name))

    for name, halted in halts(begin):
        live.aspire(name)
        live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        let_it_act(live)
        assert halted.resume() in (None, NotFoundError)
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loaders[name].unloads == 1


LOOKS: dict[str, Look] = {
    "snapshots": lambda live, name: live.manager.snapshots(name),
    "explain": lambda live, name: live.manager.explain(f"{name}:1"),
    "ids": lambda live, _: live.manager.list_available_ids(),
}


@pytest.mark.parametrize("kind", ["latest", "text", "all", "snapshots"])
def test_a_lookup_halted_anywhere_while_the_manager_closes_is_good_or_refused(kind: str) -> None:
    look = (LOOKUPS | LOOKS)[kind]
    lives: list[Live] = []
    loaders: list[ModelLoader] = []

    def begin(name: str) -> Callable[[], object]:
        lives.append(Live(num_unload_threads=1))
        loaders.append(ModelLoader())
        lives[-1].bring(name, entry(f"{name}:1", loaders[-1]))
        return lambda: outcome(functools.partial(look, lives[-1], name))

    for name, halted in halts(begin):
        sentinels = Sentinels(lives[-1])
        closing = Spawned(lambda: lives[-1].manager.close(WATCHDOG))
        sentinels.let_it_act()
        assert halted.resume() in (None, NotFoundError, ClosedError)
        assert closing.result(), "a handle that was closed in time"
        assert lives[-1].states(f"{name}:1") == [
            "START",
            "LOADING",
            "AVAILABLE",
            "UNLOADING",
            "END",
        ]
        assert loaders[-1].unloads == 1
    lives[-1].close()


def why_not(live: Live, request: str) -> str | None:
    """Return what a lookup of *request* says, or None if it finds it."""
    try:
        live.handle(request).close()
    except NotFoundError as error:
        return str(error).partition(": ")[2]
    return None


def test_a_lookup_halted_anywhere_while_its_version_becomes_available_never_lies(
    live: Live,
) -> None:
    def begin(name: str) -> Callable[[], str | None]:
        live.bring(name, entry(f"{name}:1"))

        return functools.partial(why_not, live, f"{name}:2")

    told = set()
    for name, halted in halts(begin):
        live.aspire(name, 1, 2)
        live.wait_for(f"{name}:2", ManagerState.AVAILABLE)
        let_it_act(live)
        told.add(halted.resume())
        live.bring(name)
    assert told == {
        None,
        "nothing of it is aspired",
        "it became available at this very moment; ask again",
    }


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("served", [True, False], ids=["served", "going"])
def test_who_only_looks_halted_anywhere_keeps_nothing_from_being_unloaded_for_good(
    live: Live, look: Look, served: bool
) -> None:
    loaders: dict[str, ModelLoader] = {}
    handles: dict[str, ServableHandle[Model]] = {}

    def begin(name: str) -> Callable[[], object]:
        loaders[name] = ModelLoader()
        live.bring(name, entry(f"{name}:1", loaders[name]))
        handles[name] = live.handle(name)
        if not served:
            live.aspire(name)
            live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        return functools.partial(look, live, name)

    for name, halted in halts(begin):
        live.aspire(name)
        live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        let_it_act(live)
        assert handles[name].servable.loaded
        handles[name].close()
        let_it_act(live)
        halted.resume()
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loaders[name].unloads == 1
    for handle in handles.values():
        handle.close()


@pytest.mark.parametrize("what", ["servable", "id"])
def test_a_handle_closed_by_another_thread_while_it_is_read_is_read_or_says_that_it_was_closed(
    live: Live, what: str
) -> None:
    live.bring("m", 1)
    handles: list[Any] = []

    def begin(_: str) -> Any:
        handles.append(live.handle("m"))
        return lambda: outcome(lambda: getattr(handles[-1], what))

    for _, halted in halts(begin):
        handles[-1].close()
        assert halted.resume() in (None, FailedPreconditionError)
    handles[-1].close()
