"""What may happen in a simulation, as data: it can be printed, replayed, and left out one by one.

A decision that does not apply (a handle that was never taken, a job that is not there) does nothing,
so that every subset of a history is a history.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, final

from servman.ids import ServableId
from servman.manager import AvailabilityPreservingPolicy, ResourcePreservingPolicy
from tests.simulation.loaders import Kind, Wish
from tests.simulation.world import Options

if TYPE_CHECKING:
    from tests.simulation.world import World

STREAMS: Final = ("a", "b", "c")
VERSIONS: Final = (1, 2, 3)
_POOLS: Final = ("loads", "loads", "unloads", "revisions")
_KINDS: Final = (Kind.GOOD, Kind.GOOD, Kind.GOOD, Kind.FILES, *Kind)
_NEEDS: Final = (1, 2, 3, 4, 5, 20)
_ORIGINS: Final = (None, None, "/x", "/y")
_POLICIES: Final = (AvailabilityPreservingPolicy, ResourcePreservingPolicy)
_SELECTORS: Final = ("", "", ":1", ":2", ":3", ":earliest", ":newest")
_TIMEOUTS: Final = (0.0, 1.0, 12.0, None)


class Decision(Protocol):
    """Something happens to a world."""

    def __call__(self, world: World) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class Aspire:
    name: str
    wishes: tuple[Wish, ...]

    def __call__(self, world: World) -> None:
        world.aspire(self.name, self.wishes)

    def __str__(self) -> str:
        return f"aspire {self.name}: {', '.join(map(str, self.wishes)) or 'nothing'}"


@final
@dataclass(frozen=True, slots=True)
class Step:
    count: int

    def __call__(self, world: World) -> None:
        for _ in range(self.count):
            world.step()


@final
@dataclass(frozen=True, slots=True)
class Settle:
    def __call__(self, world: World) -> None:
        world.settle()


@final
@dataclass(frozen=True, slots=True)
class Finish:
    pool: str
    index: int

    def __call__(self, world: World) -> None:
        getattr(world, self.pool).finish(self.index)


@final
@dataclass(frozen=True, slots=True)
class Hang:
    pool: str
    index: int

    def __call__(self, world: World) -> None:
        getattr(world, self.pool).hang(self.index)


@final
@dataclass(frozen=True, slots=True)
class Thaw:
    pool: str

    def __call__(self, world: World) -> None:
        getattr(world, self.pool).thaw()


@final
@dataclass(frozen=True, slots=True)
class Advance:
    seconds: float

    def __call__(self, world: World) -> None:
        world.rig.clock.advance(self.seconds)


@final
@dataclass(frozen=True, slots=True)
class TakeHandle:
    number: int
    request: str

    def __call__(self, world: World) -> None:
        world.take(self.number, self.request)


@final
@dataclass(frozen=True, slots=True)
class CloseHandle:
    number: int

    def __call__(self, world: World) -> None:
        world.close(self.number)


@final
@dataclass(frozen=True, slots=True)
class DropHandle:
    number: int

    def __call__(self, world: World) -> None:
        world.drop(self.number)


@final
@dataclass(frozen=True, slots=True)
class KnotHandle:
    number: int

    def __call__(self, world: World) -> None:
        world.knot(self.number)


@final
@dataclass(frozen=True, slots=True)
class Collect:
    def __call__(self, world: World) -> None:
        gc.collect()


@final
@dataclass(frozen=True, slots=True)
class SetLoadThreads:
    count: int

    def __call__(self, world: World) -> None:
        world.manager.num_load_threads = self.count


@final
@dataclass(frozen=True, slots=True)
class Retry:
    id: ServableId

    def __call__(self, world: World) -> None:
        world.attempt(world.manager.retry, self.id)


@final
@dataclass(frozen=True, slots=True)
class CancelRetry:
    id: ServableId

    def __call__(self, world: World) -> None:
        world.attempt(world.manager.cancel_retry, self.id)


@final
@dataclass(frozen=True, slots=True)
class ChangeFiles:
    name: str

    def __call__(self, world: World) -> None:
        world.change_files(self.name)


@final
@dataclass(frozen=True, slots=True)
class Shutdown:
    timeout: float | None

    def __call__(self, world: World) -> None:
        world.shut_down(self.timeout)


# ---- drawing them from a seed ----------------------------------------------------------------------


def _aspire(random: Random) -> Decision:
    versions = random.sample(VERSIONS, random.choice((0, 1, 1, 2, 2, 3)))
    wishes = (
        Wish(one, random.choice(_KINDS), random.choice(_ORIGINS), random.choice(_NEEDS))
        for one in versions
    )
    return Aspire(random.choice(STREAMS), tuple(wishes))


def _number(random: Random) -> int:
    return random.randrange(4)


def _id(random: Random) -> ServableId:
    return ServableId(random.choice(STREAMS), random.choice(VERSIONS))


def _request(random: Random) -> str:
    return random.choice(STREAMS) + random.choice(_SELECTORS)


_DRAWS: Final[tuple[tuple[float, Callable[[Random], Decision]], ...]] = (
    (5, _aspire),
    (9, lambda random: Step(random.randint(1, 3))),
    (1, lambda _: Settle()),
    (9, lambda random: Finish(random.choice(_POOLS), random.randrange(3))),
    (0.7, lambda random: Hang(random.choice(_POOLS), random.randrange(3))),
    (0.7, lambda random: Thaw(random.choice(_POOLS))),
    (3, lambda random: Advance(random.choice((0.1, 1.0, 1.0, 5.0, 5.0, 61.0)))),
    (4, lambda random: TakeHandle(_number(random), _request(random))),
    (2, lambda random: CloseHandle(_number(random))),
    (0.7, lambda random: DropHandle(_number(random))),
    (0.7, lambda random: KnotHandle(_number(random))),
    (0.7, lambda _: Collect()),
    (0.7, lambda random: SetLoadThreads(random.randint(1, 4))),
    (1, lambda random: Retry(_id(random))),
    (1, lambda random: CancelRetry(_id(random))),
    (2, lambda random: ChangeFiles(random.choice(STREAMS))),
    (0.1, lambda random: Shutdown(random.choice(_TIMEOUTS))),
)
"""How often, relative to one another, and what. A seed leaves some out and stresses others."""

_STRESS: Final = (0.0, 0.5, 1.0, 1.0, 3.0)
_ALWAYS: Final = 5
"""The weight from which on nothing is left out: without steps and jobs nothing would happen."""


def draw_options(random: Random) -> Options:
    """Draw how the manager is set up."""
    return Options(
        policy=random.choice(_POLICIES)(),
        num_load_threads=random.randint(1, 3),
        num_unload_threads=random.randint(1, 2),
        max_num_load_retries=random.randint(0, 2),
        load_retry_interval=random.choice((0.0, 0.5, 5.0)),
        load_timeout=random.choice((None, None, 3.0)),
        memory=random.choice((None, None, 8)),
    )


def draw_decisions(random: Random, count: int) -> tuple[Decision, ...]:
    """Draw *count* decisions."""
    weights = [
        weight if weight >= _ALWAYS else weight * random.choice(_STRESS) for weight, _ in _DRAWS
    ]
    draws = random.choices([draw for _, draw in _DRAWS], weights, k=count)
    return tuple(draw(random) for draw in draws)
