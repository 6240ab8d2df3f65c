"""What policies ask for, and in which order it is done. Pure, but for what users plug in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from servman.errors import FailedPreconditionError, ServmanError, settled
from servman.manager.calls import Calls
from servman.manager.effects import PolicyFailed, SortingFailed
from servman.manager.harness import HarnessState
from servman.manager.options import NO_OPTIONS
from servman.manager.policy import ActionKind, ServableAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from servman.manager.stream import Stream

_MOST_ACTIONS: Final = 64
"""How many actions of one stream are taken in a turn: one of many versions shall delay no other."""


class Policies(Calls):
    """Asks the policy of each stream that has changed, and does what it says."""

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
                own = self._configured.get(name, NO_OPTIONS).policy
                policy = self._options.policy if own is None else own
                action = policy.next_action(stream.snapshots())
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
        # Once a turn is enough.
        if not any(isinstance(one, SortingFailed) for one in self._effects):
            self._emit(SortingFailed(error))

    def _fill_loads(self) -> None:
        while (incarnation := self._loads.next()) is not None:
            self._begin_attempt(self._incarnations[incarnation])

    def _order_loads(self) -> None:
        """Sort what waits for a thread anew, now that one is free and others have come."""
        waiting = {self._incarnations[one].id: one for one in self._loads.waiting}
        actions = self._in_order([ServableAction(ActionKind.LOAD, one) for one in waiting])
        self._loads.order([waiting[action.id] for action in actions])


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
