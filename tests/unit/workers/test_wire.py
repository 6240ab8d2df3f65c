from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np
import pytest

from servman.errors import ResourceExhaustedError
from servman.testing import Spawned
from servman.workers import segments
from servman.workers.packets import PacketSocket
from servman.workers.payload import Payload
from servman.workers.wire import (
    Connection,
    ConnectionLostError,
    DeadlinePassedError,
    Kind,
    Message,
    pair,
)

Pair = tuple[Connection, Connection]
LARGE = 100_000
"""Elements of an array that is far too large for a packet."""


@pytest.fixture
def ends() -> Iterator[Pair]:
    made = pair()
    yield made
    for end in made:
        end.close()


def serve(child: Connection, handle: Callable[[Any], object]) -> None:
    while (request := child.receive()) is not None:
        value = request.load()
        answer = Payload(handle(value))
        del request, value
        child.reply(Kind.RESULT, answer)


class Calls:
    """Calls of *handle* through a connection, whose other end a thread serves."""

    def __init__(self, ends: Pair, handle: Callable[[Any], object]) -> None:
        self.host, child = ends
        self._served = Spawned(lambda: serve(child, handle))

    def __call__(self, value: object, remaining: float | None = None) -> Any:
        return self.host.exchange(Payload(value), remaining).load()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.host.shutdown()
        self._served.result()


