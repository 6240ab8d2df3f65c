"""The static manager: what it is given, from its construction to its close."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from servman.errors import ClosedError, InvalidArgumentError, NotFoundError
from servman.events import EventBus
from servman.ids import ServableId
from servman.manager import StaticManager
from servman.monitor import ServableStateMonitor
from servman.testing import FakeClock
from servman.testing.clock import WATCHDOG
from tests.unit.manager.rig import sid


class Servable:
    """Something to serve that tells when it dies."""


def test_it_serves_at_once_without_a_thread_and_without_being_started() -> None:
    before = set(threading.enumerate())
    manager = StaticManager({sid("m:1"): "first", sid("m:2"): "second", sid("n:0"): "other"})
    assert manager.list_available_ids() == [sid("m:1"), sid("m:2"), sid("n:0")]
    assert set(threading.enumerate()) == before


def test_nothing_may_be_served() -> None:
    manager = StaticManager({})
    assert (manager.list_available_ids(), manager.snapshots()) == ([], ())
    assert manager.close(WATCHDOG)


@pytest.mark.parametrize("bad", [None, [(ServableId("m", 1), "first")], "m:1", 3])
def test_what_is_no_mapping_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a dict by their ids"):
        StaticManager(bad)


@pytest.mark.parametrize("bad", ["m:1", None, ("m", 1)])
def test_what_is_no_id_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="a version is named by its ServableId"):
        StaticManager({sid("m:1"): "first", bad: "second"})


def test_what_it_is_given_may_change_afterwards() -> None:
    given = {sid("m:1"): "first"}
    manager = StaticManager(given)
    given.clear()
    with manager.get_servable_handle("m", str) as handle:
        assert handle.servable == "first"


def test_false_servables_are_servables() -> None:
    manager = StaticManager({sid("m:1"): 0, sid("m:2"): ""})
    assert len(manager.list_available_ids()) == 2


def test_a_monitor_that_was_there_before_knows_what_is_available() -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    StaticManager({sid("m:1"): "first", sid("m:2"): "second"}, event_bus=bus)
    reached = monitor.wait_until_available("m:newest", "m:1", timeout=0)
    assert set(map(str, reached.values())) == {"m:1", "m:2"}
    monitor.close()


def test_closing_ends_what_it_served_and_lets_go_of_it() -> None:
    bus = EventBus()
    monitor = ServableStateMonitor(bus)
    servable = Servable()
    gone = weakref.ref(servable)
    manager = StaticManager({sid("m:1"): servable}, event_bus=bus)
    del servable
    assert gone() is not None
    assert manager.close(WATCHDOG)
    gc.collect()
    assert gone() is None
    state = monitor.get_state(sid("m:1"))
    assert state is not None
    assert (state.manager_state.name, state.error) == ("END", None)
    with pytest.raises(ClosedError):
        manager.get_servable_handle("m")
    monitor.close()


def test_closing_waits_for_handles_and_names_what_it_leaves() -> None:
    clock = FakeClock()
    manager = StaticManager({sid("m:1"): "first"}, clock=clock)
    with manager.get_servable_handle("m", str) as handle:
        report = manager.close(0)
        assert str(report) == "left: m:1 (quiescing, 1 handle)"
        assert handle.servable == "first"


def test_it_can_be_started_like_any_manager() -> None:
    with (
        StaticManager({sid("m:1"): "first"}) as manager,
        manager.get_servable_handle("m") as handle,
    ):
        assert handle.servable == "first"
    with pytest.raises(ClosedError):
        manager.start()


def test_what_was_not_put_in_is_told_in_its_own_words() -> None:
    manager = StaticManager({sid("m:1"): "first"})
    with pytest.raises(NotFoundError, match="request n: nothing of it was put in"):
        manager.get_servable_handle("n")
    with pytest.raises(NotFoundError, match="n:1 is not managed; it was not put in"):
        manager.cancel_retry(sid("n:1"))


def test_thousands_of_servables_are_taken_up_in_time_that_grows_with_their_number() -> None:
    looks = 0

    class Name(str):
        """A name that counts how often it is compared."""

        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    StaticManager({ServableId(Name(f"stream-{number}"), 1): number for number in range(200)})
    assert looks < 200 * 40
