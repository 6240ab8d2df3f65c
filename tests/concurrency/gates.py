"""What holds threads at a chosen point, so that a test can force the order of two of them."""

from __future__ import annotations

import itertools
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Generic, TypeVar, final

import servman
from servman.errors import ServmanError
from servman.events import Event
from servman.loader import LoadContext
from servman.state import ManagerState, ServableState
from servman.testing import GatedLoader, Spawned
from servman.testing.clock import WATCHDOG
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, entry, errored, sid

T = TypeVar("T")

_PATIENCE = 2 * WATCHDOG  # longer than the test waits: a hang must not end by what holds it
_NUMBERS = itertools.count()
_HOUSE = pathlib.Path(servman.__file__).parent


@final
class Gate:
    """A callable, whatever it is shown, whose calls wait until the test opens it.

    Attributes:
        answer: What a call returns, or raises if it is an exception.
    """

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self._entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self, *_: object) -> Any:
        self._entered.set()
        assert self._opened.wait(_PATIENCE), "the test never opened the gate"
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def wait(self) -> None:
        """Wait until somebody stands before it."""
        assert self._entered.wait(WATCHDOG), "nobody came to the gate"

    def open(self) -> None:
        """Let everybody through from now on."""
        self._opened.set()


class Held(ModelLoader):
    """A loader whose load waits at a gate, then fails with the error if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.gate = Gate(error)

    def load(self, context: LoadContext) -> Model:
        """Wait at the gate; then as a `ModelLoader`."""
        self.contexts.append(context)  # so that a test can see whether it is cancelled
        self.gate()
        self.contexts.pop()
        return super().load(context)


@final
class Bystander:
    """Does something on the manager's own thread, while it publishes that "m:1" came to a state."""

    def __init__(self, live: Live, state: ManagerState, act: Callable[[], object]) -> None:
        self._state = state
        self._act = act
        live.bus.attach(self)

    def record(self, event: Event) -> None:
        """Act, if it is the moment; the bus calls it inside `publish`."""
        if (
            isinstance(event, ServableState)
            and event.id == sid("m:1")
            and event.manager_state is self._state
        ):
            self._act()


@final
class Halted(Generic[T]):
    """Runs a function in a thread that halts before the given line of servman's code.

    Lines are counted as they are come to, from 0, those of one room (a folder of servman) alone.

    Attributes:
        lines: How many were come to.
    """

    def __init__(self, run: Callable[[], T], line: float, room: str) -> None:
        self.lines = 0
        self._run = run
        self._line = line
        self._room = str(_HOUSE / room)
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._halts = False
        self._over = False
        self._go = threading.Event()
        self._thread = Spawned(self._traced)

    def halts(self) -> bool:
        """Wait until it halts; return False if it came to its end instead."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._halts or self._over, WATCHDOG)
            return self._halts

    def let_go(self) -> None:
        """Let it go on to its end."""
        self._go.set()

    def resume(self) -> T:
        """Let it go on to its end; return or raise what it did."""
        self.let_go()
        return self._thread.result()

    def _traced(self) -> T:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return self._run()
        finally:
            sys.settrace(before)
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._room):
            return None
        if event == "line":
            if self.lines == self._line:
                self._halt()
            self.lines += 1
        return self._trace

    def _halt(self) -> None:
        with self._changed:
            self._halts = True
            self._changed.notify_all()
        assert self._go.wait(_PATIENCE), "the test never let it go on"


def halts(
    begin: Callable[[str], Callable[[], T]], room: str = "manager"
) -> Iterator[tuple[str, Halted[T]]]:
    """Yield a name and a call halted at its first line, then at its second, and so on to its end.

    *begin* prepares for one call under a name that is new each time, and returns the call.
    """
    for line in itertools.count():
        name = f"m{line}"
        halted = Halted(begin(name), line, room)
        if not halted.halts():
            halted.resume()
            assert line > 0, "the call never came into the room"
            return
        try:
            yield name, halted
        finally:
            halted.let_go()


def together(*calls: Callable[[], T]) -> list[Spawned[T]]:
    """Run each call in a thread of its own, all from one moment on."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        start.wait(WATCHDOG)
        return call()

    return [Spawned(lambda call=call: run(call)) for call in calls]  # type: ignore[misc]


def outcome(call: Callable[[], object]) -> type[ServmanError] | None:
    """Return the type of the error that *call* raises, or None."""
    try:
        call()
    except ServmanError as error:
        return type(error)
    return None


def let_it_hear(live: Live) -> None:
    """Return when the manager has taken up all that it was told by now."""
    name = f"heard{next(_NUMBERS)}"
    live.bring(name, errored(f"{name}:1"))
    live.bring(name)


def let_it_act(live: Live) -> None:
    """Return when the manager has done all that it could do by now.

    Its mailbox, its one unload thread and, where one is left, its one load thread are queues: whatever
    it would do about what has happened before is done before another stream can come, change and go.
    """
    live.bring("probe", 1)
    live.bring("probe", 2)
    live.bring("probe")


@final
class Sentinels:
    """Loads that still run when a manager is closed: they tell when it has done all that it could.

    As in `let_it_act`, but nothing new is taken up by then. The manager needs one unload thread.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._loaders = [GatedLoader(), GatedLoader()]
        for number, loader in enumerate(self._loaders):
            live.aspire(f"sentinel{number}", entry(f"sentinel{number}:1", loader))
        for loader in self._loaders:
            assert loader.load_entered.wait(WATCHDOG)

    def wait_until_closing(self) -> None:
        """Wait until the manager has taken up that it is to close."""
        for loader in self._loaders:
            assert loader.contexts[0].cancelled.wait(WATCHDOG)

    def let_it_act(self) -> None:
        """Return when the manager, which is closing, has done all that it could do by now."""
        self.wait_until_closing()
        for number, loader in enumerate(self._loaders):
            loader.let_load.set()
            self._live.wait_for(f"sentinel{number}:1", ManagerState.END)
