"""Snapshots of a cache tell at once what it has decided."""

from __future__ import annotations

from typing import Any

import pytest

from servman.data import ServableData
from servman.errors import ServmanError
from servman.ids import ServableRequest
from servman.loader import Loader
from servman.manager import CachingManager, HarnessState, ServableStateSnapshot
from servman.manager.messages import Obtain
from servman.testing import FakeClock, ManualPool
from tests.unit.manager.rig import entry


class Nobody:
    """Asks, and does not mind."""

    def answer(self, error: ServmanError | None) -> None:
        del error


class Shelf:
    """A cache of one servable, driven step by step."""

    def __init__(self) -> None:
        self.loads, self.unloads = ManualPool(), ManualPool()
        pools: Any = (self.loads, self.unloads, ManualPool())
        self.manager = CachingManager(self._make, max_servables=1, clock=FakeClock(), _pools=pools)

    def _make(self, request: ServableRequest) -> ServableData[Loader]:
        return entry(f"{request.name}:1")

    def ask(self, name: str) -> None:
        data = self.manager._in_a_place(entry(f"{name}:1"))
        self.manager._actor.post(Obtain(data, Nobody()))

    def step(self) -> bool:
        """Let the manager take up one event, or run a load; return whether there was one."""
        return self.manager.step() or self.loads.run_all() > 0

    def bring(self, name: str) -> None:
        self.ask(name)
        while self.step():
            pass

    def only(self, name: str) -> ServableStateSnapshot:
        (one,) = self.manager.snapshots(name)
        return one


@pytest.fixture
def shelf() -> Shelf:
    """Return a cache that holds "a"."""
    shelf = Shelf()
    shelf.bring("a")
    return shelf


def test_what_makes_room_is_told_to_be_on_its_way_out(shelf: Shelf) -> None:
    shelf.ask("b")
    while shelf.manager.list_available_ids():
        assert shelf.step()
    assert shelf.only("a").state is HarnessState.QUIESCING


def test_what_is_asked_for_while_it_makes_room_is_told_to_be_wanted_again(shelf: Shelf) -> None:
    shelf.bring("b")
    assert not shelf.only("a").wanted_again
    shelf.bring("a")
    assert shelf.only("a").wanted_again
