"""`AspiredVersionsManager`: loads what is aspired, unloads what is not, and hands out handles."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, final, overload

from servman.clock import Clock, SystemClock, deadline_after
from servman.data import ServableData
from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from servman.ids import AnyRequest, ServableId, ServableRequest, check_name
from servman.manager.actor import Actor
from servman.manager.explain import chosen, explain
from servman.manager.handle import ServableHandle, new_handle
from servman.manager.harness import HarnessState
from servman.manager.messages import (
    Aspire,
    CloseRequested,
    LoadThreadsChanged,
    RetryCancelled,
    RetryRequested,
)
from servman.manager.policy import AvailabilityPreservingPolicy
from servman.manager.reconciler import Reconciler, ReconcilerOptions
from servman.reasons import Reason, ReasonCode
from servman.threads import Pool, Thread, WorkerPool, refuse_own_thread, spawn
from servman.threads import join as join_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.events import EventBus
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.policy import AspiredVersionPolicy
    from servman.manager.tracker import ResourceTracker

T = TypeVar("T")

_GRACE: Final = 1.0
"""Seconds that `close` gives the actor to publish the last ENDs once its deadline has come."""

_REVISION_THREADS: Final = 4


@final
@dataclass(frozen=True, slots=True)
class CloseReport:
    """How a manager closed; true when nothing was left.

    Attributes:
        left: The versions that had not gone by the deadline, each in the state in which it was left:
            QUIESCING while handles are open, LOADING or UNLOADING while its loader has not returned.

    Threads: immutable; any thread.
    """

    left: tuple[ServableStateSnapshot, ...] = ()

    def __bool__(self) -> bool:
        return not self.left

    def __str__(self) -> str:
        if not self.left:
            return "closed, nothing left"
        return "left: " + ", ".join(
            f"{one.id} ({one.state.value}{f', {one.handles_in_words}' if one.handles else ''})"
            for one in self.left
        )


@final
class AspiredVersionsManager:
    """Brings into memory what is aspired, takes out what is not, and hands out handles.

    1. It is a target: `set_aspired_versions` states the complete list of versions wanted of a stream,
       and returns at once. The policy decides the order of loads and unloads.
    2. A version whose load fails is tried again, then ends with its error; that harms no other
       version. While it fails, or pauses before its next attempt, it is tried again at once when its files
       change (`Loader.revision`).
    3. Lookups take no lock and never wait. A handle keeps its version from being unloaded, and delays
       nothing else.
    4. Every incarnation of a version ends with exactly one END on the event bus. AVAILABLE is
       published after lookups find the version, UNLOADING before they stop finding it.
    5. No foreign code (loaders, hooks, subscribers) runs under a lock of the manager's.

    Args:
        policy: Decides each stream's transitions.
        event_bus: Is told of every state; without one nothing is published.
        num_load_threads: How many loads may run at once. Default 4.
        num_unload_threads: How many unloads may run at once. Default 2.
        max_num_load_retries: How often a failed load is repeated. Default 5, which makes 6 attempts.
        load_retry_interval: Seconds between attempts. Default 60, as in TensorFlow Serving. No thread is
            held meanwhile, and the pause ends at once when the version is no longer wanted.
        should_retry: Is shown what a load raised, on the load pool; false ends the version at once. What
            it raises counts as false.
        pre_load_hook: Is called with the id, on the load pool, before every attempt. What it raises is
            what the attempt raised.
        load_timeout: Seconds after which a load that has not returned ends its version with an error; what
            it brings some day is unloaded. None, the default, waits for ever. In either case a load that
            has run for a minute gives its place to the next, on a thread more.
        resource_tracker: Sets aside what loads need, as their loaders estimate it, before they start. One
            that does not fit waits for what is on its way out, else it fails, and is tried again when memory
            is returned. Without a tracker nothing is estimated.
        revision_interval: Seconds between looks at the files of a failed or pausing version.
        clock: The time.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: any, unless a method says otherwise.
    """

    def __init__(
        self,
        *,
        policy: AspiredVersionPolicy | None = None,
        event_bus: EventBus | None = None,
        num_load_threads: int = 4,
        num_unload_threads: int = 2,
        max_num_load_retries: int = 5,
        load_retry_interval: float = 60.0,
        should_retry: Callable[[BaseException], bool] | None = None,
        pre_load_hook: Callable[[ServableId], None] | None = None,
        load_timeout: float | None = None,
        resource_tracker: ResourceTracker | None = None,
        revision_interval: float = 1.0,
        clock: Clock | None = None,
        _pools: tuple[Pool, Pool, Pool] | None = None,
    ) -> None:
        _check_policy(policy)
        _check_count("num_load_threads", num_load_threads, least=1)
        _check_count("num_unload_threads", num_unload_threads, least=1)
        _check_count("max_num_load_retries", max_num_load_retries, least=0)
        _check_seconds("load_retry_interval", load_retry_interval)
        _check_seconds("revision_interval", revision_interval)
        if load_timeout is not None:
            _check_seconds("load_timeout", load_timeout)
        self._clock: Clock = clock or SystemClock()
        self._num_load_threads = num_load_threads
        self._max_attempts = max_num_load_retries + 1
        self._pools: tuple[Pool, Pool, Pool] = _pools or (
            WorkerPool("load", num_load_threads, self._clock),
            WorkerPool("unload", num_unload_threads, self._clock),
            WorkerPool("revision", _REVISION_THREADS, self._clock),
        )
        options = ReconcilerOptions(
            policy=policy or AvailabilityPreservingPolicy(),
            num_load_threads=num_load_threads,
            num_unload_threads=num_unload_threads,
            max_num_load_retries=max_num_load_retries,
            load_retry_interval=load_retry_interval,
            revision_interval=revision_interval,
            load_timeout=load_timeout,
            resource_tracker=resource_tracker,
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

    # ---- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start acting on what is aspired. Never waits for a load. Starting twice does nothing.

        Raises:
            ClosedError: The manager was closed.
        """
        with self._lock:
            if self._closing:
                raise ClosedError("the manager was closed; make a new one")
            if self._thread is None:
                self._thread = spawn("manager", self._actor.run)

    def step(self) -> bool:
        """Do one turn of the manager's loop on the calling thread; return whether it did anything.

        For tests and simulations of a manager that was not started.

        Raises:
            FailedPreconditionError: The manager was started.
        """
        if self._thread is not None:
            raise FailedPreconditionError("the manager was started: its own thread steps")
        return self._actor.step()

    def close(self, timeout: float | None = 30.0) -> CloseReport:
        """Take no more aspirations, let handles close, unload everything, end every thread.

        Every version that serves is told UNLOADING and then no longer found. Loads that wait or pause
        are cancelled; a load that runs is told so and unloaded when it returns. Every version gets its
        END; what is left behind at the deadline is never unloaded. Idempotent; of two concurrent
        calls both wait and report the same.

        Blocks: until all of that is done, or for *timeout* seconds (None: for ever).

        Returns:
            What had to be left behind at the deadline.

        Raises:
            FailedPreconditionError: The caller is one of servman's own threads. Nothing was changed.
        """
        refuse_own_thread("AspiredVersionsManager.close()")
        deadline = deadline_after(self._clock, timeout)
        with self._lock:
            first, self._closing = not self._closing, True
            if first and self._thread is None:  # never started: let it run its own end
                self._thread = spawn("manager", self._actor.run)
            thread = self._thread
        if first:
            self._actor.post(CloseRequested(deadline))
        grace = None if deadline is None else deadline + _GRACE
        left = self._actor.wait_until_closed(grace)
        if left is None:
            return CloseReport(self.snapshots())
        if thread is not None:
            join_thread(thread, self._clock, grace)
        if not left:
            soon = self._clock.monotonic() + _GRACE  # a look at files that hangs is not waited for
            for pool in self._pools:
                pool.join(soon if grace is None else min(soon, grace))
        return CloseReport(tuple(map(self._with_handles, left)))

    # ---- what is wanted ------------------------------------------------------------------------

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        """State which versions of *name* are wanted; see `Target`. Ignored once closing has begun.

        An aspired version keeps its first loader, unless the new entry has another origin: then it
        is unloaded and loaded from there. A version that is still being unloaded is loaded again
        afterwards, with the new loader.

        Raises:
            InvalidArgumentError: An entry is no `ServableData` or belongs to another stream, or two
                have one id. Nothing changes.
        """
        entries = _checked_entries(check_name(name), versions)
        if not self._closing:
            self._actor.aspire(Aspire(name, entries))

    @property
    def num_load_threads(self) -> int:
        """How many loads may run at once. Setting it never waits; running loads are not disturbed."""
        return self._num_load_threads

    @num_load_threads.setter
    def num_load_threads(self, count: int) -> None:
        _check_count("num_load_threads", count, least=1)
        self._num_load_threads = count
        self._actor.post(LoadThreadsChanged(count))

    def retry(self, id: ServableId) -> None:
        """Try a failed or pausing version again at once, attempts from 1.

        Raises:
            NotFoundError: No such version is aspired.
            FailedPreconditionError: It has not failed.
        """
        snapshot = self._managed(id)
        if snapshot.state is not HarnessState.ERROR and snapshot.retry_at is None:
            raise FailedPreconditionError(
                f"{id} cannot be retried: it is {snapshot.state.value}, it has not failed"
            )
        self._actor.post(RetryRequested(id))

    def cancel_retry(self, id: ServableId) -> None:
        """Let the attempt that runs, or has just failed, be the last one of this incarnation.

        Raises:
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
        handle: ServableHandle[object] = new_handle(ServableHandle)
        handle._entry = entry  # noqa: SLF001 -- inline: this is the path of every request
        if type is not None:
            stream = entry = None  # a traceback keeps frames alive, and so whatever they name
            _check_type(handle, type)
        return handle

    def get_available_handles(
        self, type: type[object] | None = None
    ) -> dict[ServableId, ServableHandle[object]]:
        """Return a handle on every version that is available, of any stream; close each of them.

        Args:
            type: Leave out servables that are not instances of it.
        """
        handles = self._serving.handles()
        try:
            return {
                key: handle
                for key, handle in handles.items()
                if type is None or isinstance(handle.servable, type)
            }
        except BaseException:
            for handle in handles.values():
                handle.close()
            raise

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
        """Say why *request* finds nothing; None where nothing of it is aspired. Never waits.

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
            why = reason.text if reason is not None else "nothing of it is aspired"
        return NotFoundError(f"servable not found for request {request}: {why}", reason=reason)

    def _managed(self, id: ServableId) -> ServableStateSnapshot:
        if not isinstance(id, ServableId):
            raise InvalidArgumentError(f"a version is named by its ServableId, not by {id!r}")
        for snapshot in self._actor.snapshots.get(id.name, ()):
            if snapshot.id == id:
                return snapshot
        raise NotFoundError(f"{id} is not managed; aspire it first")

    def _with_handles(self, snapshot: ServableStateSnapshot) -> ServableStateSnapshot:
        count = self._actor.count_handles(snapshot)
        return dataclasses.replace(snapshot, handles=count) if count else snapshot


