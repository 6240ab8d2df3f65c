"""`AspiredVersionsManager`: loads what is aspired, unloads what is not."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, final, overload

from servman.clock import deadline_after
from servman.errors import FailedPreconditionError
from servman.ids import check_name
from servman.manager.arguments import (
    checked_entries,
    checked_expectation,
    checked_labels,
    checked_names,
    checked_options,
)
from servman.manager.base import Manager
from servman.manager.harness import HarnessState
from servman.manager.messages import (
    Aspire,
    Commit,
    Configure,
    Hold,
    RetryRequested,
    Rollback,
    SetLabels,
)
from servman.manager.options import NO_OPTIONS
from servman.threads import refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from servman.data import ServableData
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.options import StreamOptions
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
        on_change: Is called with the name of each stream whose snapshots or labels have changed, before
            the event bus is told of what has changed them, if it is; on the manager's thread, which it must not
            hold up.
        clock: The time.

    Raises:
        InvalidArgumentError: An option can never be right.

    Threads: any, unless a method says otherwise.
    """

    _upstream: Upstream | None = None
    _configured: Mapping[str, StreamOptions] = MappingProxyType({})  # replaced, never changed

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
        entries = checked_entries(check_name(name), versions)
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

    # ---- streams, each in its own way ----------------------------------------------------------

    def configure(self, streams: Mapping[str, StreamOptions]) -> None:
        """Give streams options of their own: the complete table, which replaces the one before it.

        They count for what is decided from then on. A pause that has begun keeps its length, and a version that has
        failed is not tried again because it may now be tried more often. Never blocks.

        Args:
            streams: Name to options; a stream that is not in it has those of the manager. It need not be known.

        Raises:
            InvalidArgumentError: A name can name no stream, or its options are no `StreamOptions`.
            ClosedError: The manager was closed.
        """
        checked = checked_options(streams)
        self._check_open()
        self._configured = checked
        # Read when it is taken up: so what was set last is in force, whichever thread posts last.
        self._actor.post(Configure(lambda: self._configured))

    def set_labels(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        """State which labels there are, and to which version each is to point: the complete table.

        A label may name a version that does not serve yet, or is not even aspired. Until it serves, the label keeps
        the version that it points to, if that serves; else a lookup by it fails, with the reason of the version
        that is awaited. Labels move in the very step in which their version comes in, and before AVAILABLE is
        published; those that can move already do so in one step, for all streams together. What is left out is gone
        at once. In a held stream all this happens when it is committed. Never blocks.

        Args:
            labels: Name to label to version.

        Raises:
            InvalidArgumentError: A name, a label or a version can be none. Nothing changes.
            ClosedError: The manager was closed.
        """
        checked = checked_labels(labels)
        self._check_open()
        self._has_labels = True
        self._actor.post(SetLabels(checked))

    def labels(self, name: str) -> Mapping[str, int]:
        """Return the labels by which lookups find a version of *name* now, and which. Takes no lock."""
        return self._serving.labels(name)

    # ---- several streams at once ---------------------------------------------------------------

    def hold(self, names: Iterable[str]) -> None:
        """Let these streams serve what they serve now, and nothing else, until they are committed or rolled back.

        Versions that are wanted are loaded beside those that serve, whatever the policy says, and stay
        *held*: not found by lookups, and publicly LOADING. Nothing that serves is taken out, and no label
        moves. A stream may be held before it is known. What is no longer wanted before the commit is unloaded
        unseen. A version that is wanted from another origin is loaded after the commit, when the one that serves
        under its number has gone.

        What is wanted of a stream at that moment, labels included, is remembered for a `rollback`; to hold what is
        held changes nothing.

        Raises:
            InvalidArgumentError: A name can name no stream.
            ClosedError: The manager was closed.
        """
        checked = checked_names(names)
        self._check_open()
        self._actor.post(Hold(checked))

    @overload
    def commit(
        self,
        names: Iterable[str],
        *,
        expected: None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None: ...
    @overload
    def commit(
        self,
        names: Iterable[str],
        *,
        expected: Mapping[str, Iterable[int]],
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Future[None]: ...

    def commit(
        self,
        names: Iterable[str],
        *,
        expected: Mapping[str, Iterable[int]] | None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Future[None] | None:
        """Let in at once what these streams hold, and take out what they no longer want.

        One assignment changes what lookups find in all of *names*, labels included: no lookup sees a mixture.
        UNLOADING is published before, AVAILABLE after. What is not loaded yet comes in as usual, when it is
        ready. Never blocks.

        Args:
            names: Streams; what is not held is left as it is.
            expected: Some of *names*, with the versions that are to serve afterwards. Then it is done as a whole or
                not at all: unless exactly these are aspired, and each is loaded by then, nothing changes, and the
                streams stay held. A list that is posted after this call does not count.
            labels: The complete table of labels, as for `set_labels`, which comes into force in the same
                assignment. None leaves it as it is.

        Returns:
            With *expected*, a future: done when lookups find what was committed. It fails with
            `FailedPreconditionError`, which names what is not as expected, and with `ClosedError` where the manager
            was closed before. It cannot be cancelled, and its callbacks run on threads of the manager's.

        Raises:
            InvalidArgumentError: A name, a label or a version can be none, or something is expected that is not
                among *names*.
            ClosedError: The manager was closed.
        """
        checked = checked_names(names)
        table = None if labels is None else checked_labels(labels)
        self._check_open()
        self._has_labels |= table is not None
        if expected is None:
            self._actor.post(Commit(checked, labels=table))
            return None
        reply = self._callbacks.reply()
        self._actor.post(Commit(checked, checked_expectation(checked, expected), table, reply))
        return reply

    def rollback(self, names: Iterable[str]) -> None:
        """Want of these streams again what was wanted when they were held, labels included, and hold them no longer.

        What has served all the time is wanted again as it stands, and lookups notice nothing. What was loaded
        since is unloaded unseen; a load that runs is cancelled. A version that was on its way in when its stream was
        held, and is loaded by now, comes in; one that has been given up since begins anew. What is not held is left
        alone. Never blocks.

        A list that is posted after this call is taken up after it. Whatever feeds these streams has to post theirs
        anew: what it has said since the hold no longer counts.

        Raises:
            InvalidArgumentError: A name can name no stream.
            ClosedError: The manager was closed.
        """
        checked = checked_names(names)
        self._check_open()
        self._actor.post(Rollback(checked))

    # ---- behind the curtain --------------------------------------------------------------------

    def _attempts_of(self, name: str) -> int:
        own = self._configured.get(name, NO_OPTIONS).max_num_load_retries
        return super()._attempts_of(name) if own is None else own + 1
