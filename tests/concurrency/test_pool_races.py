"""The number of load threads, changed while loads run, wait and are closed."""

from __future__ import annotations

import threading

import pytest

from servman.loader import LoadContext
from servman.manager.messages import LoadThreadsChanged
from servman.state import ManagerState
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, together
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, entry


class Crowd:
    """Loaders that stand in one another's way: how many load at once, and at which moment."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()  # guards `_running`
        self._running = 0
        self.met: list[int] = []
        self.gates = [Gate() for _ in range(count)]

    def load(self, number: int) -> str:
        with self._lock:
            self._running += 1
            self.met.append(self._running)
        self.gates[number]()
        with self._lock:
            self._running -= 1
        return "servable"


class Member(ModelLoader):
    """One of a crowd."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        super().__init__()
        self._crowd = crowd
        self._number = number

    def load(self, context: LoadContext) -> Model:
        self._crowd.load(self._number)
        return super().load(context)


def crowd_of(live: Live, count: int) -> Crowd:
    crowd = Crowd(count)
    for number in range(count):
        live.aspire(f"m{number}", entry(f"m{number}:1", Member(crowd, number)))
    return crowd


def test_more_load_threads_let_queued_loads_begin_beside_those_that_run() -> None:
    live = Live(num_load_threads=1)
    crowd = crowd_of(live, 3)
    crowd.gates[0].wait()
    live.manager.num_load_threads = 3
    for gate in crowd.gates:
        gate.wait()
    assert crowd.met == [1, 2, 3]
    for gate in crowd.gates:
        gate.open()
    live.close()


def test_one_load_thread_instead_of_four_that_run_lets_the_queue_begin_one_by_one() -> None:
    live = Live(num_load_threads=4)
    crowd = crowd_of(live, 7)
    for gate in crowd.gates[:4]:
        gate.wait()
    live.manager.num_load_threads = 1
    for number, gate in enumerate(crowd.gates):
        gate.open()
        live.wait_for(f"m{number}:1", ManagerState.AVAILABLE)
    assert crowd.met == [1, 2, 3, 4, 1, 1, 1]
    live.close()


def test_fewer_load_threads_and_more_again_while_loads_run_end_at_what_was_set_last() -> None:
    live = Live(num_load_threads=2)
    crowd = crowd_of(live, 5)
    crowd.gates[1].wait()
    for count in (1, 3, 1, 3):
        live.manager.num_load_threads = count
    crowd.gates[2].wait()
    for gate in crowd.gates:
        gate.open()
    live.wait_for("m4:1", ManagerState.AVAILABLE)
    assert max(crowd.met) == 3
    live.close()


@pytest.mark.parametrize("count", [1, 8])
def test_a_manager_closes_while_its_load_threads_change_and_loads_run_and_wait(count: int) -> None:
    live = Live(num_load_threads=4)
    crowd = crowd_of(live, 6)
    for gate in crowd.gates[:4]:
        gate.wait()

    def change() -> None:
        live.manager.num_load_threads = count

    closing, changing = together(lambda: live.manager.close(WATCHDOG), change)
    changing.result()
    for gate in crowd.gates:
        gate.open()
    assert closing.result()
    for number in range(6):
        assert len(live.ends(f"m{number}:1")) == 1


def test_of_two_threads_that_set_the_number_of_load_threads_the_last_is_in_force(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two threads could cross between what is told and what is in force."""
    manager = live.manager
    events: list[LoadThreadsChanged] = []
    with monkeypatch.context() as patch:
        patch.setattr(manager._actor, "post", events.append)
        manager.num_load_threads = 3
        manager.num_load_threads = 5
    assert [event.count() for event in events] == [5, 5], "read when it is taken up"
