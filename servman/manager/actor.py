"""The manager's actor: one thread that takes events, asks the reconciler and carries out the effects.

Loads and unloads run on pools and come back as events; handles report their end through weak
references whose callback *is* the mailbox's `put`. Nothing else changes the manager's state.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never, final

from servman.errors import ClosedError, ResourceExhaustedError, settled
from servman.log import Log
from servman.manager import jobs
from servman.manager.handle import Entry
from servman.manager.harness import NO_REVISION
from servman.manager.messages import (
    Act,
    Answer,
    CancelLoad,
    Closed,
    Commit,
    Drained,
    EstimateReturned,
    Forget,
    Hold,
    LoadReturned,
    Manage,
    Obtain,
    PolicyFailed,
    PublishAspiration,
    PublishState,
    ReadRevision,
    ResizePools,
    RevisionRead,
    Serve,
    SortingFailed,
    StartEstimate,
    StartLoad,
    StartUnload,
    StopManaging,
    UnloadReturned,
)
from servman.manager.serving import ServingMap, StreamEntry, count_handles
from servman.state import ServableState, StreamAspiration

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from servman.clock import Clock
    from servman.events import Event as BusEvent
    from servman.events import EventBus
    from servman.ids import ServableId
    from servman.manager.handle import HandleSite
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Aspire, Effect, Event, Served
    from servman.manager.reconciler import Reconciler
    from servman.resources import ResourceAllocation
    from servman.threads import Pool

_log = Log(__name__)

_SLOW_STEP: Final = 1.0
"""Seconds after which a step is reported: a user's destructor, perhaps, that ran on this thread."""

_DROP_INTERVAL: Final = 0.05
"""Seconds between looks at entries that wait for their last handle, on builds without the GIL."""


@final
class _Gone(weakref.ref[object]):
    """A weak reference that is put into the mailbox, by the interpreter itself, when its object dies.

    `__del__` and `weakref.finalize` run bytecode, and lose the signal when an exception (Ctrl-C)
    arrives in it; this callback is a C function.
    """

    __slots__ = ("incarnation", "what")

    incarnation: int
    what: str

    def __new__(
        cls, target: object, tell: Callable[[_Gone], None], incarnation: int, what: str
    ) -> _Gone:
        self = super().__new__(cls, target, tell)
        self.incarnation = incarnation
        self.what = what
        return self

    def __init__(self, *_: object) -> None:
        """Leave it to `__new__`: the base class would refuse the further arguments."""


_Message: TypeAlias = "Event | _Gone | tuple[str, object] | None"


@final
class _Pin:
    """A plain object to hold; see `Entry.pin`."""

    __slots__ = ("__weakref__",)


@final
class _Kept:
    """What the actor keeps for one incarnation."""

    __slots__ = ("cancelled", "gone", "id", "pin", "revision", "servable")

    def __init__(self, id: ServableId) -> None:
        self.id = id
        self.cancelled = threading.Event()
        self.revision: Hashable = NO_REVISION  # when the last attempt began; its thread writes it
        self.servable: object = None
        self.pin: _Pin | None = None
        self.gone: _Gone | None = None


