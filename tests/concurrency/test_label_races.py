"""Labels and commits, with a caller halted at every line of its way while the manager goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import pytest

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from servman.ids import ServableRequest
from servman.state import ManagerState
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Sentinels, halts, let_it_act, let_it_hear, outcome
from tests.unit.manager.live import Live
from tests.unit.manager.rig import ModelLoader, entry


def use(live: Live, request: str | ServableRequest) -> int:
    """Use what *request* finds; return its version."""
    with live.manager.get_servable_handle(request) as handle:
        assert handle.servable.loaded
        assert handle.id == handle.servable.id
        return handle.id.version


REQUESTS: dict[str, Callable[[str], str | ServableRequest]] = {
    "text": lambda name: f"{name}@stable",
    "request": lambda name: ServableRequest.labeled(name, "stable"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_lookup_by_label_halted_anywhere_while_the_label_moves_finds_one_that_is_loaded(
    live: Live, request_: Callable[[str], str | ServableRequest]
) -> None:
    loaders: dict[str, ModelLoader] = {}

    def begin(name: str) -> Callable[[], int]:
        loaders[name] = ModelLoader()
        live.manager.set_labels({name: {"stable": 1}})
        live.bring(name, entry(f"{name}:1", loaders[name]))
        return functools.partial(use, live, request_(name))

    found = set()
    for name, halted in halts(begin):
        live.manager.set_labels({name: {"stable": 2}})
        live.aspire(name, 2)
        live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        let_it_act(live)
        found.add(halted.resume())
        live.wait_for(f"{name}:1", ManagerState.END)
        assert loaders[name].unloads == 1
        live.bring(name)
    assert found == {1, 2}  # it was never without a version


def test_a_lookup_by_label_halted_anywhere_while_the_label_goes_is_good_or_refused(
    live: Live,
) -> None:
    def begin(name: str) -> Callable[[], object]:
        live.manager.set_labels({name: {"stable": 1}})
        live.bring(name, 1)
        return lambda: outcome(functools.partial(use, live, f"{name}@stable"))

    seen = set()
    for name, halted in halts(begin):
        live.manager.set_labels({name: {"canary": 1}})
        live.aspire(name)
        live.wait_for(f"{name}:1", ManagerState.UNLOADING)
        let_it_act(live)
        seen.add(halted.resume())
    assert None in seen
    assert seen <= {None, NotFoundError, InvalidArgumentError}


def test_who_reads_the_labels_halted_anywhere_reads_them_as_of_one_moment(live: Live) -> None:
    old, new = {"stable": 1, "canary": 1}, {"stable": 2, "canary": 2}

    def begin(name: str) -> Callable[[], Mapping[str, int]]:
        live.manager.set_labels({name: old})
        live.bring(name, 1)
        return functools.partial(live.manager.labels, name)

    for name, halted in halts(begin):
        live.manager.set_labels({name: new})
        live.aspire(name, 2)
        live.wait_for(f"{name}:2", ManagerState.AVAILABLE)
        assert halted.resume() in (old, new)
        live.bring(name)


def test_who_explains_a_label_halted_anywhere_while_it_comes_never_lies(live: Live) -> None:
    def begin(name: str) -> Callable[[], str]:
        live.manager.set_labels({name: {"stable": 2}})
        live.bring(name, 1)
        return lambda: str(live.manager.explain(f"{name}@stable"))

    for name, halted in halts(begin):
        live.bring(name, 1, 2)
        text = halted.resume().replace(name, "m")
        assert text in {
            "m@stable is to be m:2, which is not aspired",
            "m@stable is m:2",
        }
        live.bring(name)


def test_a_commit_halted_anywhere_while_another_list_comes_is_done_as_a_whole_or_refused(
    live: Live,
) -> None:
    def begin(name: str) -> Callable[[], Future[None]]:
        live.bring(name, 1)
        live.manager.hold([name])
        live.aspire(name, 2)
        let_it_act(live)
        return lambda: live.manager.commit([name], expected={name: {2}})

    seen = set()
    for name, halted in halts(begin):
        live.aspire(name, 1)
        let_it_hear(live)
        error = halted.resume().exception(WATCHDOG)
        seen.add(type(error))
        if error is None:  # it came before the list
            live.wait_for(f"{name}:2", ManagerState.AVAILABLE)
        else:
            assert live.states(f"{name}:2")[:2] == ["START", "LOADING"]
            assert "AVAILABLE" not in live.states(f"{name}:2")
            live.manager.rollback([name])
        live.bring(name)
    assert seen == {type(None), FailedPreconditionError}


def test_a_commit_halted_anywhere_while_the_manager_closes_is_answered() -> None:
    lives: list[Live] = []

    def answer(live: Live, name: str) -> type[BaseException] | None:
        try:
            error = live.manager.commit([name], expected={name: {2}}).exception(WATCHDOG)
        except ClosedError as refused:
            error = refused
        return None if error is None else type(error)

    def begin(name: str) -> Callable[[], object]:
        lives.append(Live(num_unload_threads=1))
        lives[-1].bring(name, 1)
        lives[-1].manager.hold([name])
        lives[-1].aspire(name, 2)
        let_it_act(lives[-1])
        return functools.partial(answer, lives[-1], name)

    for _, halted in halts(begin):
        sentinels = Sentinels(lives[-1])
        closing = Spawned(lambda: lives[-1].manager.close(WATCHDOG))
        sentinels.let_it_act()
        assert halted.resume() in (None, ClosedError)
        assert closing.result(), "nothing was left"
    lives[-1].close()
