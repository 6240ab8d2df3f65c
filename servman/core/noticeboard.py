"""Which models something has happened to, told to those who look at them again."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.clock import Clock


@final
class Listener:
    """Collects the names of models that something has happened to.

    Threads: `tell` any; the rest by one, which listens.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = threading.Condition(threading.Lock())  # guards the two below
        self._names: set[str] = set()
        self._woken = False

    def tell(self, name: str) -> None:
        """Note that something has happened to *name*."""
        with self._told:
            self._names.add(name)
            self._told.notify()

    def wake(self) -> None:
        """End the present or next `wait`, with what is there."""
        with self._told:
            self._woken = True
            self._told.notify()

    def wait(self, deadline: float | None) -> set[str]:
        """Return the names told since the last time, which may be none at *deadline*, or when woken.

        Blocks: until there is one, until `wake`, or until *deadline* (None: for ever).
        """
        with self._told:
            while not self._names and not self._woken:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    break
                self._clock.wait_until(self._told, deadline)
            self._woken = False
            return self._taken_locked()

    def names(self) -> set[str]:
        """Return the names told since the last time. Never waits."""
        with self._told:
            return self._taken_locked()

    def _taken_locked(self) -> set[str]:
        names, self._names = self._names, set()
        return names


@final
class Noticeboard:
    """Hands on that something has happened to a model: in the manager, or at its base path.

    Where nobody listens, that costs no more than a look whether anybody does.

    Threads: any.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards replacing the tuple
        self._listeners: tuple[Listener, ...] = ()  # replaced, never changed

    def post(self, name: str) -> None:
        """Note that something has happened to *name*. Never blocks."""
        for listener in self._listeners:
            listener.tell(name)

    def wake(self) -> None:
        """Have everyone who listens look around."""
        for listener in self._listeners:
            listener.wake()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Yield a listener that is told of all that happens until the end of the block."""
        listener = Listener(self._clock)
        with self._lock:
            self._listeners = (*self._listeners, listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)
