"""What a simulated world is built of: pools whose jobs finish when told to, and handles in cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.manager import ServableHandle
    from servman.testing import ManualPool
    from tests.simulation.ledger import Model
    from tests.simulation.world import AnyWorld


@final
class Bench:
    """One of the manager's pools, whose jobs finish when told to.

    Attributes:
        hung: Jobs that have begun and do not return until they are thawed.
    """

    def __init__(self, pool: ManualPool) -> None:
        self.pool = pool
        self.hung: list[Callable[[], None]] = []

    @property
    def outstanding(self) -> int:
        """How many jobs were begun and have not returned."""
        return len(self.pool.jobs) + len(self.hung)

    def finish(self, index: int) -> None:
        """Let one of the jobs return, if there is one."""
        if self.pool.jobs:
            self.pool.run(index % len(self.pool.jobs))

    def hang(self, index: int) -> None:
        """Let one of the jobs hang, if there is one."""
        if self.pool.jobs:
            self.hung.append(self.pool.jobs.pop(index % len(self.pool.jobs)))

    def thaw(self) -> int:
        """Let what hangs return at last; return how many jobs that were."""
        hung, self.hung = self.hung, []
        for job in hung:
            job()
        return len(hung)


@final
class Knot:
    """A handle in a reference cycle, whose finaliser uses the servable."""

    def __init__(self, number: int, handle: ServableHandle[Model], world: AnyWorld) -> None:
        self._knot = self
        self._number = number
        self._handle = handle
        self._world = world

    def __del__(self) -> None:
        self._world.finalise(self._number, self._handle)
