"""Every decision of a manager, taken in one place by pure code.

The reconciler is told one event at a time, with the time, and answers with the effects to carry out,
in order. It has no thread, no lock, no I/O and no clock, so a test can run it through any history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never, final

from servman.errors import (
    ClosedError,
    FailedPreconditionError,
    ServmanError,
    settled,
)
from servman.manager.calls import Calls
from servman.manager.harness import HarnessState
from servman.manager.lives import PATIENCE
from servman.manager.messages import (
    Act,
    Aspire,
    Closed,
    CloseRequested,
    Commit,
    Drained,
    EstimateReturned,
    Hold,
    LoadReturned,
    LoadThreadsChanged,
    Manage,
    Obtain,
    PolicyFailed,
    PublishAspiration,
    PublishState,
    ResizePools,
    RetryCancelled,
    RetryRequested,
    RevisionRead,
    Serve,
    SortingFailed,
    StopManaging,
    UnloadReturned,
    Withdraw,
)
from servman.manager.policy import ActionKind, ServableAction
from servman.manager.stream import Stream
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from servman.data import ServableData
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Effect, Event
    from servman.manager.options import ReconcilerOptions

_MOST_ACTIONS: Final = 64
"""How many actions of one stream are taken in a turn: one of many versions shall delay no other."""

_MOST_STREAMS: Final = 500
"""How many streams are let go in a turn while closing."""


@final
class Reconciler(Calls):
    """Decides what a manager does. Confined to the manager's actor."""

    def __init__(self, options: ReconcilerOptions) -> None:
        super().__init__(options)
        self._threads = (options.num_load_threads, options.num_unload_threads, self._looks.threads)
        self._deadline: float | None = None
        self._closed = False
        # While closing: what has not been let go yet.
        self._staying: list[Stream] = []

    def take(self, event: Event | None, now: float) -> list[Effect]:
        """Take up *event* (None: only time has passed); return what follows from it, in order.

        `settle` is to be called when that is carried out: so a version is served, and whoever waits
        for it is told, before anybody thinks about what is next.
        """
        if self._closed:
            return []
        self._now = now
        if event is not None:
            self._take(event)
        self._wake()
        return self._taken_effects()

    def settle(self) -> list[Effect]:
        """Return what to do next about the streams that have changed, in order."""
        if self._closed:
            return []
        unsettled, self._unsettled = sorted(self._unsettled), set()  # a set's order differs by run
        if not self._closing:
            self._apply_policies(unsettled)
        elif self._staying:
            self._let_go()
        self._fill_lanes()
        self._finish_closing()
        return self._taken_effects()

    @property
    def loads(self) -> tuple[int, ServableId | None]:
        """How many loads run or wait for a place, and which has run for longest."""
        oldest = self._loads.oldest
        harness = None if oldest is None else self._incarnations.get(oldest)
        return len(self._loads), None if harness is None else harness.id

    @property
    def draining(self) -> bool:
        """Whether a version waits for its handles to close."""
        return any(one.state is HarnessState.QUIESCING for one in self._incarnations.values())

    def next_wake(self) -> float | None:
        """Return when `take` is to be called at the latest, event or not; None: no need."""
        if self._closed:
            return None
        if self._unsettled or self._staying:
            return self._now  # what was too much for one turn; the others have theirs in between
        deadline = self._deadline if self._closing else None
        times = [time for time in (self._alarm.next(), deadline) if time is not None]
        return min(times, default=None)

    def snapshots(self, name: str) -> tuple[ServableStateSnapshot, ...]:
        """Return what is known of each version of *name*, in ascending order."""
        stream = self._streams.get(name)
        return stream.snapshots() if stream else ()

    # ---- events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:  # noqa: C901, PLR0912 -- one line for each kind
        match event:
            case Aspire():
                self._aspire(event.name, {data.id.version: data for data in event.versions})
            case EstimateReturned():
                self._estimate_returned(event)
            case LoadReturned():
                self._load_returned(event)
            case Drained():
                self._drained(event.incarnation)
            case UnloadReturned():
                self._unload_returned(event)
            case RevisionRead():
                self._revision_read(event)
            case RetryRequested():
                self._retry(event.id)
            case RetryCancelled():
                self._cancel_retry(event.id)
            case LoadThreadsChanged():
                self._loads.limit = event.count()
            case Manage() | Act() | StopManaging() | Obtain():
                self._serve_caller(event)
            case Withdraw():
                self._lookups.get(event.id, {}).pop(event.reply, None)
            case Hold():
                self._hold(event.names)
            case Commit():
                self._commit(event.names)
            case CloseRequested():
                self._close(event.deadline)
            case _:
                assert_never(event)

    def _aspire(self, name: str, wanted: dict[int, ServableData[Loader]]) -> None:
        if self._closing:
            return
        known = name in self._streams
        stream = self._streams.setdefault(name, Stream(name))
        before = stream.aspired()
        staying, replaced = stream.compared_with(wanted)
        if known and staying == before == wanted.keys() and not stream.successors:
            # Nothing changes, yet a policy that has failed is asked again.
            self._unsettled.add(name)
            return
        if replaced:
            # Aspired anew: whoever waits must not take the old incarnation's END for the new one's.
            self._emit(PublishAspiration(name, frozenset(wanted) - replaced))
        elif not known or before != wanted.keys():
            self._emit(PublishAspiration(name, frozenset(wanted)))
        self._take_over(stream, wanted, staying)
        if replaced:
            self._emit(PublishAspiration(name, frozenset(wanted)))
        for version, data in wanted.items():
            if version not in stream.harnesses:
                self._manage(stream, data)
        if known:
            self._serve(stream)
        self._touch(stream.name)

    def _take_over(
        self, stream: Stream, wanted: Mapping[int, ServableData[Loader]], staying: set[int]
    ) -> None:
        """Let those go that cannot answer for what is wanted, and note what is to come after them."""
        stream.successors.clear()
        for version, harness in list(stream.harnesses.items()):
            if version in staying:
                harness.aspired = True
            else:
                self._unaspire(harness, replaced=version in wanted)
        for version in wanted.keys() & stream.harnesses.keys() - staying:
            stream.successors[version] = wanted[version]

    def _close(self, deadline: float | None) -> None:
        if self._closing:  # the earliest deadline counts
            deadlines = [one for one in (self._deadline, deadline) if one is not None]
            self._deadline = min(deadlines, default=None)
            return
        self._closing = True
        self._deadline = deadline
        for which in list(self._lookups):  # at once: what they wait for may take its time to end
            self._answer(
                which, ClosedError(f"{which}: the manager was closed; it loads nothing more")
            )
        self._staying = list(self._streams.values())

    def _let_go(self) -> None:
        """Let streams go that are still there while closing: some, for a turn is to stay short."""
        due = self._deadline is not None and self._deadline <= self._now
        count = len(self._staying) if due else _MOST_STREAMS
        going, self._staying = self._staying[:count], self._staying[count:]
        for stream in going:
            self._held.discard(stream.name)
            if stream.aspired() and self._options.declarative:
                self._emit(PublishAspiration(stream.name, frozenset()))
            stream.successors.clear()
            for harness in list(stream.harnesses.values()):
                self._unaspire(harness, replaced=True)
            self._touch(stream.name)

    # ---- several streams at once ---------------------------------------------------------------

    def _hold(self, names: frozenset[str]) -> None:
        self._held |= names
        for name in names & self._streams.keys():
            self._touch(name)  # what waited for others to go need not wait any more

    def _commit(self, names: frozenset[str]) -> None:
        """Let all of *names* in by one change of what lookups find."""
        self._held -= names
        streams = [self._streams[name] for name in sorted(names & self._streams.keys())]
        entering = [harness for stream in streams for harness in stream.to_let_in()]
        for harness in [harness for stream in streams for harness in stream.to_let_go()]:
            self._quiesce(harness)
        for harness in entering:
            harness.succeed(self._now)
        self._emit(Serve({stream.name: stream.served() for stream in streams}))
        for harness in entering:
            self._emit(PublishState(harness.id, ManagerState.AVAILABLE))
            self._answer(harness.id, None)
        for stream in streams:
            self._to_serve.pop(stream.name, None)  # done, with all the others
            self._touch(stream.name)

    # ---- after every event ---------------------------------------------------------------------

    def _wake(self) -> None:
        for incarnation in self._alarm.ring(self._now):
            harness = self._incarnations[incarnation]
            if harness.attempt_began is not None:
                self._look_at_age(harness, harness.attempt_began)
            elif harness.state is HarnessState.UNLOADING:
                if harness.since + PATIENCE <= self._now:  # else it is an alarm of its load
                    self._unloads.pass_over(incarnation)
            elif harness.retry_at is not None and harness.retry_at <= self._now:
                self._resume(harness)
            elif harness.looking:
                self._look_at_look(incarnation)
            elif harness.revision_at is not None and harness.revision_at <= self._now:
                harness.revision_at = None
                harness.looking = True
                self._looks.enter(incarnation)

    def _apply_policies(self, names: Iterable[str]) -> None:
        """Ask for one action of each stream, take them in order, and ask again."""
        for _ in range(_MOST_ACTIONS):
            asked = [action for name in names if (action := self._next_action(name)) is not None]
            if not asked:
                return
            ordered = self._in_order(asked)
            names = [action.id.name for action in ordered if self._act_for_policy(action)]
        self._unsettled.update(names)

    def _next_action(self, name: str) -> ServableAction | None:
        stream = self._streams.get(name)
        if stream is None:
            return None
        if not stream.harnesses and not stream.successors:
            del self._streams[name]
            return None
        try:
            if name in self._held:
                action = _load_beside(stream)
            else:
                action = self._options.policy.next_action(stream.snapshots())
                _check_action(action, stream)
        except BaseException as error:  # noqa: BLE001 -- a user's policy; only its stream stands still
            self._policy_failed(stream, error)
            return None
        if stream.policy_error is not None:
            stream.policy_error = None
            self.changed.add(name)
        return action

    def _act_for_policy(self, action: ServableAction) -> bool:
        try:
            self._act(action)
        except ServmanError as error:
            self._policy_failed(self._streams[action.id.name], error)
            return False
        if action.kind is ActionKind.LOAD and not self._loads.contended:
            self._fill_loads()  # before what comes after it: nobody else waits for the place
        return True

    def _policy_failed(self, stream: Stream, error: BaseException) -> None:
        stream.policy_error = settled(error)
        self.changed.add(stream.name)
        self._emit(PolicyFailed(stream.name, stream.policy_error))

    def _in_order(self, actions: Sequence[ServableAction]) -> Sequence[ServableAction]:
        """Return *actions* as the user wants them sorted, else the unloads first."""
        if len(actions) == 1:
            return actions
        if self._options.sort_actions is not None:
            try:
                return _permuted(actions, self._options.sort_actions(tuple(actions)))
            except BaseException as error:  # noqa: BLE001 -- a user's function; its order is a wish
                self._sorting_failed(settled(error))
        return sorted(actions, key=lambda action: action.kind is not ActionKind.UNLOAD)

    def _sorting_failed(self, error: ServmanError) -> None:
        if not any(
            isinstance(one, SortingFailed) for one in self._effects
        ):  # once a turn is enough
            self._emit(SortingFailed(error))

    def _fill_lanes(self) -> None:
        while (incarnation := self._unloads.next()) is not None:
            self._start_unload(self._incarnations[incarnation])
        if self._options.sort_actions is not None and self._loads.unordered:
            self._order_loads()
        self._fill_loads()
        while (incarnation := self._looks.next()) is not None:
            self._begin_look(self._incarnations[incarnation])
        threads = (self._loads.threads, self._unloads.threads, self._looks.threads)
        if threads != self._threads:
            self._threads = threads
            self._effects.insert(0, ResizePools(*threads))

    def _fill_loads(self) -> None:
        while (incarnation := self._loads.next()) is not None:
            self._begin_attempt(self._incarnations[incarnation])

    def _order_loads(self) -> None:
        """Sort what waits for a thread anew, now that one is free and others have come."""
        waiting = {self._incarnations[one].id: one for one in self._loads.waiting}
        actions = self._in_order([ServableAction(ActionKind.LOAD, one) for one in waiting])
        self._loads.order([waiting[action.id] for action in actions])

    def _finish_closing(self) -> None:
        if not self._closing:
            return
        going = self._incarnations or self._given_up
        if going and (self._deadline is None or self._now < self._deadline):
            return
        harnesses = list(self._incarnations.values())
        left = tuple(harness.snapshot() for harness in harnesses)
        for harness, snapshot in zip(harnesses, left, strict=True):
            error = _left_behind(snapshot)
            harness.fail(error, self._now)
            self._emit(PublishState(harness.id, ManagerState.END, error))
            self._answer(harness.id, error)
            self.changed.add(harness.id.name)
        self._closed = True
        given_up = tuple(one.snapshot for one in self._given_up.values())  # their END was published
        self._emit(Closed(left + given_up))


