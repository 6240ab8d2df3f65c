"""The life of every incarnation, from its START to its one END. Pure.

The lowest of the reconciler's six layers: it owns the state that all of them share, and says what follows
from one step in one life. `loads.py` knows how a load comes about, `calls.py` what callers ask of single
versions, `policies.py` what policies ask for, `streams.py` what is wanted of streams, `reconciler.py` what comes
in, and how all of it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from servman.errors import LoadCancelledError
from servman.manager.alarm import Alarm
from servman.manager.causes import Cause
from servman.manager.effects import (
    Answer,
    CancelLoad,
    Forget,
    PublishLabels,
    PublishState,
    Serve,
    StartUnload,
)
from servman.manager.harness import HarnessState, LoaderHarness
from servman.manager.lane import Lane
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.effects import Effect, Served
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.labels import Labels
    from servman.manager.messages import Reply
    from servman.manager.options import ReconcilerOptions, StreamOptions
    from servman.manager.stream import Stream

PATIENCE: Final = 60.0
"""Seconds after which a load or an unload gives its place to the next: it may hang, and shall delay
nobody."""

PATIENCE_UNWANTED: Final = 1.0
"""The same for a load that nobody wants any more."""

LOOK_THREADS: Final = 4
"""How many looks at the files of failed versions may run at once."""


class Held(NamedTuple):
    """What was wanted of a stream when it was held: its versions, and its labels."""

    versions: Mapping[int, ServableData[Loader]]
    labels: Mapping[str, int]


class GivenUp(NamedTuple):
    """A load that was given up: what it loads, and how it stood then."""

    data: ServableData[Loader]
    snapshot: ServableStateSnapshot


class Lives:
    """Keeps the streams and what runs for them.

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
        self._looks = Lane(LOOK_THREADS)
        # Those whose load was given up at its timeout and has not returned yet.
        self._given_up: dict[int, GivenUp] = {}
        # Who is to be told how the load or the unload of a version has ended; `calls.py` adds them.
        self._replies: dict[ServableId, Reply] = {}
        # Lookups that wait for a version; likewise.
        self._lookups: dict[ServableId, dict[Reply, None]] = {}
        # Streams in which nothing comes in, and nothing goes, before they are committed.
        self._held: dict[str, Held] = {}
        # The labels of each stream that has some, whether or not it is known.
        self._labels: dict[str, Labels] = {}
        # The streams that have options of their own, likewise.
        self._configured: Mapping[str, StreamOptions] = {}
        self._alarm = Alarm(self._incarnations)
        self._closing = False
        self._unsettled: set[str] = set()
        self._to_serve: dict[str, None] = {}
        self._effects: list[Effect] = []
        self._now = 0.0

    def _manage(self, stream: Stream, data: ServableData[Loader], cause: Cause) -> None:
        self._count += 1
        harness = LoaderHarness(data, self._count, self._now)
        self._streams[stream.name] = stream
        stream.harnesses[data.id.version] = harness
        self._incarnations[harness.incarnation] = harness
        self._emit(PublishState(data.id, ManagerState.START, None, cause))
        if data.error is not None:
            self._end(harness, data.error)
        self._touch(stream.name)

    def _unaspire(self, harness: LoaderHarness, cause: Cause) -> None:
        """Let *harness* go: when the policy says so, where that it is no longer aspired is all, else at once."""
        harness.leave(cause)
        if harness.ended:
            self._forget(harness)
        elif (
            harness.state is HarnessState.NEW
            or harness.paused
            or harness.shortage is not None
            or self._loads.waits(harness.incarnation)
        ):
            self._end(harness, self._cancelled(harness, ""))
        elif harness.held:
            self._undo(harness, self._unwanted(harness))
        elif harness.attempt_began is not None:
            self._emit(CancelLoad(harness.incarnation))
            self._alarm.set(self._now + PATIENCE_UNWANTED, harness.incarnation)
        elif (
            harness.state is HarnessState.READY
            and cause is not Cause.NO_LONGER_ASPIRED
            and harness.id.name not in self._held
        ):
            self._quiesce(harness)

    def _undo(self, harness: LoaderHarness, error: ServmanError) -> None:
        """Unload what nobody has ever found, and end it with *error*."""
        harness.undo(error, self._now)
        self._unloads.enter(harness.incarnation)
        self._touch(harness.id.name)

    def _quiesce(self, harness: LoaderHarness) -> None:
        harness.request_unload(self._now)
        harness.move(HarnessState.QUIESCING, self._now)
        harness.leaving = harness.leaving or Cause.UNLOAD_REQUESTED
        self._emit(PublishState(harness.id, ManagerState.UNLOADING, None, harness.leaving))
        self._to_serve[harness.id.name] = None  # once for all that go in this turn
        self.changed.add(harness.id.name)

    def _drained(self, incarnation: int) -> None:
        harness = self._incarnations[incarnation]
        harness.move(HarnessState.QUIESCED, self._now)
        self._unloads.enter(incarnation)
        self._touch(harness.id.name)

    def _start_unload(self, harness: LoaderHarness) -> None:
        if harness.state is HarnessState.QUIESCED:
            harness.move(HarnessState.UNLOADING, self._now)
        self._alarm.set(self._now + PATIENCE, harness.incarnation)
        self._emit(StartUnload(harness.incarnation, harness.data))
        self.changed.add(harness.id.name)

    def _end(self, harness: LoaderHarness, error: ServmanError | None) -> None:
        """Publish the one END of *harness*; keep it on record while it is aspired."""
        if error is None:
            harness.move(HarnessState.DISABLED, self._now)
        else:
            harness.fail(error, self._now)
        harness.shortage = harness.attempt_began = None
        if self._options.forgets_failed:
            harness.aspired = False
        self._emit(PublishState(harness.id, ManagerState.END, error, harness.leaving))
        self._ended(harness)
        returns = harness.id.version in self._streams[harness.id.name].successors
        if not harness.aspired:
            self._forget(harness)
        if not returns:  # else whoever waits for it waits for the next incarnation
            self._answer(harness.id, error)
        self._touch(harness.id.name)

    def _ended(self, harness: LoaderHarness) -> None:
        """Do what the end of *harness* means for other loads."""

    def _answer(self, id: ServableId, error: ServmanError | None) -> None:
        reply = self._replies.pop(id, None)
        if reply is not None:
            self._emit(Answer(reply, error))
        self._answer_lookups(id, error)

    def _answer_lookups(self, id: ServableId, error: ServmanError | None) -> None:
        for one in self._lookups.pop(id, ()):
            self._emit(Answer(one, error))

    def _forget(self, harness: LoaderHarness) -> None:
        self._drop(harness)
        stream = self._streams[harness.id.name]
        successor = stream.successors.pop(harness.id.version, None)
        if successor is not None:
            self._manage(stream, successor, Cause.COMES_BACK)

    def _drop(self, harness: LoaderHarness) -> None:
        del self._incarnations[harness.incarnation]
        if self._looks.waits(harness.incarnation):
            self._looks.leave(harness.incarnation)
        self._looks.pass_over(harness.incarnation)  # nobody will look how long it takes
        del self._streams[harness.id.name].harnesses[harness.id.version]
        if harness.incarnation not in self._given_up:
            self._loads.leave(harness.incarnation)
            self._unloads.leave(harness.incarnation)
            self._emit(Forget(harness.incarnation))

    def _serve(self, stream: Stream) -> None:
        # In a held stream not even what is the newest changes before the commit.
        if stream.name not in self._held:
            self._serve_together((stream,))

    def _serve_together(self, streams: Iterable[Stream]) -> None:
        """Let lookups find what *streams* serve now, and their labels move, in one step."""
        served = {stream.name: self._served(stream) for stream in streams}
        for name in served.keys() & self._labels.keys():
            labels, serving = self._labels[name], served[name].incarnations
            if name in self._held:  # something has failed there
                labels.stay(serving)
            else:
                labels.move(serving)
            served[name].labels = labels.targets
        if served:
            self._emit(Serve(served))
        self._tell_labels(served)

    def _served(self, stream: Stream) -> Served:
        served, held = stream.served(), self._held.get(stream.name)
        if held is not None:
            served.newest = max(held.versions, default=None)
        return served

    def _tell_labels(self, names: Iterable[str]) -> None:
        """Publish the labels of *names* that have changed; forget those that are gone."""
        for name in names:
            labels = self._labels.get(name)
            if labels is None:
                continue
            if labels.tell():
                self._emit(PublishLabels(name, labels.wanted, labels.targets))
            if labels.empty:
                del self._labels[name]

    def _find(self, id: ServableId) -> LoaderHarness | None:
        stream = self._streams.get(id.name)
        return stream.harnesses.get(id.version) if stream else None

    def _unwanted(self, harness: LoaderHarness) -> LoadCancelledError:
        more = " (it is unloaded again, now that its load has returned)"
        return self._cancelled(harness, more)

    def _cancelled(self, harness: LoaderHarness, more: str) -> LoadCancelledError:
        wanted = "aspired" if self._options.declarative else "managed"
        why = "the manager was closed" if self._closing else f"it is no longer {wanted}"
        return LoadCancelledError(f"{harness.id}: the load was cancelled, for {why}{more}")

    def _touch(self, name: str) -> None:
        """Have the snapshots of *name* published, and its policy asked."""
        self.changed.add(name)
        self._unsettled.add(name)

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _taken_effects(self) -> list[Effect]:
        for name in self._to_serve:
            if name in self._streams:
                self._serve(self._streams[name])
        self._to_serve.clear()
        effects, self._effects = self._effects, []
        return effects
