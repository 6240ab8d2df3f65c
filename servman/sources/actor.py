"""The one place that decides what a file system source looks at, and when, and what it sends."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, final

from servman.log import Log
from servman.sources.config import differs
from servman.sources.lookout import Lookout
from servman.sources.rounds import Rounds
from servman.sources.stream import MonitoredStream, Sending, Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from servman.clock import Clock
    from servman.flow import Target
    from servman.sources.config import ServableToMonitor
    from servman.sources.look import Lister, Look, Place
    from servman.sources.watcher import Watcher
    from servman.threads import Pool

_log = Log(__name__)


@final
class SourceActor:
    """Takes jobs from a mailbox, one by one, and does what the time asks for between them.

    Threads: `post`, `hanging_for`, `cause_of` and the lookups in `streams` any; everything else one at a time,
        which is the thread that `run` is on, once there is one.

    Attributes:
        target: Where the lists go; set before the first look.
        closed: Once true, nothing more is sent and `run` returns.
        streams: What is known of each servable, by name.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        poll_interval: float,
        keep_last: bool,
        lister: Lister,
        pool: Pool,
        watcher: Watcher,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._keep_last = keep_last
        self._watcher = watcher
        self._mailbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._rounds = Rounds(clock, poll_interval)
        self.lookout = Lookout(lister, pool, clock, self.wake)
        self.target: Target[str] | None = None
        self.closed = False
        self.streams: dict[str, MonitoredStream] = {}
        self._former: dict[
            str, Versions
        ] = {}  # of what the last change of the configuration took out

    def post(self, job: Callable[[], None]) -> None:
        """Have *job* run by the actor. Never blocks."""
        self._mailbox.put(job)

    def wake(self) -> None:
        """Have the actor look around."""
        self._mailbox.put(lambda: None)

    def run(self) -> None:
        """Do what is due, and wait for more, until `closed`."""
        while not self.closed:
            job = self._clock.receive(self._mailbox, self._deadline())
            try:
                self._begin_what_is_due()
                self._turn(job)
            except BaseException:  # noqa: BLE001 -- the thread survives what one step raises
                _log.exception("the source failed at a step; it goes on")
            del job

    def step(self) -> bool:
        """Do what is due now, the next round included; return whether anything was."""
        due = self._begin_what_is_due()
        return self._turn(self._next_job()) or due

    def work_off(self) -> None:
        """Do what has been posted, and what follows from it."""
        while self._turn(self._next_job()):
            pass

    def add(
        self, servables: Mapping[str, ServableToMonitor], again: Collection[str] = ()
    ) -> list[MonitoredStream]:
        """Look after *servables* too; return the streams of those that are new, changed, or to be sent *again*."""
        added = []
        for name, servable in servables.items():
            before = self.streams.get(name)
            if before is None or name in again or differs(before.servable, servable):
                # One that comes back to what it was before it went has its last list back.
                former = self._former.get(name) if name in again else None
                sent = before.sent if before is not None else former
                resend = name in again or (before is not None and before.resend)
                stream = MonitoredStream(
                    servable, keep_last=self._keep_last, sent=sent, resend=resend
                )
                if before is not None:
                    stream.sending = before.sending
                self.streams[name] = stream
                self._rounds.add(name)
                added.append(stream)
        return added

    def reconfigure(
        self,
        servables: Mapping[str, ServableToMonitor],
        first: Callable[[], None] | None = None,
        again: Collection[str] = (),
    ) -> None:
        """Look after *servables* and no others; see `FileSystemStoragePathSource.update_config`."""
        if first is not None:
            first()
        gone = {name: one for name, one in self.streams.items() if name not in servables}
        for name, stream in gone.items():
            self._rounds.remove(name)
            del self.streams[name]
            # What was to be sent again the target may know from before.
            if (stream.sent or stream.resend) and name not in again:
                self._send(name, ())
            self._tell(name)
        for name in [name for name in again if name not in servables]:
            self._send(name, ())
        for stream in self.add(servables, again):
            self._begin(stream, "configuration", urgent=True)
            self._tell(stream.servable.name)
        self._former = {name: one.sent for name, one in gone.items() if one.sent}
        self._watcher.retain({stream.place for stream in self.streams.values()})

    def begin_round(self) -> None:
        """Look at every base path; a look in flight is repeated, for it may have seen less."""
        self._rounds.put_off()
        for stream in self.streams.values():
            self._begin(stream, "poll() was called", again=True)

    def look_at_path(self, path: str) -> None:
        """Look at *path* for each servable that has it: something has happened there."""
        for stream in self.streams.values():
            if stream.servable.base_path == path:
                self._begin(stream, "file event", again=True, urgent=True)

    def look_within(self, path: str) -> None:
        """Look at *path* soon: something has changed within a version there that is not complete."""
        for stream in self.streams.values():
            flying = self.lookout.in_flight(stream.place)
            # One that was queued but not begun will see what has happened.
            is_queued = flying is not None and flying.begun is None
            if stream.servable.base_path == path and not is_queued:
                self._rounds.stir(stream.servable.name)

    def hanging_for(self, place: Place) -> float | None:
        """Return for how many seconds a look at *place* has been hanging; None if none is."""
        look = self.lookout.in_flight(place)
        if look is None or not look.left_behind or look.begun is None:
            return None
        return self._clock.monotonic() - look.begun

    def cause_of(self, name: str) -> str:
        """Return why the look began that led to the last list sent for *name*."""
        stream = self.streams.get(name)
        if stream is None:  # the last was sent because it is no longer named
            return "configuration"
        return stream.sending.cause

    def _next_job(self) -> Callable[[], None] | None:
        try:
            return self._mailbox.get_nowait()
        except queue.Empty:
            return None

    def _turn(self, job: Callable[[], None] | None) -> bool:
        if job is not None:
            job()
        taken = 0
        now = self._clock.wall()
        for look in self.lookout.collect():
            taken += 1
            self._take(look, now)
        for look in self.lookout.lose_patience():
            _log.warning(
                "servable %r: a look at base path %s hangs; the others go on", look.name, look.path
            )
            self._tell(look.name)
        return self.lookout.dispatch() or taken > 0 or job is not None

    def _deadline(self) -> float | None:
        instants = (
            self._rounds.next_instant,
            self.lookout.next_check,
            self._watcher.next_attempt,
        )
        return min((instant for instant in instants if instant is not None), default=None)

    def _begin_what_is_due(self) -> bool:
        due = self._rounds.due(self.streams.values(), self._watcher.tells_all)
        for stream in due:
            self._begin(stream, self._rounds.cause)
        stirred = self._rounds.stirred()
        for name in stirred:
            self._begin(self.streams[name], "file event", again=True, urgent=True)
        refused = self._watcher.refused_paths()
        if refused:
            for stream in self.streams.values():
                if stream.place[1] in refused:
                    self._begin(stream, "poll")
        return bool(due or stirred or refused)

    def _begin(
        self, stream: MonitoredStream, cause: str, *, again: bool = False, urgent: bool = False
    ) -> None:
        if self.target is None:  # configured before it is connected; looked at when it is started
            return
        place = stream.place
        identify = self._watcher.is_watched(place[1])
        flying = self.lookout.begin(place, stream, identify=identify, urgent=urgent)
        if flying is None:
            stream.look_cause = cause
        # One that was queued but not begun will see all that has happened until now.
        elif again and flying.begun is not None:
            stream.look_again, stream.again_cause = True, cause

    def _take(self, look: Look, now: float) -> None:
        name, path = look.place
        stream = self.streams.get(name)
        if stream is None or stream.place != look.place:
            return
        if look.owner is not stream:  # configured anew since the look began
            self._begin(stream, "configuration", urgent=True)
            return
        versions = stream.take(look, now)
        if look.failure is None:
            self._watcher.attend(path, look.identity)
            self._watcher.attend_versions(look.place, stream.unfinished)
        else:
            self._watcher.release(path)
            self._watcher.attend_versions(look.place, {})
        is_told = True
        if versions is not None:
            is_told = self._hand_on(stream, versions, now)
        self._rounds.note(name, look, stream.recheck, is_told=is_told)
        if stream.changed or versions is not None:
            self._tell(name)
        if stream.look_again:
            stream.look_again = False
            self._begin(stream, stream.again_cause, urgent=True)

    def _hand_on(self, stream: MonitoredStream, versions: Versions, now: float) -> bool:
        before = stream.sending
        # First: while it is being sent the target may already tell others of it.
        stream.sending = Sending(stream.look_cause, now)
        if self._send(stream.servable.name, versions):
            stream.sent, stream.resend = versions, False
            return True
        stream.sending = before
        return False

    def _tell(self, name: str) -> None:
        """Say that the status of *name* has changed."""
        if self._on_change is None:
            return
        try:
            self._on_change(name)
        except Exception:  # noqa: BLE001 -- foreign code; the other servables go on
            _log.exception("servable %r: the source's on_change raised", name)

    def _send(self, name: str, versions: Versions) -> bool:
        if self.target is None or self.closed:
            return False
        _log.info("servable %r: aspired are %s", name, [one.id.version for one in versions])
        try:
            self.target.set_aspired_versions(name, versions)
        except Exception:  # noqa: BLE001 -- foreign code; the other servables go on
            _log.exception("servable %r: the source's target raised", name)
            return False
        return True
