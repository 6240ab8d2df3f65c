"""A source that finds versions as numbered directories in base paths."""

from __future__ import annotations

import functools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, final

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    NotFoundError,
)
from servman.forks import watch
from servman.log import Log
from servman.sources.actor import SourceActor
from servman.sources.config import ServableToMonitor, check_options, check_servables, differs
from servman.sources.listing import Listings
from servman.sources.startup import StartupCheck
from servman.sources.status import NOTHING_KNOWN, Findings, Outlook, SourceStatus
from servman.sources.watcher import Watcher
from servman.threads import CallingThread, Pool, Thread, WorkerPool, join, refuse_own_thread, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from servman.flow import Target
    from servman.ids import ServableRequest
    from servman.reasons import Reason
    from servman.sources.look import Lister
    from servman.sources.stream import MonitoredStream

_log = Log(__name__)


@final
class FileSystemStoragePathSource:
    """Looks at base paths, and aspires the versions in them that each servable's policy chooses.

    1. Each servable is looked at on its own: what is wrong with one base path, and how long its
       storage takes, is kept in the status of that servable and concerns no other.
    2. A list is sent when it differs from the one last sent for the servable. That a base path could
       not be read is never sent, and least of all as an empty list: the last list stands. A base path
       that can be read and holds no versions is sent as the empty list.
    3. Only complete versions are aspired; see `Completeness`. While all that the policy would choose are
       incomplete nothing is sent. Once aspired, a version stays so until its directory has gone or the
       policy chooses others, whatever happens in it.
    4. A payload is the path of a version directory: the base path joined with the name as spelled on
       disk. It is the origin too.
    5. Once started, all its work is done on threads of its own, and no call but `close` waits for
       it. The target is called on one of them.
    6. Before `start`, or without it, there are no threads: `poll`, `update_config` and `step` work on
       the calling thread and return when they are done, so that what they do can be foretold. File
       events are not followed then. Call from one thread at a time.

    Not promised: that a version which comes and goes between two looks is ever seen.

    A base path that hangs costs a thread until it comes back. Where eight hang on one storage, which is a mount
    (elsewhere than on Linux: two levels of directories), be it through links, no other on it is looked at until one of them is back, and
    their status says so. Never do more than 80 threads look: should all of them hang, the source waits.

    Args:
        servables: What to look after.
        poll_interval: Seconds from the beginning of one round of looks to the next. 0: one round at
            the start; negative: none. Changes of the configuration, `poll`, and file events make it look
            at once in any case. A base path whose file events are followed is part of every tenth round
            only, in case one was lost, unless a link in the path could be switched without an event.
        watch: Whether to follow file events in the base paths, and within the newest versions that are not
            complete. They are a hint that saves waiting for the poll. Where they cannot be followed, and where they
            do not tell of what other machines do (network file systems and FUSE), the log says so once, the
            status each time, and it polls. Where the system refuses to watch, for it has limits, that is tried
            again every minute.
        max_watches: How many base paths and incomplete versions are watched at most, each of which costs a
            thread; the others are polled.
        fail_if_zero_versions_at_startup: Whether `start` and `update_config` look first, and raise for a
            servable without versions. Versions that are not complete yet count. A servable may say otherwise.
        servable_versions_always_present: Whether an empty list may never take the place of another;
            that it would have is shown as an error in the status. A servable may say otherwise.
        on_change: Is called with a servable's name when what `status` tells of it has changed in more than
            times, on the source's thread, which it must not hold up.
        clock: The time.
        lister: Returns the names in a base path and whether each is a directory; raises `OSError`. By
            default the file system's.
        pool: Runs the looks; by default threads of the source's own.
        watcher: Follows the file events; by default made from the options above.

    Threads: any, once started.

    Raises:
        InvalidArgumentError: Something in *servables* can never be right (all faults are listed), or
            an option is no number.
    """

    def __init__(
        self,
        servables: Iterable[ServableToMonitor] = (),
        *,
        poll_interval: float = 1.0,
        watch: bool = True,
        max_watches: int = 256,
        fail_if_zero_versions_at_startup: bool = False,
        servable_versions_always_present: bool = False,
        on_change: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        lister: Lister | None = None,
        pool: Pool | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        check_options(poll_interval, max_watches)
        self._clock: Clock = clock or SystemClock()
        self._fail_if_zero_versions = fail_if_zero_versions_at_startup
        self._listings = Listings(self._clock)
        lister = lister or self._listings
        self._startup = StartupCheck(lister, self._clock)
        self._own_pool = pool is None
        if watcher is None:
            watch_pool = WorkerPool("source-watch", 1, self._clock)
            watcher = Watcher(max_watches if watch else 0, self._clock, watch_pool)
        self._watcher = watcher
        self._actor = SourceActor(
            self._clock,
            poll_interval=poll_interval,
            keep_last=servable_versions_always_present,
            lister=lister,
            pool=pool or CallingThread(),
            watcher=watcher,
            on_change=on_change,
        )
        # Guards replacing the three below together with what it posts; they are read without it.
        self._lock = threading.Lock()
        self._servables = check_servables(servables)
        self._thread: Thread | None = None
        self._at_work = False
        self._actor.add(self._servables)

    def set_target(self, target: Target[str]) -> None:
        """Send to *target* what is aspired. Called once, by `connect`, before anything is looked at.

        Raises:
            FailedPreconditionError: There is a target already.
        """
        if self._actor.target is not None:
            raise FailedPreconditionError(
                "the source has a target already; make a source for each target"
            )
        self._actor.target = target

    def start(self) -> None:
        """Begin to look and to follow file events, on threads of the source's own. Idempotent.

        Blocks: never; with *fail_if_zero_versions_at_startup*, until the base paths have been looked at, and
            no longer than until none of them has answered for a second.

        Raises:
            FailedPreconditionError: There is no target.
            NotFoundError, FailedPreconditionError: *fail_if_zero_versions_at_startup* is set, and a
                servable has no versions, or its base path cannot be read or hangs. Nothing was started.
            ClosedError: The source was closed.
        """
        self._require_open()
        self._require_target("start()")
        if self._thread is None:
            self._require_versions(self._servables.values(), on_threads=True)
        watch(self)
        with self._lock:
            self._require_open()
            if self._thread is None:
                if self._own_pool:
                    self._actor.lookout.pool = WorkerPool("source-look", 1, self._clock)
                actor = self._actor
                self._watcher.start(actor.post, actor.look_at_path, actor.look_within)
                self._thread = spawn("source", self._actor.run, owner=self)

    def update_config(
        self,
        servables: Iterable[ServableToMonitor],
        *,
        first: Callable[[], None] | None = None,
        again: Collection[str] = (),
    ) -> None:
        """Look after *servables* from now on, and no others.

        What is no longer named is un-aspired, once and at once. What is new or has another base path
        or policy is looked at at once, and its versions stay until that look is done. The rest is left
        alone.

        Args:
            servables: What to look after.
            first: Is called right before that is taken up, on the thread that calls the target: before
                anything is sent under the new configuration, after the last that is sent under the old one.
            again: The names of those whose lists are sent even if they have not changed, for the target has
                lost them. They are looked at at once.

        Blocks: never, once started; before, until the looks are done. With
            *fail_if_zero_versions_at_startup*, as `start` does, for what is new or changed.

        Raises:
            InvalidArgumentError: Something in it can never be right; all faults are listed.
            NotFoundError, FailedPreconditionError: As for `start`. In each case nothing was changed.
            ClosedError: The source was closed.
        """
        before = self._servables
        checked = check_servables(servables, before)
        self._require_open()
        new = [one for name, one in checked.items() if differs(before.get(name), one)]
        self._require_versions(new, on_threads=self._thread is not None)
        with self._lock:
            self._require_open()
            self._servables = checked
            self._actor.post(functools.partial(self._actor.reconfigure, checked, first, again))
        self._listings.retain({servable.base_path for servable in checked.values()})
        self._work_off()

    def poll(self) -> None:
        """Look at every base path now; the next round comes a poll interval later.

        Blocks: never, once started; before, until the looks are done.

        Raises:
            FailedPreconditionError: There is no target.
            ClosedError: The source was closed.
        """
        self._require_open()
        self._require_target("poll()")
        self._actor.post(self._actor.begin_round)
        self._work_off()

    def step(self) -> bool:
        """Do what is due, on the calling thread, and return whether anything was.

        For embedding without threads: call it now and then instead of calling `start`.

        Blocks: while it looks.

        Raises:
            FailedPreconditionError: The source was started, and does all this itself.
            ClosedError: The source was closed.
        """
        self._require_open()
        if self._thread is not None:
            raise FailedPreconditionError("step() is for sources that were not started")
        return self._actor.step()

    def outlook(self, name: str) -> Outlook:
        """Return what is aspired of the servable *name* now, and whether it is what should be. Waits for nothing."""
        servable = self._servables.get(name)
        stream = None if servable is None else self._stream(servable)
        return NOTHING_KNOWN if stream is None else stream.outlook

    def status(self, name: str) -> SourceStatus:
        """Return what is known of the servable *name* now. Waits for nothing.

        Raises:
            NotFoundError: It is not configured.
        """
        servable = self._servables.get(name)
        if servable is None:
            raise NotFoundError(
                f"servable {name!r} is not configured in this source; add it with update_config()"
            )
        stream = self._stream(servable)
        if stream is None:
            return SourceStatus()
        hanging = self._actor.hanging_for((name, servable.base_path))
        since = None if hanging is None else self._clock.wall() - hanging
        why_not = self._watcher.why_not_watched(servable.base_path)
        status = stream.status(
            watched=why_not is None,
            looking_since=since,
            why_not_watched=self._watcher.why_version_not_watched,
        )
        return status if status.last_look is None else replace(status, why_not_watched=why_not)

    @property
    def running(self) -> bool:
        """Whether its thread is there: it was started, and has not come to its end. Never waits."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def versions_cause(self, name: str) -> str:
        """Return why the last list was sent for *name*; see `SourceStatus.versions_cause`.

        It changes before the target is told of the list, takes no lock and waits for nothing.
        """
        return self._actor.cause_of(name)

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return why *request* is not aspired; None where it is, or the servable is none of ours."""
        findings = self._findings(request.name)
        return None if findings is None else findings.explain(request)

    def explain_outlook(self, request: ServableRequest) -> Reason | None:
        """Return why *request* is not what should be aspired now, whatever is; None where it is none of ours."""
        findings = self._findings(request.name)
        return None if findings is None else replace(findings, aspired=()).explain(request)

    def close(self, timeout: float | None = 30.0) -> None:
        """Look no more, send no more, and end the threads. Nothing is un-aspired. Idempotent.

        Blocks: until the threads have ended, for *timeout* seconds at most (None: for ever). A look
            that hangs is waited for no longer than a second; it is named in the log and left behind.

        Raises:
            FailedPreconditionError: The caller is one of servman's own threads.
        """
        refuse_own_thread("FileSystemStoragePathSource.close()")
        self.end(timeout)

    def end(self, timeout: float | None) -> None:
        """Do as `close` does, on any thread but its own: for whoever made the source for a moment."""
        deadline = deadline_after(self._clock, timeout)
        with self._lock:
            self._actor.closed = True
            thread = self._thread
        self._actor.wake()
        if thread is not None and not join(thread, self._clock, deadline):
            _log.warning(
                "the source's target did not return within %s s; it is left behind", timeout
            )
        for look in self._actor.lookout.close(deadline):
            _log.warning(
                "servable %r: a look at base path %s hangs, and is left behind",
                look.name,
                look.path,
            )
        if not self._watcher.close(deadline):
            _log.warning("placing a watch on a base path hangs, and is left behind")

    def _work_off(self) -> None:
        with self._lock:
            if self._thread is not None or self._at_work:  # it is done there
                return
            self._at_work = True
        try:
            self._actor.work_off()
        finally:
            self._at_work = False

    def _findings(self, name: str) -> Findings | None:
        servable = self._servables.get(name)
        if servable is None:
            return None
        hanging = self._actor.hanging_for((servable.name, servable.base_path))
        stream = self._stream(servable)
        return stream.findings(hanging) if stream else Findings(servable, hanging=hanging)

    def _stream(self, servable: ServableToMonitor) -> MonitoredStream | None:
        """Return the stream of *servable*; None while the actor has not taken that up."""
        stream = self._actor.streams.get(servable.name)
        return stream if stream is not None and stream.servable == servable else None

    def _require_open(self) -> None:
        if self._actor.closed:
            raise ClosedError("the source was closed; make a new one")

    def _require_target(self, what: str) -> None:
        if self._actor.target is None:
            raise FailedPreconditionError(f"call connect(source, target) before {what}")

    def _may_be_empty(self, servable: ServableToMonitor) -> bool:
        override = servable.fail_if_zero_versions_at_startup
        return not (self._fail_if_zero_versions if override is None else override)

    def _require_versions(
        self, servables: Iterable[ServableToMonitor], *, on_threads: bool
    ) -> None:
        demanding = [servable for servable in servables if not self._may_be_empty(servable)]
        self._startup.require_versions(demanding, on_threads=on_threads)
