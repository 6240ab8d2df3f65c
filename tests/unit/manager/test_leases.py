"""Whether a version is in use, told for certain."""

from __future__ import annotations

import gc
import threading

import pytest

from servman.manager.handle import Entry
from servman.manager.leases import lease
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import sid


@pytest.fixture
def entry() -> Entry:
    return Entry(sid("m:1"), "servable", object())


def test_a_lease_stands_for_its_entry(entry: Entry) -> None:
    one = lease(entry)
    assert (one.id, one.servable, one.pin) == (entry.id, entry.servable, entry)
    assert one.sites is entry.sites


def test_an_entry_knows_its_leases_as_long_as_they_live(entry: Entry) -> None:
    first, second = lease(entry), lease(entry)
    assert len(entry.leases) == 2
    del first
    assert [one() for one in entry.leases] == [second]
    del second
    assert entry.leases == set()


def test_an_entry_does_not_keep_its_leases(entry: Entry) -> None:
    lease(entry)
    assert entry.leases == set()


def test_a_lease_in_a_cycle_counts_until_it_is_collected(entry: Entry) -> None:
    cycle: list[object] = [lease(entry)]
    cycle.append(cycle)
    del cycle
    assert len(entry.leases) == 1
    gc.collect()
    assert entry.leases == set()


def test_a_finaliser_in_the_cycle_of_the_last_lease_finds_the_entry_alive(entry: Entry) -> None:
    found: list[object] = []

    class Late:
        def __init__(self, held: Entry) -> None:
            self.held = held
            self.cycle = self

        def __del__(self) -> None:
            assert isinstance(self.held.pin, Entry)
            found.append(self.held.pin.servable)

    Late(lease(entry))
    gc.collect()
    assert found == ["servable"]
    assert entry.leases == set()


def test_leases_that_come_and_go_in_many_threads_leave_nothing(entry: Entry) -> None:
    kept, together = lease(entry), threading.Barrier(4)

    def come_and_go() -> bool:
        together.wait(WATCHDOG)
        return all(len(lease(entry).pin.leases) for _ in range(2000))  # type: ignore[attr-defined] # its entry

    threads = [Spawned(come_and_go) for _ in range(4)]
    assert all(one.result() for one in threads)
    assert [one() for one in entry.leases] == [kept]
