"""The ways in which a thread keeps a handle, and lets go of it."""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, final

from servman.errors import ServmanError
from servman.manager import ServableHandle
from tests.simulation.loaders import PlantedError
from tests.stress.books import Model
from tests.stress.loaders import fail_holding

if TYPE_CHECKING:
    from random import Random

    from tests.stress.world import World

_MOST_HELD: Final = 12


@final
class Knot:
    """Sits in a reference cycle with a handle, and uses the servable so often when it is finalised."""

    _handle: ServableHandle[Model] | None = None  # what a signal interrupts in its making has none

    def __init__(
        self, world: World, handle: ServableHandle[Model], *, times: int = 200, revive: bool = False
    ) -> None:
        self._world = world
        self._times = times
        self._revive = revive
        self._cycle = self
        self._handle = handle

    def __del__(self) -> None:
        if self._handle is None:
            return
        self._world.books.used(self._handle, "a finaliser of a cycle", self._times)
        # On whatever thread the collector runs, whatever that is in the middle of:
        name = self._handle.id.name
        self._world.manager.snapshots(name)
        with contextlib.suppress(ServmanError):
            self._world.manager.get_servable_handle(name, Model).close()
        if self._revive:
            self._world.passed.put(self._handle)


@final
class Keeping:
    """What one thread keeps, the oldest let go of for the newest.

    A way takes its handle out of `hand`, so that no frame further out names it.

    Attributes:
        hand: The handle to be kept: put one in, and call a way.
    """

    def __init__(self, world: World, random: Random) -> None:
        self.hand: list[ServableHandle[Model]] = []
        self._world = world
        self._books = world.books
        self._random = random
        self._held: collections.deque[object] = collections.deque()
        self._ways: tuple[Callable[[], None], ...] = (
            self._close,
            self._close_twice,
            self._leave_block,
            self._drop,
            self._keep_in_traceback,
            self._tie,
            self._tie_loosely,
            self._pass_on,
            self._suspend,
            self._copy,
            self._close_and_keep,
        )

    def keep(self) -> None:
        """Keep what is in the hand, in some way."""
        self._random.choice(self._ways)()
        if len(self._held) > _MOST_HELD:
            self.forget()

    def use(self) -> None:
        """Use what is held, where it can be got at."""
        for one in self._held:
            if isinstance(one, Generator):
                next(one)
            elif isinstance(one, ServableHandle):
                self._books.used(one, "a copy")

    def forget(self) -> None:
        """Let go of the oldest: what is not replaced may hold up all that could replace it."""
        if self._held:
            self._held.popleft()

    def let_go(self) -> None:
        """Let go of everything."""
        self.hand.clear()
        self._held.clear()

    def _close(self) -> None:
        handle = self.hand.pop()
        self._books.used(handle, "a handle", self._random.randrange(1, 50))
        handle.close()

    def _close_twice(self) -> None:
        handle = self.hand.pop()
        self._books.used(handle, "a handle")
        handle.close()
        handle.close()

    def _leave_block(self) -> None:
        with contextlib.suppress(PlantedError), self.hand.pop() as handle:
            self._books.used(handle, "a block", self._random.randrange(1, 50))
            if self._random.random() < 0.5:
                raise PlantedError("planted in a block")

    def _drop(self) -> None:
        handle = self.hand.pop()
        self._books.used(handle, "a handle that is dropped")
        del handle

    def _keep_in_traceback(self) -> None:
        try:
            fail_holding(self.hand.pop())
        except PlantedError as error:
            self._held.append(error)

    def _tie(self) -> None:
        """Leave garbage, for the collector to find."""
        Knot(self._world, self.hand.pop(), revive=self._random.random() < 0.2)

    def _tie_loosely(self) -> None:
        """Leave what becomes garbage later."""
        self._held.append(Knot(self._world, self.hand.pop()))

    def _pass_on(self) -> None:
        self._world.passed.put(self.hand.pop())

    def _suspend(self) -> None:
        answers = self._answers(self.hand.pop())
        next(answers)
        self._held.append(answers)

    def _answers(self, handle: ServableHandle[Model]) -> Generator[None, None, None]:
        with handle:
            try:
                while True:
                    yield
                    self._books.used(handle, "a suspended frame")
            finally:
                self._books.used(handle, "a suspended frame that ends")

    def _copy(self) -> None:
        handle = self.hand.pop()
        twin = copy.copy(handle)
        handle.close()
        self._books.used(twin, "a copy")
        self._held.append(twin)

    def _close_and_keep(self) -> None:
        handle = self.hand.pop()
        handle.close()
        self._world.keep(handle)
