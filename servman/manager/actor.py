"""The manager's actor: one thread that takes events, asks the reconciler and carries out the effects.

Loads and unloads run on pools and come back as events; handles report their end through weak
references whose callback *is* the mailbox's `put`. Nothing else changes the manager's state.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Final, assert_never, final

from servman.manager import jobs
from servman.manager.handle import Entry
from servman.manager.harness import NO_REVISION
from servman.manager.messages import (
    CancelLoad,
    Closed,
    Drained,
    EstimateReturned,
    Forget,
    LoadReturned,
    PolicyFailed,
    PublishAspiration,
    PublishState,
    ReadRevision,
    ResizePools,
    Serve,
    StartEstimate,
    StartLoad,
    StartUnload,
    UnloadReturned,
)
from servman.manager.serving import ServingMap, count_handles
from servman.state import ServableState, StreamAspiration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock
    from servman.events import Event as BusEvent
    from servman.events import EventBus
    from servman.ids import ServableId
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Aspire, Effect, Event
    from servman.manager.reconciler import Reconciler
    from servman.resources import ResourceAllocation
    from servman.threads import Pool

_log = logging.getLogger(__name__)

_SLOW_STEP: Final = 1.0
"""Seconds after which a step is reported: a user's destructor, perhaps, that ran on this thread."""


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


@final
class _Pin:
    """A plain object to hold; see `Entry.pin`."""

    __slots__ = ("__weakref__",)


@final
class _Kept:
    """What the actor keeps for one incarnation."""

    __slots__ = ("cancelled", "gone", "id", "pin", "servable")

    def __init__(self, id: ServableId) -> None:
        self.id = id
        self.cancelled = threading.Event()
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
        self._mailbox: queue.SimpleQueue[Event | _Gone | str | None] = queue.SimpleQueue()
        # The newest list of each stream that has not been taken up; the mailbox carries the name.
        self._aspired: dict[str, Aspire] = {}
        self._kept: dict[int, _Kept] = {}
        self._done = threading.Condition(threading.Lock())  # guards `_left`
        self._left: tuple[ServableStateSnapshot, ...] | None = None

    def post(self, event: Event) -> None:
        """Hand *event* over. Never blocks."""
        self._mailbox.put(event)

    def aspire(self, event: Aspire) -> None:
        """Hand a list over, in the place of an older one that was not taken up. Never blocks."""
        self._aspired[event.name] = event
        self._mailbox.put(event.name)

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
        deadline = self._reconciler.next_wake() if block else self._clock.monotonic()
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
        took = self._clock.monotonic() - started
        if took > _SLOW_STEP:
            _log.warning("a step of the manager took %.1f s, at %s", took, type(event).__name__)
        return True

    def wait_until_closed(self, deadline: float | None) -> tuple[ServableStateSnapshot, ...] | None:
        """Wait until the reconciler has closed; return what it left, or None at *deadline*."""
        with self._done:
            while self._left is None:
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return None
                self._clock.wait_until(self._done, deadline)
            return self._left

    def count_handles(self, snapshot: ServableStateSnapshot) -> int:
        """Return about how many handles hold the incarnation of *snapshot*. Threads: any."""
        kept = self._kept.get(snapshot.incarnation)
        gone = kept.gone if kept is not None else None
        if gone is None or gone.what != "entry":
            return 0
        entry = gone()
        if not isinstance(entry, Entry):
            return 0
        del gone, kept
        return count_handles(entry, self.serving.streams.get(snapshot.id.name))

    def _event(self, message: Event | _Gone | str | None) -> Event | None:
        if isinstance(message, _Gone):
            return self._signal(message)
        if isinstance(message, str):
            return self._aspired.pop(message, None)
        return message

    # ---- signals -------------------------------------------------------------------------------

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
            self._load_pool.submit(functools.partial(self._estimate, order, normalised))

    def _estimate(
        self,
        order: StartEstimate,
        normalised: Callable[[ResourceAllocation], ResourceAllocation],
    ) -> None:
        try:
            returned = jobs.estimate(order, normalised)
        except BaseException as error:  # noqa: BLE001 -- as in `_load`
            failure = jobs.unforeseen(order.data.id, error)
            returned = EstimateReturned(order.incarnation, None, failure)
        self.post(returned)

    def _start_load(self, order: StartLoad) -> None:
        kept = self._kept.setdefault(order.incarnation, _Kept(order.data.id))
        self._load_pool.submit(functools.partial(self._load, order, kept.cancelled))

    def _cancel_load(self, incarnation: int) -> None:
        kept = self._kept.get(incarnation)
        if kept is not None:  # else it has not come further than its estimate
            kept.cancelled.set()

    def _load(self, order: StartLoad, cancelled: threading.Event) -> None:
        try:
            returned = jobs.load(
                order,
                cancelled,
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
        self._unload_pool.submit(functools.partial(self._unload, order, servable))

    def _unload(self, order: StartUnload, servable: object) -> None:
        try:
            returned = jobs.unload(order, servable)
        except BaseException as error:  # noqa: BLE001 -- as in `_load`
            failure = jobs.unforeseen(order.data.id, error)
            returned = UnloadReturned(order.incarnation, failure)
        self.post(returned)

    def _read_revision(self, order: ReadRevision) -> None:
        self._revision_pool.submit(lambda: self.post(jobs.read_revision(order)))

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
            case StartEstimate():
                self._start_estimate(effect)
            case StartLoad():
                self._start_load(effect)
            case ResizePools():
                self._load_pool.resize(effect.load_threads)
                self._unload_pool.resize(effect.unload_threads)
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
            case Closed():
                self._finish(effect.left)
            case _:
                assert_never(effect)

    def _publish(self, event: BusEvent) -> None:
        self._publish_snapshots()
        if self._bus is not None:
            self._bus.publish(event)

    def _publish_snapshots(self) -> None:
        for name in self._reconciler.changed:
            snapshots = self._reconciler.snapshots(name)
            if snapshots:
                self.snapshots[name] = snapshots
            else:
                self.snapshots.pop(name, None)
        self._reconciler.changed.clear()
        self.loads = self._reconciler.loads

    def _serve(self, order: Serve) -> None:
        served = self.serving.entries(order.name)
        entries = {
            version: served.get(version) or self._enter(incarnation)
            for version, incarnation in order.incarnations.items()
        }
        self.serving.replace(order.name, entries, order.newest)

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
