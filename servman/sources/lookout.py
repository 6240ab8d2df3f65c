"""Looking at base paths without ever waiting for one of them.

A base path on a dead network mount hangs whoever lists it. So looks run on a pool, one after
another on one worker, because a handover of threads for each would cost more than the look. Where looks
are slow more workers join in; a worker that one look holds up for good is left behind. A storage on which
many have been left behind is given up until one of them comes back: looks there fail without being run,
so that a dead mount costs a few threads, and not one for each base path on it.
"""

from __future__ import annotations

import collections
import contextlib
from typing import TYPE_CHECKING, Final, final

from servman.sources.look import PATIENCE, Lister, Look, Place
from servman.sources.mounts import Mount, read_mounts, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from servman.clock import Clock
    from servman.sources.look import Reader
    from servman.threads import Pool

HASTE: Final = 0.1
"""Seconds for which looks may be queued behind slow ones before more workers join in."""

_SLOW: Final = 0.01
"""Seconds after which a look is slow. Where none is, more workers would only wait for each other."""

MOST_HANDS: Final = 16
"""Workers at most beside those left behind."""

MOST_ON_ONE_STORAGE: Final = 8
"""Looks left behind on one storage that make it given up."""

MOST_WORKERS: Final = 80
"""Workers at most, those left behind included. When all are, looks wait until one comes back."""

_BATCH: Final = 0.005
"""Seconds for which a worker collects results before it wakes the actor for them."""


