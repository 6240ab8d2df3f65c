"""The one place that decides when a config file is read, and what is done about it."""

from __future__ import annotations

import functools
import queue
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from servman.core.config_review import Reading
from servman.errors import ServmanError, settled
from servman.log import Log
from servman.sources.look import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.core.config import ServerConfig
    from servman.core.config_review import Review
    from servman.core.config_watch import ConfigWatch
    from servman.threads import Pool

_log = Log(__name__)

REST: Final = 0.05
"""Seconds between looks that file events ask for: others may write much into the same directory."""


@final
@dataclass(frozen=True, slots=True)
class ConfigFileStatus:
    """What is known of a config file. Times are seconds since the epoch.

    Attributes:
        path: The file.
        error: Why it cannot be read, or why what it holds was refused. What was applied before stays in
            force. None where all is well.
        error_since: Since when that is so.
        last_look: When the file was last read, or could not be.
        last_applied: When something that it held was last applied.
        why_not_watched: Why file events are not followed, so that a change is seen at the next poll; None
            where they are.

    Threads: immutable; any thread.
    """

    path: str
    error: ServmanError | None = None
    error_since: float | None = None
    last_look: float | None = None
    last_applied: float | None = None
    why_not_watched: str | None = None


@final
class ConfigActor:
    """Takes jobs from a mailbox, one by one, and looks at the file when it is time.

    There is one look at a time, on the pool; while one hangs no other is begun.

    Args:
        path: The file.
        review: Decides what comes of what was read.
        read: Reads the file; runs on *pool*.
        apply: Puts a configuration in force.
        refused: Is told each error once.
        looked: Is called whenever a look has come to something, or hangs.
        poll_interval: Seconds between looks.
        pool: Runs *read*.
        clock: The time.

    Threads: `post` any; everything else one at a time, which is the thread that `run` is on, once there is
        one.

    Attributes:
        closed: Once true, nothing more is applied and `run` returns.
        status: What is known of the file; replaced and never changed.
        watch: Asks for looks when something happens; None where events are not followed.
    """

    def __init__(
        self,
        path: str,
        review: Review,
        *,
        read: Callable[[str], Reading],
        apply: Callable[[ServerConfig], object],
        refused: Callable[[ServmanError], object],
        looked: Callable[[], None],
        poll_interval: float,
        pool: Pool,
        clock: Clock,
    ) -> None:
        self._path = path
        self._review = review
        self._read = read
        self._apply = apply
        self._refused = refused
        self._looked = looked
        self._poll_interval = poll_interval
        self._pool = pool
        self._clock = clock
        self._mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._look_at = None if poll_interval < 0 else clock.monotonic()
        self._begun = 0.0  # the last look
        self._is_reading = False
        self._is_hanging = False
        self._told: ServmanError | None = None
        self.watch: ConfigWatch | None = None
        self.status = ConfigFileStatus(path)
        self.closed = False

    def post(self, job: Callable[[], None]) -> None:
        """Have *job* run by the actor. Never blocks."""
        self._mailbox.put(job)

    def run(self) -> None:
        """Do what is due, and wait for more, until `closed`."""
        while not self.closed:
            self._turn(self._clock.receive(self._mailbox, self._deadline()))

    def step(self) -> bool:
        """Do what is due now; return whether anything was."""
        try:
            job = self._mailbox.get_nowait()
        except queue.Empty:
            job = None
        return self._turn(job) or job is not None

    def look_soon(self) -> None:
        """Look at the file: something has happened there."""
        self._look_by(max(self._clock.monotonic(), self._begun + REST))

    def look_anew(self) -> None:
        """Look at the file now, and take up what was refused once more."""
        self._review.reconsider()
        self._look_by(self._clock.monotonic())

    def _turn(self, job: Callable[[], None] | None) -> bool:
        try:
            if job is not None:
                job()
            return self._do_what_is_due()
        except BaseException:  # noqa: BLE001 -- the thread survives what one step raises
            _log.exception("following config file %s failed at a step; it goes on", self._path)
            self._looked()
            return True

    def _deadline(self) -> float | None:
        """Return when to look or, while a look is under way, when it has taken too long."""
        if not self._is_reading:
            return self._look_at
        return None if self._is_hanging else self._begun + PATIENCE

    def _do_what_is_due(self) -> bool:
        now, deadline = self._clock.monotonic(), self._deadline()
        if deadline is None or now < deadline or self.closed:
            return False
        if self._is_reading:
            self._is_hanging = True
            self._review.note_hang()
            self._tell()
        else:
            self._begin_look(now)
        return True

    def _look_by(self, instant: float) -> None:
        self._look_at = instant if self._look_at is None else min(self._look_at, instant)

    def _begin_look(self, now: float) -> None:
        self._begun = now
        self._look_at = now + PATIENCE  # should there be no thread to be had
        self._is_reading = self._pool.submit(self._look)
        self._look_at = now + self._poll_interval if self._poll_interval > 0 else None

    def _look(self) -> None:
        """Read the file, on the pool."""
        try:
            reading = self._read(self._path)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the file cannot be read
            reading = Reading(error=settled(error))
        self.post(functools.partial(self._take, reading))

    def _take(self, reading: Reading) -> None:
        self._is_reading = self._is_hanging = False
        if self.closed:
            return
        if self.watch is not None:
            self.watch.attend(reading.directories)
        config = self._review.take(reading, self._clock.monotonic())
        if self._review.recheck is not None:
            self._look_by(self._review.recheck)
        if config is not None:
            self._put_in_force(config)
        self._tell(looked=True)

    def _put_in_force(self, config: ServerConfig) -> None:
        try:
            self._apply(config)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, this content is not in force
            self._review.refuse(settled(error))
            return
        self.status = replace(self.status, last_applied=self._clock.wall())
        _log.info("config file %s was applied: %d models", self._path, len(config.models))

    def _tell(self, *, looked: bool = False) -> None:
        """Publish what is known now, and report an error that was not reported yet."""
        now, error = self._clock.wall(), self._review.error
        is_news = error is not self._told
        self._told = error
        self.status = replace(
            self.status,
            error=error,
            error_since=None if error is None else now if is_news else self.status.error_since,
            last_look=now if looked else self.status.last_look,
        )
        if is_news and error is not None:
            _log.error("config file %s changes nothing: %s", self._path, error)
            self._refused(error)
        elif is_news:
            _log.info("config file %s is in order again", self._path)
        self._looked()
