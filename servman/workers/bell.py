"""What a thread waits for that is told of something: a ring, which is kept until it is heard."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from servman.clock import Clock


@final
class Bell:
    """Rung by any thread, heard by one. No lock is held while waiting: a Ctrl-C then finds nothing half done.

    Threads: any may ring; one waits.
    """

    __slots__ = ("_rings",)

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """End the wait, or the next one. Never blocks."""
        self._rings.put(None)

    def wait(self, clock: Clock, deadline: float | None) -> None:
        """Wait for a ring or for *deadline*. May return early: look at what was waited for."""
        clock.receive(self._rings, deadline)
