"""`ConfigFile`: follows a file with models, and has what it holds applied whenever that changes."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, final

from servman.clock import Clock, SystemClock, deadline_after
from servman.core.config_actor import ConfigActor
from servman.core.config_review import Reading, Review
from servman.core.config_text import read_bytes, unreadable
from servman.core.config_watch import ConfigWatch
from servman.errors import ClosedError, FailedPreconditionError, ServmanError, settled
from servman.forks import watch
from servman.log import Log
from servman.sources.look import PATIENCE, identity
from servman.sources.mounts import kind_of
from servman.sources.observer import native_observer
from servman.sources.placement import Placement
from servman.threads import Pool, Thread, WorkerPool, join, refuse_own_thread, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.core.config import ServerConfig
    from servman.core.config_actor import ConfigFileStatus

_log = Log(__name__)


@final
class ConfigFile:
    """Follows a file of models and has what it holds applied whenever its content changes.

    1. What is torn, faulty, or cannot be read changes nothing. It is reported once, in the log and in
       `status`, and not before it has stood for a second: who writes a file in place tears it for a moment.
    2. A whole configuration is applied as soon as it is seen, also after a faulty one.
    3. It is the content that counts: a file that was only touched, replaced by the same, or gone for a
       while, is not applied again. So what was set by other means stays until somebody changes the file.
    4. A file without models is applied only with *allow_empty*; else it is refused like a faulty one.
    5. The file may be written in place, replaced by a rename, be a link, or vanish and come back. That reading
       it hangs holds up nobody.

    Args:
        path: The file. A relative path is taken from the directory that is current now.
        apply: Is called with each configuration that is to be in force, on the thread of this object. What it
            raises refuses that content, which is reported in the same way.
        refused: Is called with each error that is reported, on the same thread.
        poll_interval: Seconds between looks at the file. 0: one look at the start; negative: none before
            `poll` is called. From the first look on, `poll` and file events make it look in any case.
        watch_events: Whether to follow file events, so that a change is seen within milliseconds.
        allow_empty: Whether a file without models is applied.
        clock: The time.
        reader: Reads the file; by default from the file system.
        pool: Runs the reader; by default a thread of its own.
        placement: Places watches; by default on a thread of its own.

    Threads: any.
    """

    def __init__(
        self,
        path: str,
        apply: Callable[[ServerConfig], object],
        *,
        refused: Callable[[ServmanError], object] | None = None,
        poll_interval: float = 1.0,
        watch_events: bool = True,
        allow_empty: bool = False,
        clock: Clock | None = None,
        reader: Callable[[str], Reading] | None = None,
        pool: Pool | None = None,
        placement: Placement | None = None,
    ) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 -- keeps links, which may be switched
        self._clock: Clock = clock or SystemClock()
        self._pool: Pool = pool or WorkerPool("config-read", 1, self._clock)
        self._actor = ConfigActor(
            self._path,
            Review(self._path, allow_empty=allow_empty),
            read=reader or read,
            apply=apply,
            refused=refused or _ignore,
            looked=self._note_look,
            poll_interval=poll_interval,
            pool=self._pool,
            clock=self._clock,
        )
        if watch_events:
            self._actor.watch = ConfigWatch(
                self._path,
                placement or _placement(self._clock),
                self._actor.post,
                self._actor.look_soon,
                self._clock,
            )
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._thread: Thread | None = None
        self._looked = poll_interval < 0  # or nobody waits for it

    def start(self) -> None:
        """Begin to follow the file. What it holds now is applied before this returns. Idempotent.

        What is wrong with the file is not raised: it is in `status`.

        Blocks: until the first look has come to something; a look that hangs is waited for no longer than
            a second.

        Raises:
            ClosedError: It was closed.
        """
        watch(self)
        with self._changed:
            self._require_open()
            if self._thread is None:
                self._thread = spawn("config-file", self._actor.run, owner=self)
            while not (self._looked or self._actor.closed):
                self._clock.wait_until(self._changed, None)

    def poll(self) -> None:
        """Look at the file now, and try again what was refused. Never blocks.

        Raises:
            ClosedError: It was closed.
        """
        self._require_open()
        self._actor.post(self._actor.look_anew)

    def step(self) -> bool:
        """Do what is due, on the calling thread, and return whether anything was. For who does not start it.

        Raises:
            FailedPreconditionError: It was started, and does all this itself.
            ClosedError: It was closed.
        """
        self._require_open()
        if self._thread is not None:
            raise FailedPreconditionError("step() is for a config file that no thread follows")
        return self._actor.step()

    @property
    def status(self) -> ConfigFileStatus:
        """What is known of the file now. Waits for nothing."""
        watch = self._actor.watch
        why_not = "watching is turned off" if watch is None else watch.why_not
        return replace(self._actor.status, why_not_watched=why_not)

    @property
    def is_alive(self) -> bool:
        """Whether the thread that follows the file runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def close(self, timeout: float | None = 30.0) -> None:
        """Apply nothing more, and end the threads. Idempotent.

        Blocks: until they have ended, for *timeout* seconds at most (None: for ever). A look that hangs is
            waited for no longer than a second.

        Raises:
            FailedPreconditionError: The caller is one of servman's own threads.
        """
        refuse_own_thread("ConfigFile.close()")
        deadline = deadline_after(self._clock, timeout)
        with self._changed:
            self._actor.closed = True
            thread = self._thread
            self._changed.notify_all()
        self._actor.post(lambda: None)
        if thread is not None and not join(thread, self._clock, deadline):
            _log.warning("config file %s is still being applied; that is left behind", self._path)
        self._pool.close()
        patience = self._clock.monotonic() + PATIENCE
        if not self._pool.join(patience if deadline is None else min(patience, deadline)):
            _log.warning("reading config file %s hangs, and is left behind", self._path)
        if self._actor.watch is not None and not self._actor.watch.close(deadline):
            _log.warning("watching config file %s hangs, and is left behind", self._path)

    def _note_look(self) -> None:
        if not self._looked:
            with self._changed:
                self._looked = True
                self._changed.notify_all()

    def _require_open(self) -> None:
        if self._actor.closed:
            raise ClosedError("the config file is not followed any more; make a new one")


def read(path: str) -> Reading:
    """Read the config file *path*, and find out in which directories it may be changed.

    Blocks: as long as the storage does.
    """
    # The directories first: what happens between the two is seen by the next look.
    directories = _directories(path)
    try:
        # Who opens a pipe may wait for ever, and an endless device is no configuration, either.
        mode = os.stat(path).st_mode  # noqa: PTH116 -- a text from the beginning
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            irregular = FailedPreconditionError(f"config file {path}: it is no regular file")
            return Reading(None, irregular, directories)
        return Reading(read_bytes(path), None, directories)
    except ServmanError as error:
        return Reading(None, settled(error), directories)
    except (OSError, ValueError) as error:
        return Reading(None, unreadable(path, error), directories)


def _directories(path: str) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for one in (path, os.path.realpath(path)):
        directory = os.path.dirname(one)  # noqa: PTH120 -- as above
        with contextlib.suppress(OSError, ValueError):
            found[directory] = identity(directory)
    return found


def _ignore(error: ServmanError) -> None:
    del error


def _placement(clock: Clock) -> Placement:
    return Placement(clock, WorkerPool("config-watch", 1, clock), native_observer, kind_of)
