"""What may happen in the simulation of a core, as data: it can be printed, replayed, and left out one by one.

A decision that does not apply does nothing, so that every subset of a history is a history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from tests.simulation.core_storage import Health, Kind

if TYPE_CHECKING:
    from tests.simulation.core_reloads import Order
    from tests.simulation.core_world import CoreWorld


class CoreDecision(Protocol):
    """Something happens to a core."""

    def __call__(self, world: CoreWorld) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody changes the configuration."""

    order: Order

    def __call__(self, world: CoreWorld) -> None:
        world.reload(self.order)

    def __str__(self) -> str:
        return str(self.order)


@final
@dataclass(frozen=True, slots=True)
class Rehearse:
    """Somebody who is alone has it planned, and then does it."""

    order: Order

    def __call__(self, world: CoreWorld) -> None:
        world.rehearse(self.order)

    def __str__(self) -> str:
        return f"when all is calm, plan and {self.order}"


@final
@dataclass(frozen=True, slots=True)
class Waver:
    """Somebody who is alone asks for something else, and at once for what it was before."""

    order: Order

    def __call__(self, world: CoreWorld) -> None:
        world.waver(self.order)

    def __str__(self) -> str:
        return f"when all is calm, {self.order}, and at once back"


@final
@dataclass(frozen=True, slots=True)
class GoOn:
    """One of those who may go on does."""

    index: int

    def __call__(self, world: CoreWorld) -> None:
        world.go_on(self.index)


@final
@dataclass(frozen=True, slots=True)
class Publish:
    base: str
    version: int
    kind: Kind

    def __call__(self, world: CoreWorld) -> None:
        world.storage.versions[self.base].setdefault(self.version, self.kind)

    def __str__(self) -> str:
        return f"publish {self.base}/{self.version} ({self.kind})"


@final
@dataclass(frozen=True, slots=True)
class Delete:
    base: str
    version: int

    def __call__(self, world: CoreWorld) -> None:
        world.storage.versions[self.base].pop(self.version, None)

    def __str__(self) -> str:
        return f"delete {self.base}/{self.version}"


@final
@dataclass(frozen=True, slots=True)
class Repair:
    base: str
    version: int

    def __call__(self, world: CoreWorld) -> None:
        world.storage.repair(self.base, self.version)

    def __str__(self) -> str:
        return f"repair {self.base}/{self.version}"


@final
@dataclass(frozen=True, slots=True)
class Become:
    base: str
    health: Health

    def __call__(self, world: CoreWorld) -> None:
        world.storage.health[self.base] = self.health

    def __str__(self) -> str:
        return f"{self.base}: {self.health}"


@final
@dataclass(frozen=True, slots=True)
class Poll:
    """Every base path is to be looked at."""

    def __call__(self, world: CoreWorld) -> None:
        world.source.poll()


@final
@dataclass(frozen=True, slots=True)
class Look:
    """A look begins, and those go on whose storage answers."""

    index: int

    def __call__(self, world: CoreWorld) -> None:
        world.looks.run(self.index)
        world.looks.go_on()


@final
@dataclass(frozen=True, slots=True)
class StepSource:
    count: int

    def __call__(self, world: CoreWorld) -> None:
        for _ in range(self.count):
            world.step_source()


@final
@dataclass(frozen=True, slots=True)
class StepManager:
    count: int

    def __call__(self, world: CoreWorld) -> None:
        for _ in range(self.count):
            world.step_manager()


@final
@dataclass(frozen=True, slots=True)
class Settle:
    def __call__(self, world: CoreWorld) -> None:
        world.settle()
        world.invariants.check_settled()


@final
@dataclass(frozen=True, slots=True)
class Deploy:
    """A version is published, and is wanted before anybody who waits takes notice."""

    base: str
    version: int

    def __call__(self, world: CoreWorld) -> None:
        world.storage.versions[self.base].setdefault(self.version, Kind.GOOD)
        world.source.poll()
        world.drift()
