"""Managers that are broken on purpose: the run must fail on each within seconds.

They are planted as those of the simulation are, which lends some of its own. The others need what a
simulation does not have: signals, a collector that runs at any time, and threads that switch anywhere.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from servman import errors
from servman.manager import jobs
from servman.manager.actor import Actor
from servman.manager.crew import Crew
from servman.manager.drains import Drains, Signal
from servman.manager.effects import Serve, StartUnload
from servman.manager.handle import Entry
from servman.manager.messages import Drained
from servman.manager.serving import ServingMap, StreamEntry
from servman.state import ManagerState, ServableState
from servman.threads import WorkerPool
from tests.simulation import serving_faults
from tests.simulation.plants import Fault, fault

if TYPE_CHECKING:
    import pytest

    from servman.events import Event
    from servman.ids import AnyRequest, ServableId
    from servman.manager.drains import Pin


# ---- the signal that the last handle has gone ------------------------------------------------------


@fault("drain signal", "a callback in Python tells of the last handle, and loses that to a signal")
def _told_by_bytecode(patch: pytest.MonkeyPatch) -> None:
    def watch(self: Drains, target: object, incarnation: int, pin: Pin | None) -> None:
        def tell(signal: Signal) -> None:
            self._tell(signal)

        self._signals[incarnation] = Signal(target, tell, incarnation, pin)

    patch.setattr(Drains, "_watch", watch)


@fault("drain signal", "weakref.finalize tells of the last handle, and loses that to a signal")
def _told_by_finalize(patch: pytest.MonkeyPatch) -> None:
    def watch(self: Drains, target: object, incarnation: int, pin: Pin | None) -> None:
        signal = Signal(target, lambda _: None, incarnation, pin)
        weakref.finalize(target, self._tell, signal).atexit = False
        self._signals[incarnation] = signal

    patch.setattr(Drains, "_watch", watch)


@fault(
    "drain signal", "a finaliser of the entry tells of the last handle, and loses that to a signal"
)
def _told_by_finaliser(patch: pytest.MonkeyPatch) -> None:
    make = Actor._entry

    def entering(self: Actor, which: ServableId, incarnation: int) -> Entry:
        entry = make(self, which, incarnation)
        self.drains.forget(incarnation)
        tell[id(entry.pin)] = lambda: self.post(Drained(incarnation))
        return entry

    def finalise(entry: Entry) -> None:
        tell.pop(id(entry.pin))()

    tell: dict[int, Any] = {}
    patch.setattr(Actor, "_entry", entering)
    patch.setattr(Entry, "__del__", finalise, raising=False)


@fault("drain signal", "a version is unloaded as soon as no lookup finds it, whoever holds it")
def _not_waited_for(patch: pytest.MonkeyPatch) -> None:
    serve = Actor._serve

    def hasty(self: Actor, order: Serve) -> None:
        for name, now in order.streams.items():
            for version in self.serving.entries(name).keys() - now.incarnations.keys():
                self.post(Drained(known[name, version]))
            known.update({(name, version): one for version, one in now.incarnations.items()})
        serve(self, order)

    known: dict[tuple[str, int], int] = {}
    patch.setattr(Actor, "_serve", hasty)
    patch.setattr(Drains, "hear", lambda *_: None)


@fault("drain signal", "an unload runs on the manager's own thread")
def _unloaded_at_once(patch: pytest.MonkeyPatch) -> None:
    def unload(self: Crew, order: StartUnload, servable: object) -> None:
        self._post(jobs.unload(order, servable))

    patch.setattr(Crew, "unload", unload)


# ---- what holds a version, and what should not -----------------------------------------------------


@fault("pin", "a handle on the latest version does not hold it")
def _no_hold(patch: pytest.MonkeyPatch) -> None:
    make = StreamEntry.__init__

    def loose(self: StreamEntry, *args: Any) -> None:
        make(self, *args)
        self.latest = Entry(self.latest.id, self.latest.servable, None)

    patch.setattr(StreamEntry, "__init__", loose)


@fault("pin", "a lookup that raises does so from a frame that names what it found")
def _frame_pins(patch: pytest.MonkeyPatch) -> None:
    find = ServingMap.find

    def naming(self: ServingMap, request: AnyRequest) -> Entry | None:
        found = self.streams.get(str(request).partition(":")[0])
        return find(self, request) if found is not None else None

    patch.setattr(ServingMap, "find", naming)


@fault("pin", "the error of a load keeps its traceback, and what is in those frames")
def _error_pins(patch: pytest.MonkeyPatch) -> None:
    def raw(error: BaseException) -> Exception:
        return errors.settled(error).with_traceback(error.__traceback__)

    patch.setattr(jobs, "settled", raw)


@fault("pin", "an idle worker keeps its last job, and the loader in it")
def _worker_pins(patch: pytest.MonkeyPatch) -> None:
    def work(self: WorkerPool) -> None:
        while (job := self._next_job()) is not None:
            job()

    patch.setattr(WorkerPool, "_work", work)


# ---- locks, order and ends -------------------------------------------------------------------------


@fault("lock", "a lookup takes a lock, which a signal handler or a finaliser meets again")
def _lock(patch: pytest.MonkeyPatch) -> None:
    find, lock = ServingMap.find, threading.Lock()

    def locked(self: ServingMap, request: AnyRequest) -> Entry | None:
        with lock:
            return find(self, request)

    patch.setattr(ServingMap, "find", locked)


@fault("order", "AVAILABLE is published before a lookup finds the version")
def _too_early(patch: pytest.MonkeyPatch) -> None:
    carry_out = Actor._carry_out

    def reordered(self: Actor, effects: Any) -> None:
        carry_out(self, sorted(effects, key=lambda effect: isinstance(effect, Serve)))

    patch.setattr(Actor, "_carry_out", reordered)


@fault("order", "END is published twice")
def _two_ends(patch: pytest.MonkeyPatch) -> None:
    publish = Actor._publish

    def stammering(self: Actor, event: Event) -> None:
        publish(self, event)
        if isinstance(event, ServableState) and event.manager_state is ManagerState.END:
            publish(self, event)

    patch.setattr(Actor, "_publish", stammering)


@fault("threads", "a pool does not end its threads")
def _immortal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkerPool, "close", lambda _: None)


_LENT: Final = (
    serving_faults._one_token,
    serving_faults._no_pin,
    serving_faults._two_unloads,
    serving_faults._deaf,
    serving_faults._leak,
    serving_faults._leak_of_with,
)

FAULTS: Final = {
    one.text: one for one in (*vars().copy().values(), *_LENT) if isinstance(one, Fault)
}
"""Each fault by what is wrong."""
