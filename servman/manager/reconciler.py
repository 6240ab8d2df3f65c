"""Every decision of a manager, taken in one place by pure code.

The reconciler is told one event at a time, with the time, and answers with the effects to carry out,
in order. It has no thread, no lock, no I/O and no clock, so a test can run it through any history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never, final

from servman.errors import ClosedError
from servman.manager.causes import Cause
from servman.manager.effects import Closed, PublishAspiration, PublishState, ResizePools
from servman.manager.harness import HarnessState
from servman.manager.lives import PATIENCE
from servman.manager.messages import (
    Act,
    Aspire,
    CloseRequested,
    Commit,
    Configure,
    Drained,
    EstimateReturned,
    Hold,
    LoadReturned,
    LoadThreadsChanged,
    Manage,
    Obtain,
    RetryCancelled,
    RetryRequested,
    RevisionRead,
    Rollback,
    ServableFailed,
    SetLabels,
    StopManaging,
    UnloadReturned,
    Withdraw,
)
from servman.manager.streams import Streams
from servman.state import ManagerState

if TYPE_CHECKING:
    from servman.ids import ServableId
    from servman.manager.effects import Effect
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Event
    from servman.manager.options import ReconcilerOptions
    from servman.manager.stream import Stream

_MOST_STREAMS: Final = 500
"""How many streams are let go in a turn while closing."""


@final
class Reconciler(Streams):
    """Decides what a manager does. Confined to the manager's actor."""

    def __init__(self, options: ReconcilerOptions) -> None:
        super().__init__(options)
        self._threads = (options.num_load_threads, options.num_unload_threads, self._looks.threads)
        self._deadline: float | None = None
        self._closed = False
        # While closing: what has not been let go yet.
        self._staying: list[Stream] = []

    def take(self, event: Event | None, now: float) -> list[Effect]:
        """Take up *event* (None: only time has passed); return what follows from it, in order.

        `settle` is to be called when that is carried out: so a version is served, and whoever waits
        for it is told, before anybody thinks about what is next.
        """
        if self._closed:
            return []
        self._now = now
        if event is not None:
            self._take(event)
        self._wake()
        return self._taken_effects()

    def settle(self) -> list[Effect]:
        """Return what to do next about the streams that have changed, in order."""
        if self._closed:
            return []
        unsettled, self._unsettled = sorted(self._unsettled), set()  # a set's order differs by run
        if not self._closing:
            self._apply_policies(unsettled)
        elif self._staying:
            self._let_go()
        self._fill_lanes()
        self._finish_closing()
        return self._taken_effects()

    @property
    def loads(self) -> tuple[int, ServableId | None]:
        """How many loads run or wait for a place, and which has run for longest."""
        oldest = self._loads.oldest
        harness = None if oldest is None else self._incarnations.get(oldest)
        return len(self._loads), None if harness is None else harness.id

    @property
    def draining(self) -> bool:
        """Whether a version waits for its handles to close."""
        return any(one.state is HarnessState.QUIESCING for one in self._incarnations.values())

    def next_wake(self) -> float | None:
        """Return when `take` is to be called at the latest, event or not; None: no need."""
        if self._closed:
            return None
        if self._unsettled or self._staying:
            return self._now  # what was too much for one turn; the others have theirs in between
        deadline = self._deadline if self._closing else None
        times = [time for time in (self._alarm.next(), deadline) if time is not None]
        return min(times, default=None)

    def snapshots(self, name: str) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of each version of *name*, in ascending order."""
        stream = self._streams.get(name)
        return stream.snapshots() if stream else ()

    # ---- events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:  # noqa: C901, PLR0912 -- one line for each kind
        match event:
            case Aspire():
                self._aspire(event.name, {data.id.version: data for data in event.versions})
            case EstimateReturned():
                self._estimate_returned(event)
            case LoadReturned():
                self._load_returned(event)
            case ServableFailed():
                self._servable_failed(event)
            case Drained():
                self._drained(event.incarnation)
            case UnloadReturned():
                self._unload_returned(event)
            case RevisionRead():
                self._revision_read(event)
            case RetryRequested():
                self._retry(event.id)
            case RetryCancelled():
                self._cancel_retry(event.id)
            case LoadThreadsChanged():
                self._loads.limit = event.count()
            case Manage() | Act() | StopManaging() | Obtain():
                self._serve_caller(event)
            case Withdraw():
                self._lookups.get(event.id, {}).pop(event.reply, None)
            case Hold():
                self._hold(event.names)
            case Commit():
                self._commit(event)
            case Rollback():
                self._rollback(event.names)
            case SetLabels():
                self._set_labels(event.wanted)
            case Configure():
                self._configure(event.streams())
            case CloseRequested():
                self._close(event.deadline)
            case _:
                assert_never(event)

    def _close(self, deadline: float | None) -> None:
        if self._closing:  # the earliest deadline counts
            deadlines = [one for one in (self._deadline, deadline) if one is not None]
            self._deadline = min(deadlines, default=None)
            return
        self._closing = True
        self._deadline = deadline
        for which in list(self._lookups):  # at once: what they wait for may take its time to end
            self._answer(
                which, ClosedError(f"{which}: the manager was closed; it loads nothing more")
            )
        self._staying = list(self._streams.values())

    def _let_go(self) -> None:
        """Let streams go that are still there while closing: some, for a turn is to stay short."""
        due = self._deadline is not None and self._deadline <= self._now
        count = len(self._staying) if due else _MOST_STREAMS
        going, self._staying = self._staying[:count], self._staying[count:]
        for stream in going:
            self._held.pop(stream.name, None)
            if stream.aspired() and self._options.declarative:
                self._emit(PublishAspiration(stream.name, frozenset()))
            stream.successors.clear()
            for harness in list(stream.harnesses.values()):
                self._unaspire(harness, Cause.CLOSING)
            self._touch(stream.name)

    # ---- after every event ---------------------------------------------------------------------

    def _wake(self) -> None:
        for incarnation in self._alarm.ring(self._now):
            harness = self._incarnations[incarnation]
            if harness.looking:
                self._look_at_look(harness)
            if harness.attempt_began is not None:
                self._look_at_age(harness, harness.attempt_began)
            elif harness.state is HarnessState.UNLOADING:
                if harness.since + PATIENCE <= self._now:  # else it is an alarm of its load
                    self._unloads.pass_over(incarnation)
            elif harness.retry_at is not None and harness.retry_at <= self._now:
                self._resume(harness)
            elif harness.revision_at is not None and harness.revision_at <= self._now:
                harness.revision_at = None
                harness.looking = True
                self._looks.enter(incarnation)

    def _fill_lanes(self) -> None:
        while (incarnation := self._unloads.next()) is not None:
            self._start_unload(self._incarnations[incarnation])
        if self._options.sort_actions is not None and self._loads.unordered:
            self._order_loads()
        self._fill_loads()
        while (incarnation := self._looks.next()) is not None:
            self._begin_look(self._incarnations[incarnation])
        threads = (self._loads.threads, self._unloads.threads, self._looks.threads)
        if threads != self._threads:
            self._threads = threads
            self._effects.insert(0, ResizePools(*threads))

    def _finish_closing(self) -> None:
        if not self._closing:
            return
        going = self._incarnations or self._given_up
        if going and (self._deadline is None or self._now < self._deadline):
            return
        harnesses = list(self._incarnations.values())
        left = tuple(harness.snapshot() for harness in harnesses)
        for harness, snapshot in zip(harnesses, left, strict=True):
            error = _left_behind(snapshot)
            harness.fail(error, self._now)
            self._emit(PublishState(harness.id, ManagerState.END, error, Cause.CLOSING))
            self._answer(harness.id, error)
            self.changed.add(harness.id.name)
        self._closed = True
        given_up = tuple(one.snapshot for one in self._given_up.values())  # their END was published
        self._emit(Closed(left + given_up))


def _left_behind(snapshot: ServableStateSnapshot) -> ClosedError:
    match snapshot.state:
        case HarnessState.QUIESCING:
            what = "it waited for its handles to close"
        case HarnessState.LOAD_REQUESTED | HarnessState.LOADING:
            what = "its load has not returned"
        case HarnessState.QUIESCED:
            what = "its unload has not begun"
        case _:
            what = "its unload has not returned"
    return ClosedError(f"{snapshot.id}: left behind when the manager was closed, for {what}")
