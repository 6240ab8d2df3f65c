"""The manager's actor: one thread that takes events, asks the reconciler and carries out the effects.

Loads and unloads run on pools and come back as events (`crew.py`); handles report their end through weak
references whose callback *is* the mailbox's `put` (`drains.py`). Nothing else changes the manager's state.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never, final

from servman.errors import ClosedError
from servman.ids import ServableId
from servman.log import Log
from servman.manager.crew import Crew
from servman.manager.drains import Drains, Signal
from servman.manager.effects import (
    Answer,
    CancelLoad,
    Closed,
    Forget,
    PolicyFailed,
    PublishAspiration,
    PublishLabels,
    PublishState,
    ReadRevision,
    ResizePools,
    Serve,
    SortingFailed,
    StartEstimate,
    StartLoad,
    StartUnload,
)
from servman.manager.messages import (
    Call,
    Commit,
    Configure,
    Hold,
    LoadReturned,
    Rollback,
    SetLabels,
)
from servman.manager.serving import ServingMap, StreamEntry
from servman.state import ServableState, StreamAspiration, StreamLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from servman.clock import Clock
    from servman.events import Event as BusEvent
    from servman.events import EventBus
    from servman.manager.effects import Effect, Served
    from servman.manager.handle import Entry
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Aspire, Event
    from servman.manager.reconciler import Reconciler
    from servman.resources import ResourceAllocation
    from servman.threads import Pool
    from servman.worker_state import WorkerSnapshot

_log = Log(__name__)

_SLOW_STEP: Final = 1.0
"""Seconds after which a step is reported: a user's destructor, perhaps, that ran on this thread."""

_IN_ORDER: Final = (Hold, Commit, Rollback, SetLabels, Configure)
"""What lists that are posted later come after."""

_Message: TypeAlias = "Event | Signal | tuple[str, object] | None"


