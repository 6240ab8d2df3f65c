"""How a version comes into memory: its place, its memory, its attempts and the pauses between. Pure."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from servman.errors import InternalError, LoadCancelledError, LoadFailedError
from servman.manager.backoff import pause_after
from servman.manager.causes import Cause
from servman.manager.effects import (
    CancelLoad,
    Forget,
    PublishState,
    ReadRevision,
    StartEstimate,
    StartLoad,
    StartUnload,
)
from servman.manager.harness import NO_REVISION, ON_ITS_WAY_OUT, HarnessState
from servman.manager.lives import PATIENCE, PATIENCE_UNWANTED, GivenUp, Lives
from servman.manager.options import NO_OPTIONS
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.manager.backoff import RetryInterval
    from servman.manager.harness import LoaderHarness
    from servman.manager.messages import (
        EstimateReturned,
        LoadReturned,
        RevisionRead,
        ServableFailed,
        UnloadReturned,
    )
    from servman.manager.options import ReconcilerOptions
    from servman.manager.tracker import ResourceTracker
    from servman.resources import ResourceAllocation

_MOST_HANGING: Final = 2
"""How many loads of one version may hang before its files are no longer watched: each has a thread."""


class Loads(Lives):
    """Brings versions into memory, one attempt after the other."""

    def __init__(self, options: ReconcilerOptions) -> None:
        super().__init__(options)
        self._tracker = options.resource_tracker
        # Those whose load waits for memory, or has failed for want of it.
        self._wanting: dict[int, None] = {}

    def _begin_attempt(self, harness: LoaderHarness) -> None:
        """Use the place that *harness* has got: estimate first where resources are tracked."""
        harness.begin_attempt(self._now)
        self._alarm.set(self._now + PATIENCE, harness.incarnation)
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
        self._emit(StartLoad(harness.incarnation, harness.data, harness.attempts, harness.begun))

    def _estimate_returned(self, event: EstimateReturned) -> None:
        if event.incarnation in self._given_up:
            self._come_back_late(event.incarnation, event.revision, has_servable=False)
            return
        harness = self._incarnations[event.incarnation]
        if event.needs is not None and harness.aspired:
            self._admit(harness, event.needs)
        else:
            self._leave_place(harness)
            harness.revision = event.revision
            error = event.error or self._cancelled(harness, "")
            self._load_failed(harness, error, retriable=event.retriable)
        self._touch(harness.id.name)

    def _admit(self, harness: LoaderHarness, needs: ResourceAllocation) -> None:
        """Set aside what *harness* needs and start its load; else let it wait, or fail."""
        tracker = self._tracked
        if tracker.reserve(harness.incarnation, harness.id, needs):
            self._start_load(harness)
            return
        self._leave_place(harness)  # nothing that does fit queues behind it
        if harness.error is not None and not harness.may_retry:
            self._end_after_last_attempt(harness)
            return
        if not tracker.fits(needs, without=self._leaving()):
            self._make_room(needs)
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
            has_servable = event.error is None
            self._come_back_late(event.incarnation, event.revision, has_servable=has_servable)
            return
        harness = self._incarnations[event.incarnation]
        self._leave_place(harness)
        harness.revision = event.revision
        if event.error is not None:
            self._load_failed(harness, event.error, retriable=event.retriable)
        elif harness.aspired and harness.reported is not None:
            self._undo(harness, harness.reported)
            # At once: a lookup from now on has it loaded anew, and shall not have these wait for that as well.
            self._answer_lookups(harness.id, harness.reported)
        elif harness.aspired:
            if event.needs is not None and self._tracked.replace(event.incarnation, event.needs):
                self._memory_returned()
            self._loaded(harness)
        else:
            self._undo(harness, self._unwanted(harness))
        self._touch(harness.id.name)

    def _loaded(self, harness: LoaderHarness) -> None:
        if harness.id.name in self._held:
            harness.hold(self._now)
            return
        harness.succeed(self._now)
        self._serve(self._streams[harness.id.name])
        self._emit(PublishState(harness.id, ManagerState.AVAILABLE))
        self._answer(harness.id, None)

    def _load_failed(self, harness: LoaderHarness, error: ServmanError, *, retriable: bool) -> None:
        if isinstance(error, LoadCancelledError) and harness.aspired:
            # Nobody has cancelled it; and a wait takes a cancelled load for one that is not wanted.
            failed = LoadFailedError(str(error))
            failed.traceback, error = error.traceback, failed
        if not harness.aspired:
            self._end(harness, self._cancelled(harness, f" (its load had failed: {error})"))
        elif (
            retriable
            and harness.may_retry
            and harness.attempts <= self._retries_of(harness.id.name)
        ):
            interval = self._retry_interval_of(harness.id.name)
            until = self._now + pause_after(interval, harness.attempts, self._options.chance())
            self._give_back(harness.incarnation)
            harness.pause(error, until, self._now)
            self._alarm.set(until, harness.incarnation)
            self._watch_revision(harness)
        else:
            self._end(harness, error)

    def _retries_of(self, name: str) -> int:
        own = self._configured.get(name, NO_OPTIONS).max_num_load_retries
        return self._options.max_num_load_retries if own is None else own

    def _retry_interval_of(self, name: str) -> RetryInterval:
        own = self._configured.get(name, NO_OPTIONS).load_retry_interval
        return self._options.load_retry_interval if own is None else own

    def _leave_place(self, harness: LoaderHarness) -> None:
        self._loads.leave(harness.incarnation)
        harness.attempt_began = None

    def _servable_failed(self, event: ServableFailed) -> None:
        """Let a version go that serves no more, whatever its policy would say, and end it with the error."""
        harness = self._incarnations.get(event.incarnation)
        if harness is None or harness.begun != event.load or harness.reported is not None:
            return  # it is forgotten, or was loaded anew since, or has failed already
        harness.reported = event.error  # while it loads, until that has returned
        if harness.state is HarnessState.READY:
            harness.break_down(event.error)
            self._quiesce(harness)
            # Of a held stream, too: what lookups found there must not be what can serve no more.
            self._serve_together((self._streams[harness.id.name],))
        elif harness.held:
            self._undo(harness, event.error)
        self._touch(harness.id.name)

    def _unload_returned(self, event: UnloadReturned) -> None:
        if event.incarnation in self._given_up:
            self._forget_given_up(event.incarnation)
            return
        harness = self._incarnations[event.incarnation]
        self._unloads.leave(event.incarnation)
        failed = harness.reported is not None and harness.reported is harness.error
        self._end(harness, harness.error if failed else event.error or harness.error)

    def _look_at_age(self, harness: LoaderHarness, began: float) -> None:
        """See whether the attempt that began then takes too long for its place, or altogether."""
        timeout = self._options.load_timeout
        if timeout is not None and began + timeout <= self._now:
            self._give_up(harness, timeout)
        elif began + (PATIENCE if harness.aspired else PATIENCE_UNWANTED) <= self._now:
            self._loads.pass_over(harness.incarnation)

    def _give_up(self, harness: LoaderHarness, timeout: float) -> None:
        """End *harness*, whose load has not returned. What it brings some day is unloaded."""
        incarnation = harness.incarnation
        self._given_up[incarnation] = GivenUp(harness.data, harness.snapshot())
        self._loads.pass_over(incarnation)
        self._emit(CancelLoad(incarnation))
        text = f"{harness.id}: its load has not returned within {timeout:g} s (load_timeout)"
        error = LoadFailedError(text) if harness.aspired else self._cancelled(harness, "")
        self._end(harness, error)

    def _come_back_late(self, incarnation: int, revision: Hashable, *, has_servable: bool) -> None:
        self._loads.leave(incarnation)
        if incarnation in self._incarnations:  # it is still wanted, and its files are watched
            self._incarnations[incarnation].revision = revision
        if has_servable:
            self._emit(StartUnload(incarnation, self._given_up[incarnation].data))
        else:
            self._forget_given_up(incarnation)

    def _forget_given_up(self, incarnation: int) -> None:
        which = self._given_up.pop(incarnation).data.id
        self._give_back(incarnation)
        self._emit(Forget(incarnation))
        harness = self._find(which)
        if harness is not None and harness.ended:
            self._watch_revision(harness)  # as it was not while too many of its loads hung

    def _ended(self, harness: LoaderHarness) -> None:
        if harness.incarnation not in self._given_up:
            self._give_back(harness.incarnation)
        if harness.aspired and harness.error is not None:
            self._watch_revision(harness)

    def _drop(self, harness: LoaderHarness) -> None:
        self._wanting.pop(harness.incarnation, None)
        super()._drop(harness)

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
            elif harness.ended and self._options.declarative:
                # Two that fail in turn, and do not fit together, would else begin anew for ever.
                self._try_again(harness, Cause.MEMORY_RETURNED, attempts=harness.attempts - 1)

    def _make_room(self, needs: ResourceAllocation) -> None:
        """Unload what can be spared, if that makes room for *needs*: as many as it takes, or none."""
        if not self._tracked.could_fit(needs):
            return  # without looking at all there is for what can never fit
        known = map(self._find, self._options.dispensable())
        ready = [one for one in known if one is not None and one.state is HarnessState.READY]
        going = self._enough([one.incarnation for one in ready], needs)
        for incarnation in going:
            self._unaspire(self._incarnations[incarnation], Cause.EVICTED)

    def _enough(self, spare: list[int], needs: ResourceAllocation) -> list[int]:
        """Return which of *spare* to unload for *needs*: from its beginning, and none in vain."""
        leaving = self._leaving()

        def fits(going: Sequence[int]) -> bool:
            return self._tracked.fits(needs, without=[*leaving, *going])

        most = 1  # nearly always one will do, and looking at all of a thousand takes its time
        while most < len(spare) and not fits(spare[:most]):
            most *= 2
        count = bisect.bisect_left(range(most), x=True, key=lambda first: fits(spare[:first]))
        going = spare[:count]
        if not fits(going):
            return []
        for one in going[-2::-1]:  # the last one is needed: without it, it did not fit
            others = [other for other in going if other != one]
            if fits(others):
                going = others
        return going

    def _leaving(self) -> list[int]:
        """Return those whose memory is about to come back."""
        going = [
            incarnation
            for incarnation, one in self._incarnations.items()
            if one.state in ON_ITS_WAY_OUT
            or (not one.aspired and one.state is HarnessState.LOADING)
        ]
        return [*going, *self._given_up]

    @property
    def _tracked(self) -> ResourceTracker:
        if self._tracker is None:
            raise InternalError("an estimate came although no resources are tracked")
        return self._tracker

    def _revision_read(self, event: RevisionRead) -> None:
        self._looks.leave(event.incarnation)
        harness = self._incarnations.get(event.incarnation)
        if harness is None:
            return  # it went while its files were looked at
        harness.looking = False
        if not (harness.paused or harness.ended):
            return  # it is being tried again
        # An attempt that began after the look knows the files better than the look does.
        if event.changed and event.known is harness.revision:
            self._try_again(harness, Cause.FILES_CHANGED)
        else:
            self._watch_revision(harness)

    def _begin_look(self, harness: LoaderHarness) -> None:
        harness.look_began = self._now
        self._alarm.set(self._now + PATIENCE, harness.incarnation)
        self._emit(ReadRevision(harness.incarnation, harness.data, harness.revision))

    def _look_at_look(self, harness: LoaderHarness) -> None:
        """Give the place of a look that takes too long to the next; it may hang, as its storage does."""
        if harness.look_began + PATIENCE <= self._now:
            self._looks.pass_over(harness.incarnation)

    def _watch_revision(self, harness: LoaderHarness) -> None:
        if harness.ended and not self._options.declarative:
            return  # whoever asked for it was told of its end, and may ask again
        # Beside one load that hangs another is begun when the files change, but not beside two.
        hanging = sum(one.data.id == harness.id for one in self._given_up.values())
        known = harness.revision is not NO_REVISION or 0 < hanging < _MOST_HANGING
        if known and not harness.looking:
            harness.revision_at = self._now + self._options.revision_interval
            self._alarm.set(harness.revision_at, harness.incarnation)

    def _retry(self, id: ServableId) -> None:
        harness = self._find(id)
        if harness is not None and (harness.paused or harness.state is HarnessState.ERROR):
            self._try_again(harness, Cause.RETRY_REQUESTED)

    def _cancel_retry(self, id: ServableId) -> None:
        harness = self._find(id)
        if harness is not None:
            harness.may_retry = False
            waits = harness.shortage is not None or self._loads.waits(harness.incarnation)
            if harness.paused or (harness.error is not None and waits):
                self._end_after_last_attempt(harness)

    def _end_after_last_attempt(self, harness: LoaderHarness) -> None:
        """End *harness*, which waits for an attempt that is not to be made any more."""
        self._loads.leave(harness.incarnation)
        self._wanting.pop(harness.incarnation, None)
        self._end(harness, harness.error)

    def _try_again(self, harness: LoaderHarness, cause: Cause, *, attempts: int = 0) -> None:
        """Try *harness* again after so many attempts: a new incarnation of it, unless it pauses."""
        if harness.paused:
            harness.start_over(attempts)
            self._resume(harness)
        else:
            stream = self._streams[harness.id.name]
            self._drop(harness)
            self._manage(stream, harness.data, cause)
            stream.harnesses[harness.id.version].start_over(attempts)

    def _resume(self, harness: LoaderHarness) -> None:
        harness.resume(self._now)
        self._loads.enter(harness.incarnation)
        self._touch(harness.id.name)
