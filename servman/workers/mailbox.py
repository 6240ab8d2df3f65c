"""What other threads have to say to a thread that waits for descriptors."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar, final

from servman.errors import ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


@final
class Mailbox(Generic[T]):
    """A queue whose descriptor is readable when there is something in it.

    What is posted before `open` waits for it.

    Threads: any may `post`; one has the rest.
    """

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        # Guards the descriptor, whose number belongs to something else once it is closed. Writing to it under
        # the lock never blocks: it is a counter.
        self._lock = threading.Lock()
        self._fd: int | None = None

    def open(self) -> None:
        """Get the descriptor; once.

        Raises:
            ResourceExhaustedError: There is none left.
        """
        fd = _counter()
        with self._lock:
            self._fd = fd
            os.eventfd_write(fd, 1)  # there may be something already

    def fileno(self) -> int:
        """Return the descriptor; -1 when there is none."""
        return -1 if self._fd is None else self._fd

    def post(self, item: T) -> None:
        """Put *item* in, and wake the reader if there is one. Never blocks."""
        self._items.put(item)
        with self._lock:
            if self._fd is not None:
                os.eventfd_write(self._fd, 1)

    def take(self) -> Iterator[T]:
        """Take what is there, in the order in which it came."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fileno())
        while not self._items.empty():
            yield self._items.get()

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _counter() -> int:
    try:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except OSError as error:
        raise ResourceExhaustedError(
            f"no descriptor is left to supervise workers with ({error}); close some, or raise the limit"
            " (ulimit -n)"
        ) from error