def _check_type(handle: ServableHandle[object], wanted: type[object]) -> None:
    """Close *handle* and raise unless its servable is a *wanted*: the traceback keeps the handle."""
    which, found = handle.id, type(handle.servable).__qualname__
    try:
        fits = isinstance(handle.servable, wanted)
    except BaseException:
        handle.close()
        raise
    if not fits:
        handle.close()
        raise InvalidArgumentError(
            f"{which} is a {found}, not the {wanted.__qualname__} that was asked for"
        )


def _checked_entries(
    name: str, versions: Sequence[ServableData[Loader]]
) -> tuple[ServableData[Loader], ...]:
    try:
        entries = tuple(versions)
    except TypeError:
        raise InvalidArgumentError(
            f"stream {name!r}: {versions!r} is no list of ServableData; to unload all pass []"
        ) from None
    for one in entries:
        if not isinstance(one, ServableData):
            raise InvalidArgumentError(f"stream {name!r}: {one!r} is no ServableData")
    strangers = [str(one.id) for one in entries if one.id.name != name]
    if strangers:
        raise InvalidArgumentError(
            f"stream {name!r}: entries of another stream in its list: {', '.join(strangers)}"
        )
    if len({one.id for one in entries}) < len(entries):
        ids = ", ".join(str(one.id) for one in entries)
        raise InvalidArgumentError(f"stream {name!r}: a version stands twice in its list: {ids}")
    return entries


def _check_policy(policy: object) -> None:
    if policy is not None and not callable(getattr(policy, "next_action", None)):
        raise InvalidArgumentError(f"a policy has a method next_action; {policy!r} has none")


def _check_count(option: str, value: int, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(f"{option} must be an int of at least {least}, not {value!r}")


def _check_seconds(option: str, value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise InvalidArgumentError(f"{option} must be seconds, 0 or more, not {value!r}")
