"""A dispatcher on a test bench: workers by letter, whose connections answer as the test says."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, final

from servman.clock import Clock
from servman.errors import WorkerDiedError
from servman.ids import ServableId
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from servman.workers.dispatch import Dispatcher
from servman.workers.fleet import Slot

ID = ServableId("m", 1)

Exchange = Callable[[Any, float | None], Any]
"""What a connection does with a request and the seconds that are left."""


@final
class FakeConnection:
    """A connection that does as the test says; silent, nobody has anything to say to it."""

    def __init__(self, name: str, exchange: Exchange | None = None) -> None:
        self.name = name
        self.awaiting_reply = False
        self.closed = False
        self._exchange = exchange

    def exchange(self, request: Any, remaining: float | None) -> Any:
        """Do as the test says."""
        assert not self.awaiting_reply, "the reply of another call is still to come"
        assert self._exchange is not None
        self.awaiting_reply = True  # until the test's function says otherwise, by returning
        message = self._exchange(request, remaining)
        self.awaiting_reply = False
        return message

    def close(self) -> None:
        """Be closed."""
        self.closed = True

    def __repr__(self) -> str:
        return self.name


@final
class Bench:
    """A dispatcher, and what it has told.

    Attributes:
        abandoned: The slots that it was told of, and left to others.
        lost: The workers whose connections broke.
    """

    def __init__(
        self,
        *,
        max_queue: int = 10,
        hold_timeout: float = 5.0,
        start_timeout: float = 60.0,
        several: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.abandoned: list[Slot] = []
        self.lost: list[Hashable] = []
        self.dispatcher = Dispatcher(
            ID,
            max_queue=max_queue,
            hold_timeout=hold_timeout,
            start_timeout=start_timeout,
            several=several,
            why=lambda: "worker 0 starts",
            on_abandoned=self.abandoned.append,
            on_lost=self.lost.append,
            clock=clock or self.clock,
        )

    def add(self, key: str, count: int = 1, *, extra: bool = False) -> list[FakeConnection]:
        """Add a worker with so many connections."""
        connections = [FakeConnection(f"{key}{number}") for number in range(count)]
        self.add_connections(key, *connections, extra=extra)
        return connections

    def add_connections(self, key: str, *connections: FakeConnection, extra: bool = False) -> None:
        """Add a worker with these connections."""
        self.dispatcher.add(key, connections, extra=extra)  # type: ignore[arg-type] # fakes

    def take(
        self, *, python: bool = False, suspect: bool = False, timeout: float | None = 0.0
    ) -> Slot:
        """Take a slot, by default only if there is one at once."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        return self.dispatcher.take(python=python, suspect=suspect, deadline=deadline)

    def taking(
        self, *, python: bool = False, suspect: bool = False, timeout: float | None = 1_000.0
    ) -> Spawned[Slot]:
        """Take a slot in another thread, and return when it waits for one."""
        before = self.waiting
        taking = Spawned(lambda: self.take(python=python, suspect=suspect, timeout=timeout))
        self.clock.wait_until_parked(before + 1)
        return taking

    def wait_until_parked_for(self, seconds: float) -> None:
        """Wait until some thread waits for the instant that is so many seconds away."""
        clock, instant = self.clock, self.clock.monotonic() + seconds
        with clock._changed:
            assert clock._changed.wait_for(
                lambda: instant in [deadline for deadline, _ in clock._parked.values()], WATCHDOG
            )

    @property
    def waiting(self) -> int:
        """How many calls wait in line."""
        return self.dispatcher._line.length


def died(
    text: str = "worker 0 (pid 7) was killed by SIGSEGV",
    *,
    exit_code: int | None = None,
    signal: int | None = 11,
) -> WorkerDiedError:
    """Return how a process has ended."""
    return WorkerDiedError(text, exit_code=exit_code, signal=signal, log_tail="the end of its log")
