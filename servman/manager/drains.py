"""Drains: who still uses a version, and the signal that nobody does any more.

Rules 25 to 28 of docs/concurrency.md tell why this is as it is, and no simpler.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Final, final

from servman.manager.handle import Entry
from servman.manager.messages import Drained
from servman.manager.serving import count_handles

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.ids import ServableId
    from servman.manager.handle import HandleSite
    from servman.manager.serving import StreamEntry

_DROP_INTERVAL: Final = 0.05
"""Seconds between looks at entries that wait for their last handle, on builds without the GIL."""


@final
class Pin:
    """A plain object to hold; see `Entry.pin`."""

    __slots__ = ("__weakref__",)


@final
class Signal(weakref.ref[object]):
    """A weak reference that is handed over, by the interpreter itself, when its object dies.

    `__del__` and `weakref.finalize` run bytecode, and lose the signal when an exception (Ctrl-C)
    arrives in it; this callback is a C function.

    Attributes:
        incarnation: Whose object it is.
        pin: What dies after the entry; None where it is the pin that is watched.
    """

    __slots__ = ("incarnation", "pin")

    incarnation: int
    pin: Pin | None

    def __new__(
        cls, target: object, tell: Callable[[Signal], None], incarnation: int, pin: Pin | None
    ) -> Signal:
        """Hand this to *tell* when *target* dies."""
        self = super().__new__(cls, target, tell)
        self.incarnation = incarnation
        self.pin = pin
        return self

    def __init__(self, *_: object) -> None:
        """Leave it to `__new__`: the base class would refuse the further arguments."""


@final
class Drains:
    """Makes the entries that lookups find, and finds out when the last handle on one has gone.

    Args:
        tell: Takes each signal, wherever an object dies, and brings it to `hear`. A C function.

    Attributes:
        interval: Seconds after which the actor's thread is to run while a version waits for its handles. Without
            the GIL, the last reference to an entry may be handed to the thread that made it, that one, which
            drops it only when it next runs. None where no drop is owed to it.

    Threads: `holders` from any; all else from the actor's only.
    """

    def __init__(self, tell: Callable[[Signal], None]) -> None:
        has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        self.interval: float | None = None if has_gil else _DROP_INTERVAL
        self._tell = tell
        # Kept, for a weak reference that has died itself tells nothing.
        self._signals: dict[int, Signal] = {}

    def enter(self, incarnation: int, id: ServableId, servable: object) -> Entry:
        """Return a new entry of *incarnation*: as long as somebody holds it, that is in use."""
        pin = Pin()
        entry = Entry(id, servable, pin)
        self._watch(entry, incarnation, pin)
        return entry

    def hear(self, signal: Signal) -> Drained | None:
        """Take up the death of an entry, then that of its pin; see `Entry.pin` for why there are two."""
        if signal.pin is None:
            return Drained(signal.incarnation)
        self._watch(signal.pin, signal.incarnation, None)
        signal.pin = None
        return None

    def forget(self, incarnation: int) -> None:
        """Hear nothing more of *incarnation*."""
        self._signals.pop(incarnation, None)

    def holders(
        self, incarnation: int, stream: StreamEntry | None
    ) -> tuple[int, tuple[HandleSite, ...]]:
        """Return about how many handles hold *incarnation*, beside its *stream*, and what is known of them."""
        signal = self._signals.get(incarnation)
        entry = None if signal is None else signal()
        if not isinstance(entry, Entry):  # the pin, perhaps: no handle is left
            return 0, ()
        return count_handles(entry, stream), tuple(entry.sites.copy().values())

    def _watch(self, target: object, incarnation: int, pin: Pin | None) -> None:
        self._signals[incarnation] = Signal(target, self._tell, incarnation, pin)
