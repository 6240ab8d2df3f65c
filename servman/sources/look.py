"""Looking at base paths without ever waiting for one of them.

A base path on a dead network mount hangs whoever lists it. So looks run on a pool, one after
another on one worker, because a handover of threads for each would cost more than the look; a worker
that one look holds up is left behind, and another goes on with the rest.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.errors import FailedPreconditionError, NotFoundError, ServmanError
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.clock import Clock
    from servman.threads import Pool

Lister = Callable[[str], Iterable[tuple[str, bool]]]
"""Returns each name in a base path with whether it is a directory; raises `OSError` if it cannot."""

PATIENCE: Final = 1.0
"""Seconds after which a look is left behind with its worker."""

_MOST_HANDS: Final = 64
"""Workers at most beside those left behind: a dead mount must not take all threads within seconds."""

_BATCH: Final = 0.005
"""Seconds for which a worker collects results before it wakes the actor for them."""

Place = tuple[str, str]
"""The name of a servable and its base path: one look at a time goes there."""


def list_directory(base_path: str) -> list[tuple[str, bool]]:
    """Return each name in *base_path* with whether it is a directory, or a link to one."""
    entries = list(os.scandir(base_path))
    try:
        return [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return [(entry.name, _is_directory(entry)) for entry in entries]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a place that may not be read
        return False


def identity(base_path: str) -> tuple[int, int]:
    """Return what differs when another directory has taken the place of *base_path*."""
    status = os.stat(base_path)  # noqa: PTH116 -- at each look; a Path would double its cost
    return status.st_dev, status.st_ino


@final
@dataclass(slots=True, eq=False)
class Look:
    """One look at the base path of one servable.

    The actor makes it and hands it to a worker, which fills in the rest and hands it back.

    Attributes:
        place: The name of the servable and its base path.
        owner: For whom it was begun; a look whose owner is no longer there is dropped.
        identify: Whether to find out the identity of the base path too.
        begun: When a worker took it up, on the monotonic clock; None before.
        left_behind: Whether the actor has lost patience with it. Only the actor uses it.
        entries: What is in the base path.
        failure: Why that cannot be told.
        identity: See `identity`.
    """

    place: Place
    owner: object = None
    identify: bool = False
    begun: float | None = None
    left_behind: bool = False
    entries: list[tuple[str, bool]] | None = None
    failure: Reason | None = None
    identity: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The servable."""
        return self.place[0]

    @property
    def path(self) -> str:
        """Its base path."""
        return self.place[1]

    @property
    def is_running(self) -> bool:
        """Whether a worker has begun it and not come back."""
        return self.begun is not None and self.entries is None and self.failure is None

    @property
    def patience_ends(self) -> float | None:
        """When it should be left behind; None where it does not run, or has been."""
        if self.begun is None or not self.is_running or self.left_behind:
            return None
        return self.begun + PATIENCE

    def run(self, lister: Lister, clock: Clock) -> float:
        """Look, and return when that began. Never raises.

        Blocks: as long as the storage does.
        """
        self.begun = begun = clock.monotonic()
        name, path = self.place
        try:
            if self.identify:
                self.identity = identity(path)
            entries = lister(path)
            self.entries = entries if isinstance(entries, list) else list(entries)
        except Exception as error:  # noqa: BLE001 -- a storage of the user's may raise anything
            self.failure = failure(name, path, error)
        return begun


def failure(name: str, path: str, error: Exception) -> Reason:
    """Say why the base path of a servable could not be listed, and what to do about it."""
    kind: type[ServmanError] = FailedPreconditionError
    where = f"servable {name!r}: base path {path}"
    if isinstance(error, FileNotFoundError):
        kind, code = NotFoundError, ReasonCode.BASE_PATH_MISSING
        text = f"{where} does not exist; create it, or correct the path"
    elif isinstance(error, NotADirectoryError):
        code = ReasonCode.BASE_PATH_NOT_A_DIRECTORY
        text = (
            f"{where} is not a directory; put the version directories into one, or correct the path"
        )
    elif isinstance(error, PermissionError):
        code = ReasonCode.BASE_PATH_UNREADABLE
        text = f"{where} may not be read by this process; grant it read and search permission"
    else:
        what = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        code = ReasonCode.BASE_PATH_UNREADABLE
        text = f"{where} cannot be read ({what}); check the storage that it is on"
    return Reason(code, text, {"name": name, "base_path": path}, kind(text))


