"""What users may hand in that is not to be trusted: policies and orders with whims, drawn from a seed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, final

from servman.ids import ServableId
from servman.manager import ActionKind, ServableAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.manager import AspiredVersionPolicy, ServableStateSnapshot

_WHIMS: Final = 0.3
"""How often they are wrong."""


class WhimError(Exception):
    """What they raise."""


@final
class MoodyPolicy:
    """A policy that raises at times, or asks for what cannot be, until it comes to its senses."""

    def __init__(self, policy: AspiredVersionPolicy, seed: int) -> None:
        self._policy = policy
        self._random = Random(seed)  # noqa: S311 -- a history, not a secret
        self.moody = True

    def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
        if not self.moody or self._random.random() >= _WHIMS:
            return self._policy.next_action(snapshots)
        match self._random.randrange(4):
            case 0:
                raise WhimError("a whim")
            case 1:
                raise SystemExit(3)
            case 2:
                return "load everything"  # type: ignore[return-value] # that is the point
            case _:
                return ServableAction(ActionKind.LOAD, ServableId("stranger", 1))


@final
class MoodyOrder:
    """An order by chance that at times loses, doubles or invents an action, or raises."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 -- a history, not a secret

    def __call__(self, actions: Sequence[ServableAction]) -> Sequence[ServableAction]:
        order = self._random.sample(actions, len(actions))
        if self._random.random() >= _WHIMS:
            return order
        match self._random.randrange(4):
            case 0:
                raise WhimError("a whim")
            case 1:
                return order[1:]
            case 2:
                return [*order[1:], order[1]]
            case _:
                return [*order, ServableAction(ActionKind.UNLOAD, ServableId("stranger", 1))]
