"""What all managers have in common: their options, their life, and lookups."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from servman.clock import Clock, SystemClock, deadline_after
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from servman.forks import tie, watch
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.log import Log
from servman.manager.actor import Actor
from servman.manager.debug import debugging, make_debug_handle
from servman.manager.explain import chosen, explain
from servman.manager.handle import ServableHandle, check_type, new_handle
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
from servman.manager.report import CloseReport
from servman.reasons import Reason, ReasonCode
from servman.threads import Pool, Thread, WorkerPool, refuse_own_thread, spawn
from servman.threads import join as join_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from servman.events import EventBus
    from servman.manager.backoff import RetryInterval
    from servman.manager.handle import Entry
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.policy import AspiredVersionPolicy
    from servman.manager.tracker import ResourceTracker

T = TypeVar("T")

_log = Log(__name__)

GRACE: Final = 1.0
"""Seconds that `close` gives the actor to publish the last ENDs once its deadline has come, and foreign
code that hangs once everything else is done."""

_REVISION_THREADS: Final = 4


class Manager:
    """Holds versions in memory, and hands out handles on them.

    The managers differ in who says what is to be loaded: `AspiredVersionsManager`, `BasicManager`,
    `CachingManager` and `StaticManager`. All of them run on one engine, are looked up and closed in the
    same way, and take the options that `AspiredVersionsManager` tells of, each as far as it applies. This class
    is for annotations; make one of the four.

    Threads: any, unless a method says otherwise.
    """

    _declarative: ClassVar[bool] = True
    _forgets_failed: ClassVar[bool] = False
    # What errors and reasons say of what is not known here, and of what nobody wants loaded yet.
    _unknown: ClassVar[str] = "nothing of it is aspired"
    _remedy: ClassVar[str] = "aspire it first"
    _unasked: ClassVar[str] = "the policy has not asked for it"

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
        clock: Clock | None = None,
        _pools: tuple[Pool, Pool, Pool] | None = None,
    ) -> None:
        check_callable("should_retry", should_retry)
        check_callable("pre_load_hook", pre_load_hook)
        check_methods("event_bus", event_bus, "publish")
        check_methods("clock", clock, "monotonic", "wall", "wait_until", "receive")
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
        self._num_load_threads = num_load_threads
        self._max_attempts = max_num_load_retries + 1
        self._pools: tuple[Pool, Pool, Pool] = _pools or (
            WorkerPool("load", num_load_threads, self._clock),
            WorkerPool("unload", num_unload_threads, self._clock),
            WorkerPool("revision", _REVISION_THREADS, self._clock),
        )
        self._actor = Actor(
            Reconciler(options),
            bus=event_bus,
            load_pool=self._pools[0],
            unload_pool=self._pools[1],
            revision_pool=self._pools[2],
            should_retry=should_retry,
            pre_load_hook=pre_load_hook,
            normalised=None if resource_tracker is None else resource_tracker.normalised,
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
        END; what is left behind at the deadline is never unloaded.

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
        return CloseReport(tuple(map(self._with_handles, left)))

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

    # ---- lookups -------------------------------------------------------------------------------

    @overload
    def get_servable_handle(
        self, request: AnyRequest, type: None = None
    ) -> ServableHandle[Any]: ...
    @overload
    def get_servable_handle(self, request: AnyRequest, type: type[T]) -> ServableHandle[T]: ...

    def get_servable_handle(
        self, request: AnyRequest, type: type[object] | None = None
    ) -> ServableHandle[Any]:
        """Return a handle on the version that *request* asks for. Takes no lock, never waits.

        Args:
            request: "m" for the latest, "m:3", "m:earliest", "m:newest", an id or a request.
            type: What the servable must be an instance of; None takes any.

        Raises:
            NotFoundError: No such version is available; the error's reason says why.
            InvalidArgumentError: The request cannot be read, or the servable is of another type.
            ClosedError: The manager was closed.
        """
        try:
            stream = self._serving.streams.get(request)  # type: ignore[arg-type] # see below
        except TypeError:  # what cannot be hashed is no request; `find` says so
            stream = None
        # A bare name, as nearly always, is found at once.
        entry = self._serving.find(request) if stream is None else stream.latest
        if entry is None:
            raise self._not_found(ServableRequest.of(request))
        if debugging.on:
            handle = make_debug_handle(entry, self._clock.monotonic())
        else:
            handle = new_handle(ServableHandle)
            handle._entry = entry  # noqa: SLF001 -- inline: this is the path of every request
        if type is not None:
            stream = entry = None  # a traceback keeps frames alive, and so whatever they name
            check_type(handle, type)
        return handle

    def get_available_handles(
        self, type: type[object] | None = None
    ) -> dict[ServableId, ServableHandle[object]]:
        """Return a handle on every version that is available, of any stream; close each of them.

        Args:
            type: Leave out servables that are not instances of it.
        """
        handles = {entry.id: self._handle_on(entry) for entry in self._serving.all_entries()}
        fitting: dict[ServableId, ServableHandle[object]] = {}
        try:
            fitting = {
                key: handle
                for key, handle in handles.items()
                if type is None or isinstance(handle.servable, type)
            }
        finally:
            for key in handles.keys() - fitting.keys():
                handles[key].close()
        return fitting

    def list_available_ids(self) -> list[ServableId]:
        """Return what lookups find now, in ascending order."""
        return self._serving.ids()

    # ---- what is going on ----------------------------------------------------------------------

    def snapshots(self, name: str | None = None) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of every version of *name* (None: of every stream). Never waits."""
        published = self._actor.snapshots
        if name is not None:
            streams = [published.get(name, ())]
        else:
            streams = [stream for _, stream in sorted(published.copy().items())]
        return tuple(self._with_handles(one) for stream in streams for one in stream)

    def explain(self, request: AnyRequest) -> Reason | None:
        """Say why *request* finds nothing; None where nothing of it is known. Never waits.

        Raises:
            InvalidArgumentError: The request cannot be read.
        """
        wanted = ServableRequest.of(request)
        if self._closing:
            return Reason(ReasonCode.CLOSED, f"{wanted}: the manager is closed or closing")
        siblings = self._actor.snapshots.get(wanted.name, ())
        snapshot = chosen(wanted, siblings)
        if snapshot is None:
            return None
        return explain(
            self._with_handles(snapshot),
            siblings=siblings,
            loads=self._actor.loads,
            max_attempts=self._max_attempts,
            unasked=self._unasked,
            now=self._clock.monotonic(),
        )

    # ---- behind the curtain --------------------------------------------------------------------

    def _not_found(self, request: ServableRequest) -> ClosedError | NotFoundError:
        if self._closing:
            return ClosedError(f"{request}: the manager was closed; it serves nothing any more")
        reason = self.explain(request)
        if reason is not None and reason.code is ReasonCode.AVAILABLE:
            why = "it became available at this very moment; ask again"
        else:
            why = reason.text if reason is not None else self._unknown
        return NotFoundError(f"servable not found for request {request}: {why}", reason=reason)

    def _managed(self, id: ServableId) -> ServableStateSnapshot:
        if not isinstance(id, ServableId):
            raise InvalidArgumentError(f"a version is named by its ServableId, not by {id!r}")
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

    def _handle_on(self, entry: Entry) -> ServableHandle[object]:
        if debugging.on:
            return make_debug_handle(entry, self._clock.monotonic())
        handle: ServableHandle[object] = new_handle(ServableHandle)
        handle._entry = entry  # noqa: SLF001 -- whoever makes a handle stores its entry
        return handle

    def _with_handles(self, snapshot: ServableStateSnapshot) -> ServableStateSnapshot:
        count, sites = self._actor.holders(snapshot)
        return dataclasses.replace(snapshot, handles=count, sites=sites) if count else snapshot

    def _dispensable(self) -> Sequence[ServableId]:
        """Return what may be unloaded to make room for a load, the first one first."""
        return ()
