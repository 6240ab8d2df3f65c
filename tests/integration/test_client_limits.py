"""Where as many wait as the server lets wait, clients come again, politely, until there is a place or their time is up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servman.client import Client, Snapshot
from servman.errors import ServerUnreachableError, WaitTimeoutError
from servman.ids import ServableId, ServableRequest
from servman.server import Caller
from servman.testing import Spawned
from servman.testing.clock import WATCHDOG
from tests.integration.served import SERVABLES, Served, eventually, new

pytestmark = pytest.mark.timeout(60)

FULL = "1 calls are waiting already, which is the most that this server lets wait; try again later, or raise its"


@pytest.fixture
def calls() -> list[str]:
    """The methods that were called."""
    return []


@pytest.fixture
def full(tmp_path: Path, calls: list[str]) -> Iterator[Served]:
    """A server that lets one call wait, of a model without any version."""

    def authorize(caller: Caller) -> bool:
        calls.append(caller.method)
        return True

    served = Served(tmp_path)
    served.publish("m", 1)
    with served.open(max_waiting_calls=1, authorize=authorize):
        served.core.wait_until_available("m:1", timeout=WATCHDOG)
        yield served


@contextmanager
def occupied(served: Served) -> Iterator[None]:
    """Somebody waits in the block."""
    request = new("WaitUntilRequest", requests=["m:9"]).SerializeToString()
    wait = served.unary(f"{SERVABLES}/WaitUntil").future(request)
    assert eventually(lambda: len(served.server._room._ends) == 1)
    yield
    wait.cancel()
    assert eventually(lambda: len(served.server._room._ends) == 0)


def test_a_wait_that_finds_no_place_comes_again(full: Served, calls: list[str]) -> None:
    with Client(full.target) as client:
        with occupied(full):
            waiting = Spawned(lambda: client.wait_until_available("m:1", timeout=WATCHDOG))
            assert eventually(lambda: len(calls) >= 3)
        assert waiting.result() == {ServableRequest.of("m:1"): ServableId("m", 1)}


def test_a_wait_that_never_finds_a_place_says_so_and_has_asked_a_few_times(
    full: Served, calls: list[str]
) -> None:
    with occupied(full), Client(full.target) as client:
        before = len(calls)
        with pytest.raises(WaitTimeoutError) as raised:
            client.wait_until_available("m:1", timeout=1.0)
    assert not isinstance(raised.value, ServerUnreachableError)
    assert FULL in str(raised.value)
    assert 3 <= len(calls) - before <= 6  # after 0.1, 0.3, 0.7 and 1.0 s


def test_a_watch_that_finds_no_place_comes_again(full: Served, calls: list[str]) -> None:
    with Client(full.target) as client:
        watch = client.watch("m", timeout=WATCHDOG)
        with occupied(full):
            first = Spawned(lambda: next(watch))
            assert eventually(lambda: len(calls) >= 3)
        event = first.result()
        assert isinstance(event, Snapshot)
        assert ServableId("m", 1) in event.states
