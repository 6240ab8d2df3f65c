"""What all managers have in common: their options, and their life."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import ClosedError, FailedPreconditionError, NotFoundError
from servman.forks import tie, watch
from servman.ids import ServableId, check_id
from servman.log import Log
from servman.manager.actor import Actor
from servman.manager.lives import LOOK_THREADS
from servman.manager.lookups import Lookups
from servman.manager.messages import CloseRequested, LoadThreadsChanged, RetryCancelled
from servman.manager.options import (
    ReconcilerOptions,
    SortActions,
    check_callable,
    check_count,
    check_methods,
)
from servman.manager.policy import AvailabilityPreservingPolicy
from servman.manager.reconciler import Reconciler
from servman.manager.replies import Callbacks
from servman.manager.report import CloseReport
from servman.threads import Pool, Thread, WorkerPool, refuse_own_thread, spawn
from servman.threads import join as join_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from servman.events import EventBus
    from servman.manager.backoff import RetryInterval
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.policy import AspiredVersionPolicy
    from servman.manager.tracker import ResourceTracker

T = TypeVar("T")

_log = Log(__name__)

GRACE: Final = 1.0
"""Seconds that `close` gives the actor to publish the last ENDs once its deadline has come, and foreign
code that hangs once everything else is done."""


class Manager(Lookups):
    """Holds versions in memory, and hands out handles on them.

    The managers differ in who says what is to be loaded: `AspiredVersionsManager`, `BasicManager`,
    `CachingManager` and `StaticManager`. All of them run on one engine, are looked up and closed in the
    same way, and take the options that `AspiredVersionsManager` tells of, each as far as it applies. This class
    is for annotations; make one of the four.

    Threads: any, unless a method says otherwise.
    """

    _declarative: ClassVar[bool] = True
    _forgets_failed: ClassVar[bool] = False
    _remedy: ClassVar[str] = "aspire it first"  # for a version that is not managed

    def __init__(
        self,
        *,
        policy: AspiredVersionPolicy | None = None,
        event_bus: EventBus | None = None,
        num_load_threads: int = 4,
        num_unload_threads: int = 2,
        max_num_load_retries: int = 5,
        load_retry_interval: RetryInterval = 60.0,
        should_retry: Callable[[BaseException], bool] | None = None,
        load_timeout: float | None = None,
        resource_tracker: ResourceTracker | None = None,
        pre_load_hook: Callable[[ServableId], None] | None = None,
        sort_actions: SortActions | None = None,
        revision_interval: float = 1.0,
        on_change: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        _pools: tuple[Pool, Pool, Pool] | None = None,
    ) -> None:
        _check_foreign(should_retry, pre_load_hook, on_change, event_bus, clock)
        if sort_actions is not None and not self._declarative:
            raise TypeError(f"{type(self).__name__} has no option sort_actions")
        options = ReconcilerOptions(
            policy=AvailabilityPreservingPolicy() if policy is None else policy,
            num_load_threads=num_load_threads,
            num_unload_threads=num_unload_threads,
            max_num_load_retries=max_num_load_retries,
            load_retry_interval=load_retry_interval,
            revision_interval=revision_interval,
            load_timeout=load_timeout,
            resource_tracker=resource_tracker,
            sort_actions=sort_actions,
            declarative=self._declarative,
            forgets_failed=self._forgets_failed,
            dispensable=self._dispensable,
        )
        self._clock: Clock = SystemClock() if clock is None else clock
        self._callbacks = Callbacks(self._clock)
        self._num_load_threads = num_load_threads
        self._max_attempts = max_num_load_retries + 1
        self._pools = _pools or _pools_for(options, self._clock)
        self._actor = Actor(
            Reconciler(options),
            bus=event_bus,
            pools=self._pools,
            should_retry=should_retry,
            pre_load_hook=pre_load_hook,
            normalised=None if resource_tracker is None else resource_tracker.normalised,
            on_change=on_change,
            clock=self._clock,
        )
        self._serving = self._actor.serving
        self._lock = threading.Lock()  # guards the two below
        self._thread: Thread | None = None
        self._closing = False
        if event_bus is not None:
            tie(self, event_bus)
        if resource_tracker is not None:  # last: whatever is refused claims nothing
            resource_tracker.claim()

    # ---- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start acting on what is asked of this manager. Never waits for a load.

        Starting twice does nothing.

        Raises:
            ClosedError: The manager was closed.
            ResourceExhaustedError: The system has no thread left to give.
        """
        watch(self)
        with self._lock:
            if self._closing:
                raise ClosedError("the manager was closed; make a new one")
            if self._thread is None:
                self._thread = spawn("manager", self._actor.run, owner=self)

    @property
    def running(self) -> bool:
        """Whether its thread is there: it was started, and has not come to its end. Never waits."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def step(self) -> bool:
        """Do one turn of the manager's loop on the calling thread; return whether it did anything.

        For tests and simulations of a manager that was not started. Threads: one at a time.

        Raises:
            FailedPreconditionError: The manager was started.
        """
        if self._thread is not None:
            raise FailedPreconditionError("the manager was started: its own thread steps")
        return self._actor.step()

    def close(self, timeout: float | None = 30.0) -> CloseReport:
        """Take up nothing more, let handles close, unload everything, end every thread.

        Every version that serves is told UNLOADING and then no longer found. Loads that wait or pause
        are cancelled; a load that runs is told so and unloaded when it returns. Every version gets its
        END; what is left behind at the deadline is never unloaded. Every future that was given is done, and its
        callbacks have run: one that does not return is waited for no longer than a second, and left behind.

        Idempotent. A second call, even at the same time, waits for what the first has begun; the earliest
        deadline is the one at which versions are left behind.

        Blocks: until all of that is done, or for *timeout* seconds (None: for ever) and about a second more for
            the last ENDs.

        Returns:
            What had to be left behind at the deadline.

        Raises:
            InvalidArgumentError: *timeout* is not one. Nothing was changed.
            FailedPreconditionError: The caller is one of servman's own threads. Nothing was changed.
        """
        refuse_own_thread(f"{type(self).__name__}.close()")
        deadline = deadline_after(self._clock, timeout)
        thread = self._begin_closing(deadline)
        grace = None if deadline is None else deadline + GRACE
        left = self._actor.wait_until_closed(grace)
        if left is None:
            return CloseReport(self.snapshots(), ended=False)
        if thread is not None:
            join_thread(thread, self._clock, grace)
        if not left:
            soon = self._clock.monotonic() + GRACE  # a look at files that hangs is not waited for
            for pool in self._pools:
                pool.join(soon if grace is None else min(soon, grace))
        if self._has_ended:  # else there may be futures yet to be done, with callbacks
            self._callbacks.close(GRACE)
        return CloseReport(tuple(map(self._completed, left)))

    def _begin_closing(self, deadline: float | None) -> Thread | None:
        """Ask the actor to close, if nobody has; return its thread."""
        watch(self)
        with self._lock:
            # One that was never started runs its own end.
            if self._thread is None and not self._actor.closed:
                self._thread = spawn("manager", self._actor.run, owner=self)
            self._closing, thread = True, self._thread
        # Each time: an exception (Ctrl-C) may have kept an earlier call from asking.
        self._actor.post(CloseRequested(deadline))
        return thread

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()  # what could not be started as a whole shall not run in part
            raise
        return self

    def __exit__(self, *_: object) -> None:
        report = self.close()
        if not report:
            _log.warning(
                "%s was closed, and not everything had gone: %s", type(self).__name__, report
            )

    # ---- loading -------------------------------------------------------------------------------

    @property
    def num_load_threads(self) -> int:
        """How many loads may run at once. Setting it never waits; running loads are not disturbed.

        Raises:
            InvalidArgumentError: It is set to less than 1, or to no `int`.
        """
        return self._num_load_threads

    @num_load_threads.setter
    def num_load_threads(self, count: int) -> None:
        check_count("num_load_threads", count, least=1)
        self._num_load_threads = count
        # Read when it is taken up: so what was set last is in force, whichever thread posts last.
        self._actor.post(LoadThreadsChanged(lambda: self._num_load_threads))

    def cancel_retry(self, id: ServableId) -> None:
        """Let the attempt that runs, or has just failed, be the last one of this incarnation.

        A version is known once the manager has taken it up, as snapshots and the bus tell.

        Raises:
            ClosedError: The manager was closed.
            InvalidArgumentError: *id* is no `ServableId`.
            NotFoundError: No such version is managed.
        """
        self._managed(id)
        self._actor.post(RetryCancelled(id))

    # ---- behind the curtain --------------------------------------------------------------------

    def _managed(self, id: ServableId) -> ServableStateSnapshot:
        check_id(id)
        self._check_open()
        for snapshot in self._actor.snapshots.get(id.name, ()):
            if snapshot.id == id:
                return snapshot
        raise NotFoundError(f"{id} is not managed; {self._remedy}")

    def _check_open(self) -> None:
        if self._closing:
            raise ClosedError("the manager was closed; make a new one")

    @property
    def _has_ended(self) -> bool:
        """Whether the manager's thread has come to its end: nothing happens any more."""
        return self._closing and self._thread is not None and not self._thread.is_alive()

    def _dispensable(self) -> Sequence[ServableId]:
        """Return what may be unloaded to make room for a load, the first one first."""
        return ()


def _check_foreign(
    should_retry: object, pre_load_hook: object, on_change: object, event_bus: object, clock: object
) -> None:
    """Raise unless what the host plugs in can be called as it will be; the options check the rest."""
    check_callable("should_retry", should_retry)
    check_callable("pre_load_hook", pre_load_hook)
    check_callable("on_change", on_change)
    check_methods("event_bus", event_bus, "publish")
    check_methods("clock", clock, "monotonic", "wall", "wait_until", "receive")


def _pools_for(options: ReconcilerOptions, clock: Clock) -> tuple[Pool, Pool, Pool]:
    return (
        WorkerPool("load", options.num_load_threads, clock),
        WorkerPool("unload", options.num_unload_threads, clock),
        WorkerPool("revision", LOOK_THREADS, clock),
    )
