"""The connection: made when it is first needed, by one of several threads, and never after the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import grpc as real
import pytest

from servman.client import methods
from servman.client.channel import Channel
from servman.client.talk import Call, Failure
from servman.errors import ClosedError
from servman.testing import FakeClock

CALL = Call(methods.WAIT_UNTIL, methods.WAIT_UNTIL.new(), 1.0)


@final
class FakeGrpc:
    """Stands for gRPC: makes channels, tells when, and remembers which were closed."""

    def __init__(self) -> None:
        self.made: list[FakeChannel] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def insecure_channel(self, server: str, options: Any) -> FakeChannel:
        self.made.append(FakeChannel())
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        made = self.made[-1]
        meanwhile()
        return made


class FakeChannel:
    """A channel whose every call is refused as gRPC does it where a channel was closed."""

    def __init__(self) -> None:
        self.closed = False
        self.error = ValueError("Cannot invoke RPC on closed channel!")

    def close(self) -> None:
        self.closed = True

    def unary_unary(self, *_: object, **__: object) -> Any:
        raise self.error


@pytest.fixture
def grpc(monkeypatch: pytest.MonkeyPatch) -> FakeGrpc:
    fake = FakeGrpc()
    monkeypatch.setattr(real, "insecure_channel", fake.insecure_channel)
    return fake


@pytest.fixture
def channel() -> Channel:
    return Channel("host:8500", None, None, FakeClock())


def test_nothing_is_connected_before_it_is_needed(grpc: FakeGrpc, channel: Channel) -> None:
    channel.close()
    assert grpc.made == []


def test_of_two_threads_that_connect_at_once_one_is_kept(grpc: FakeGrpc, channel: Channel) -> None:

    def connect_too() -> None:
        channel._open()

    grpc.meanwhile = connect_too
    kept: Any = channel._open()
    first, second = grpc.made
    assert id(kept) == id(second), "the one that was there first"
    assert (first.closed, second.closed) == (True, False)
    assert id(channel._open()) == id(second)
    channel.close()
    assert second.closed


def test_a_connection_that_is_made_while_the_client_is_closed_is_closed(
    grpc: FakeGrpc, channel: Channel
) -> None:
    grpc.meanwhile = channel.close
    with pytest.raises(ClosedError):
        channel.ask(CALL)
    assert [made.closed for made in grpc.made] == [True]


def test_a_call_that_meets_a_channel_being_closed_is_told_as_that(
    grpc: FakeGrpc, channel: Channel
) -> None:
    channel._open()
    with pytest.raises(ValueError, match="on closed channel"):
        channel.ask(CALL)  # it was not we who closed it

    def close_then_fail(*_: object, **__: object) -> Any:
        channel.close()
        raise ValueError("Cannot invoke RPC on closed channel!")

    grpc.made[0].unary_unary = close_then_fail  # type: ignore[method-assign] # what gRPC does then
    with pytest.raises(ClosedError, match="the client was closed"):
        channel.ask(CALL)


def test_an_error_that_says_nothing_is_a_failure_all_the_same(channel: Channel) -> None:
    assert channel.failure(real.RpcError()) == Failure("UNKNOWN", "")
