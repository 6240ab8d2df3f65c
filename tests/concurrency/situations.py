"""What a manager can be in the midst of when something else happens to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from servman.events import Event
from servman.manager.tracker import ResourceTracker
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState, StreamAspiration
from servman.testing import FakeClock, GatedLoader
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, Held, let_it_act
from tests.unit.manager.live import Live
from tests.unit.manager.rig import FileLoader, ModelLoader, entry


@final
@dataclass
class Situation:
    """A manager that stands still in the midst of something to do with "m:1".

    Attributes:
        clock: Its time.
        let_go: Lets it go on.
        stays: What cannot end before it goes on: its load or unload runs, or its handle is open.
        ids: Every version that the manager has.
    """

    live: Live
    clock: FakeClock
    let_go: Callable[[], object] = lambda: None
    stays: list[str] = field(default_factory=lambda: ["m:1"])
    ids: list[str] = field(default_factory=lambda: ["m:1"])
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.live.bus.attach(self)

    def record(self, event: Event) -> None:
        """Note that the manager has taken up that it is to close; nothing else aspires nothing."""
        if isinstance(event, StreamAspiration) and not event.versions:
            self._closing.set()

    def wait_until_closing(self) -> None:
        """Wait until the manager has taken up that it is to close."""
        assert self._closing.wait(WATCHDOG)


def _live(clock: FakeClock, **options: Any) -> Live:
    options = {"num_load_threads": 1, "num_unload_threads": 1} | options
    return Live(clock=clock, **options)


def queued() -> Situation:
    """Wait for a load thread."""
    clock, held = FakeClock(), Held()
    live = _live(clock)
    live.aspire("busy", entry("busy:1", held))
    held.gate.wait()
    live.aspire("m", 1)
    live.wait_for("m:1", ManagerState.START)
    return Situation(live, clock, held.gate.open, ["busy:1"], ["busy:1", "m:1"])


def hooking() -> Situation:
    """Run the hook before a load."""
    clock, hook = FakeClock(), Gate()
    live = _live(clock, pre_load_hook=hook)
    live.aspire("m", 1)
    hook.wait()
    return Situation(live, clock, hook.open)


def loading() -> Situation:
    """Load."""
    clock, held = FakeClock(), Held()
    live = _live(clock)
    live.aspire("m", entry("m:1", held))
    held.gate.wait()
    return Situation(live, clock, held.gate.open)


def failing() -> Situation:
    """Load, and fail in the end."""
    clock, held = FakeClock(), Held(ValueError("torn"))
    live = _live(clock)
    live.aspire("m", entry("m:1", held))
    held.gate.wait()
    return Situation(live, clock, held.gate.open)


def asking() -> Situation:
    """Ask whether to retry a load that has failed."""
    clock, ask = FakeClock(), Gate(answer=True)
    live = _live(clock, should_retry=ask)
    live.aspire("m", entry("m:1", ModelLoader(ValueError("torn"))))
    ask.wait()
    return Situation(live, clock, ask.open)


def pausing() -> Situation:
    """Wait for the next attempt."""
    clock = FakeClock()
    live = _live(clock)
    live.aspire("m", entry("m:1", ModelLoader(ValueError("torn"))))
    live.wait_for("m:1", ManagerState.LOADING)
    live.bring("n", 1)  # its load has waited for the thread
    return Situation(live, clock, stays=[], ids=["m:1", "n:1"])


class _Heavy(ModelLoader):
    def estimate_resources(self) -> ResourceAllocation:
        return ResourceAllocation({MAIN_MEMORY: 6})


class _Estimated(_Heavy):
    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def estimate_resources(self) -> ResourceAllocation:
        self.gate()
        return super().estimate_resources()


def _memory() -> ResourceTracker:
    return ResourceTracker(ResourceAllocation({MAIN_MEMORY: 10}))


def estimating() -> Situation:
    """Ask what a load will need."""
    clock, loader = FakeClock(), _Estimated()
    live = _live(clock, resource_tracker=_memory())
    live.aspire("m", entry("m:1", loader))
    loader.gate.wait()
    return Situation(live, clock, loader.gate.open)


def starving() -> Situation:
    """Wait for the memory of a version on its way out."""
    clock = FakeClock()
    live = _live(clock, resource_tracker=_memory())
    live.bring("old", entry("old:1", _Heavy()))
    handle = live.handle("old")
    live.aspire("old")
    live.aspire("m", entry("m:1", _Heavy()))
    let_it_act(live)
    return Situation(live, clock, handle.close, ["old:1"], ["old:1", "m:1"])


def draining() -> Situation:
    """Wait for a handle to close."""
    clock = FakeClock()
    live = _live(clock)
    live.bring("m", 1)
    handle = live.handle("m")
    live.aspire("m", 2)
    live.wait_for("m:1", ManagerState.UNLOADING)
    return Situation(live, clock, handle.close, ids=["m:1", "m:2"])


def coming_back() -> Situation:
    """Wait for a handle to close, with the version wanted anew."""
    clock = FakeClock()
    live = _live(clock)
    live.bring("m", 1)
    handle = live.handle("m")
    live.aspire("m", 2)
    live.wait_for("m:1", ManagerState.UNLOADING)
    live.aspire("m", 1, 2)
    let_it_act(live)
    return Situation(live, clock, handle.close, ids=["m:1", "m:2"])


def unloading() -> Situation:
    """Unload."""
    clock, loader = FakeClock(), GatedLoader(gate_load=False, gate_unload=True)
    live = _live(clock, num_unload_threads=2)
    live.bring("m", entry("m:1", loader))
    live.aspire("m", 2)
    assert loader.unload_entered.wait(WATCHDOG)
    return Situation(live, clock, loader.let_unload.set, ids=["m:1", "m:2"])


class _Looked(FileLoader):
    def __init__(self) -> None:
        super().__init__(ValueError("torn"))
        self.gate = Gate()

    def revision(self) -> object:
        if self.contexts:
            self.gate()
        return super().revision()


def looking() -> Situation:
    """Look at the files of a version that has failed."""
    clock, loader = FakeClock(), _Looked()
    live = _live(clock, max_num_load_retries=0)
    live.bring("m", entry("m:1", loader))
    clock.advance(1.0)
    loader.gate.wait()
    return Situation(live, clock, loader.gate.open, stays=[])


SITUATIONS: Final = (
    queued,
    hooking,
    loading,
    failing,
    asking,
    pausing,
    estimating,
    starving,
    draining,
    coming_back,
    unloading,
    looking,
)
