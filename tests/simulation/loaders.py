"""The loaders of a simulation, each with a fault of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, final

from servman.data import ServableData
from servman.ids import ServableId
from servman.resources import MAIN_MEMORY, Resource, ResourceAllocation
from tests.simulation.ledger import Attempt, Ledger, Model, Rule

if TYPE_CHECKING:
    from servman.loader import LoadContext, Loader
    from tests.simulation.options import Options


class Kind(StrEnum):
    """What a loader is like."""

    GOOD = "good"
    ONCE = "fails once"
    TWICE = "fails twice"
    NEVER = "always fails"
    EXITS = "calls sys.exit once"
    FINAL = "fails for good"
    NOTHING = "returns None"
    UNLOAD_RAISES = "raises in unload"
    UNLOAD_EXITS = "calls sys.exit in unload"
    FILES = "fails until its files change"
    WATCHED = "good, and tells of its files"
    ERRORED = "could not be made"
    REPORTS = "reports failures while it first loads"
    REPORTS_AND_FAILS = "reports a failure, and fails, once"


class Wish(NamedTuple):
    """One version that is to be aspired."""

    version: int
    kind: Kind = Kind.GOOD
    origin: str | None = None
    needs: int = 1
    more: int = 0

    def __str__(self) -> str:
        place = f", from {self.origin}" if self.origin else ""
        more = f", then {self.needs + self.more}" if self.more else ""
        return f"{self.version} ({self.kind}{place}, needs {self.needs}{more})"


class PlantedError(Exception):
    """What planted loaders raise."""


class FinalError(PlantedError):
    """Not worth another attempt."""


def retriable(error: BaseException) -> bool:
    """The `should_retry` of every simulation."""
    return not isinstance(error, FinalError)


_FAILURES: Final[dict[Kind, tuple[int, type[BaseException]]]] = {
    Kind.ONCE: (1, PlantedError),
    Kind.TWICE: (2, PlantedError),
    Kind.NEVER: (1_000, PlantedError),
    Kind.EXITS: (1, SystemExit),
    Kind.FINAL: (1_000, FinalError),
    Kind.REPORTS_AND_FAILS: (1, PlantedError),
}


class PlantedLoader:
    """A loader that keeps the books.

    Attributes:
        loaded: How many models of its own are in memory.
        attempt: The number of the last attempt.
        failure: What the last attempt raised.
    """

    def __init__(self, wish: Wish, ledger: Ledger, options: Options) -> None:
        self.kind = wish.kind
        self.needs = wish.needs
        self.more = max(wish.more, -wish.needs)
        self.loaded = 0
        self.attempt = 0
        self.failure: type[BaseException] | None = None
        self._reported = False
        self._ledger = ledger
        self._max_num_load_retries = options.max_num_load_retries
        self._gives_up = options.load_timeout is not None
        self._failures, self._error = _FAILURES.get(wish.kind, (0, PlantedError))

    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: self.needs + (self.more if self.loaded else 0)})

    def load(self, context: LoadContext) -> Model | None:
        attempt = self._ledger.begun(context)
        if self._gives_up and context.cancelled.is_set():
            # It may have been given up and tried anew since: it is no longer the one that counts.
            return self._model(attempt, late=True)
        self._check(context)
        self.attempt = context.attempt
        self.failure = self._planned()
        if self.failure is not None:
            self._report(attempt, Kind.REPORTS_AND_FAILS)
            # Never a local variable: with its traceback it would be a cycle that keeps frames alive.
            raise self.failure("planted")
        if self.kind is Kind.NOTHING:
            return None
        model = self._model(attempt, late=False)
        self._report(attempt, Kind.REPORTS)
        return model

    def unload(self, servable: object) -> None:
        assert isinstance(servable, Model)
        self.loaded -= 1
        self._ledger.unloaded(servable)
        if self.kind is Kind.UNLOAD_RAISES:
            raise PlantedError("planted in unload")
        if self.kind is Kind.UNLOAD_EXITS:
            raise SystemExit(3)

    def _model(self, attempt: Attempt, *, late: bool) -> Model:
        self.loaded += 1
        model = attempt.model = Model(attempt.context.id, self, self.needs, self.more)
        self._ledger.loaded(model, late=late)
        return model

    def _report(self, attempt: Attempt, kind: Kind) -> None:
        """Report two failures, of which the first counts, where the loader is of that *kind*."""
        if self.kind is kind and not self._reported:
            self._reported = True
            self._ledger.report(attempt)
            self._ledger.report(attempt)

    def _planned(self) -> type[BaseException] | None:
        if self._failures == 0:
            return None
        self._failures -= 1
        return self._error

    def _check(self, context: LoadContext) -> None:
        expected = (1, self.attempt + 1)
        most = max(self._max_num_load_retries, *self._ledger.limits[context.id.name], 0)
        numbered = context.attempt in expected and context.attempt <= most + 1
        text = f"{context.id}: attempt {context.attempt} after {self.attempt}"
        self._ledger.require(numbered, Rule.ATTEMPTS_IN_ORDER, text)
        entry = self._ledger.expected.get(context.id)
        ours = entry is not None and entry.error is None and entry.payload is self
        text = f"{context.id} is loaded by a loader that was replaced"
        self._ledger.require(ours or context.cancelled.is_set(), Rule.FIRST_LOADER, text)


@final
class FileLoader(PlantedLoader):
    """Can tell what its files look like, and may fail until they are changed.

    Attributes:
        files: What they look like.
        tried: What they looked like when the last attempt began.
    """

    files = 0
    tried = 0

    def revision(self) -> int:
        return self.files

    def _planned(self) -> type[BaseException] | None:
        self.tried = self.files
        return PlantedError if self.kind is Kind.FILES and self.files == 0 else None


def make(name: str, wish: Wish, ledger: Ledger, options: Options) -> ServableData[Loader]:
    """Make an aspiration."""
    id = ServableId(name, wish.version)  # noqa: A001 -- the word of the domain
    if wish.kind is Kind.ERRORED:
        return ServableData.from_error(id, PlantedError("cannot be converted"))
    cls = FileLoader if wish.kind in (Kind.FILES, Kind.WATCHED) else PlantedLoader
    return ServableData(id, cls(wish, ledger, options), wish.origin)


def memory_of(quantity: int) -> ResourceAllocation:
    """Return so much memory."""
    return ResourceAllocation({MAIN_MEMORY: quantity})


def memory_in(allocation: ResourceAllocation) -> int:
    """Return how much memory there is in *allocation*, in the spelling of a tracker."""
    return allocation.quantity(Resource(MAIN_MEMORY.device, MAIN_MEMORY.kind, 0))
