"""The loaders of a stress run: of every kind, and each keeps the books."""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final, NoReturn, final

from servman.data import ServableData
from servman.errors import LoadCancelledError, ServmanError
from servman.testing.clock import WATCHDOG
from tests.simulation.loaders import FinalError, PlantedError, memory_of
from tests.stress.books import Books, Model

if TYPE_CHECKING:
    from servman.ids import ServableId
    from servman.loader import LoadContext, Loader
    from servman.manager import AspiredVersionsManager, ServableHandle
    from servman.resources import ResourceAllocation


class Kind(StrEnum):
    """What a loader is like."""

    FAST = "fast"
    SLOW = "computes for some hundred microseconds, in its load and in its unload"
    LOOKS = "looks whether it is still wanted, and gives up where it is not"
    ONCE = "fails once"
    NEVER = "always fails"
    FINAL = "fails for good"
    EXITS = "calls sys.exit once"
    FILES = "fails until its files change"
    UNLOAD_RAISES = "raises in unload"
    ASSEMBLED = "makes a servable that holds a handle on another"
    HOLDS = "holds a handle on another servable itself, for as long as it lives"
    FAILS_HOLDING = "fails with a handle on another servable in its frame"
    ERRORED = "could not be made, with a handle on another servable in the frame that says so"


_SHORT: Final = 0.005
"""Seconds that a load takes which looks whether it is still wanted, unless it is told before that it is not."""

_FAILURES: Final[dict[Kind, tuple[int, type[BaseException]]]] = {
    Kind.ONCE: (1, PlantedError),
    Kind.EXITS: (1, SystemExit),
    Kind.NEVER: (1_000, PlantedError),
    Kind.FILES: (1_000, PlantedError),
    Kind.FINAL: (1_000, FinalError),
}


@final
class Parts:
    """Hands out handles on servables of other streams, as the parts of a larger one."""

    def __init__(self, manager: AspiredVersionsManager, streams: tuple[str, ...]) -> None:
        self._manager = manager
        self._streams = streams

    def take(self, random: Random) -> ServableHandle[Model] | None:
        """Return a handle on some servable, if that is there."""
        try:
            return self._manager.get_servable_handle(random.choice(self._streams), Model)
        except ServmanError:
            return None


class StressLoader:
    """A loader of one kind, whose servable needs so much memory."""

    def __init__(
        self, kind: Kind, books: Books, parts: Parts, random: Random, needs: int = 1
    ) -> None:
        self._kind = kind
        self._books = books
        self._parts = parts
        self._random = random
        self._needs = needs
        self._failures, self._error = _FAILURES.get(kind, (0, PlantedError))
        self._held: ServableHandle[Model] | None = None  # freed with the loader, and never closed

    def estimate_resources(self) -> ResourceAllocation:
        return memory_of(self._needs)

    def load(self, context: LoadContext) -> Model:
        if self._kind is Kind.SLOW:
            compute(self._random)
        if self._kind is Kind.LOOKS and context.cancelled.wait(_SHORT):
            raise LoadCancelledError(f"{context.id}: nobody wants it")
        if self._failures:
            self._failures -= 1
            raise self._error("planted")
        part = None
        if self._kind is Kind.FAILS_HOLDING:
            fail_holding(self._parts.take(self._random))
        elif self._kind is Kind.HOLDS:
            self._held = self._parts.take(self._random)
        elif self._kind is Kind.ASSEMBLED:
            part = self._parts.take(self._random)
        return Model(self._books.loaded(context.id), part)

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Model)
        if servable.part is not None:
            self._books.used(servable.part, "a servable made of others")
            if self._random.random() < 0.5:  # else it is freed with the servable
                servable.part.close()
        self._books.unloaded(servable)
        if self._kind is Kind.SLOW:
            compute(self._random)
        if self._kind is Kind.UNLOAD_RAISES:
            raise PlantedError("planted in unload")


@final
class LateLoader(StressLoader):
    """A loader whose load returns when it is let, whether or not it is wanted: long after it was given up."""

    def __init__(self, books: Books, parts: Parts, random: Random, let: threading.Event) -> None:
        super().__init__(Kind.FAST, books, parts, random, needs=0)
        self._let = let

    def load(self, context: LoadContext) -> Model:
        self._let.wait(WATCHDOG)  # the round finds a hang before
        return super().load(context)


@final
class FileLoader(StressLoader):
    """A loader that can tell what its files look like: different each time."""

    _looks = 0

    def revision(self) -> int:
        self._looks += 1
        if self._looks > 2:
            self._failures = 0
        return self._looks


def make(
    id: ServableId, kind: Kind, books: Books, parts: Parts, random: Random
) -> ServableData[Loader]:
    """Make an aspiration, now and then with an origin."""
    origin = random.choice((None, None, "here", "there"))
    if kind is Kind.ERRORED:
        try:
            fail_holding(parts.take(random))
        except PlantedError as error:
            return ServableData.from_error(id, error, origin)
    cls = FileLoader if kind is Kind.FILES else StressLoader
    own = Random(random.getrandbits(32))  # noqa: S311 -- chance, not secrecy
    return ServableData(id, cls(kind, books, parts, own), origin)


def fail_holding(handle: ServableHandle[Model] | None) -> NoReturn:
    """Raise from a frame that holds *handle*."""
    raise FinalError("planted")


def compute(random: Random) -> None:
    """Compute for some hundred microseconds, and wait for nothing."""
    end = time.perf_counter() + random.uniform(50e-6, 500e-6)
    while time.perf_counter() < end:
        pass
