"""`AspiredVersionsManager`: loads what is aspired, unloads what is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, final

from servman.clock import deadline_after
from servman.data import ServableData
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.ids import check_name
from servman.manager.base import Manager
from servman.manager.harness import HarnessState
from servman.manager.messages import Aspire, Commit, Hold, RetryRequested
from servman.threads import refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.report import CloseReport
    from servman.manager.upstream import Upstream


@final
class AspiredVersionsManager(Manager):
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
        policy: Decides each stream's transitions. Default `AvailabilityPreservingPolicy()`. Where it raises,
            its stream stays as it is, and reasons tell of it.
        event_bus: Is told of every state; without one nothing is published.
        num_load_threads: How many loads may run at once. Default 4.
        num_unload_threads: How many unloads may run at once. Default 2.
        max_num_load_retries: How often a failed load is repeated. Default 5, which makes 6 attempts.
        load_retry_interval: Seconds between attempts, or an `ExponentialBackoff`. Default 60, as in
            TensorFlow Serving. No thread is held meanwhile, and the pause ends at once when the version is no
            longer wanted.
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
        sort_actions: Is given actions that policies ask for, of several streams at one moment, and the loads
            that wait for a thread, and returns them in the order in which they are to be taken. It is pure,
            like a policy, and runs on the manager's thread; where it raises, or loses an action, the default
            holds: unloads go first, and loads wait in the order in which they were asked for.
        revision_interval: Seconds between looks at the files of a failed or pausing version.
        clock: The time.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: any, unless a method says otherwise.
    """

    _upstream: Upstream | None = None

    def start(self) -> None:
        """Start acting on what is aspired. Never waits for a load. Starting twice does nothing.

        What feeds this manager and belongs to it is started after it, each adapter before its source.

        Raises:
            ClosedError: The manager was closed.
            ResourceExhaustedError: The system has no thread left to give.
            Exception: What the `start` of a stage raises.
        """
        super().start()
        if self._upstream is not None:
            self._upstream.start()

    def close(self, timeout: float | None = 30.0) -> CloseReport:
        """Take no more aspirations, let handles close, unload everything, end every thread.

        What feeds this manager and belongs to it is closed first; see `AspiredVersionsManagerBuilder`.
        The rest is told at `Manager.close`.

        Blocks: until all of that is done, or for *timeout* seconds (None: for ever) and about a second more for
            the last ENDs.

        Returns:
            What had to be left behind at the deadline.

        Raises:
            InvalidArgumentError: *timeout* is not one. Nothing was changed.
            FailedPreconditionError: The caller is one of servman's own threads. Nothing was changed.
            Exception: What the `close` of a stage raises; the others and the manager are closed all the same.
        """
        refuse_own_thread("AspiredVersionsManager.close()")
        deadline = deadline_after(self._clock, timeout)
        try:
            if self._upstream is not None:
                self._upstream.close(self._clock, deadline)
        finally:
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            report = super().close(left)
        return report

    def _own(self, upstream: Upstream) -> None:
        """Start and close *upstream* with this manager; see `AspiredVersionsManagerBuilder`."""
        self._upstream = upstream

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

    def retry(self, id: ServableId) -> None:
        """Try a failed or pausing version again at once, attempts from 1.

        Raises:
            InvalidArgumentError: *id* is no `ServableId`.
            NotFoundError: No such version is managed.
            ClosedError: The manager was closed.
            FailedPreconditionError: It has not failed.
        """
        snapshot = self._managed(id)
        if snapshot.state is not HarnessState.ERROR and snapshot.retry_at is None:
            raise FailedPreconditionError(
                f"{id} cannot be retried: it is {snapshot.state.value}, it has not failed"
            )
        self._actor.post(RetryRequested(id))

    def hold(self, names: Iterable[str]) -> None:
        """Let these streams serve what they serve now, and nothing else, until they are committed.

        Versions that are wanted are loaded beside those that serve, whatever the policy says, and stay
        *held*: not found by lookups, and publicly LOADING. Nothing that serves is taken out. A stream may
        be held before it is known. What is no longer wanted before the commit is unloaded unseen. A version
        that is wanted from another origin is loaded after the commit, when the one that serves under its
        number has gone.

        Raises:
            InvalidArgumentError: A name can name no stream.
            ClosedError: The manager was closed.
        """
        checked = _checked_names(names)
        self._check_open()
        self._actor.post(Hold(checked))

    def commit(self, names: Iterable[str]) -> None:
        """Let in at once what these streams hold, and take out what they no longer want.

        One assignment changes what lookups find in all of *names*: no lookup sees a mixture. UNLOADING
        is published before, AVAILABLE after. What is not loaded yet comes in as usual, when it is ready.

        Raises:
            InvalidArgumentError: A name can name no stream.
            ClosedError: The manager was closed.
        """
        checked = _checked_names(names)
        self._check_open()
        self._actor.post(Commit(checked))


def _checked_names(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(f"several names are wanted, not {names!r}")
    return frozenset(map(check_name, names))


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
