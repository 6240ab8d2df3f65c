from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from servman.errors import InternalError, ResourceExhaustedError
from servman.testing import Spawned
from servman.workers.packets import (
    LARGEST,
    ConnectionLostError,
    DeadlinePassedError,
    PacketSocket,
    socket_pair,
)

Pair = tuple[PacketSocket, PacketSocket]


@pytest.fixture
def ends() -> Iterator[Pair]:
    made = socket_pair()
    yield made
    for end in made:
        end.close()


def fill(end: PacketSocket) -> int:
    sent = 0
    with pytest.raises(DeadlinePassedError):
        while True:
            end.put(bytes([sent % 251]) * 8000, None, 0)
            sent += 1
    return sent


def test_packets_come_whole_and_in_order(ends: Pair) -> None:
    one, other = ends
    for packet in (b"a", b"bc" * 1000, bytes(one.room)):
        one.put(packet, None, None)
        assert other.take(None) == (packet, None)
        other.put(packet, None, 1.0)
        assert one.take(1.0) == (packet, None)


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_a_descriptor_comes_along_and_no_child_inherits_it(
    ends: Pair, timeout: float | None
) -> None:
    one, other = ends
    fd = os.memfd_create("x")
    one.put(b"look", fd, None)
    os.close(fd)
    packet, received = other.take(timeout)
    assert packet == b"look"
    assert received is not None
    assert not os.get_inheritable(received)
    os.close(received)


def test_no_child_inherits_the_ends(ends: Pair) -> None:
    assert not any(os.get_inheritable(end.fileno()) for end in ends)
    inherited = os.dup(ends[0].fileno())
    os.set_inheritable(inherited, True)  # noqa: FBT003 -- positional only
    end = PacketSocket(socket.socket(fileno=inherited))
    assert not os.get_inheritable(end.fileno())
    end.close()


def test_nothing_there_is_a_passed_deadline(ends: Pair) -> None:
    for timeout in (0, 0.001):
        with pytest.raises(DeadlinePassedError):
            ends[0].take(timeout)


def test_very_long_waits_do_not_overflow(ends: Pair) -> None:
    ends[1].put(b"x", None, None)
    assert ends[0].take(1e300) == (b"x", None)


def test_the_end_of_the_other_is_a_lost_connection(ends: Pair) -> None:
    one, other = ends
    other.put(b"last words", None, None)
    other.close()
    assert one.take(None)[0] == b"last words"
    for timeout in (None, 0, 1.0):
        with pytest.raises(ConnectionLostError):
            one.take(timeout)
    with pytest.raises(ConnectionLostError):
        one.put(b"x", None, None)


def test_the_end_of_one_who_had_not_read_is_a_lost_connection(ends: Pair) -> None:
    one, other = ends
    one.put(b"unread", None, None)
    other.close()
    with pytest.raises(ConnectionLostError):
        one.take(None)


def test_a_dead_reader_raises_no_signal(ends: Pair) -> None:
    one, other = ends
    other.close()
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # noqa: TID251 -- as embedding hosts have it
    try:
        with pytest.raises(ConnectionLostError):
            one.put(b"x", None, None)
    finally:
        signal.signal(signal.SIGPIPE, before)  # noqa: TID251 -- as above


def test_own_end_closed_is_a_lost_connection(ends: Pair) -> None:
    one, _ = ends
    one.close()
    one.close()
    one.shutdown()
    assert one.fileno() == -1
    with pytest.raises(ConnectionLostError):
        one.take(None)
    with pytest.raises(ConnectionLostError):
        one.put(b"x", None, None)


def test_shutdown_wakes_who_waits_at_either_end(ends: Pair) -> None:
    one, other = ends
    waits = [Spawned(lambda: one.take(None)), Spawned(lambda: other.take(None))]
    one.shutdown()
    one.shutdown()
    for wait in waits:
        with pytest.raises(ConnectionLostError):
            wait.result()


def test_a_full_buffer_makes_the_sender_wait_and_loses_nothing(ends: Pair) -> None:
    one, other = ends
    sent = fill(one)
    with pytest.raises(DeadlinePassedError):
        one.put(b"late", None, 0.001)
    waiting = Spawned(lambda: one.put(b"last", None, None))
    got = [other.take(None)[0] for _ in range(sent)]
    assert got == [bytes([i % 251]) * 8000 for i in range(sent)]
    assert other.take(None)[0] == b"last"
    waiting.result()


def test_a_wait_goes_on_after_a_signal(ends: Pair) -> None:
    one, other = ends
    main = threading.get_ident()

    def answer(*_: object) -> None:
        other.put(b"answer", None, None)

    before = signal.signal(signal.SIGUSR1, answer)  # noqa: TID251 -- the test is about signals
    try:
        for timeout in (None, 30.0):
            knock = Spawned(lambda: signal.pthread_kill(main, signal.SIGUSR1))
            assert one.take(timeout)[0] == b"answer"
            knock.result()
    finally:
        signal.signal(signal.SIGUSR1, before)  # noqa: TID251 -- as above


def test_the_room_is_what_a_small_buffer_takes() -> None:
    raw = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 6000)
    one, other = PacketSocket(raw[0]), PacketSocket(raw[1])
    assert one.room < 12000
    assert other.room == LARGEST
    one.put(bytes(one.room), None, 0)
    assert len(other.take(0)[0]) == one.room
    one.close()
    other.close()


def test_a_packet_that_is_too_long_is_refused_with_what_came_along() -> None:
    raw, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other = PacketSocket(end)
    reader, writer = os.pipe()
    socket.send_fds(raw, [bytes(LARGEST + 1)], [writer])
    os.close(writer)
    with pytest.raises(InternalError, match="more than"):
        other.take(None)
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)
    raw.close()
    other.close()


def test_more_descriptors_than_one_are_not_kept() -> None:
    raw, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other = PacketSocket(end)
    reader, writer = os.pipe()
    socket.send_fds(raw, [b"x"], [writer, writer, writer])
    os.close(writer)
    _, fd = other.take(None)
    assert fd is not None
    os.close(fd)
    assert os.read(reader, 1) == b""
    os.close(reader)
    raw.close()
    other.close()


def test_no_descriptor_for_a_pair_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", none_left)
    with pytest.raises(ResourceExhaustedError, match="ulimit -n"):
        socket_pair()
