"""A supervision that is driven by hand: time stands still, and processes do what the test says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

from servman.errors import ServmanError, WorkerDiedError
from servman.ids import ServableId
from servman.manager.backoff import ExponentialBackoff
from servman.worker_state import WorkerState
from servman.workers.devices import plan
from servman.workers.options import Workers
from servman.workers.supervision import Supervision
from servman.workers.turns import (
    BecameReady,
    Child,
    CloseRequested,
    Died,
    Effect,
    Event,
    LoadRefused,
    StartRequested,
    TimePassed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E")

ID = ServableId("m", 1)
DEATH = WorkerDiedError("m:1: worker was killed by SIGKILL", signal=9)
NO_JITTER = ExponentialBackoff(initial=1.0, maximum=8.0, jitter=0.0)


def options(replicas: int = 1, **more: Any) -> Workers:
    return Workers(replicas, **{"restart_backoff": NO_JITTER, **more})


@final
class Ward:
    """Workers under supervision, and all that was said about them."""

    def __init__(
        self, workers: Workers | None = None, *, chance: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.now = 1_000.0
        self.options = workers or options()
        self.supervision = Supervision(ID, plan(self.options), self.options, chance)
        self.said: list[Effect] = []

    def tell(self, event: Event) -> list[Effect]:
        """Hand *event* over and return what is to be done about it."""
        effects = self.supervision.handle(event, self.now)
        self.said += effects
        return effects

    def start(self) -> list[Effect]:
        return self.tell(StartRequested())

    def serve(self) -> None:
        """Start every worker, and have all become ready."""
        self.start()
        for index in range(len(self.supervision.workers)):
            self.ready(index)

    def child(self, index: int = 0) -> Child:
        return self.supervision.workers[index].child

    def ready(self, index: int = 0) -> list[Effect]:
        return self.tell(BecameReady(self.child(index)))

    def die(
        self, index: int = 0, error: ServmanError = DEATH, *, worked: bool = False
    ) -> list[Effect]:
        return self.tell(Died(self.child(index), error, worked))

    def refuse(self, error: ServmanError, index: int = 0) -> list[Effect]:
        return self.tell(LoadRefused(self.child(index), error))

    def close(self) -> list[Effect]:
        return self.tell(CloseRequested())

    def wait(self) -> list[Effect]:
        """Let the time come that is waited for, and tell of it."""
        wake = self.supervision.wake_at()
        assert wake is not None
        self.now = max(self.now, wake)
        return self.tell(TimePassed())

    def pass_time(self, seconds: float) -> list[Effect]:
        """Let *seconds* pass, with every wake-up on the way."""
        until = self.now + seconds
        effects: list[Effect] = []
        for _ in range(10_000):
            wake = self.supervision.wake_at()
            if wake is None or wake > until:
                self.now = until
                return effects
            effects += self.wait()
        raise AssertionError("the supervision does not come to rest")

    def state(self, index: int = 0) -> WorkerState:
        return self.supervision.workers[index].state

    def said_of(self, kind: type[E]) -> list[E]:
        """Return what was said of *kind*, in order."""
        return [effect for effect in self.said if isinstance(effect, kind)]
