"""The channel on which a worker process and its host tell each other how things are.

It is no way for calls, which have connections of their own: its messages are few and small.
"""

from __future__ import annotations

import os
import pickle
import socket
from contextlib import suppress
from typing import Final, final

_LARGEST_PACKET: Final = 64 * 1024
"""Bytes that always fit into one packet. What is larger, the loader say, goes as a file in memory."""


@final
class ControlChannel:
    """One end of a pair of connected sockets; each message is one packet.

    Threads: any may send, for a packet goes out whole; one receives.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[ControlChannel, ControlChannel]:
        """Return two ends, connected.

        Raises:
            OSError: There is no descriptor left.
        """
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @classmethod
    def from_fd(cls, fd: int) -> ControlChannel:
        """Return the end with the descriptor *fd*, which it then owns."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """Return the descriptor: readable when there is something to receive, or the other end is gone."""
        return self._socket.fileno()

    def send(self, message: object) -> bool:
        """Send *message*; return whether the other end was there to get it.

        Blocks: while the other end has some hundred messages to read.

        Raises:
            OSError: There is no descriptor left for a large one.
        """
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        try:
            if len(data) <= _LARGEST_PACKET:
                self._socket.send(data, socket.MSG_NOSIGNAL)
            else:
                self._send_file(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_text(self, text: str) -> None:
        """Send *text*, up to 100 KB, to a process that has no modules yet: it reads the packet as it is."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.send(os.fsencode(text), socket.MSG_NOSIGNAL)

    def receive(self) -> object:
        """Return the next message; None when the other end is gone.

        Blocks: until there is one.
        """
        try:
            data, files, _, _ = socket.recv_fds(self._socket, _LARGEST_PACKET, 1)
        except ConnectionResetError:
            return None
        for file in files:
            with open(file, "rb") as large:  # noqa: PTH123 -- a descriptor
                data = large.read()
        return pickle.loads(data) if data else None  # noqa: S301 -- from our own child or host

    def close(self) -> None:
        """Close this end. Idempotent."""
        self._socket.close()

    def _send_file(self, data: bytes) -> None:
        file = os.memfd_create("servman-message", os.MFD_CLOEXEC)
        try:
            with open(file, "wb", closefd=False) as large:
                large.write(data)
            os.lseek(file, 0, os.SEEK_SET)
            socket.send_fds(self._socket, [b"\0"], [file], socket.MSG_NOSIGNAL)
        finally:
            os.close(file)