def _check_action(action: ServableAction | None, stream: Stream) -> None:
    if action is None:
        return
    if not isinstance(action, ServableAction) or not isinstance(action.kind, ActionKind):
        raise FailedPreconditionError(
            f"the policy of stream {stream.name!r} returned {action!r}, which is no ServableAction"
        )
    if action.id.name != stream.name or action.id.version not in stream.harnesses:
        raise FailedPreconditionError(
            f"the policy of stream {stream.name!r} named {action.id}, which is not among its snapshots"
        )


def _load_beside(stream: Stream) -> ServableAction | None:
    """Ask for what is wanted of a stream that is held: all of it, beside what serves."""
    new = [one.id for one in stream.harnesses.values() if one.state is HarnessState.NEW]
    return ServableAction(ActionKind.LOAD, max(new)) if new else None


def _permuted(
    actions: Sequence[ServableAction], wished: Sequence[ServableAction]
) -> Sequence[ServableAction]:
    order = list(wished)
    if len(order) != len(actions) or set(order) != set(actions):
        raise FailedPreconditionError(
            f"sort_actions returned {order!r}; it must return what it is given, in another order"
        )
    return order


def _left_behind(snapshot: ServableStateSnapshot) -> ClosedError:
    match snapshot.state:
        case HarnessState.QUIESCING:
            what = "it waited for its handles to close"
        case HarnessState.LOAD_REQUESTED | HarnessState.LOADING:
            what = "its load has not returned"
        case HarnessState.QUIESCED:
            what = "its unload has not begun"
        case _:
            what = "its unload has not returned"
    return ClosedError(f"{snapshot.id}: left behind when the manager was closed, for {what}")
