"""Every decision of a manager, taken in one place by pure code.

The reconciler is told one event at a time, with the time, and answers with the effects to carry out,
in order. It has no thread, no lock, no I/O and no clock, so a test can run it through any history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never, final

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InternalError,
    LoadCancelledError,
    LoadFailedError,
    settled,
)
from servman.manager.alarm import Alarm
from servman.manager.harness import NO_REVISION, HarnessState, LoaderHarness
from servman.manager.lane import Lane
from servman.manager.messages import (
    Aspire,
    CancelLoad,
    Closed,
    CloseRequested,
    Drained,
    EstimateReturned,
    Forget,
    LoadReturned,
    LoadThreadsChanged,
    PolicyFailed,
    PublishAspiration,
    PublishState,
    ReadRevision,
    ResizePools,
    RetryCancelled,
    RetryRequested,
    RevisionRead,
    Serve,
    StartEstimate,
    StartLoad,
    StartUnload,
    UnloadReturned,
)
from servman.manager.policy import ActionKind
from servman.manager.stream import Stream
from servman.state import ManagerState

if TYPE_CHECKING:
    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Effect, Event
    from servman.manager.policy import AspiredVersionPolicy, ServableAction
    from servman.manager.tracker import ResourceTracker
    from servman.resources import ResourceAllocation

_PATIENCE: Final = 60.0
"""Seconds after which a load or an unload gives its place to the next: it may hang, and shall delay
nobody."""

_PATIENCE_UNWANTED: Final = 1.0
"""The same for a load that nobody wants any more."""

_MOST_ACTIONS: Final = 64
"""How many actions of one stream are taken in a turn: one of many versions shall delay no other."""

_ON_ITS_WAY_OUT: Final = frozenset(
    {
        HarnessState.UNLOAD_REQUESTED,
        HarnessState.QUIESCING,
        HarnessState.QUIESCED,
        HarnessState.UNLOADING,
    }
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerOptions:
    """How a manager decides. See `AspiredVersionsManager` for the meaning of each."""

    policy: AspiredVersionPolicy
    num_load_threads: int
    num_unload_threads: int
    max_num_load_retries: int
    load_retry_interval: float
    revision_interval: float
    load_timeout: float | None = None
    resource_tracker: ResourceTracker | None = None


@final
class Reconciler:
    """Decides what a manager does. Confined to the manager's actor.

    Attributes:
        changed: Names of the streams whose snapshots have changed; whoever publishes them clears it.
    """

    def __init__(self, options: ReconcilerOptions) -> None:
        self.changed: set[str] = set()
        self._options = options
        self._streams: dict[str, Stream] = {}
        self._incarnations: dict[int, LoaderHarness] = {}
        self._count = 0
        self._loads = Lane(options.num_load_threads)
        self._unloads = Lane(options.num_unload_threads)
        self._threads = (options.num_load_threads, options.num_unload_threads)
        self._tracker = options.resource_tracker
        # Those whose load waits for memory, or has failed for want of it.
        self._wanting: dict[int, None] = {}
        # Those whose load was given up at its timeout and has not returned yet.
        self._given_up: dict[int, ServableData[Loader]] = {}
        self._alarm = Alarm(self._incarnations)
        self._deadline: float | None = None
        self._closing = False
        self._closed = False
        self._unsettled: set[str] = set()
        self._to_serve: dict[str, None] = {}
        self._effects: list[Effect] = []
        self._now = 0.0

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
        for name in unsettled:
            self._apply_policy(name)
        self._fill_lanes()
        self._finish_closing()
        return self._taken_effects()

    @property
    def loads(self) -> tuple[int, ServableId | None]:
        """How many loads run or wait for a place, and which has run for longest."""
        oldest = self._loads.oldest
        harness = None if oldest is None else self._incarnations.get(oldest)
        return len(self._loads), None if harness is None else harness.id

    def next_wake(self) -> float | None:
        """Return when `take` is to be called at the latest, event or not; None: no need."""
        if self._closed:
            return None
        if self._unsettled:
            return self._now  # a stream of many versions goes on after the others have had a turn
        deadline = self._deadline if self._closing else None
        times = [time for time in (self._alarm.next(), deadline) if time is not None]
        return min(times, default=None)

    def snapshots(self, name: str) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of each version of *name*, in ascending order."""
        stream = self._streams.get(name)
        return stream.snapshots() if stream else ()

    # ---- events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:  # noqa: C901 -- one line for each kind
        match event:
            case Aspire():
                self._aspire(event.name, {data.id.version: data for data in event.versions})
            case EstimateReturned():
                self._estimate_returned(event)
            case LoadReturned():
                self._load_returned(event)
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
                self._loads.limit = event.count
            case CloseRequested():
                self._close(event.deadline)
            case _:
                assert_never(event)

    def _aspire(self, name: str, wanted: dict[int, ServableData[Loader]]) -> None:
        if self._closing:
            return
        known = name in self._streams
        stream = self._streams.setdefault(name, Stream(name))
        before = stream.aspired()
        staying = {
            version
            for version, harness in stream.harnesses.items()
            if version in wanted and _can_stay(harness, wanted[version])
        }
        replaced = {
            version
            for version, harness in stream.harnesses.items()
            if harness.aspired and version in wanted and version not in staying
        }
        if replaced:
            # Aspired anew: whoever waits must not take the old incarnation's END for the new one's.
            self._emit(PublishAspiration(name, frozenset(wanted) - replaced))
        elif not known or before != wanted.keys():
            self._emit(PublishAspiration(name, frozenset(wanted)))
        stream.successors.clear()
        for version, harness in list(stream.harnesses.items()):
            if version in staying:
                harness.aspired = True
            else:
                self._unaspire(harness, replaced=version in wanted)
        if replaced:
            self._emit(PublishAspiration(name, frozenset(wanted)))
        for version, data in wanted.items():
            if version in stream.harnesses and version not in staying:
                stream.successors[version] = data
            elif version not in stream.harnesses:
                self._manage(stream, data)
        self._serve(stream)
        self._touch(stream.name)

    def _estimate_returned(self, event: EstimateReturned) -> None:
        if event.incarnation in self._given_up:
            self._come_back_late(event.incarnation, has_servable=False)
            return
        harness = self._incarnations[event.incarnation]
        if event.needs is not None and harness.aspired:
            self._admit(harness, event.needs)
        else:
            self._leave_place(harness)
            error = event.error or self._cancelled(harness, "")
            self._load_failed(harness, error, retriable=True)
        self._touch(harness.id.name)

    def _admit(self, harness: LoaderHarness, needs: ResourceAllocation) -> None:
        """Set aside what *harness* needs and start its load; else let it wait, or fail."""
        tracker = self._tracked
        if tracker.reserve(harness.incarnation, harness.id, needs):
            self._start_load(harness)
            return
        self._leave_place(harness)  # nothing that does fit queues behind it
        shortage = tracker.shortage(needs)
        if shortage is None:
            raise InternalError(f"{harness.id}: refused, although it lacks nothing")
        if not shortage.exceeds_total:
            self._wanting[harness.incarnation] = None
        if tracker.fits(needs, without=self._leaving()):
            harness.starve(shortage, self._now)
        else:
            self._end(harness, shortage.error(harness.id))

    def _load_returned(self, event: LoadReturned) -> None:
        if event.incarnation in self._given_up:
            self._come_back_late(event.incarnation, has_servable=event.error is None)
            return
        harness = self._incarnations[event.incarnation]
        self._leave_place(harness)
        harness.revision = event.revision
        if event.error is not None:
            self._load_failed(harness, event.error, retriable=event.retriable)
        elif harness.aspired:
            if event.needs is not None and self._tracked.replace(event.incarnation, event.needs):
                self._memory_returned()
            harness.succeed(self._now)
            self._serve(self._streams[harness.id.name])
            self._emit(PublishState(harness.id, ManagerState.AVAILABLE))
        else:
            more = " (it is unloaded again, now that its load has returned)"
            harness.cancel(self._cancelled(harness, more), self._now)
            self._unloads.enter(event.incarnation)
        self._touch(harness.id.name)

    def _load_failed(self, harness: LoaderHarness, error: ServmanError, *, retriable: bool) -> None:
        if isinstance(error, LoadCancelledError) and harness.aspired:
            # Nobody has cancelled it; and a wait takes a cancelled load for one that is not wanted.
            error = LoadFailedError(str(error))
        if not harness.aspired:
            self._end(harness, self._cancelled(harness, f" (its load had failed: {error})"))
        elif (
            retriable
            and harness.may_retry
            and harness.attempts <= self._options.max_num_load_retries
        ):
            until = self._now + self._options.load_retry_interval
            self._give_back(harness.incarnation)
            harness.pause(error, until, self._now)
            self._alarm.set(until, harness.incarnation)
            self._watch_revision(harness)
        else:
            self._end(harness, error)

    def _drained(self, incarnation: int) -> None:
        harness = self._incarnations[incarnation]
        harness.move(HarnessState.QUIESCED, self._now)
        self._unloads.enter(incarnation)
        self._touch(harness.id.name)

    def _unload_returned(self, event: UnloadReturned) -> None:
        if event.incarnation in self._given_up:
            self._forget_given_up(event.incarnation)
            return
        harness = self._incarnations[event.incarnation]
        self._unloads.leave(event.incarnation)
        self._end(harness, event.error or harness.error)

    def _revision_read(self, event: RevisionRead) -> None:
        harness = self._incarnations.get(event.incarnation)
        if harness is None:
            return  # it went while its files were looked at
        harness.looking = False
        if not (harness.paused or harness.ended):
            return  # it is being tried again
        # An attempt that began after the look knows the files better than the look does.
        if event.changed and event.known is harness.revision:
            self._try_again(harness)
        else:
            self._watch_revision(harness)

    def _retry(self, id: ServableId) -> None:
        harness = self._find(id)
        if harness is not None and (harness.paused or harness.state is HarnessState.ERROR):
            self._try_again(harness)

    def _cancel_retry(self, id: ServableId) -> None:
        harness = self._find(id)
        if harness is not None:
            harness.may_retry = False
            if harness.paused or (harness.attempts and self._loads.waits(harness.incarnation)):
                self._loads.leave(harness.incarnation)
                self._end(harness, harness.error)

    def _close(self, deadline: float | None) -> None:
        self._closing = True
        self._deadline = deadline
        for stream in list(self._streams.values()):
            if stream.aspired():
                self._emit(PublishAspiration(stream.name, frozenset()))
            stream.successors.clear()
            for harness in list(stream.harnesses.values()):
                self._unaspire(harness, replaced=True)
            self._touch(stream.name)

    # ---- the life of an incarnation ------------------------------------------------------------

    def _manage(self, stream: Stream, data: ServableData[Loader]) -> None:
        self._count += 1
        harness = LoaderHarness(data, self._count, self._now)
        self._streams[stream.name] = stream
        stream.harnesses[data.id.version] = harness
        self._incarnations[harness.incarnation] = harness
        self._emit(PublishState(data.id, ManagerState.START))
        if data.error is not None:
            self._end(harness, data.error)
        self._touch(stream.name)

    def _unaspire(self, harness: LoaderHarness, *, replaced: bool) -> None:
        """Let *harness* go; at once where it is *replaced*, else when the policy says so."""
        harness.aspired = False
        if harness.ended:
            self._forget(harness)
        elif (
            harness.state is HarnessState.NEW
            or harness.paused
            or harness.shortage is not None
            or self._loads.waits(harness.incarnation)
        ):
            self._end(harness, self._cancelled(harness, ""))
        elif harness.attempt_began is not None:
            self._emit(CancelLoad(harness.incarnation))
            self._alarm.set(self._now + _PATIENCE_UNWANTED, harness.incarnation)
        elif harness.state is HarnessState.READY and replaced:
            self._quiesce(harness)

    def _begin_attempt(self, harness: LoaderHarness) -> None:
        """Use the place that *harness* has got: estimate first where resources are tracked."""
        harness.begin_attempt(self._now)
        self._alarm.set(self._now + _PATIENCE, harness.incarnation)
        if self._options.load_timeout is not None:
            self._alarm.set(self._now + self._options.load_timeout, harness.incarnation)
        if self._tracker is None:
            self._start_load(harness)
        else:
            self._emit(StartEstimate(harness.incarnation, harness.data))
        self.changed.add(harness.id.name)

    def _start_load(self, harness: LoaderHarness) -> None:
        if harness.state is HarnessState.LOAD_REQUESTED:
            harness.move(HarnessState.LOAD_APPROVED, self._now)
            harness.move(HarnessState.LOADING, self._now)
            self._emit(PublishState(harness.id, ManagerState.LOADING))
        self._emit(StartLoad(harness.incarnation, harness.data, harness.attempts))

    def _leave_place(self, harness: LoaderHarness) -> None:
        self._loads.leave(harness.incarnation)
        harness.attempt_began = None

    def _quiesce(self, harness: LoaderHarness) -> None:
        harness.request_unload(self._now)
        harness.move(HarnessState.QUIESCING, self._now)
        self._emit(PublishState(harness.id, ManagerState.UNLOADING))
        self._to_serve[harness.id.name] = None  # once for all that go in this turn

    def _start_unload(self, harness: LoaderHarness) -> None:
        if harness.state is HarnessState.QUIESCED:
            harness.move(HarnessState.UNLOADING, self._now)
        self._alarm.set(self._now + _PATIENCE, harness.incarnation)
        self._emit(StartUnload(harness.incarnation, harness.data))
        self.changed.add(harness.id.name)

    def _look_at_age(self, harness: LoaderHarness, began: float) -> None:
        """See whether the attempt that began then takes too long for its place, or altogether."""
        timeout = self._options.load_timeout
        if timeout is not None and began + timeout <= self._now:
            self._give_up(harness, timeout)
        elif began + (_PATIENCE if harness.aspired else _PATIENCE_UNWANTED) <= self._now:
            self._loads.pass_over(harness.incarnation)

    def _give_up(self, harness: LoaderHarness, timeout: float) -> None:
        """End *harness*, whose load has not returned. What it brings some day is unloaded."""
        incarnation = harness.incarnation
        self._given_up[incarnation] = harness.data
        self._loads.pass_over(incarnation)
        self._emit(CancelLoad(incarnation))
        text = f"{harness.id}: its load has not returned within {timeout:g} s (load_timeout)"
        error = LoadFailedError(text) if harness.aspired else self._cancelled(harness, "")
        self._end(harness, error)

    def _come_back_late(self, incarnation: int, *, has_servable: bool) -> None:
        self._loads.leave(incarnation)
        if has_servable:
            self._emit(StartUnload(incarnation, self._given_up[incarnation]))
        else:
            self._forget_given_up(incarnation)

    def _forget_given_up(self, incarnation: int) -> None:
        del self._given_up[incarnation]
        self._give_back(incarnation)
        self._emit(Forget(incarnation))

    def _give_back(self, incarnation: int) -> None:
        """Return what is set aside for *incarnation*, once nothing of it is in memory any more."""
        if self._tracker is not None and self._tracker.release(incarnation):
            self._memory_returned()

    def _memory_returned(self) -> None:
        """Let those try again that wait for memory, or have failed for want of it."""
        wanting, self._wanting = self._wanting, {}
        for incarnation in wanting:
            harness = self._incarnations[incarnation]
            if harness.shortage is not None:
                harness.shortage = None
                self._loads.enter(incarnation)
            elif harness.ended:
                self._try_again(harness)

    def _leaving(self) -> list[int]:
        """Return those whose memory is about to come back."""
        going = [
            incarnation
            for incarnation, one in self._incarnations.items()
            if one.state in _ON_ITS_WAY_OUT
            or (not one.aspired and one.state is HarnessState.LOADING)
        ]
        return [*going, *self._given_up]

    def _try_again(self, harness: LoaderHarness) -> None:
        """Start over, attempts from 1: in this incarnation if it pauses, in a new one if it ended."""
        if harness.paused:
            harness.attempts = 0
            self._resume(harness)
        else:
            stream = self._streams[harness.id.name]
            self._drop(harness)
            self._manage(stream, harness.data)

    def _resume(self, harness: LoaderHarness) -> None:
        harness.resume(self._now)
        self._loads.enter(harness.incarnation)
        self._touch(harness.id.name)

    def _end(self, harness: LoaderHarness, error: ServmanError | None) -> None:
        """Publish the one END of *harness*; keep it on record while it is aspired."""
        if error is None:
            harness.move(HarnessState.DISABLED, self._now)
        else:
            harness.fail(error, self._now)
        harness.shortage = harness.attempt_began = None
        self._emit(PublishState(harness.id, ManagerState.END, error))
        if harness.incarnation not in self._given_up:
            self._give_back(harness.incarnation)
        if not harness.aspired:
            self._forget(harness)
        elif error is not None:
            self._watch_revision(harness)
        self._touch(harness.id.name)

    def _forget(self, harness: LoaderHarness) -> None:
        self._drop(harness)
        stream = self._streams[harness.id.name]
        successor = stream.successors.pop(harness.id.version, None)
        if successor is not None:
            self._manage(stream, successor)

    def _drop(self, harness: LoaderHarness) -> None:
        self._wanting.pop(harness.incarnation, None)
        del self._incarnations[harness.incarnation]
        del self._streams[harness.id.name].harnesses[harness.id.version]
        if harness.incarnation not in self._given_up:
            self._loads.leave(harness.incarnation)
            self._unloads.leave(harness.incarnation)
            self._emit(Forget(harness.incarnation))

    # ---- after every event ---------------------------------------------------------------------

    def _wake(self) -> None:
        for incarnation in self._alarm.ring(self._now):
            harness = self._incarnations[incarnation]
            if harness.attempt_began is not None:
                self._look_at_age(harness, harness.attempt_began)
            elif harness.state is HarnessState.UNLOADING:
                if harness.since + _PATIENCE <= self._now:  # else it is an alarm of its load
                    self._unloads.pass_over(incarnation)
            elif harness.retry_at is not None and harness.retry_at <= self._now:
                self._resume(harness)
            elif harness.revision_at is not None and harness.revision_at <= self._now:
                harness.revision_at = None
                harness.looking = True
                self._emit(ReadRevision(incarnation, harness.data, harness.revision))

    def _apply_policy(self, name: str) -> None:
        if self._closing:
            return
        stream = self._streams.get(name)
        if stream is None:
            return
        try:
            self._ask_policy(stream)
        except BaseException as error:  # noqa: BLE001 -- a user's policy; only its stream stands still
            self._emit(PolicyFailed(name, settled(error)))
        if not stream.harnesses and not stream.successors:
            del self._streams[name]

    def _ask_policy(self, stream: Stream) -> None:
        for _ in range(_MOST_ACTIONS):
            action = self._options.policy.next_action(stream.snapshots())
            if action is None:
                return
            self._act(stream, action)
        self._unsettled.add(stream.name)

    def _act(self, stream: Stream, action: ServableAction) -> None:
        harness = stream.harnesses.get(action.id.version)
        if harness is None or harness.id != action.id:
            raise FailedPreconditionError(
                f"the policy of stream {stream.name!r} named {action.id}, which is not among its"
                " snapshots"
            )
        self.changed.add(stream.name)
        match action.kind:
            case ActionKind.LOAD:
                harness.request_load(self._now)
                self._loads.enter(harness.incarnation)
            case ActionKind.UNLOAD:
                self._quiesce(harness)
            case _:
                assert_never(action.kind)

    def _fill_lanes(self) -> None:
        while (incarnation := self._unloads.next()) is not None:
            self._start_unload(self._incarnations[incarnation])
        while (incarnation := self._loads.next()) is not None:
            self._begin_attempt(self._incarnations[incarnation])
        threads = (self._loads.threads, self._unloads.threads)
        if threads != self._threads:
            self._threads = threads
            self._effects.insert(0, ResizePools(*threads))

    def _finish_closing(self) -> None:
        if not self._closing:
            return
        if self._incarnations and (self._deadline is None or self._now < self._deadline):
            return
        harnesses = list(self._incarnations.values())
        left = tuple(harness.snapshot() for harness in harnesses)
        for harness, snapshot in zip(harnesses, left, strict=True):
            error = _left_behind(snapshot)
            harness.fail(error, self._now)
            self._emit(PublishState(harness.id, ManagerState.END, error))
            self.changed.add(harness.id.name)
        self._closed = True
        self._emit(Closed(left))

    # ---- small change --------------------------------------------------------------------------

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _taken_effects(self) -> list[Effect]:
        for name in self._to_serve:
            if name in self._streams:
                self._serve(self._streams[name])
        self._to_serve.clear()
        effects, self._effects = self._effects, []
        return effects

    def _touch(self, name: str) -> None:
        """Have the snapshots of *name* published, and its policy asked."""
        self.changed.add(name)
        self._unsettled.add(name)

    @property
    def _tracked(self) -> ResourceTracker:
        if self._tracker is None:
            raise InternalError("an estimate came although no resources are tracked")
        return self._tracker

    def _serve(self, stream: Stream) -> None:
        ready = {
            version: harness.incarnation
            for version, harness in stream.harnesses.items()
            if harness.state is HarnessState.READY
        }
        self._emit(Serve(stream.name, ready, max(stream.aspired(), default=None)))

    def _find(self, id: ServableId) -> LoaderHarness | None:
        stream = self._streams.get(id.name)
        return stream.harnesses.get(id.version) if stream else None

    def _watch_revision(self, harness: LoaderHarness) -> None:
        if harness.revision is not NO_REVISION and not harness.looking:
            harness.revision_at = self._now + self._options.revision_interval
            self._alarm.set(harness.revision_at, harness.incarnation)

    def _cancelled(self, harness: LoaderHarness, more: str) -> LoadCancelledError:
        why = "the manager was closed" if self._closing else "it is no longer aspired"
        return LoadCancelledError(f"{harness.id}: the load was cancelled, for {why}{more}")


def _can_stay(harness: LoaderHarness, data: ServableData[Loader]) -> bool:
    """Whether *harness* can answer for *data*: an aspired version keeps its first loader."""
    if harness.data.origin != data.origin and None not in (harness.data.origin, data.origin):
        return False
    if harness.data.error is not None and data.error is None:
        return False  # what could not be converted then can be now
    # An unwanted version that still serves is simply wanted again.
    return harness.aspired or harness.state is HarnessState.READY


def _left_behind(snapshot: ServableStateSnapshot) -> ClosedError:
    match snapshot.state:
        case HarnessState.QUIESCING:
            what = "it waited for its handles to close"
        case HarnessState.LOAD_REQUESTED | HarnessState.LOADING:
            what = "its load has not returned"
        case _:
            what = "its unload has not returned"
    return ClosedError(f"{snapshot.id}: left behind when the manager was closed, for {what}")
