"""What the threads of one round share: a manager with options of its own, and the books."""

from __future__ import annotations

import queue
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

from servman.events import EventBus
from servman.manager import (
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
    ResourceTracker,
    ServableHandle,
)
from servman.monitor import ServableStateMonitor
from servman.resources import MAIN_MEMORY, ResourceAllocation
from tests.simulation.loaders import FinalError, retriable
from tests.stress.books import Books, Model
from tests.stress.loaders import Parts

if TYPE_CHECKING:
    from servman.ids import ServableId

LOAD_TIMEOUTS: Final[tuple[float | None, ...]] = (None, 0.04)
"""What a round may take for its own."""

STREAMS: Final = ("a", "b", "c")
"""What the swappers swap."""

OWN_STREAM: Final = "main"
"""What the main thread swaps for itself."""

_MOST_KEPT: Final = 2_000
"""More would only slow the collector down."""


@final
class World:
    """One round's manager and what is around it.

    Attributes:
        passed: Handles on their way from one thread to another, which closes them.
        kept: What is kept until the manager has closed and must hold nothing: closed handles, and
            errors with their tracebacks.
        over: Whether the round is over, and the manager about to be closed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        options = _drawn(self.random("options"))
        self.books = Books(gives_up=options["load_timeout"] is not None)
        self.bus = EventBus()
        self.manager = AspiredVersionsManager(
            event_bus=self.bus, should_retry=retriable, revision_interval=0.005, **options
        )
        self.books.manager = self.manager
        self.bus.attach(self.books)
        self.monitor = ServableStateMonitor(self.bus)
        self.parts = Parts(self.manager, STREAMS)
        self.passed: queue.SimpleQueue[ServableHandle[Model]] = queue.SimpleQueue()
        self.kept: list[object] = []
        self.over = False

    def random(self, thread: str) -> Random:
        """Return the chance of one thread: another for each, the same for one seed."""
        return Random(f"{self.seed} {thread}")  # noqa: S311 -- chance, not secrecy

    @property
    def ends(self) -> bool:
        """Whether threads should come to their end."""
        return self.over or bool(self.books.failures)

    def keep(self, one: object) -> None:
        """Keep *one* until the manager has closed."""
        if len(self.kept) < _MOST_KEPT:
            self.kept.append(one)

    def receive(self) -> bool:
        """Use and close a handle that another thread has passed on; return whether there was one."""
        try:
            handle = self.passed.get_nowait()
        except queue.Empty:
            return False
        self.books.used(handle, "a handle from another thread")
        handle.close()
        return True


def _drawn(random: Random) -> dict[str, Any]:
    """Draw the options of a manager. Memory is scarce in some: what lacks it waits, or fails."""
    policy = random.choice((AvailabilityPreservingPolicy, ResourcePreservingPolicy))
    memory = random.choice((None, 8, 100))
    total = None if memory is None else ResourceAllocation({MAIN_MEMORY: memory})
    return {
        "policy": policy(),
        "num_load_threads": random.randint(1, 4),
        "num_unload_threads": random.randint(1, 3),
        "max_num_load_retries": random.randint(0, 2),
        "load_retry_interval": random.choice((0.0, 0.002, 60.0)),
        "load_timeout": random.choice(LOAD_TIMEOUTS),
        "pre_load_hook": random.choice((None, _refuse_some)),
        "resource_tracker": None if total is None else ResourceTracker(total),
    }


def _refuse_some(id: ServableId) -> None:
    """A `pre_load_hook` that lets one version in four fail."""
    if id.name != OWN_STREAM and id.version % 4 == 0:
        raise FinalError("planted in the hook")
