"""Calls to workers on a test bench: what each connection does with a request is said by the test."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, final

from servman.clock import Clock
from servman.testing import Spawned
from servman.workers.calls import Calls
from servman.workers.options import Workers
from servman.workers.payload import Payload
from servman.workers.wire import ConnectionLostError, DeadlinePassedError, Kind
from tests.unit.workers.dispatching import ID, Bench, FakeConnection, died


@final
class FakeMessage:
    """What has arrived."""

    def __init__(self, kind: Kind, load: Callable[[], object]) -> None:
        self.kind = kind
        self.load = load


def answer(request: Payload, remaining: float | None) -> FakeMessage:
    """Answer with the method and its arguments."""
    return FakeMessage(Kind.RESULT, lambda: pickle.loads(request.pickled()))


def die(request: Payload, remaining: float | None) -> FakeMessage:
    """Close the connection while the request is worked on."""
    raise ConnectionLostError


def be_late(request: Payload, remaining: float | None) -> FakeMessage:
    """Give no answer in time."""
    raise DeadlinePassedError


@final
class Phone:
    """Calls, their dispatcher, and what was sent to which worker.

    Attributes:
        sent: The workers to which a request went, in order.
    """

    def __init__(
        self,
        workers: Workers | None = None,
        *,
        several: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.bench = Bench(several=several, clock=clock)
        self.clock = self.bench.clock
        self.sent: list[str] = []
        self.remaining: list[float | None] = []
        workers = Workers(idempotent_methods=("predict",)) if workers is None else workers
        self.calls = Calls(ID, workers, self.bench.dispatcher, clock=clock or self.clock)

    def add(self, key: str, *does: Callable[[Payload, float | None], Any], count: int = 1) -> None:
        """Add a worker that does this with its requests, one after the other, and answers all others."""
        left = list(does)

        def exchange(request: Payload, remaining: float | None) -> Any:
            self.sent.append(key)
            self.remaining.append(remaining)
            return (left.pop(0) if left else answer)(request, remaining)

        connections = [FakeConnection(f"{key}{number}", exchange) for number in range(count)]
        self.bench.add_connections(key, *connections)

    def call(self, method: str = "predict", *args: object) -> Any:
        """Make a call."""
        return self.calls.call(method, args, {})

    def calling(self, method: str = "predict", *args: object) -> Spawned[Any]:
        """Make a call in another thread, and return when it waits."""
        calling = Spawned(lambda: self.call(method, *args))
        self.clock.wait_until_parked(1)
        return calling

    def remove(self, key: str, *, exit_code: int | None = None, signal: int | None = 11) -> None:
        """Tell how a worker has ended."""
        self.bench.dispatcher.remove(key, died(exit_code=exit_code, signal=signal))

    def killer(self, key: str, **how: int | None) -> Callable[[Payload, float | None], FakeMessage]:
        """Return what kills the worker *key*, whose end is known at once."""

        def kill(request: Payload, remaining: float | None) -> FakeMessage:
            self.remove(key, **how)
            raise ConnectionLostError

        return kill
