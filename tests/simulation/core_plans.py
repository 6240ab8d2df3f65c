"""Plans of a simulated core, held against what the reload then does."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.ids import ServableId
from tests.simulation.core_rules import CoreRule

if TYPE_CHECKING:
    from servman.core import Plan
    from tests.simulation.core_reloads import Reload
    from tests.simulation.core_world import CoreWorld


@final
class Rehearsal:
    """A plan, and where the books stood when it was made."""

    def __init__(self, world: CoreWorld, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        follower = world.invariants
        self._books = (follower.started, follower.ended, follower.failed)
        self._lengths = tuple(map(len, self._books))
        world.trace.append(f"the plan: {plan}".replace("\n", "; "))

    def compare(self, reload: Reload) -> None:
        """Blame whatever *reload*, which has come to its end, has done in another way."""
        require, plan = self._world.ledger.require, self._plan
        if plan.faults or (reload.order.atomic and plan.atomic_obstacles):
            require(reload.accepted is None, CoreRule.PLAN, f"{reload} should be refused: {plan}")
            return
        if reload.accepted is None or (reload.result is not None and reload.result.rolled_back):
            return  # strict labels, or a model that cannot be loaded
        started, ended, failed = (
            set(book[length:]) for book, length in zip(self._books, self._lengths, strict=True)
        )
        text = f"{reload} has begun to load {started}, as planned it was {self._ids('load')}"
        require(started == self._ids("load"), CoreRule.PLAN, text)
        if not failed:  # else the old one may have to stay
            text = f"{reload} has unloaded {ended}, as planned it was {self._ids('unload')}"
            require(ended == self._ids("unload"), CoreRule.PLAN, text)

    def _ids(self, what: str) -> set[ServableId]:
        models = self._plan.models.items()
        return {ServableId(name, version) for name, one in models for version in getattr(one, what)}
