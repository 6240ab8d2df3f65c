"""One round: a manager of its own, swapped and asked from many threads, then closed and checked."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar, final

from servman.data import ServableData
from servman.ids import ServableId
from servman.testing import Spawned
from tests.simulation.loaders import PlantedError
from tests.stress.clients import Client, Swapper
from tests.stress.fire import Alarmed, Fire
from tests.stress.loaders import Kind, LateLoader, Parts, StressLoader
from tests.stress.world import World

if TYPE_CHECKING:
    from servman.threads import Thread
    from tests.stress.books import Books

T = TypeVar("T")

_CLIENTS: Final = 3
_SWAPPERS: Final = 2

_LAST: Final[dict[str, Kind]] = {
    "part": Kind.FAST,
    "failed": Kind.FAILS_HOLDING,
    "whole": Kind.HOLDS,
}
"""The last streams of a round, and what loads them."""

_SLACK: Final = 0.5
"""By how much the watchdog is the more patient one: what can be named is named before it bites."""


@final
class Round:
    """One round, from one seed.

    Args:
        seed: What its threads draw their chances from.
        patience: Seconds after which what has not ended hangs.
    """

    def __init__(self, seed: int, patience: float) -> None:
        self._patience = patience
        self._world = World(seed)
        self._books = self._world.books
        self._let_late = threading.Event()

    def run(self, seconds: float) -> list[str]:
        """Go on for so long, or until something is wrong; return what was found wrong."""
        before = set(threading.enumerate())
        with _watched(self._books):
            self._world.manager.start()
            threads = [Spawned(run) for run in self._runs()]
            with Fire(self._world) as fire:
                end = time.monotonic() + seconds
                while time.monotonic() < end and not self._world.ends:
                    self._await_progress()
                    fire.turn()
            self._assemble()
            self._end(threads)
            self._check_threads(before)
        faulthandler.cancel_dump_traceback_later()
        return self._books.failures

    def __str__(self) -> str:
        return str(self._books)

    def _runs(self) -> list[Callable[[], None]]:
        clients = [Client(self._world, f"client {number}").run for number in range(_CLIENTS)]
        swappers = [Swapper(self._world, f"swapper {number}").run for number in range(_SWAPPERS)]
        return [*clients, *swappers]

    def _await_progress(self) -> None:
        """Let a hang of this thread end the process with the stacks of all, the patience being over."""
        faulthandler.dump_traceback_later(self._patience * (1 + _SLACK), exit=True)

    # ---- the end -------------------------------------------------------------------------------

    def _assemble(self) -> None:
        """Leave something for the end: an error and a loader that hold handles, and a load given up."""
        random, parts = self._world.random("end"), Parts(self._world.manager, ("part",))
        loaders = {
            name: StressLoader(kind, self._books, parts, random, needs=0)
            for name, kind in _LAST.items()
        }
        if self._books.gives_up:
            loaders["late"] = LateLoader(self._books, parts, random, self._let_late)
        for name, loader in loaders.items():
            self._await_progress()
            self._world.manager.set_aspired_versions(
                name, [ServableData(ServableId(name, 1), loader)]
            )
            if not self._books.failures:
                self._world.monitor.wait_until([name], timeout=self._patience)

    def _end(self, threads: list[Spawned[None]]) -> None:
        """Close the manager while clients still ask, and check what it leaves."""
        self._world.over = True
        closing = Spawned(lambda: self._world.manager.close(self._patience))
        for thread in threads:
            self._finish(thread)
        self._let_late.set()  # now that the manager closes, as the clients were told
        self._let_go()
        report = self._finish(closing)
        if report is not None and not report:
            self._books.blame(f"the manager has closed, but {report}")
        self._await_progress()
        self._books.check_ended()
        self._world.kept.clear()
        self._world.monitor.close()
        self._world.bus.close()

    def _finish(self, thread: Spawned[T]) -> T | None:
        """Return what *thread* returns; whatever goes wrong in it is a failure."""
        self._await_progress()
        try:
            return thread.result(self._patience * (1 + _SLACK / 2))
        except BaseException as error:  # noqa: BLE001 -- all that a thread can raise is wrong
            self._books.blame(f"a thread ended with {error!r}")
            if not thread.done:
                faulthandler.dump_traceback(all_threads=True)
            return None

    def _let_go(self) -> None:
        """Let go of the last handles: those in garbage, and those on their way between threads."""
        gc.collect()
        while self._world.receive():
            gc.collect()

    def _check_threads(self, before: set[Thread]) -> None:
        own = [thread for thread in threading.enumerate() if thread not in before]
        for thread in own:
            self._await_progress()
            thread.join(self._patience if not self._books.failures else 0.0)
            if thread.is_alive():
                self._books.blame(f"the thread {thread.name!r} is left")


@contextlib.contextmanager
def _watched(books: Books) -> Iterator[None]:
    """Notice what is raised in threads, finalisers and callbacks, and what the manager logs of itself."""
    unraisable, uncaught = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda told: _told(books, told.exc_value, f"in {told.object!r}")
    threading.excepthook = lambda told: _told(books, told.exc_value, "in a thread")
    log, handler = logging.getLogger("servman"), _FaultHandler(books)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = unraisable, uncaught
        log.removeHandler(handler)
        log.propagate = True


def _told(books: Books, error: BaseException | None, where: str) -> None:
    # The exception of the signal handler may come up in a finaliser of ours, where it is lost.
    if not isinstance(error, Alarmed):
        books.blame(f"{error!r} was raised {where}")


@final
class _FaultHandler(logging.Handler):
    """Takes errors in the log for faults of the manager, unless a loader of ours was to raise them."""

    def __init__(self, books: Books) -> None:
        super().__init__(logging.ERROR)
        self._books = books

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, PlantedError):
            self._books.blame(f"{record.getMessage()}: {error!r}")
