"""The main thread of a round: signals come in while it takes and closes handles.

The handler looks up and closes handles itself, and then raises an exception of its own, wherever the main
thread happens to be. Python runs handlers between two instructions of its own, in functions of the product
too; an exception that arrives in a finaliser or in a callback is lost, together with what they had to do.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from servman.data import ServableData
from servman.errors import ServmanError
from servman.ids import ServableId
from servman.state import ManagerState
from tests.stress.books import Model
from tests.stress.clients import any_request
from tests.stress.keeping import Knot
from tests.stress.loaders import Kind, StressLoader
from tests.stress.world import OWN_STREAM, World

if TYPE_CHECKING:
    from types import FrameType

    from servman.loader import Loader
    from servman.manager import ServableHandle

_VOLLEY: Final = 8
"""How many versions of its own the main thread brings and lets go at a time."""

_WAIT: Final = 0.2
"""Seconds that it waits for them: on a busy machine that may not do, and then there are others."""

_OFTEN: Final = 2_000
"""How often a finaliser uses a servable: for long enough that others could unload it meanwhile."""

_DOT: Final = b"."
_LONG: Final = 300_000
"""So many bytes take the interpreter longer to make than the timer needs, and it looks at no signal meanwhile."""


@final
class Alarmed(BaseException):
    """What the signal handler raises: like KeyboardInterrupt, whose part it plays."""


@final
class Fire:
    """Lives on the main thread; where the platform has no timers that signal, nothing comes in."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._books = world.books
        self._manager = world.manager
        self._random = world.random("main")
        self._version = 0
        self._exposed = False  # whether the handler may raise
        self._interrupted: collections.deque[Alarmed] = collections.deque(maxlen=8)
        self._acts: tuple[Callable[[], None], ...] = (
            self._close,
            self._close_twice,
            self._leave_block,
            self._drop,
            self._take_all,
            self._ask,
        )

    def __enter__(self) -> Fire:
        if hasattr(signal, "setitimer"):
            self._before: Any = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, self._before)
        self._interrupted.clear()

    def turn(self) -> None:
        """Act some dozen times under fire, in every way."""
        for act in self._random.choices(self._acts, k=12):
            self._expose(self._arm, act)
        self._interrupted.clear()  # they may hold what the next volley would replace
        self._volley()

    # ---- signals -------------------------------------------------------------------------------

    def _expose(self, *acts: Callable[[], None]) -> None:
        """Do *acts*, one of which arms the timer: the handler may raise in any."""
        try:
            self._exposed = True
            for act in acts:
                act()
            self._exposed = False
        except Alarmed as alarmed:
            self._interrupted.append(alarmed)  # with the frames, and the handles in them
        except ServmanError:
            self._exposed = False

    def _arm(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, self._random.uniform(2e-6, 40e-6))

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        next(self._books.signals)
        exposed, self._exposed = self._exposed, False
        self._look_around()
        if exposed and self._random.random() < 0.8:
            raise Alarmed

    def _look_around(self) -> None:
        """Do what a handler may do: nothing of it waits, whatever the main thread is in the middle of."""
        self._world.receive()
        with contextlib.suppress(ServmanError):
            handle = self._manager.get_servable_handle(any_request(self._random), Model)
            self._books.used(handle, "a signal handler")
            handle.close()
        if self._random.random() < 0.2:
            self._manager.snapshots()
            self._manager.explain(OWN_STREAM)
            self._manager.set_aspired_versions("of handlers", [])

    # ---- what is done meanwhile ----------------------------------------------------------------

    def _take(self) -> ServableHandle[Model]:
        next(self._books.handles)
        handle = self._manager.get_servable_handle(any_request(self._random), Model)
        self._books.used(handle, "a handle on the main thread", 3)
        return handle

    def _close(self) -> None:
        self._take().close()

    def _close_twice(self) -> None:
        handle = self._take()
        handle.close()
        handle.close()

    def _leave_block(self) -> None:
        with self._take() as handle:
            self._books.used(handle, "a block on the main thread")

    def _drop(self) -> None:
        handle = self._take()
        del handle

    def _take_all(self) -> None:
        for handle in self._manager.get_available_handles().values():
            handle.close()

    def _ask(self) -> None:
        self._manager.snapshots()
        self._manager.explain(any_request(self._random))
        self._manager.list_available_ids()

    # ---- the last handles of versions on their way out -----------------------------------------

    def _volley(self) -> None:
        """Let go of versions whose last handles are here, each as a signal comes in."""
        first, self._version = self._version + 1, self._version + _VOLLEY
        ids = [ServableId(OWN_STREAM, number) for number in range(first, self._version + 1)]
        self._aspire(ids)
        self._world.monitor.wait_until(ids, timeout=_WAIT)
        handles = []
        for id in ids:  # noqa: A001 -- the word of the domain
            with contextlib.suppress(ServmanError):
                handles.append(self._manager.get_servable_handle(id, Model))
        self._aspire([])
        self._world.monitor.wait_until(ids, ManagerState.UNLOADING, timeout=_WAIT)
        while handles:
            aimed = self._random.choice((self._aim_at_drop, self._aim_at_close, self._collect))
            self._expose(lambda aimed=aimed: aimed(handles))  # type: ignore[misc]

    def _aspire(self, ids: list[ServableId]) -> None:
        entries: list[ServableData[Loader]] = [
            ServableData(
                id, StressLoader(Kind.FAST, self._books, self._world.parts, self._random, 0)
            )
            for id in ids  # noqa: A001 -- the word of the domain
        ]
        self._manager.set_aspired_versions(OWN_STREAM, entries)

    def _aim_at_drop(self, handles: list[ServableHandle[Model]]) -> None:
        """Drop one while a signal waits: it is taken up in the first Python code that this would run."""
        handle = handles.pop()
        self._arm()
        _ = _DOT * _LONG
        del handle

    def _aim_at_close(self, handles: list[ServableHandle[Model]]) -> None:
        """Close one while a signal waits: it is taken up within `close`."""
        handle = handles.pop()
        self._arm()
        _ = _DOT * _LONG
        handle.close()

    def _collect(self, handles: list[ServableHandle[Model]]) -> None:
        """Let the collector find one in a cycle whose finaliser uses it."""
        Knot(self._world, handles.pop(), times=_OFTEN)
        gc.collect(0)
