"""A call that takes, waits for, or gives back a worker's connection, and what crosses it at each of its lines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar, final

from servman.errors import ClosedError, ServmanError, WaitTimeoutError
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from servman.workers.fleet import Slot
from servman.workers.options import Workers
from tests.concurrency.gates import Halted, halts
from tests.concurrency.interrupts import interrupts
from tests.unit.workers.calling import Phone
from tests.unit.workers.dispatching import Bench, died

T = TypeVar("T")


@final
class Turning:
    """A clock on which whoever waits first has something else happen, on another thread, and waits then.

    Attributes:
        meanwhile: What happens.
    """

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        """Stand still."""
        return 1_000.0

    def wall(self) -> float:
        """Stand still."""
        return 1_000.0

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Refuse: nobody waits with a lock here."""
        raise AssertionError(condition)

    def receive(self, mailbox: queue.SimpleQueue[T], deadline: float | None) -> T | None:
        """Have it happen; then take what must have come."""
        Spawned(self.meanwhile).result()
        return mailbox.get(timeout=WATCHDOG)


def cross(bench: Bench, halted: Halted[T], other: Callable[[], object]) -> T:
    """Run *other* while a call halts: all of it, unless the call has the lock; return what the call does."""
    crossing = Spawned(other)
    if not bench.dispatcher._lock.locked():
        crossing.result()
    halted.let_go()
    crossing.result()
    return halted.resume()


def free(bench: Bench) -> int:
    """Return how many calls can be taken in now."""
    for taken in range(100):
        try:
            bench.take()
        except ServmanError:
            return taken
    raise AssertionError("there is no end of slots")


def or_refused(call: Callable[[], Slot]) -> Slot | None:
    """Return the slot that *call* takes; None if it is refused."""
    try:
        return call()
    except (ClosedError, WaitTimeoutError):
        return None


# ---- two threads -------------------------------------------------------------------------------


def test_who_waits_never_misses_the_slot_that_is_given_back() -> None:
    benches: list[tuple[Bench, Slot]] = []

    def begin(_: str) -> Callable[[], Slot]:
        clock = Turning()
        bench = Bench(clock=clock)
        bench.add("a")
        slot = bench.take()
        clock.meanwhile = lambda: bench.dispatcher.give_back(slot)
        benches.append((bench, slot))
        return lambda: bench.take(timeout=9.0)

    for _, halted in halts(begin, room="workers"):
        bench, slot = benches[-1]
        taken = cross(bench, halted, lambda: bench.dispatcher.give_back(slot))  # noqa: B023 -- run at once
        bench.dispatcher.give_back(taken)
        assert free(bench) == 1


def test_who_is_held_never_misses_the_worker_that_comes() -> None:
    benches: list[Bench] = []

    def begin(_: str) -> Callable[[], Slot]:
        clock = Turning()
        bench = Bench(clock=clock)
        clock.meanwhile = lambda: bench.add("later")
        benches.append(bench)
        return lambda: bench.take(timeout=9.0)

    for _, halted in halts(begin, room="workers"):
        bench = benches[-1]
        assert cross(bench, halted, lambda: bench.add("a")).key in ("a", "later")  # noqa: B023 -- run at once


def test_a_slot_given_back_as_a_call_gives_up_is_lost_to_nobody() -> None:
    benches: list[tuple[Bench, Slot]] = []

    def begin(_: str) -> Callable[[], Slot | None]:
        bench = Bench()
        bench.add("a")
        benches.append((bench, bench.take()))
        return lambda: or_refused(bench.take)

    for _, halted in halts(begin, room="workers"):
        bench, slot = benches[-1]
        taken = cross(bench, halted, lambda: bench.dispatcher.give_back(slot))  # noqa: B023 -- run at once
        if taken is not None:
            bench.dispatcher.give_back(taken)
        assert free(bench) == 1
        assert bench.waiting == 0


def test_a_worker_that_goes_as_a_call_takes_it_is_not_given_to_the_next_call() -> None:
    benches: list[Bench] = []

    def begin(_: str) -> Callable[[], Slot | None]:
        bench = Bench()
        bench.add("a", 2)
        benches.append(bench)
        return lambda: or_refused(bench.take)

    for _, halted in halts(begin, room="workers"):
        bench = benches[-1]
        taken = cross(bench, halted, lambda: bench.dispatcher.remove("a", died()))  # noqa: B023 -- run at once
        assert free(bench) == 0
        if taken is not None:
            assert bench.dispatcher.end_of(taken, 0.0) is not None
            bench.dispatcher.lost(taken)
        bench.dispatcher.close()
        assert bench.dispatcher.drain(0.0)


