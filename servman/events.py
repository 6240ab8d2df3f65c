"""The event bus: what has happened to which version, told to whoever wants to know."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Protocol, TypeVar, final, overload

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import ClosedError, InvalidArgumentError
from servman.forks import watch
from servman.log import Log
from servman.state import ServableState, StreamAspiration, StreamLabels
from servman.threads import Thread, join, refuse_own_thread, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

Event = ServableState | StreamAspiration | StreamLabels
E = TypeVar("E", ServableState, StreamAspiration, StreamLabels)

_log = Log(__name__)


class Recorder(Protocol):
    """A table that is written inside `publish`: a monitor. Foreign code has no place in it."""

    def record(self, event: Event) -> None:
        """Write *event* down: a few statements, no foreign code, no waiting."""
        ...


@final
class EventBus:
    """Carries `ServableState`, `StreamAspiration` and `StreamLabels` from managers to monitors and subscribers.

    1. Events of one publisher reach every recorder and subscriber in the order of publishing; a
       manager publishes all its events from one thread.
    2. When `publish` returns every monitor has recorded the event.
    3. Every subscriber has a queue and a daemonic thread of its own: one that is slow or raises
       delays and breaks nobody, and it may call anything of servman's that waits for no subscriber.
    4. Late subscribers get no replay; a monitor is made before the manager starts.

    Threads: any.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()  # guards replacing the two tuples and the flag
        # Replaced, never changed, so that `publish` reads them without a lock.
        self._recorders: tuple[Recorder, ...] = ()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._closed = False

    def publish(self, event: Event) -> None:
        """Stamp *event* with the time and hand it on. Never blocks; after `close` it is dropped."""
        if self._closed:
            return
        if isinstance(event, ServableState):
            now = self._clock.wall()
            event = ServableState(event.id, event.manager_state, event.error, now, event.cause)
        for recorder in self._recorders:
            recorder.record(event)
        for subscription in self._subscriptions:
            subscription.post(event)

    @overload
    def subscribe(self, callback: Callable[[ServableState], None]) -> Subscription: ...
    @overload
    def subscribe(self, callback: Callable[[E], None], kind: type[E]) -> Subscription: ...

    def subscribe(
        self, callback: Callable[..., None], kind: type[object] = ServableState
    ) -> Subscription:
        """Call *callback* with every event of *kind* published from now on, in order.

        Args:
            callback: Called on a thread of the subscription's own. What it raises is logged.
            kind: `ServableState`, `StreamAspiration` or `StreamLabels`.

        Raises:
            InvalidArgumentError: *callback* cannot be called, or *kind* is none of the three.
            ResourceExhaustedError: There is no thread for it; nothing was subscribed.
            ClosedError: The bus was closed.
        """
        if not callable(callback):
            raise InvalidArgumentError(f"a subscriber is something to call, not {callback!r}")
        if kind not in (ServableState, StreamAspiration, StreamLabels):
            raise InvalidArgumentError(
                "the kind of an event is ServableState, StreamAspiration or StreamLabels, not"
                f" {kind!r}"
            )
        watch(self)
        subscription = Subscription(self, callback, kind, self._clock)
        subscription.start()  # first: what has no thread must not be on the bus
        with self._lock:
            if not self._closed:
                self._subscriptions = (*self._subscriptions, subscription)
                return subscription
        subscription.finish()
        raise ClosedError("the event bus was closed; subscribe before closing it")

    def attach(self, recorder: Recorder) -> None:
        """Let *recorder* write down every event from now on, inside `publish`.

        Raises:
            InvalidArgumentError: It has no method `record`.
        """
        if not callable(getattr(recorder, "record", None)):
            raise InvalidArgumentError(
                f"a recorder has a method record(event), unlike {recorder!r}"
            )
        with self._lock:
            self._recorders = (*self._recorders, recorder)

    def detach(self, recorder: Recorder) -> None:
        """Stop telling *recorder*. Unknown ones are ignored."""
        with self._lock:
            self._recorders = tuple(one for one in self._recorders if one is not recorder)

    def close(self, timeout: float | None = 30.0) -> None:
        """Take no more events, and end each subscription once it has delivered those it was given.

        Idempotent.

        Blocks: until the callbacks have returned, for *timeout* seconds at most (None: for ever).
            A callback that does not return by then is named in the log and left behind.

        Raises:
            InvalidArgumentError: *timeout* is not one; nothing was closed.
            FailedPreconditionError: The caller is one of servman's own threads, a callback say.
        """
        refuse_own_thread("EventBus.close()")
        deadline = deadline_after(self._clock, timeout)
        with self._lock:
            self._closed = True
            subscriptions, self._subscriptions = self._subscriptions, ()
        for subscription in subscriptions:
            subscription.finish()
        for subscription in subscriptions:
            subscription.join(deadline, timeout)

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(
                one for one in self._subscriptions if one is not subscription
            )


@final
class Subscription:
    """A callback's place on the bus. Close it, or use it as a context manager.

    Threads: any.
    """

    def __init__(
        self, bus: EventBus, callback: Callable[..., None], kind: type[object], clock: Clock
    ) -> None:
        self._bus = bus
        self._callback = callback
        self._kind = kind
        self._clock = clock
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._closed = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start delivering; called by the bus."""
        self._thread = spawn("bus-subscriber", self._deliver, owner=self)

    def finish(self) -> None:
        """Deliver what is queued, then end; called by the bus."""
        self._events.put(None)

    def join(self, deadline: float | None, timeout: float | None) -> None:
        """Wait for the thread to end, and log where it has not after *timeout*; called by the bus."""
        if self._thread is not None and not join(self._thread, self._clock, deadline):
            _log.warning("a subscriber did not return within %s s: %s", timeout, self)

    def post(self, event: Event) -> None:
        """Queue *event* if it is of the kind asked for; called by the bus."""
        if isinstance(event, self._kind):
            self._events.put(event)

    def close(self, timeout: float | None = 30.0) -> None:
        """Call back no more; what is queued is dropped. Idempotent.

        Blocks: until a running callback has returned, unless called from it, for *timeout* seconds at
            most (None: for ever). One that has not returned by then is named in the log.

        Raises:
            InvalidArgumentError: *timeout* is not one; nothing was closed.
        """
        deadline = deadline_after(self._clock, timeout)
        self._bus._forget(self)  # noqa: SLF001 -- the two are one mechanism in one file
        self._closed = True
        self.finish()
        if self._thread is not threading.current_thread():
            self.join(deadline, timeout)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Subscription({self._callback!r})"

    def _deliver(self) -> None:
        while (event := self._events.get()) is not None and not self._closed:
            try:
                self._callback(event)
            except BaseException:  # noqa: BLE001 -- foreign code; the subscription survives
                _log.exception("a subscriber raised on %s", event)
