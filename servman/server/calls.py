"""One call, as its method sees it: how long it may take, and what ends it early."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, final

from servman.errors import (
    ClosedError,
    InvalidArgumentError,
    LoadCancelledError,
    ResourceExhaustedError,
    ServmanError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from servman.clock import Clock
    from servman.ids import ServableId

_MOST_MARGIN: Final = 0.25
_LEAST_MARGIN: Final = 0.02
_SHARE: Final = 0.1
"""How much of a call's time is kept for the way back of its answer: this share, within these seconds."""

_LONGEST: Final = 365 * 86_400.0
"""Seconds; a deadline beyond is none: gRPC tells one of a time that it cannot hold, where there is none."""


@final
class WaitingRoom:
    """Where calls wait for something: so many at once, and none any more once the server is stopping.

    Threads: any.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()  # guards the three below
        self._ends: dict[object, Callable[[], object]] = {}  # by who waits: several may end alike
        self._cancels: dict[object, Callable[[], object]] = {}
        self._closed = False

    @contextlib.contextmanager
    def place(
        self, end: Callable[[], object], cancel: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """Take a place for the block.

        Args:
            end: Called where the server stops meanwhile.
            cancel: Called by `break_off`.

        Raises:
            ResourceExhaustedError: All places are taken.
            ClosedError: The server is stopping.
        """
        place = object()
        with self._lock:
            if self._closed:
                raise stopping()
            if len(self._ends) >= self._limit:
                raise ResourceExhaustedError(
                    f"{self._limit} calls are waiting already, which is the most that this server lets wait;"
                    " try again later, or raise its max_waiting_calls"
                )
            self._ends[place] = end
            if cancel is not None:
                self._cancels[place] = cancel
        try:
            yield
        finally:
            with self._lock:
                del self._ends[place]
                self._cancels.pop(place, None)

    @property
    def closed(self) -> bool:
        """Whether the server is stopping."""
        return self._closed

    def close(self) -> None:
        """End every wait, and let none begin. Idempotent."""
        with self._lock:
            self._closed = True
            ends = tuple(self._ends.values())
        for end in ends:
            end()

    def break_off(self) -> None:
        """Cancel the streams that have not ended though they were told to: nobody reads what they say."""
        with self._lock:
            cancels = tuple(self._cancels.values())
        for cancel in cancels:
            cancel()


@final
class Call:
    """One call.

    Args:
        context: What grpc knows of it.
        room: Where it may wait.
        name: The method, for people.

    Attributes:
        until: The instant until which what it calls may take; None: as long as it takes. Set by `due`.
        servable: What it is busy with, once that is known.
        threads: How many there are, while it waits for one of them; else 0.

    Threads: that of the call; `lateness` also another.
    """

    def __init__(
        self, context: grpc.ServicerContext, room: WaitingRoom, name: str = "the call"
    ) -> None:
        self.context: Final = context
        self._room = room
        self._name = name
        self._time = 0.0  # seconds that `due` has left it
        self.until: float | None = None
        self.servable: ServableId | None = None
        self.threads = 0

    def timeout(self, wanted: float = 0.0) -> float | None:
        """Return how many seconds there are to wait, so that the answer is back before the call's deadline.

        Args:
            wanted: How long the request wants to wait; 0: as long as the call may last.

        Raises:
            InvalidArgumentError: *wanted* is no time.
        """
        if not wanted >= 0:
            raise InvalidArgumentError(
                f"a timeout is a number of seconds that is not negative, and not {wanted}"
            )
        remaining: float | None = self.context.time_remaining()
        limits = []
        if remaining is not None and remaining < _LONGEST:
            limits.append(remaining - _margin(remaining))
        if 0 < wanted < _LONGEST:
            limits.append(wanted)
        return min(limits, default=None)

    def due(self, clock: Clock) -> float | None:
        """Return the instant at which somebody else answers if it has not ended; None where it may last for ever.

        That is later than what waits within its `timeout` takes.
        """
        remaining: float | None = self.context.time_remaining()
        if remaining is None or remaining > _LONGEST:
            return None
        # Every prediction comes through here, nearly always with more time than that.
        margin = _MOST_MARGIN if remaining > _MOST_MARGIN / _SHARE else _margin(remaining)
        self._time = remaining - margin / 2
        due = clock.monotonic() + self._time
        self.until = due - margin / 2
        return due

    def lateness(self) -> str:
        """Return what is said of it at that instant."""
        if self.threads:
            return (
                f"{self._name} found no free thread within {self._time:.3f} s, which is nearly all that its"
                f" deadline left: all {self.threads} are busy; allow it more time, or raise the server's"
                " num_threads (--grpc_max_threads)"
            )
        busy = "" if self.servable is None else f" of {self.servable}"
        return (
            f"{self._name}{busy} did not end within {self._time:.3f} s, which is nearly all that its"
            " deadline left when a thread took it up; allow it more time, or find out what holds it up"
        )

    @contextlib.contextmanager
    def waiting(self, end: Callable[[], object], *, streams: bool = False) -> Iterator[None]:
        """Wait in the block.

        Args:
            end: Called, on another thread, once nobody waits for the answer any more.
            streams: Whether it gives one answer after another, and so may be held up by who does not read.

        Raises:
            ResourceExhaustedError, ClosedError: As `WaitingRoom.place`.
        """
        with self._room.place(end, self.context.cancel if streams else None):
            if not self.context.add_callback(lambda: _ignored(end())):
                raise self.over()
            yield

    @property
    def ended(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._room.closed or not self.context.is_active()

    def over(self) -> ServmanError:
        """Return the error of a call for whose answer nobody waits any more."""
        if self._room.closed:
            return stopping()
        return LoadCancelledError("the caller has given the call up")


def _ignored(_: object) -> None: ...


def _margin(remaining: float) -> float:
    """Return how many of the *remaining* seconds are kept for the way back."""
    if remaining < 2 * _LEAST_MARGIN:
        return remaining / 2
    return min(_MOST_MARGIN, max(_LEAST_MARGIN, remaining * _SHARE))


def stopping() -> ClosedError:
    """Return the error of a call that a server which stops takes no more."""
    return ClosedError("the server is shutting down; ask again once there is another")
