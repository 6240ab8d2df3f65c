"""A socket of whole packets, of which one may carry a descriptor."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
from typing import Final, NoReturn, final

from servman.errors import InternalError, ResourceExhaustedError

LARGEST: Final = 64 << 10
"""Bytes of the longest packet."""

_LONGEST_WAIT: Final = 1e6
"""Seconds from which on a wait is one for ever: the system counts milliseconds in 31 bits."""

# Plain numbers: as members of their enumeration they cost more to combine than a packet to send.
_SENDING: Final = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
_RECEIVING: Final = int(socket.MSG_CMSG_CLOEXEC)
_RECEIVING_AT_ONCE: Final = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
_CUT_OFF: Final = int(socket.MSG_TRUNC)

_DESCRIPTORS: Final = socket.CMSG_SPACE(array.array("i").itemsize)
_SCARCE: Final = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS, errno.EMFILE})


class ConnectionLostError(Exception):
    """The other side has closed its end, or is dead. Never leaves servman.workers."""


class DeadlinePassedError(Exception):
    """The time is up, and nothing has come (or could be sent). Never leaves servman.workers."""


@final
class PacketSocket:
    """One end of a SOCK_SEQPACKET pair. No packet is empty, so what is empty is the end.

    Threads: one at a time; `shutdown` any.
    """

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(None)  # whatever is the default in this process
        end.set_inheritable(False)
        self._end = end
        # A packet that does not fit into the buffer is refused, however empty that is.
        self.room = min(LARGEST, end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2)
        self._readable = select.poll()
        self._readable.register(end, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor; -1 when closed."""
        return self._end.fileno()

    def put(self, packet: bytes, fd: int | None, timeout: float | None) -> None:
        """Send *packet*, of at most `room` bytes, and with it *fd*, which stays open here.

        Blocks: while the buffer is full, at most *timeout* seconds.

        Raises:
            ConnectionLostError: The other side is gone.
            DeadlinePassedError: The time is up; nothing was sent.
            ResourceExhaustedError: The system has no memory for it; nothing was sent.
        """
        try:
            while not self._put_now(packet, fd):
                self._wait_for_room(timeout)
        except OSError as error:
            _fail(error)

    def take(self, timeout: float | None) -> tuple[bytes, int | None]:
        """Return the next packet, and the descriptor that came along, which is the caller's to close.

        It is missing where this process may open no more.

        Blocks: until a packet comes, at most *timeout* seconds.

        Raises:
            ConnectionLostError: The other side is gone.
            DeadlinePassedError: The time is up.
        """
        try:
            if timeout and not self._readable.poll(_milliseconds(timeout)):
                raise DeadlinePassedError
            flags = _RECEIVING if timeout is None else _RECEIVING_AT_ONCE
            packet, ancillary, told, _ = self._end.recvmsg(LARGEST, _DESCRIPTORS, flags)
        except BlockingIOError:
            raise DeadlinePassedError from None
        except OSError as error:
            _fail(error)
        fd = _descriptor(ancillary) if ancillary else None
        if not packet:
            raise ConnectionLostError
        if told & _CUT_OFF:
            _refuse(fd)
        return packet, fd

    def shutdown(self) -> None:
        """Have every wait at either end return; what was sent before is still received."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.EBADF}:  # it has ended already
                raise

    def close(self) -> None:
        """Close it. Idempotent."""
        self._end.close()

    def _put_now(self, packet: bytes, fd: int | None) -> bool:
        try:
            if fd is None:
                self._end.send(packet, _SENDING)
            else:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
                self._end.sendmsg([packet], [rights], _SENDING)
        except BlockingIOError:
            return False
        return True

    def _wait_for_room(self, timeout: float | None) -> None:
        writable = select.poll()
        writable.register(self._end, select.POLLOUT)
        if not writable.poll(None if timeout is None else _milliseconds(timeout)):
            raise DeadlinePassedError


def _milliseconds(timeout: float) -> float | None:
    return timeout * 1000 if timeout < _LONGEST_WAIT else None


def _descriptor(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the descriptor among *ancillary*: there is room for one."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    for surplus in fds[1:]:
        os.close(surplus)
    return fds[0] if fds else None


def _refuse(fd: int | None) -> NoReturn:
    if fd is not None:
        os.close(fd)
    raise InternalError(f"a packet of more than {LARGEST} bytes came from the other process")


def _fail(error: OSError) -> NoReturn:
    """Raise what *error* means: a socket fails for want of memory, or because its other end is gone."""
    if error.errno in _SCARCE:
        raise ResourceExhaustedError(
            f"a message to another process cannot be sent ({error.strerror}); end what uses memory or"
            " descriptors, or raise the limit of this process or container"
        ) from error
    raise ConnectionLostError(error.strerror) from error


def socket_pair() -> tuple[PacketSocket, PacketSocket]:
    """Return the two ends of a new pair, neither of which a child process inherits unless told.

    Raises:
        ResourceExhaustedError: There are no descriptors left.
    """
    try:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise ResourceExhaustedError(
            f"no socket for another process can be made ({error.strerror}); close what uses descriptors, or"
            " raise the limit (ulimit -n)"
        ) from error
    return PacketSocket(one), PacketSocket(other)
