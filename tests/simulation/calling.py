"""A simulated manager that does as it is told: what its callers ask for, and what they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from servman.data import ServableData
from servman.manager import ActionKind, BasicManager, HarnessState
from servman.manager.messages import Act, CloseRequested, Manage, Obtain, StopManaging
from servman.state import ManagerState
from tests.simulation.invariants import Invariants
from tests.simulation.ledger import Ledger, Rule
from tests.simulation.loaders import Wish, make
from tests.simulation.world import AnyWorld, World

if TYPE_CHECKING:
    from concurrent.futures import Future

    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.messages import Event, Reply

_LOOSE: Final = (HarnessState.NEW, HarnessState.ERROR, HarnessState.DISABLED)
_ENDS: Final = (ManagerState.END, None)


@final
@dataclass(slots=True, eq=False)
class Witness:
    """Stands between the manager and who asked, and sees what is answered, and how often.

    Attributes:
        before: How much had been asked for before.
    """

    event: Manage | Act | StopManaging | Obtain
    reply: Reply
    invariants: CallingInvariants
    before: int
    answers: int = 0

    def answer(self, error: ServmanError | None) -> None:
        self.answers += 1
        self.invariants.answering(self, error)
        self.reply.answer(error)


class CallingInvariants(Invariants):
    """Also follows what is asked for, and whether and how it is answered.

    Attributes:
        asked: Everything that was asked for and has been taken up.
    """

    def __init__(self, world: AnyWorld, ledger: Ledger) -> None:
        super().__init__(world, ledger)
        self.asked: list[Witness] = []
        self._let_go: set[ServableId] = set()

    def taking(self, event: Event | None) -> None:
        """Follow *event*, which the manager is about to take up, and watch who is answered."""
        super().taking(event)
        match event:
            case Manage() if not self._managed(event.data.id) and not self.closing:
                self.expect(event.data)
            case Act() if event.action.kind is ActionKind.UNLOAD:
                self._let_go.add(event.action.id)
            case CloseRequested():
                self._let_go.clear()
            case _:
                pass
        if isinstance(event, Manage | Act | StopManaging | Obtain):
            witness = Witness(event, event.reply, self, len(self.asked))
            self.asked.append(witness)
            event.reply = witness

    def count_asked(self) -> int:
        """Return how much has been asked for by callers who are answered."""
        return len(self.asked)

    def _managed(self, id: ServableId) -> bool:
        return any(one.id == id for one in self._world.manager.snapshots(id.name))

    def expect(self, data: ServableData[Loader]) -> None:
        """Take note of whose loader is to be used from now on."""
        if data.error is None:
            loader = getattr(data.payload, "_loader", data.payload)  # what a cache counts by
            data = ServableData(data.id, loader, data.origin)
        self._ledger.expected[data.id] = data

    def answering(self, witness: Witness, error: ServmanError | None) -> None:
        """Check what somebody is told, when he is told."""
        event, answers = witness.event, witness.answers
        self._ledger.require(answers == 1, Rule.ANSWERED, f"{event}: {answers} times")
        stale = self.failures.precedes(error, witness.before)
        text = f"{event}: told of a failure before it: {error}"
        self._ledger.require(not stale, Rule.ANSWERED, text)
        if error is None:
            text = f"{event}: done, it says"
            self._ledger.require(self._is_true(event), Rule.ANSWERED, text)

    def _is_true(self, event: Manage | Act | StopManaging | Obtain) -> bool:
        match event:
            case Manage():
                return self._managed(event.data.id)
            case Act() if event.action.kind is ActionKind.LOAD:
                return self._world.finds(event.action.id)
            case Act():
                gone = not self._ledger.in_memory[event.action.id]
                return gone and self.state[event.action.id] is ManagerState.END
            case StopManaging():
                return self.state.get(event.id) in _ENDS
            case _:
                return self._world.finds(event.data.id)

    def newest(self, name: str) -> int | None:
        """Return which version of *name* a lookup of the newest is to find."""
        return max((one.id.version for one in self._world.manager.snapshots(name)), default=None)

    def wanted_ids(self) -> set[ServableId]:
        """Return what is managed."""
        return {one.id for one in self._world.manager.snapshots() if one.aspired}

    def before_step(self) -> None:
        """Note what the step starts from."""
        super().before_step()
        self._let_go.clear()

    def check_service(self, served: set[ServableId]) -> None:
        """Check that nothing was taken out that nobody asked to be."""
        for which in self._served - served - self._let_go - self.failures.leaving:
            self._ledger.blame(Rule.STAYS_SERVED, f"{which} was taken out, and nobody asked for it")

    def check_answers(self) -> None:
        """Check that nobody waits any more."""
        for witness in self.asked:
            text = f"{witness.event}: never answered"
            self._ledger.require(witness.answers == 1, Rule.ANSWERED, text)


@final
class BasicWorld(World[BasicManager, CallingInvariants]):
    """A manager that its callers tell what to do."""

    def _make(self) -> None:
        self.manager = BasicManager(**self._common())
        self.invariants = CallingInvariants(self, self.ledger)
        self._futures: list[Future[Any]] = []

    def manage(self, name: str, wish: Wish) -> None:
        """Have a version managed."""
        self._futures.append(self.manager.manage(make(name, wish, self.ledger, self.options)))

    def load(self, id: ServableId) -> None:
        """Have it loaded."""
        self._futures.append(self.manager.load(id))

    def unload(self, id: ServableId) -> None:
        """Have it unloaded."""
        self._futures.append(self.manager.unload(id))

    def stop_managing(self, id: ServableId) -> None:
        """Have it forgotten."""
        self._futures.append(self.manager.stop_managing(id))

    def report(self) -> tuple[Any, ...]:
        """Return what the manager, which has closed, says to have left."""
        self._check_answers()
        return super().report()

    def _check_answers(self) -> None:
        self.invariants.check_answers()
        waiting = sum(not one.done() for one in self._futures)
        self.ledger.require(not waiting, Rule.ANSWERED, f"{waiting} futures are not done")

    def check_rest(self) -> None:
        """Nothing is on its way, and everybody was answered."""
        for one in self.manager.snapshots():
            rests = one.state is HarnessState.READY or one.state in _LOOSE
            self.ledger.require(rests, Rule.SETTLES_RIGHT, f"{one} at rest")
        self._check_answers()
        self.ledger.raise_first()

    def let_all_go(self) -> None:
        """Unload everything, and forget it."""
        for one in self.manager.list_available_ids():
            self.unload(one)
        self.settle()
        for snapshot in self.manager.snapshots():
            self.stop_managing(snapshot.id)
