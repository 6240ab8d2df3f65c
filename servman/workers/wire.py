"""The connection between the host and a thread of its child: one message is one packet.

A packet is the pickle and a label. What is larger lies in a segment, of which the label says where; the
descriptor of a new segment travels with the packet. Every label also says which segments of the other
direction came back. It comes last, for unpickling stops by itself where a pickle ends.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import struct
from typing import Final, final

from servman.errors import ResourceExhaustedError
from servman.workers.packets import (
    ConnectionLostError,
    DeadlinePassedError,
    PacketSocket,
    socket_pair,
)
from servman.workers.payload import Payload, load
from servman.workers.segments import Borrower, Lender, Loan

__all__ = [
    "Connection",
    "ConnectionLostError",
    "DeadlinePassedError",
    "Kind",
    "Message",
    "Payload",
    "pair",
]

_LABEL: Final = struct.Struct("<BbBBIQd")
"""Kind, place, segments returned, descriptors attached, buffers, length, seconds remaining."""

_IN_PACKET: Final = Loan(-1, None)
"""Of a message that lies in its packet."""

_FOR_EVER: Final = -1.0

_NOT_SENT: Final = (ConnectionLostError, DeadlinePassedError, ResourceExhaustedError)
"""What says for certain that a packet was not sent; Ctrl-C says nothing."""


class Kind(enum.IntEnum):
    """What a message is."""

    VALUE = 0  # of `send` and `recv`
    REQUEST = 1
    RESULT = 2
    ERROR = 3


_KINDS: Final = tuple(Kind)


@final
class Message:
    """What has arrived. Free of the connection: it may be loaded late, in any thread, once."""

    __slots__ = ("_body", "_buffers", "kind", "remaining")

    kind: Kind
    remaining: float | None
    """Seconds that the caller still waits, as of sending; None for ever. Of requests alone."""

    def __init__(
        self, kind: Kind, remaining: float | None, body: memoryview | bytes, buffers: int
    ) -> None:
        self.kind = kind
        self.remaining = remaining
        self._body = body
        self._buffers = buffers

    def load(self) -> object:
        """Unpickle it and let go of it. Arrays lie in shared memory, writable where they were writable.

        Raises:
            Exception: Whatever unpickling raises.
        """
        body, self._body = self._body, b""
        return load(body, self._buffers)


@final
class Connection:
    """One end of a pair of sockets, with the shared memory that its two directions use.

    A call: the host does `exchange`, the child `receive`, then `reply`, one after another. Anything else
    (control): `send` and `recv` on either side, in any order. A connection is used for one of the two.

    Threads: one at a time; `shutdown` any.
    """

    def __init__(self, end: PacketSocket) -> None:
        self._end = end
        self._room = end.room - _LABEL.size
        self._lender = Lender()
        self._borrower = Borrower()
        self._awaiting = False

    @classmethod
    def from_fd(cls, fd: int) -> Connection:
        """Return the connection of an inherited socket, which it owns from now on."""
        return cls(PacketSocket(socket.socket(fileno=fd)))

    @property
    def awaiting_reply(self) -> bool:
        """Whether a request was sent and its reply not taken: no other can be sent before `discard_reply`."""
        return self._awaiting

    def fileno(self) -> int:
        """Return the descriptor: readable when a message or the end has come. -1 when closed."""
        return self._end.fileno()

    def exchange(self, request: Payload, remaining: float | None) -> Message:
        """Send *request* and return the reply (`kind` RESULT or ERROR).

        Whatever it raises, Ctrl-C included: `awaiting_reply` says whether the reply is still to come.

        Blocks: until the reply, at most *remaining* seconds.

        Raises:
            ConnectionLostError: The other side is gone. Close this one.
            DeadlinePassedError: The time is up.
            ResourceExhaustedError: There is no memory or descriptor left for the request, or for the reply.
        """
        if remaining is not None and remaining <= 0:
            raise DeadlinePassedError
        packet, loan = self._packed(Kind.REQUEST, request, remaining)
        self._awaiting = True
        try:
            self._put(packet, loan, remaining)
        except _NOT_SENT:
            self._awaiting = False  # nothing was sent
            raise
        return self._take(remaining)

    def discard_reply(self) -> bool:
        """Take the reply that came too late, if it has come, and return whether. Never blocks.

        Raises:
            ConnectionLostError: The other side is gone.
        """
        try:
            with contextlib.suppress(ResourceExhaustedError):  # nobody wants it
                self._take(0)
        except DeadlinePassedError:
            return False
        return True

    def receive(self) -> Message | None:
        """Return the next request; None when the other side has gone.

        Blocks: until then.

        Raises:
            ResourceExhaustedError: A request came whose memory could not be mapped: reply with this error.
        """
        try:
            return self._take(None)
        except ConnectionLostError:
            return None

    def reply(self, kind: Kind, answer: Payload) -> None:
        """Send the answer to the request received last, and empty *answer*.

        To let the host use its memory again, hold nothing of the request any more (`del` what you have).

        Raises:
            ConnectionLostError: The other side is gone.
            ResourceExhaustedError: No memory left for the answer; nothing was sent: reply with this error.
        """
        self._put(*self._packed(kind, answer, consume=True), None)

    def send(self, value: object, *, timeout: float | None = None) -> None:
        """Pickle and send *value*.

        Blocks: while the other side's buffer is full, at most *timeout* seconds.

        Raises:
            ConnectionLostError: The other side is gone.
            DeadlinePassedError: The time is up; nothing was sent.
            ResourceExhaustedError: There is no memory or descriptor left for it; nothing was sent.
            Exception: What pickling raises; nothing was sent.
        """
        self._put(*self._packed(Kind.VALUE, Payload(value)), timeout)

    def recv(self, timeout: float | None = None) -> object:
        """Return the next value that `send` sent.

        Blocks: until then, at most *timeout* seconds; 0 does not wait.

        Raises:
            ConnectionLostError: The other side is gone, and everything that it sent was received.
            DeadlinePassedError: The time is up.
            ResourceExhaustedError: A value came whose memory could not be mapped; it is lost.
            Exception: What unpickling raises; the value is lost.
        """
        return self._take(timeout).load()

    def shutdown(self) -> None:
        """End the conversation: waits at both ends raise ConnectionLostError. `close` has still to be called."""
        self._end.shutdown()

    def close(self) -> None:
        """Close it and let go of its memory; what was received stays readable. Idempotent.

        Only who knows that no thread uses it may do so: the number of its descriptor may be another's at once.
        """
        self._end.close()
        self._lender.close()
        self._borrower.close()

    def _packed(
        self, kind: Kind, payload: Payload, remaining: float | None = None, *, consume: bool = False
    ) -> tuple[bytes, Loan]:
        """Return the packet, and where its message lies."""
        buffers, length = payload.buffers, payload.size
        if buffers or length > self._room:
            body = b""
            # Values do not take turns, which is what serving again takes; see segments.
            loan, length = self._lend(payload, keep=kind is not Kind.VALUE)
        else:
            body, loan = payload.pickled(), _IN_PACKET
        if consume:
            payload.clear()  # it may refer to memory of the request, which would not be free yet
        returned = self._borrower.returned()
        seconds = _FOR_EVER if remaining is None else remaining
        attached = loan.fd is not None
        label = _LABEL.pack(kind, loan.place, returned, attached, buffers, length, seconds)
        return body + label, loan

    def _lend(self, payload: Payload, *, keep: bool) -> tuple[Loan, int]:
        parts, length = payload.parts()
        return self._lender.lend(parts, length, keep=keep), length

    def _put(self, packet: bytes, loan: Loan, timeout: float | None) -> None:
        try:
            self._end.put(packet, loan.fd, timeout)
        except _NOT_SENT:
            if loan is not _IN_PACKET:
                self._lender.retract(loan)
            raise
        finally:
            if loan.fd is not None:
                os.close(loan.fd)

    def _take(self, timeout: float | None) -> Message:
        packet, fd = self._end.take(timeout)
        self._awaiting = False
        kind, place, returned, attached, buffers, length, seconds = _LABEL.unpack_from(
            packet, len(packet) - _LABEL.size
        )
        if returned:
            self._lender.take_back(returned)
        body: memoryview | bytes = packet
        if place == _IN_PACKET.place:
            pass
        elif attached:
            body = self._borrower.map(place, fd, length)
        else:
            body = self._borrower.borrow(place, length)
        return Message(_KINDS[kind], None if seconds < 0 else seconds, body, buffers)


def pair() -> tuple[Connection, Connection]:
    """Return two connected ends, neither of which a child process inherits unless told.

    Raises:
        ResourceExhaustedError: There are no descriptors left.
    """
    one, other = socket_pair()
    return Connection(one), Connection(other)
