"""What may happen to any simulated world, a manager or a whole core: to its pools, its time and its handles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from tests.simulation.core_world import CoreWorld
    from tests.simulation.world import AnyWorld


@final
@dataclass(frozen=True, slots=True)
class Finish:
    pool: str
    index: int

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        getattr(world, self.pool).finish(self.index)


@final
@dataclass(frozen=True, slots=True)
class Hang:
    pool: str
    index: int

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        getattr(world, self.pool).hang(self.index)


@final
@dataclass(frozen=True, slots=True)
class Thaw:
    pool: str

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        getattr(world, self.pool).thaw()


@final
@dataclass(frozen=True, slots=True)
class Advance:
    seconds: float

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        world.clock.advance(self.seconds)


@final
@dataclass(frozen=True, slots=True)
class TakeHandle:
    number: int
    request: str

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        world.take(self.number, self.request)


@final
@dataclass(frozen=True, slots=True)
class CloseHandle:
    number: int

    def __call__(self, world: AnyWorld | CoreWorld) -> None:
        world.close(self.number)