@final
class Actor:
    """Runs a reconciler.

    Args:
        reconciler: Takes the decisions.
        bus: Is told of every state, or None.
        load_pool: Runs loads.
        unload_pool: Runs unloads.
        revision_pool: Looks whether the files of failed versions have changed. A pool of its own, so
            that storage that hangs holds up neither loads nor unloads.
        should_retry: See `AspiredVersionsManager`.
        pre_load_hook: See `AspiredVersionsManager`.
        normalised: Spells what a loader needs as the resource tracker does; None where none is tracked.
        clock: The time.

    Attributes:
        serving: What lookups read.
        snapshots: Name to what is known of the stream, replaced name by name for any thread to read.
        loads: How many loads run or wait, and which has run for longest; for any thread to read.

    Threads: `step` by one at a time; `post` by any.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        bus: EventBus | None,
        load_pool: Pool,
        unload_pool: Pool,
        revision_pool: Pool,
        should_retry: Callable[[BaseException], bool] | None,
        pre_load_hook: Callable[[ServableId], None] | None,
        normalised: Callable[[ResourceAllocation], ResourceAllocation] | None,
        clock: Clock,
    ) -> None:
        self.serving = ServingMap()
        self.snapshots: dict[str, tuple[ServableStateSnapshot, ...]] = {}
        self.loads: tuple[int, ServableId | None] = (0, None)
        self._reconciler = reconciler
        self._bus = bus
        self._load_pool = load_pool
        self._unload_pool = unload_pool
        self._revision_pool = revision_pool
        self._should_retry = should_retry
        self._pre_load_hook = pre_load_hook
        self._normalised = normalised
        self._clock = clock
        self._mailbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        # The newest list of each stream that has not been taken up; the mailbox carries the key.
        self._aspired: dict[tuple[str, object], Aspire] = {}
        self._era = object()
        self._kept: dict[int, _Kept] = {}
        self._owes_drops = not getattr(sys, "_is_gil_enabled", lambda: True)()
        self._done = threading.Condition(threading.Lock())  # guards `_left`
        self._left: tuple[ServableStateSnapshot, ...] | None = None

    def post(self, event: Event) -> None:
        """Hand *event* over. Never blocks."""
        if self._left is None:
            self._mailbox.put(event)
            if isinstance(event, Hold | Commit):
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
        started = self._clock.monotonic()
        event = self._event(message)
        if event is None and message is not None:
            return True  # the first of two signals, or a list that a newer one has replaced
        if isinstance(event, LoadReturned):
            self._kept[event.incarnation].servable = event.servable
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

    def holders(self, snapshot: ServableStateSnapshot) -> tuple[int, tuple[HandleSite, ...]]:
        """Return about how many handles hold the incarnation of *snapshot*, and what is known of them.

        Threads: any.
        """
        kept = self._kept.get(snapshot.incarnation)
        gone = kept.gone if kept is not None else None
        if gone is None or gone.what != "entry":
            return 0, ()
        entry = gone()
        if not isinstance(entry, Entry):
            return 0, ()
        del gone, kept
        count = count_handles(entry, self.serving.streams.get(snapshot.id.name))
        return count, tuple(entry.sites.copy().values())

    def _event(self, message: _Message) -> Event | None:
        if isinstance(message, _Gone):
            return self._signal(message)
        if isinstance(message, tuple):
            return self._aspired.pop(message, None)
        return message

    # ---- signals -------------------------------------------------------------------------------

    def _next_wake(self) -> float | None:
        """Return when to look at the time at the latest.

        Without the GIL, the last reference to an entry may be handed to the thread that made it, this one,
        which drops it only when it next runs.
        """
        wake = self._reconciler.next_wake()
        if not self._owes_drops or not self._reconciler.draining:
            return wake
        soon = self._clock.monotonic() + _DROP_INTERVAL
        return soon if wake is None else min(wake, soon)

    def _due(self) -> bool:
        wake = self._reconciler.next_wake()
        return wake is not None and wake <= self._clock.monotonic()

    def _signal(self, gone: _Gone) -> Drained | None:
        """Take up the death of an entry, then that of its pin; see `Entry.pin` for why there are two."""
        kept = self._kept.get(gone.incarnation)
        if kept is None:
            return None
        if gone.what == "entry":
            if kept.pin is not None:
                kept.gone = self._watch(kept.pin, gone.incarnation, "pin")
                kept.pin = None
            return None
        return Drained(gone.incarnation)

    def _watch(self, target: object, incarnation: int, what: str) -> _Gone:
        return _Gone(target, self._mailbox.put, incarnation, what)

    # ---- pools ---------------------------------------------------------------------------------

    def _start_estimate(self, order: StartEstimate) -> None:
        normalised = self._normalised
        if normalised is not None:
            kept = self._kept_of(order)
            try:
                self._load_pool.submit(functools.partial(self._estimate, order, kept, normalised))
            except ResourceExhaustedError as error:
                self.post(EstimateReturned(order.incarnation, None, settled(error)))

    def _estimate(
        self,
        order: StartEstimate,
        kept: _Kept,
        normalised: Callable[[ResourceAllocation], ResourceAllocation],
    ) -> None:
        try:
            kept.revision = jobs.revision(order.data.payload)
            returned = jobs.estimate(order, kept.revision, normalised, self._should_retry)
        except BaseException as error:  # noqa: BLE001 -- as in `_load`
            failure = jobs.unforeseen(order.data.id, error)
            returned = EstimateReturned(order.incarnation, None, failure)
        self.post(returned)

    def _start_load(self, order: StartLoad) -> None:
        try:
            self._load_pool.submit(functools.partial(self._load, order, self._kept_of(order)))
        except ResourceExhaustedError as error:  # no thread to be had now; perhaps after a pause
            returned = LoadReturned(order.incarnation, None, settled(error), True, NO_REVISION)  # noqa: FBT003 -- a record
            self.post(returned)

    def _kept_of(self, order: StartEstimate | StartLoad) -> _Kept:
        kept = self._kept.get(order.incarnation)
        if kept is None:
            kept = self._kept[order.incarnation] = _Kept(order.data.id)
        return kept

    def _cancel_load(self, incarnation: int) -> None:
        kept = self._kept.get(incarnation)
        if kept is not None:
            kept.cancelled.set()

    def _load(self, order: StartLoad, kept: _Kept) -> None:
        try:
            if self._normalised is None:  # else the estimate has begun the attempt
                kept.revision = jobs.revision(order.data.payload)
            returned = jobs.load(
                order,
                kept.revision,
                kept.cancelled,
                should_retry=self._should_retry,
                pre_load_hook=self._pre_load_hook,
                normalised=self._normalised,
            )
        except BaseException as error:  # noqa: BLE001 -- even logging can raise; the END must come
            failure = jobs.unforeseen(order.data.id, error)
            returned = LoadReturned(order.incarnation, None, failure, False, NO_REVISION)  # noqa: FBT003 -- a record
        self.post(returned)

    def _start_unload(self, order: StartUnload) -> None:
        kept = self._kept[order.incarnation]
        servable, kept.servable = kept.servable, None
        try:
            self._unload_pool.submit(functools.partial(self._unload, order, servable))
        except ResourceExhaustedError as error:  # dropped, which is all that can be done for it
            self.post(UnloadReturned(order.incarnation, settled(error)))

    def _unload(self, order: StartUnload, servable: object) -> None:
        try:
            returned = jobs.unload(order, servable)
        except BaseException as error:  # noqa: BLE001 -- as in `_load`
            failure = jobs.unforeseen(order.data.id, error)
            returned = UnloadReturned(order.incarnation, failure)
        self.post(returned)

    def _read_revision(self, order: ReadRevision) -> None:
        kept = self._kept.get(order.incarnation)
        known = kept.revision if kept is not None and order.known is NO_REVISION else order.known
        self._revision_pool.submit(functools.partial(self._look, order, known))

    def _look(self, order: ReadRevision, known: Hashable) -> None:
        try:
            returned = jobs.read_revision(order, known)
        except BaseException:  # noqa: BLE001 -- as in `_load`
            returned = RevisionRead(order.incarnation, order.known, changed=False)
        self.post(returned)

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
                self._publish(ServableState(effect.id, effect.state, effect.error))
            case PublishAspiration():
                self._publish(StreamAspiration(effect.name, effect.versions))
            case Serve():
                self._serve(effect)
            case Answer():
                self._publish_snapshots()  # whoever is told looks at them
                effect.reply.answer(effect.error)
            case StartEstimate():
                self._start_estimate(effect)
            case StartLoad():
                self._start_load(effect)
            case ResizePools():
                self._load_pool.resize(effect.load_threads)
                self._unload_pool.resize(effect.unload_threads)
                self._revision_pool.resize(effect.look_threads)
            case CancelLoad():
                self._cancel_load(effect.incarnation)
            case StartUnload():
                self._start_unload(effect)
            case ReadRevision():
                self._read_revision(effect)
            case Forget():
                self._kept.pop(effect.incarnation, None)
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
        changed.clear()

    def _serve(self, order: Serve) -> None:
        self.serving.replace(
            {name: self._stream_entry(name, served) for name, served in order.streams.items()}
        )

    def _stream_entry(self, name: str, served: Served) -> StreamEntry | None:
        now = self.serving.entries(name)
        entries = {
            version: now.get(version) or self._enter(incarnation)
            for version, incarnation in served.incarnations.items()
        }
        return StreamEntry(entries, served.newest) if entries else None

    def _enter(self, incarnation: int) -> Entry:
        kept = self._kept[incarnation]
        kept.pin = _Pin()
        entry = Entry(kept.id, kept.servable, kept.pin)
        kept.gone = self._watch(entry, incarnation, "entry")
        return entry

    def _finish(self, left: tuple[ServableStateSnapshot, ...]) -> None:
        for pool in (self._load_pool, self._unload_pool, self._revision_pool):
            pool.close()
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
    if isinstance(message, Manage | Act | StopManaging | Obtain):
        message.reply.answer(ClosedError("the manager was closed; make a new one"))