@final
class Actor:
    """Runs a reconciler.

    Args:
        reconciler: Takes the decisions.
        bus: Is told of every state, or None.
        pools: See `Crew`, as for the three that follow.
        should_retry: See `AspiredVersionsManager`.
        pre_load_hook: See `AspiredVersionsManager`.
        normalised: Spells what a loader needs as the resource tracker does; None where none is tracked.
        on_change: See `AspiredVersionsManager`.
        clock: The time.

    Attributes:
        serving: What lookups read.
        drains: Knows who holds what; `holders` is for any thread.
        snapshots: Name to what is known of the stream, replaced name by name for any thread to read.
        labels: Name to how the labels of the stream stand, replaced likewise; streams with none are not in it.
        loads: How many loads run or wait, and which has run for longest; for any thread to read.
        busy_since: When the step under way began; None between steps. For any thread to read.

    Threads: `step` by one at a time; `post` and `workers` by any.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        bus: EventBus | None,
        pools: tuple[Pool, Pool, Pool],
        should_retry: Callable[[BaseException], bool] | None,
        pre_load_hook: Callable[[ServableId], None] | None,
        normalised: Callable[[ResourceAllocation], ResourceAllocation] | None,
        on_change: Callable[[str], None] | None,
        clock: Clock,
    ) -> None:
        self.serving = ServingMap()
        self.snapshots: dict[str, tuple[ServableStateSnapshot, ...]] = {}
        self.labels: dict[str, StreamLabels] = {}
        self.loads: tuple[int, ServableId | None] = (0, None)
        self.busy_since: float | None = None
        self._reconciler = reconciler
        self._bus = bus
        self._on_change = on_change
        self._clock = clock
        self._mailbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self.drains = Drains(self._mailbox.put)
        self._crew = Crew(
            pools,
            self.post,
            should_retry=should_retry,
            pre_load_hook=pre_load_hook,
            normalised=normalised,
        )
        # What loads have brought, by incarnation, until it is unloaded.
        self._servables: dict[int, object] = {}
        # The newest list of each stream that has not been taken up; the mailbox carries the key.
        self._aspired: dict[tuple[str, object], Aspire] = {}
        self._era = object()
        self._done = threading.Condition(threading.Lock())  # guards `_left`
        self._left: tuple[ServableStateSnapshot, ...] | None = None

    def workers(self, incarnation: int) -> tuple[WorkerSnapshot, ...]:
        """Return how each process is that *incarnation* lives in. For any thread."""
        return self._crew.workers(incarnation)

    def post(self, event: Event) -> None:
        """Hand *event* over. Never blocks."""
        if self._left is None:
            self._mailbox.put(event)
            if isinstance(event, _IN_ORDER):
                self._era = object()  # a list that comes after it is not taken up before it
        if self._left is not None:  # since then, perhaps: then nobody may come to read it
            _refuse(event)

    def aspire(self, event: Aspire) -> None:
        """Hand a list over, in the place of an older one that was not taken up. Never blocks."""
        key = (event.name, self._era)
        self._aspired[key] = event
        self._mailbox.put(key)

    def run(self) -> None:
        """Step until everything is closed. The body of the manager's thread."""
        while self._left is None:
            try:
                self.step(block=True)
            except BaseException:  # noqa: BLE001 -- a fault of servman's; the other streams go on
                _log.exception("the manager failed at a step; please report this")

    def step(self, *, block: bool = False) -> bool:
        """Take up one event, or the time if it has come for something; return whether there was one.

        Blocks: with *block*, until there is one.
        """
        deadline = self._next_wake() if block else self._clock.monotonic()
        message = self._clock.receive(self._mailbox, deadline)
        if message is None and not self._due():
            return False
        started = self.busy_since = self._clock.monotonic()
        try:
            return self._take_up(message, started)
        finally:
            self.busy_since = None

    def _take_up(self, message: _Message, started: float) -> bool:
        event = self._event(message)
        if event is None and message is not None:
            return True  # the first of two signals, or a list that a newer one has replaced
        if isinstance(event, LoadReturned) and event.error is None:
            self._servables[event.incarnation] = event.servable
        self._carry_out(self._reconciler.take(event, started))
        self._carry_out(self._reconciler.settle())
        self.loads = self._reconciler.loads
        took = self._clock.monotonic() - started
        if took > _SLOW_STEP:
            _log.warning("a step of the manager took %.1f s, at %s", took, type(event).__name__)
        return True

    @property
    def closed(self) -> bool:
        """Whether the reconciler has closed."""
        return self._left is not None

    def wait_until_closed(self, deadline: float | None) -> tuple[ServableStateSnapshot, ...] | None:
        """Wait until the reconciler has closed; return what it left, or None at *deadline*."""
        with self._done:
            while self._left is None:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return None
                self._clock.wait_until(self._done, deadline)
            return self._left

    def _event(self, message: _Message) -> Event | None:
        if isinstance(message, Signal):
            return self.drains.hear(message)
        if isinstance(message, tuple):
            return self._aspired.pop(message, None)
        return message

    def _next_wake(self) -> float | None:
        """Return when to look at the time at the latest."""
        wake, interval = self._reconciler.next_wake(), self.drains.interval
        if interval is None or not self._reconciler.draining:
            return wake
        soon = self._clock.monotonic() + interval
        return soon if wake is None else min(wake, soon)

    def _due(self) -> bool:
        wake = self._reconciler.next_wake()
        return wake is not None and wake <= self._clock.monotonic()

    # ---- effects -------------------------------------------------------------------------------

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        """Carry out *effects* in order.

        Snapshots are published before the first state that tells of them, and after lookups find a
        version that became ready: so no lookup fails with the reason that the version is available.
        """
        for effect in effects:
            try:
                self._do(effect)
            except Exception:  # noqa: BLE001 -- no thread to be had, perhaps; the other streams go on
                _log.exception("the manager could not carry out %r", effect)
        self._publish_snapshots()

    def _do(self, effect: Effect) -> None:  # noqa: C901, PLR0912 -- one line for each kind
        match effect:
            case PublishState():
                state = ServableState(effect.id, effect.state, effect.error, cause=effect.cause)
                self._publish(state)
            case PublishAspiration():
                self._publish(StreamAspiration(effect.name, effect.versions))
            case PublishLabels():
                self._publish_labels(StreamLabels(effect.name, effect.wanted, effect.targets))
            case Serve():
                self._serve(effect)
            case Answer():
                self._publish_snapshots()  # whoever is told looks at them
                effect.reply.answer(effect.error)
            case StartEstimate():
                self._crew.estimate(effect)
            case StartLoad():
                self._crew.load(effect)
            case ResizePools():
                self._crew.resize(effect)
            case CancelLoad():
                self._crew.cancel(effect.incarnation)
            case StartUnload():
                self._crew.unload(effect, self._servables.pop(effect.incarnation))
            case ReadRevision():
                self._crew.look(effect)
            case Forget():
                self._crew.forget(effect.incarnation)
                self.drains.forget(effect.incarnation)
            case PolicyFailed():
                _log.error(
                    "stream %s stands still: its policy failed: %s", effect.name, effect.error
                )
            case SortingFailed():
                _log.error("sort_actions failed, so unloads went first: %s", effect.error)
            case Closed():
                self._finish(effect.left)
            case _:
                assert_never(effect)

    def _publish(self, event: BusEvent) -> None:
        self._publish_snapshots()
        if self._bus is not None:
            self._bus.publish(event)

    def _publish_labels(self, labels: StreamLabels) -> None:
        if labels.wanted or labels.targets:
            self.labels[labels.name] = labels
        else:
            self.labels.pop(labels.name, None)
        self._publish(labels)
        self._tell((labels.name,))

    def _publish_snapshots(self) -> None:
        changed = self._reconciler.changed
        if not changed:
            return
        for name in changed:
            snapshots = self._reconciler.snapshots(name)
            if snapshots:
                self.snapshots[name] = snapshots
            else:
                self.snapshots.pop(name, None)
        names = tuple(changed)
        changed.clear()
        self._tell(names)

    def _tell(self, names: Iterable[str]) -> None:
        if self._on_change is None:
            return
        try:
            for name in names:
                self._on_change(name)
        except Exception:  # noqa: BLE001 -- foreign code; the streams go on
            _log.exception("the manager's on_change raised")

    def _serve(self, order: Serve) -> None:
        self.serving.replace(
            {name: self._stream_entry(name, served) for name, served in order.streams.items()}
        )

    def _stream_entry(self, name: str, served: Served) -> StreamEntry | None:
        now = self.serving.entries(name)
        entries = {
            version: now.get(version) or self._entry(ServableId(name, version), incarnation)
            for version, incarnation in served.incarnations.items()
        }
        labels = {label: entries[version] for label, version in served.labels.items()}
        return StreamEntry(entries, served.newest, labels) if entries else None

    def _entry(self, id: ServableId, incarnation: int) -> Entry:
        return self.drains.enter(incarnation, id, self._servables[incarnation])

    def _finish(self, left: tuple[ServableStateSnapshot, ...]) -> None:
        self._crew.close()
        with self._done:
            self._left = left
            self._done.notify_all()
        self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _refuse(self._mailbox.get_nowait())


def _refuse(message: _Message) -> None:
    """Tell whoever asked too late. Where two do so, the first counts."""
    if isinstance(message, Call | Commit) and message.reply is not None:
        message.reply.answer(ClosedError("the manager was closed; make a new one"))
