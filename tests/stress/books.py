"""What a round has seen: what was loaded and unloaded, what was published, and what went wrong.

Written from every thread, signal handlers and finalisers among them: so nothing here takes a lock, and
what is wrong is collected, for an exception would be swallowed where most of it is found.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Final, final

from servman.errors import ClosedError, ServmanError
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from servman.events import Event
    from servman.ids import ServableId
    from servman.manager import AspiredVersionsManager, ServableHandle

_FOUND: Final = (ManagerState.AVAILABLE, ManagerState.UNLOADING)
"""What is published while lookups find the version."""


@final
class Life:
    """What became of one servable. It outlives the servable, and holds nothing of it."""

    __slots__ = ("id", "unloads")

    def __init__(self, id: ServableId) -> None:
        self.id = id
        self.unloads: list[str] = []
        """The threads on which it was unloaded."""


@final
class Model:
    """A servable that knows whether it may still be used.

    Attributes:
        part: A handle on another servable that it is made of, or None.
    """

    __slots__ = ("__weakref__", "id", "life", "part")

    def __init__(self, life: Life, part: ServableHandle[Model] | None = None) -> None:
        self.id = life.id
        self.life = life
        self.part = part

    @property
    def loaded(self) -> bool:
        """Whether it may be used."""
        return not self.life.unloads


@final
class Books:
    """Keeps the books of one round, and checks each entry.

    Attributes:
        failures: What was found wrong, oldest first.
        gives_up: Whether the manager ends versions whose loads have not returned in time.
        handles, signals: How many were taken, and came.
    """

    def __init__(self, *, gives_up: bool) -> None:
        self.failures: list[str] = []
        self.handles = itertools.count()
        self.signals = itertools.count()
        self.manager: AspiredVersionsManager | None = None
        self.gives_up = gives_up
        self._lives: list[Life] = []
        self._lives_of: dict[ServableId, list[Life]] = {}
        self._states: dict[ServableId, ManagerState] = {}
        self._errors: list[ServmanError] = []  # of ENDs: they must hold nothing
        self._ends = 0

    def blame(self, text: str) -> None:
        """Write down what is wrong."""
        self.failures.append(f"{text} [{threading.current_thread().name}]")

    # ---- loads, uses and unloads ---------------------------------------------------------------

    def loaded(self, id: ServableId) -> Life:
        """Enter a servable that is about to be there."""
        life = Life(id)
        self._lives.append(life)
        self._lives_of.setdefault(id, []).append(life)
        return life

    def used(self, handle: ServableHandle[Model], how: str, times: int = 1) -> None:
        """Use the servable of *handle*, which must be there all the while."""
        for _ in range(times):
            if not handle.servable.loaded:
                self.blame(f"{how} sees {handle.id}, which is unloaded")
                return
        if handle.servable.id != handle.id:
            self.blame(f"{how} is on {handle.id} and sees {handle.servable.id}")

    def unloaded(self, model: Model) -> None:
        """Enter an unload."""
        unloads, where = model.life.unloads, threading.current_thread().name
        unloads.append(where)
        if len(unloads) > 1:
            self.blame(f"{model.id} is unloaded twice, on {unloads}")
        if not where.startswith("unload-"):
            self.blame(f"{model.id} is unloaded elsewhere than on the unload pool")

    # ---- events --------------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        """Check *event*; the bus calls it inside `publish`, on the manager's thread alone."""
        if not isinstance(event, ServableState):
            return
        state, last = event.manager_state, self._states.get(event.id, ManagerState.END)
        begins = last is ManagerState.END
        if begins != (state is ManagerState.START) or (not begins and state <= last):
            self.blame(f"{event.id} is told {state.name} after {last.name}")
        self._states[event.id] = state
        if state in _FOUND:
            self._check_found(event)
        elif state is ManagerState.END:
            self._ends += 1
            if event.error is not None:
                self._errors.append(event.error)
            self._check_gone(event)

    def _check_found(self, event: ServableState) -> None:
        if self.manager is None:
            return
        try:
            handle = self.manager.get_servable_handle(event.id, Model)
        except ServmanError as error:
            self.blame(f"{event}, but no lookup finds it: {error}")
        else:
            self.used(handle, "a recorder")
            handle.close()

    def _check_gone(self, event: ServableState) -> None:
        if self.gives_up or isinstance(event.error, ClosedError):
            return  # what did not return in time ends all the same
        if not all(life.unloads for life in self._lives_of.pop(event.id, ())):
            self.blame(f"{event}, but it is in memory")

    # ---- the end -------------------------------------------------------------------------------

    def check_ended(self) -> None:
        """Check that everything has come to its end, now that the manager is closed."""
        for id, state in self._states.items():  # noqa: A001 -- the word of the domain
            if state is not ManagerState.END:
                self.blame(f"{id} never ended: its last state is {state.name}")
        for life in self._lives:
            if not life.unloads:
                self.blame(f"{life.id} was loaded and never unloaded")

    def __str__(self) -> str:
        return (
            f"{next(self.handles):,} handles, {next(self.signals):,} signals,"
            f" {len(self._lives):,} loads, {self._ends:,} ENDs"
        )