@final
class Lookout:
    """Where looks are queued, run, and collected from.

    There is never more than one look at the base path of one servable, however long it takes.

    Threads: the actor's; `in_flight` any, and `close` one that the actor has ended before.

    Attributes:
        pool: Runs the looks; may be replaced while none is in flight.
        next_check: When `lose_patience` should be called next; None while nothing is in flight.
    """

    def __init__(self, lister: Lister, pool: Pool, clock: Clock, wake: Callable[[], None]) -> None:
        self._lister = lister
        self.pool = pool
        self._clock = clock
        self._wake = wake
        self._left_behind = 0  # workers that hang
        self._hands = 1  # workers beside them
        self.next_check: float | None = None
        self._unannounced = False
        self._flying: dict[Place, Look] = {}
        # The two queues shared with the workers; their operations are atomic.
        self._due: collections.deque[Look] = collections.deque()
        self._done: collections.deque[Look] = collections.deque()

    def in_flight(self, place: Place) -> Look | None:
        """Return the look at *place* that has not come back, if there is one."""
        return self._flying.get(place)

    def begin(self, place: Place, owner: object, *, identify: bool) -> Look | None:
        """Queue a look at *place*, unless one is in flight there: then return that one."""
        flying = self._flying.get(place)
        if flying is None:
            self._flying[place] = look = Look(place, owner, identify)
            self._due.append(look)
            self._unannounced = True
        return flying

    def dispatch(self) -> bool:
        """Let a worker see to what was queued; return whether there was anything."""
        if not self._unannounced:
            return False
        self._unannounced = False
        if self.next_check is None:
            self.next_check = self._clock.monotonic() + PATIENCE
        self.pool.submit(self._drain)
        return True

    def collect(self) -> Iterator[Look]:
        """Yield the looks that are done."""
        while self._done:
            look = self._done.popleft()
            del self._flying[look.place]
            if look.left_behind:  # its worker goes on, so the one in its place is one too many
                self._left_behind -= 1
                self._resize()
            yield look
        if self._hands > 1 and not self._due:
            self._hands = 1
            self._resize()
        if not self._flying:
            self.next_check = None

    def lose_patience(self) -> list[Look]:
        """Leave behind the workers that one look has held up for too long; return those looks.

        What hangs may not hang alone: as long as looks are queued, twice as many workers go on.
        """
        now = self._clock.monotonic()
        if self.next_check is None or now < self.next_check:
            return []
        running = [
            (look, ends)
            for look in self._flying.values()
            if (ends := look.patience_ends) is not None
        ]
        stuck = [look for look, ends in running if ends <= now]
        for look in stuck:
            look.left_behind = True
        self.next_check = min((ends for _, ends in running if ends > now), default=now + PATIENCE)
        if stuck:
            self._go_on_without(len(stuck))
        return stuck

    def close(self, deadline: float | None) -> list[Look]:
        """Begin no more looks and wait for the running ones; return those that were left behind.

        Blocks: until they are done, for `PATIENCE` or until *deadline* at most. They are cut off from
            everything, so that nothing is lost by leaving one behind.
        """
        self._due.clear()
        self.pool.close()
        patience = self._clock.monotonic() + PATIENCE
        if self.pool.join(patience if deadline is None else min(patience, deadline)):
            return []
        return [look for look in list(self._flying.values()) if look.is_running]

    def _go_on_without(self, stuck: int) -> None:
        self._left_behind += stuck
        self._hands = max(1, min(2 * self._hands, len(self._due), _MOST_HANDS))
        self._resize()
        for _ in range(self._hands):
            self.pool.submit(self._drain)

    def _resize(self) -> None:
        self.pool.resize(self._left_behind + self._hands)

    def _drain(self) -> None:
        woken = self._clock.monotonic()
        try:
            while True:
                look = self._due.popleft()
                begun = look.run(self._lister, self._clock)
                self._done.append(look)
                # A wake for each result would cost a switch of threads for each.
                if begun - woken >= _BATCH:
                    woken = begun
                    self._wake()
        except IndexError:  # nothing is left to do
            self._wake()


@final
class CallingThread:
    """A `Pool` that runs each job at once, on the thread that submits it.

    What a source that was not started looks with.
    """

    def submit(self, job: Callable[[], None]) -> None:
        """Run *job*."""
        job()

    def resize(self, size: int) -> None:
        """Do nothing: there is one thread, the caller's."""

    def close(self) -> None:
        """Do nothing: nothing is queued."""

    def join(self, deadline: float | None) -> bool:
        """Return True: nothing runs."""
        del deadline
        return True