@final
class Lookout:
    """Where looks are queued, run, and collected from.

    There is never more than one look at the base path of one servable, however long it takes, and
    there are never more than `MOST_WORKERS` workers, however many looks hang.

    Threads: the actor's; `in_flight` any, and `close` one that the actor has ended before.

    Attributes:
        pool: Runs the looks; may be replaced while none is in flight.
        next_check: When `lose_patience` should be called next; None while nothing is in flight.
    """

    def __init__(
        self,
        lister: Lister,
        pool: Pool,
        clock: Clock,
        wake: Callable[[], None],
        mounts: Callable[[], Sequence[Mount]] = read_mounts,
    ) -> None:
        self._lister = lister
        self.pool = pool
        self._clock = clock
        self._wake = wake
        self._mounts = mounts
        self._left_behind: collections.Counter[str] = collections.Counter()  # looks, by storage
        # Storages, and what is mounted; replaced and never changed, for workers read them.
        self._given_up: frozenset[str] = frozenset()
        self._table: Sequence[Mount] = ()
        self._refused: dict[Place, Look] = {}
        self._hands = 1  # workers beside those left behind
        self._size = 1
        self.next_check: float | None = None
        self._unannounced = False
        self._flying: dict[Place, Look] = {}
        # The queues shared with the workers; their operations are atomic.
        self._urgent: collections.deque[Look] = collections.deque()
        self._due: collections.deque[Look] = collections.deque()
        self._done: collections.deque[Look] = collections.deque()

    def in_flight(self, place: Place) -> Look | None:
        """Return the look at *place* that has not come back, if there is one."""
        return self._flying.get(place)

    def begin(
        self, place: Place, owner: Reader | None, *, identify: bool, urgent: bool = False
    ) -> Look | None:
        """Queue a look at *place*, unless one is in flight there: then return that one.

        Those that are *urgent* come before all others.
        """
        flying = self._flying.get(place)
        if flying is None:
            if self._refused:
                self._refused.pop(place, None)
            self._flying[place] = look = Look(place, owner, identify)
            (self._urgent if urgent else self._due).append(look)
            self._unannounced = True
        return flying

    def dispatch(self) -> bool:
        """Let a worker see to what was queued; return whether there was anything."""
        if not self._unannounced:
            return False
        self._unannounced = False
        if self._given_up:  # another may have been mounted in its place
            self._table = self._mounts()
        if self.next_check is None:
            self.next_check = self._clock.monotonic() + HASTE
        self._employ(self._hands)
        return True

    def collect(self) -> Iterator[Look]:
        """Yield the looks that are done."""
        while self._done:
            look = self._done.popleft()
            del self._flying[look.place]
            if look.refused:
                self._refused[look.place] = look
            if look.left_behind:
                self._welcome_back(look)
            yield look
        if self._hands > 1 and not self._queued:
            self._hands = 1
            self._resize()
        if not self._flying:
            self.next_check = None

    def lose_patience(self) -> list[Look]:
        """Leave behind the workers that one look has held up for too long; return those looks.

        What is slow or hangs may not be so alone: as long as looks are queued, twice as many workers go on.
        """
        now = self._clock.monotonic()
        if self.next_check is None or now < self.next_check:
            return []
        running = [look for look in self._flying.values() if look.patience_ends is not None]
        stuck = [look for look in running if look.has_run_for(PATIENCE, now)]
        for look in stuck:
            self._leave_behind(look)
        if stuck or any(look.has_run_for(_SLOW, now) for look in running):
            self._send_more_hands()
        self.next_check = self._time_of_next_check(now)
        return stuck

    def close(self, deadline: float | None) -> list[Look]:
        """Begin no more looks and wait for the running ones; return those that were left behind.

        Blocks: until they are done, for `PATIENCE` or until *deadline* at most; no longer than `HASTE` where all that run
            have been left behind before. They are cut off from everything, so that nothing is lost by that.
        """
        self._urgent.clear()
        self._due.clear()
        self.pool.close()
        running = [look for look in list(self._flying.values()) if look.is_running]
        is_known = bool(running) and all(look.left_behind for look in running)
        patience = self._clock.monotonic() + (HASTE if is_known else PATIENCE)
        if self.pool.join(patience if deadline is None else min(patience, deadline)):
            return []
        return [look for look in list(self._flying.values()) if look.is_running]

    @property
    def _queued(self) -> int:
        return len(self._urgent) + len(self._due)

    def _time_of_next_check(self, now: float) -> float:
        if self._queued:
            return now + HASTE
        ends = [look.patience_ends for look in self._flying.values()]
        return min((end for end in ends if end is not None), default=now + PATIENCE)

    def _leave_behind(self, look: Look) -> None:
        look.left_behind = True
        if not look.listed:  # what it waits for is the storage, and no check of what is complete
            self._table = self._mounts()
            look.storage = storage_of(look.path, self._table)
        self._left_behind[look.storage] += 1
        self._give_up_storages()

    def _welcome_back(self, look: Look) -> None:
        """Do without the worker that took the place of this one, and look again at what was refused."""
        self._left_behind[look.storage] -= 1
        self._give_up_storages()
        self._resize()
        for one in list(self._refused.values()):
            if one.storage not in self._given_up:
                self.begin(one.place, one.owner, identify=one.identify)

    def _give_up_storages(self) -> None:
        self._given_up = frozenset(
            storage
            for storage, count in self._left_behind.items()
            if storage and count >= MOST_ON_ONE_STORAGE
        )

    def _send_more_hands(self) -> None:
        before = self._size
        self._hands = max(1, min(2 * self._hands, self._queued, MOST_HANDS))
        self._resize()
        self._employ(self._size - before)

    def _employ(self, workers: int) -> None:
        for _ in range(workers):
            self.pool.submit(self._drain)

    def _resize(self) -> None:
        self._size = min(self._left_behind.total() + self._hands, MOST_WORKERS)
        self.pool.resize(self._size)

    def _drain(self) -> None:
        woken = self._clock.monotonic()
        try:
            while True:
                begun = self._run(self._next())
                # A wake for each result would cost a switch of threads for each.
                if begun - woken >= _BATCH:
                    woken = begun
                    self._wake()
        except IndexError:  # nothing is left to do
            self._wake()

    def _next(self) -> Look:
        if self._urgent:
            with contextlib.suppress(IndexError):  # another worker was quicker
                return self._urgent.popleft()
        return self._due.popleft()

    def _run(self, look: Look) -> float:
        try:
            if self._given_up:
                storage = storage_of(look.path, self._table)
                if storage in self._given_up:
                    look.refuse(storage)
                    return self._clock.monotonic()
            return look.run(self._lister, self._clock)
        finally:  # a Ctrl-C passes, and the look has failed
            self._done.append(look)