def loaded(message: Message) -> Any:
    return message.load()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def count_segments(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    create = os.memfd_create

    def counted(name: str, flags: int) -> int:
        made.append(name)
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", counted)
    return made


@pytest.mark.parametrize(
    "value",
    [
        None,
        ("predict", ([1.0, 2.0, 3.0],), {}),
        b"x" * 65_000,
        b"x" * 70_000,
        "ä" * 100_000,
        [bytearray(40_000), memoryview(bytes(40_000)), b""],
        [b"%d" % i for i in range(20_000)],
    ],
    ids=["none", "small", "packet", "bytes", "text", "buffers", "many"],
)
def test_a_call_brings_there_and_back(ends: Pair, value: object) -> None:
    with Calls(ends, lambda value: value) as call:
        assert call(value) == value
        assert call(value, 30.0) == value


@pytest.mark.parametrize("dtype", [np.float64, np.int8, ml_dtypes.bfloat16, "U3", "M8[s]"])
def test_arrays_come_there_and_back(ends: Pair, dtype: Any) -> None:
    array = np.arange(LARGE).astype(dtype).reshape(100, -1)
    with Calls(ends, lambda value: value) as call:
        for sent in (array, array[::2], np.asfortranarray(array), array[:0], array[3, 4]):
            got = call(sent)
            assert np.array_equal(got, sent)
            assert (got.dtype, got.shape) == (sent.dtype, sent.shape)


def test_a_request_carries_its_kind_and_what_time_is_left(ends: Pair) -> None:
    host, child = ends
    seen: list[Message] = []

    def answer() -> None:
        for kind in (Kind.RESULT, Kind.ERROR):
            request = child.receive()
            assert request is not None
            seen.append(request)
            child.reply(kind, Payload("x"))

    answering = Spawned(answer)
    kinds = [host.exchange(Payload("x"), remaining).kind for remaining in (None, 12.5)]
    answering.result()
    assert kinds == [Kind.RESULT, Kind.ERROR]
    assert [(one.kind, one.remaining) for one in seen] == [
        (Kind.REQUEST, None),
        (Kind.REQUEST, 12.5),
    ]


def test_what_was_received_stays_what_it_was_however_late_it_is_loaded(ends: Pair) -> None:
    host, child = ends
    with Calls((host, child), lambda value: value):
        late = [host.exchange(Payload([i, np.full(LARGE, i)]), None) for i in range(8)]
        early = [host.exchange(Payload(i), None) for i in range(8)]
    assert [one.load() for one in early] == list(range(8))
    for i, message in enumerate(late):
        number, array = loaded(message)
        assert number == i
        assert (array == i).all()


def test_results_that_the_caller_keeps_are_never_overwritten(ends: Pair) -> None:
    with Calls(ends, lambda i: np.full(LARGE, i)) as call:
        kept = [call(i) for i in range(20)]
        for i, array in enumerate(kept):
            assert (array == i).all()
            array[:] = 1000  # they are the caller's
        assert (call(7) == 7).all()


def test_inputs_that_the_servable_keeps_are_never_overwritten(ends: Pair) -> None:
    kept: list[Any] = []
    with Calls(ends, lambda array: kept.append(array[:10])) as call:
        for i in range(20):
            call(np.full(LARGE, i))
    assert [array.tolist() for array in kept] == [[i] * 10 for i in range(20)]


def test_a_result_that_is_the_input_is_the_callers_own(ends: Pair) -> None:
    sent = np.zeros(LARGE)
    with Calls(ends, lambda value: [value, value]) as call:
        first, again = call(sent)
        assert first is again
        first += 1
        assert not sent.any()
        assert not call(sent)[0].any()
        assert (first == 1).all()


def test_in_the_steady_state_no_segment_is_made(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_segments(monkeypatch)
    result: Any = None
    with Calls(ends, lambda value: value + 1) as call:
        for i in range(50):
            result = call(np.full(LARGE, i))  # the last one is kept till the next has come
    assert (result == 50).all()
    assert len(made) <= 4


def test_a_reply_gives_the_memory_of_its_request_back(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_segments(monkeypatch)
    with Calls(ends, lambda value: value) as call:
        for i in range(10):
            call(np.full(LARGE, i))
    assert len(made) == 2  # one in each direction


def test_no_descriptor_is_left_behind(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LARGEST_KEPT", 2 << 20)
    before = descriptors()
    with Calls(ends, lambda value: value) as call:
        kept: list[Any] = []
        for i in range(15):
            kept = [*kept[-5:], call(np.full(LARGE, i)), call(np.zeros(3 * LARGE))]
            call(i)
    for end in ends:
        end.close()
    del kept
    assert descriptors() == before - 2


def test_a_payload_can_be_sent_to_another(ends: Pair) -> None:
    payload = Payload(("m", np.arange(LARGE)))
    other = pair()
    for one in (ends, other, ends):
        with OneEcho(one) as host:
            assert loaded(host.exchange(payload, None))[1][-1] == LARGE - 1
    for end in other:
        end.close()


class OneEcho:
    """Answers one request with itself."""

    def __init__(self, ends: Pair) -> None:
        self._host, child = ends

        def answer() -> None:
            request = child.receive()
            assert request is not None
            child.reply(Kind.RESULT, Payload(request.load()))

        self._answer = Spawned(answer)

    def __enter__(self) -> Connection:
        return self._host

    def __exit__(self, *_: object) -> None:
        self._answer.result()


def test_the_end_of_the_child_is_told_from_a_passed_deadline(ends: Pair) -> None:
    host, child = ends
    with pytest.raises(DeadlinePassedError):
        host.exchange(Payload("x"), 0.001)
    child.close()  # with the request unread, as when it is killed
    with pytest.raises(ConnectionLostError):
        host.discard_reply()
    with pytest.raises(ConnectionLostError):
        host.exchange(Payload(np.zeros(LARGE)), None)
    assert not host.awaiting_reply


def test_the_end_of_the_host_is_none(ends: Pair) -> None:
    host, child = ends
    host.close()
    assert child.receive() is None
    with pytest.raises(ConnectionLostError):
        child.reply(Kind.RESULT, Payload("x"))


def test_a_deadline_that_has_passed_sends_nothing(ends: Pair) -> None:
    host, child = ends
    for remaining in (0.0, -3.0):
        with pytest.raises(DeadlinePassedError):
            host.exchange(Payload("x"), remaining)
        assert not host.awaiting_reply
    with pytest.raises(DeadlinePassedError):
        child.recv(0)


def awaiting(host: Connection) -> bool:
    return host.awaiting_reply


def test_a_late_reply_is_discarded_and_the_connection_serves_again(ends: Pair) -> None:
    host, child = ends
    with pytest.raises(DeadlinePassedError):
        host.exchange(Payload(np.zeros(LARGE)), 0.001)
    assert host.awaiting_reply
    assert not host.discard_reply()
    request = child.receive()
    assert request is not None
    child.reply(Kind.RESULT, Payload(np.ones(LARGE)))
    assert host.discard_reply()
    assert not awaiting(host)
    with Calls(ends, lambda value: value) as call:
        assert (call(np.full(LARGE, 7)) == 7).all()
    assert not loaded(request).any()  # what was asked first is still what it was


def test_ctrl_c_in_a_call_leaves_the_reply_to_be_discarded(ends: Pair) -> None:
    host, child = ends
    main = threading.get_ident()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def knock() -> None:
        request = child.receive()
        assert request is not None
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)  # noqa: TID251 -- the test is about signals
    try:
        knocking = Spawned(knock)
        with pytest.raises(KeyboardInterrupt):
            host.exchange(Payload("x"), None)
    finally:
        signal.signal(signal.SIGUSR1, before)  # noqa: TID251 -- as above
    knocking.result()
    assert host.awaiting_reply
    child.reply(Kind.RESULT, Payload("late"))
    assert host.discard_reply()


def test_a_descriptor_that_cannot_be_received_loses_one_message_and_no_more(ends: Pair) -> None:
    host, child = ends
    with pytest.raises(DeadlinePassedError):
        host.exchange(Payload(np.full(LARGE, 1)), 0.001)
    with no_descriptor_left(), pytest.raises(ResourceExhaustedError, match="ulimit -n"):
        child.receive()
    child.reply(Kind.ERROR, Payload(np.full(LARGE, 2)))
    with no_descriptor_left():
        assert host.discard_reply()
    with Calls(ends, lambda value: value) as call:
        for i in range(8):
            assert (call(np.full(LARGE, i)) == i).all()


def test_a_request_that_could_not_be_sent_spoils_none_after_it(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ResourceExhaustedError("no buffer left")

    kept: list[Any] = []
    with Calls(ends, lambda array: kept.append(array[:3])) as call:
        for i in range(segments.KEPT):
            call(np.full(LARGE, i))
        with monkeypatch.context() as patch:
            patch.setattr(PacketSocket, "put", full)
            with pytest.raises(ResourceExhaustedError):
                call(np.full(LARGE, 99))
        assert not call.host.awaiting_reply
        kept.clear()
        call(np.zeros(3))  # the answer says that those before are free
        for i in range(2 * segments.KEPT):
            call(np.full(LARGE, 10 + i))
    assert [array[0] for array in kept[1:]] == [10 + i for i in range(2 * segments.KEPT)]


def test_what_a_small_buffer_does_not_take_goes_by_shared_memory() -> None:
    raw = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in raw:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    made = (Connection.from_fd(raw[0].detach()), Connection.from_fd(raw[1].detach()))
    with Calls(made, lambda value: value) as call:
        for size in (100, 3000, 9000, 30_000):
            assert call(b"x" * size) == b"x" * size
    for end in made:
        end.close()


def test_values_go_both_ways_at_any_time(ends: Pair) -> None:
    one, other = ends
    large = [np.full(LARGE, i) for i in range(8)]
    for i in range(8):
        one.send(large[i])
        other.send(("beat", i))
    for i in range(8):
        assert one.recv() == ("beat", i)
        assert (other.recv(1.0) == i).all()  # type: ignore[attr-defined]
    with pytest.raises(DeadlinePassedError):
        one.recv(0)
    other.close()
    with pytest.raises(ConnectionLostError):
        one.recv()


def test_a_full_buffer_is_a_passed_deadline(ends: Pair) -> None:
    one, _ = ends
    with pytest.raises(DeadlinePassedError):
        while True:
            one.send(b"x" * 10_000, timeout=0)
    before = descriptors()
    with pytest.raises(DeadlinePassedError):
        one.send(np.zeros(LARGE), timeout=0)
    assert descriptors() == before


def test_what_cannot_be_pickled_is_not_sent(ends: Pair) -> None:
    one, other = ends
    with pytest.raises(Exception, match="pickle"):
        one.send(lambda: None)
    one.send("next")
    assert other.recv() == "next"


def test_closing_twice_is_closing(ends: Pair) -> None:
    one, _ = ends
    one.close()
    one.close()
    assert one.fileno() == -1


def test_a_shutdown_lets_out_whoever_waits_and_closes_nothing(ends: Pair) -> None:
    host, child = ends
    waiting = Spawned(lambda: host.exchange(Payload("question"), 60.0))
    assert child.receive() is not None
    host.shutdown()
    with pytest.raises(ConnectionLostError):
        waiting.result()
    assert host.fileno() != -1


def test_a_connection_that_was_closed_is_lost(ends: Pair) -> None:
    host, _ = ends
    host.close()
    with pytest.raises(ConnectionLostError):
        host.exchange(Payload("question"), 60.0)