def test_a_call_that_crosses_the_close_runs_or_is_refused_and_is_waited_for_if_it_runs() -> None:
    benches: list[Bench] = []

    def begin(_: str) -> Callable[[], Slot | None]:
        bench = Bench()
        bench.add("a")
        benches.append(bench)
        return lambda: or_refused(bench.take)

    for _, halted in halts(begin, room="workers"):
        bench = benches[-1]
        taken = cross(bench, halted, bench.dispatcher.close)
        assert bench.dispatcher.drain(0.0) is (taken is None)
        if taken is not None:
            bench.dispatcher.give_back(taken)
        assert bench.dispatcher.drain(0.0)


def test_a_call_abandoned_as_its_process_ends_keeps_nobody_waiting() -> None:
    benches: list[Bench] = []

    def begin(_: str) -> Callable[[], None]:
        bench = Bench()
        bench.add("a")
        slot = bench.take()
        benches.append(bench)
        return lambda: bench.dispatcher.abandon(slot)

    for _, halted in halts(begin, room="workers"):
        bench = benches[-1]
        cross(bench, halted, lambda: bench.dispatcher.remove("a", died()))  # noqa: B023 -- run at once
        bench.dispatcher.close()
        assert bench.dispatcher.drain(0.0)


def test_who_asks_how_a_process_ended_never_misses_the_answer() -> None:
    benches: list[Bench] = []

    def begin(_: str) -> Callable[[], object]:
        clock = Turning()
        bench = Bench(clock=clock)
        bench.add("a")
        slot = bench.take()
        clock.meanwhile = lambda: bench.dispatcher.remove("a", died())
        benches.append(bench)
        return lambda: bench.dispatcher.end_of(slot, 2_000.0)

    for _, halted in halts(begin, room="workers"):
        bench = benches[-1]
        assert cross(bench, halted, lambda: bench.dispatcher.remove("a", died()))  # noqa: B023 -- run at once


def test_who_drains_never_misses_the_last_call() -> None:
    benches: list[tuple[Bench, Slot]] = []

    def begin(_: str) -> Callable[[], bool]:
        clock = Turning()
        bench = Bench(clock=clock)
        bench.add("a")
        slot = bench.take()
        clock.meanwhile = lambda: bench.dispatcher.give_back(slot)
        benches.append((bench, slot))
        return lambda: bench.dispatcher.drain(2_000.0)

    for _, halted in halts(begin, room="workers"):
        bench, slot = benches[-1]
        assert cross(bench, halted, lambda: bench.dispatcher.give_back(slot))  # noqa: B023 -- run at once


# ---- a Ctrl-C ----------------------------------------------------------------------------------


def clear(phone: Phone) -> None:
    """Do what a supervisor does with connections that were left to it."""
    for slot in phone.bench.abandoned:
        slot.connection.awaiting_reply = False  # type: ignore[misc] # a fake
        phone.bench.dispatcher.give_back(slot)


def test_a_ctrl_c_anywhere_in_a_call_loses_no_connection() -> None:
    for interrupt in interrupts("workers"):
        phone = Phone(Workers(call_timeout=9.0))
        phone.add("a", count=2)
        interrupt.run(phone.call)
        clear(phone)
        assert phone.bench.dispatcher.running("a") == 0
        assert free(phone.bench) == 2


def test_a_ctrl_c_anywhere_in_a_call_that_waits_loses_no_connection() -> None:
    for interrupt in interrupts("workers"):
        clock = Turning()
        phone = Phone(Workers(call_timeout=9.0), clock=clock)
        phone.add("a")
        slot = phone.bench.take()
        clock.meanwhile = lambda: phone.bench.dispatcher.give_back(slot)  # noqa: B023 -- in this round
        interrupt.run(phone.call)
        phone.bench.dispatcher.give_back(slot)
        clear(phone)
        assert phone.bench.waiting == 0
        assert phone.bench.dispatcher.running("a") == 0
        assert free(phone.bench) == 1
