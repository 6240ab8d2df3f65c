"""What may happen in a simulation, as data: it can be printed, replayed, and left out one by one.

A decision that does not apply (a handle that was never taken, a job that is not there) does nothing,
so that every subset of a history is a history.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from servman.ids import ServableId
from tests.simulation.aspiring import AspiringWorld
from tests.simulation.caching import CachingWorld
from tests.simulation.calling import BasicWorld
from tests.simulation.loaders import Wish

if TYPE_CHECKING:
    from servman.manager import StreamOptions
    from tests.simulation.world import AnyWorld


Labels = tuple[tuple[str, str, int], ...]
"""Names, labels and versions."""


def _table(labels: Labels) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for name, label, version in labels:
        table.setdefault(name, {})[label] = version
    return table


class Decision(Protocol):
    """Something happens to a world."""

    def __call__(self, world: AnyWorld) -> None: ...


@final
@dataclass(frozen=True, slots=True)
class Aspire:
    name: str
    wishes: tuple[Wish, ...]

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.aspire(self.name, self.wishes)

    def __str__(self) -> str:
        return f"aspire {self.name}: {', '.join(map(str, self.wishes)) or 'nothing'}"


@final
@dataclass(frozen=True, slots=True)
class Hold:
    names: tuple[str, ...]

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.hold(self.names)


@final
@dataclass(frozen=True, slots=True)
class Prepare:
    """Hold streams, and have what is wanted of them loaded: all of a reload but its commit."""

    streams: tuple[tuple[str, tuple[Wish, ...]], ...]

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.hold([name for name, _ in self.streams])
        for name, wishes in self.streams:
            world.aspire(name, wishes)
        world.settle()

    def __str__(self) -> str:
        wanted = (f"{name}: {', '.join(map(str, wishes))}" for name, wishes in self.streams)
        return f"hold and load {'; '.join(wanted)}"


@final
@dataclass(frozen=True, slots=True)
class Commit:
    names: tuple[str, ...]
    expects: bool | None = None
    labels: Labels | None = None

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        labels = None if self.labels is None else _table(self.labels)
        world.commit(self.names, self.expects, labels)


@final
@dataclass(frozen=True, slots=True)
class Rollback:
    names: tuple[str, ...]

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.rollback(self.names)


@final
@dataclass(frozen=True, slots=True)
class SetLabels:
    labels: Labels

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.set_labels(_table(self.labels))


@final
@dataclass(frozen=True, slots=True)
class HoldAndLose:
    """Hold streams, want other labels, and have a version fail that serves in one that is held."""

    names: tuple[str, ...]
    labels: Labels

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.hold(self.names)
        world.set_labels(_table(self.labels))
        world.settle_mailbox()
        world.report_failure(0, serves=True)


@final
@dataclass(frozen=True, slots=True)
class Configure:
    streams: tuple[tuple[str, StreamOptions], ...]

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.configure(dict(self.streams))


@final
@dataclass(frozen=True, slots=True)
class Manage:
    name: str
    wish: Wish

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, BasicWorld)
        world.manage(self.name, self.wish)

    def __str__(self) -> str:
        return f"manage {self.name}:{self.wish}"


@final
@dataclass(frozen=True, slots=True)
class Load:
    id: ServableId

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, BasicWorld)
        world.load(self.id)


@final
@dataclass(frozen=True, slots=True)
class Unload:
    id: ServableId

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, BasicWorld)
        world.unload(self.id)


@final
@dataclass(frozen=True, slots=True)
class StopManaging:
    id: ServableId

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, BasicWorld)
        world.stop_managing(self.id)


@final
@dataclass(frozen=True, slots=True)
class Ask:
    number: int
    name: str
    wish: Wish
    waits: bool

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, CachingWorld)
        world.ask(self.number, self.name, self.wish, waits=self.waits)

    def __str__(self) -> str:
        how = "waits" if self.waits else "does not wait"
        return f"client {self.number} asks for {self.name}:{self.wish} and {how}"


@final
@dataclass(frozen=True, slots=True)
class Step:
    count: int

    def __call__(self, world: AnyWorld) -> None:
        for _ in range(self.count):
            world.step()


@final
@dataclass(frozen=True, slots=True)
class Settle:
    def __call__(self, world: AnyWorld) -> None:
        world.settle()


@final
@dataclass(frozen=True, slots=True)
class DropHandle:
    number: int

    def __call__(self, world: AnyWorld) -> None:
        world.drop(self.number)


@final
@dataclass(frozen=True, slots=True)
class KnotHandle:
    number: int

    def __call__(self, world: AnyWorld) -> None:
        world.knot(self.number)


@final
@dataclass(frozen=True, slots=True)
class Collect:
    def __call__(self, world: AnyWorld) -> None:
        gc.collect()


@final
@dataclass(frozen=True, slots=True)
class SetLoadThreads:
    count: int

    def __call__(self, world: AnyWorld) -> None:
        world.manager.num_load_threads = self.count


@final
@dataclass(frozen=True, slots=True)
class Retry:
    id: ServableId

    def __call__(self, world: AnyWorld) -> None:
        assert isinstance(world, AspiringWorld)
        world.attempt(world.manager.retry, self.id)


@final
@dataclass(frozen=True, slots=True)
class CancelRetry:
    id: ServableId

    def __call__(self, world: AnyWorld) -> None:
        world.attempt(world.manager.cancel_retry, self.id)


@final
@dataclass(frozen=True, slots=True)
class ChangeFiles:
    name: str

    def __call__(self, world: AnyWorld) -> None:
        world.change_files(self.name)


@final
@dataclass(frozen=True, slots=True)
class Report:
    """A loader reports a failure of the last load, or of one so many loads before: of all, or of what serves."""

    before: int
    serves: bool

    def __call__(self, world: AnyWorld) -> None:
        world.report_failure(self.before, serves=self.serves)


@final
@dataclass(frozen=True, slots=True)
class Shutdown:
    timeout: float | None

    def __call__(self, world: AnyWorld) -> None:
        world.shut_down(self.timeout)
