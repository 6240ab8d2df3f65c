"""Anything may happen to workers, in any order: what holds all the same."""

from __future__ import annotations

import random
from typing import final

import pytest

from servman.errors import LoadCancelledError, LoadFailedError
from servman.manager.backoff import ExponentialBackoff
from servman.worker_state import WorkerState
from servman.workers.options import Workers
from servman.workers.turns import (
    Abandon,
    Admit,
    BecameReady,
    CallAbandoned,
    CallReturned,
    Child,
    Closed,
    CloseRequested,
    ConnectionLost,
    Died,
    Effect,
    Event,
    GaveUp,
    HeartBeat,
    Kill,
    Loaded,
    LoadRefused,
    SendUnload,
    Spawn,
    SpawnFailed,
    StartCancelled,
    StartFailed,
    Terminate,
    TimePassed,
    Unloaded,
    Withdraw,
)
from tests.unit.workers.supervising import DEATH, Ward


@final
class Chaos:
    """Processes that do what the dice say, and the books that are kept of them."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 -- a game of dice
        self.options = self._drawn()
        self.ward = Ward(self.options, chance=self.dice.random)
        self.processes: set[Child] = set()  # that exist
        self.gone: list[Child] = []
        self.killed: set[Child] = set()
        self.admitted: set[Child] = set()
        self.starts: dict[int, list[float]] = {}
        self.once: list[type[Effect]] = []
        self.closing = False

    def _drawn(self) -> Workers:
        replicas = self.dice.randint(1, 3)
        return Workers(
            replicas,
            num_parallel_workers=replicas + self.dice.choice((0, 0, 1)),
            min_replicas=self.dice.choice((None, 1, replicas)),
            max_restarts=self.dice.randint(0, 4),
            restart_window=10.0,
            restart_backoff=ExponentialBackoff(initial=0.5, maximum=4.0),
            hang_timeout=5.0,
            heartbeat_timeout=8.0,
            start_timeout=20.0,
            stop_timeout=5.0,
        )

    def tell(self, event: Event) -> None:
        self.obey(self.ward.tell(event))

    def obey(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._obey(effect)

    def _obey(self, effect: Effect) -> None:
        match effect:
            case Spawn():
                self._spawn(effect.child)
            case Admit():
                assert effect.child in self.processes
                self.admitted.add(effect.child)
            case Withdraw():
                self.admitted.remove(effect.child)
            case Kill():
                assert effect.child in self.processes
                self.killed.add(effect.child)
            case Terminate() | SendUnload():
                assert effect.child in self.processes
            case Abandon():
                self._remove(effect.child)
            case Loaded() | StartFailed() | GaveUp() | Closed():
                assert type(effect) not in self.once, "said twice"
                self.once.append(type(effect))
                if isinstance(effect, StartFailed | Closed):
                    assert not self.processes, "a process is left"

    def _spawn(self, child: Child) -> None:
        assert not {GaveUp, StartFailed, Closed} & set(self.once), "started after the end"
        taken = [other for other in self.processes if other.index == child.index]
        assert not taken, "a second process of one worker"
        starts = self.starts.setdefault(child.index, [])
        starts.append(self.ward.now)
        again = starts[1:]
        recent = [at for at in again if at > self.ward.now - self.options.restart_window + 1e-3]
        assert len(recent) <= self.options.max_restarts, "over budget"
        self.processes.add(child)

    def _remove(self, child: Child) -> None:
        self.processes.discard(child)
        self.admitted.discard(child)
        self.gone.append(child)

    def pass_time(self, seconds: float) -> None:
        """Let *seconds* pass; what is to be done on the way is done at its time."""
        until, ward = self.ward.now + seconds, self.ward
        while (wake := ward.supervision.wake_at()) is not None and wake <= until:
            self.obey(ward.wait())
        ward.now = until

    def step(self) -> None:
        """Let one thing happen: to a process, or some time pass; and one late event come."""
        if self.processes and self.dice.random() < 0.6:
            self._happen(self.dice.choice(sorted(self.processes, key=lambda each: each.index)))
        else:
            self.pass_time(self.dice.choice((0.1, 0.5, 3.0)))
        if self.gone and self.dice.random() < 0.3:
            self.come_late(self.dice.choice(self.gone))

    def _happen(self, child: Child) -> None:
        event = self._drawn_event(child)
        if isinstance(event, Died | SpawnFailed):
            self._remove(child)
        self.tell(event)

    def _drawn_event(self, child: Child) -> Event:
        died = Died(child, DEATH, worked=self.dice.random() < 0.5)
        if child in self.killed:
            return died
        error = LoadFailedError("not today")
        likely: list[Event] = [BecameReady(child), HeartBeat(child)] * 6
        rare: list[Event] = [
            died,
            SpawnFailed(child, error),
            LoadRefused(child, error),
            CallAbandoned(child, self.dice.randint(1, 3)),
            CallReturned(child, self.dice.randint(1, 3)),
            ConnectionLost(child),
            Unloaded(child, self.dice.choice((None, error))),
        ]
        return self.dice.choice(likely + rare)

    def come_late(self, child: Child) -> None:
        """Have an earlier process say something: nobody may care."""
        self.tell(TimePassed())  # so that nothing is due any more
        supervision = self.ward.supervision
        before = [(each.state, each.child, each.restarts) for each in supervision.workers]
        wake = supervision.wake_at()
        error = LoadFailedError("late")
        late: list[Event] = [
            BecameReady(child),
            LoadRefused(child, error),
            SpawnFailed(child, error),
            HeartBeat(child),
            CallAbandoned(child, 1),
            ConnectionLost(child),
            Unloaded(child, error),
            Died(child, DEATH, worked=True),
        ]
        assert self.ward.tell(self.dice.choice(late)) == []
        after = [(each.state, each.child, each.restarts) for each in supervision.workers]
        assert (after, supervision.wake_at()) == (before, wake)

    def check(self) -> None:
        workers = self.ward.supervision.workers
        assert len(self.processes) <= len(workers)
        assert {each.child for each in workers if each.living} == self.processes
        assert {each.child for each in workers if each.ready} == self.admitted
        if GaveUp in self.once or StartFailed in self.once:
            assert not self.admitted, "serves after the end"
        if Loaded in self.once and GaveUp not in self.once and not self.closing:
            assert all(each.living or each.state is WorkerState.WAITING for each in workers), (
                "a worker is not wanted any more"
            )

    def calm(self) -> None:
        """Let everything go well from now on, for a long time."""
        for _ in range(60):
            for child in sorted(self.processes, key=lambda each: each.index):
                if child in self.killed or self.ward.state(child.index) is WorkerState.STOPPING:
                    self._remove(child)
                    self.tell(Died(child, DEATH, worked=True))
                else:
                    self.tell(BecameReady(child))
                    for call in (1, 2, 3):
                        self.tell(CallReturned(child, call))
                    self.tell(HeartBeat(child))
            self.pass_time(1.0)
            self.check()

    def end(self) -> None:
        """Close, and let the processes do as they like about it."""
        self.closing = True
        busy = {child for child in self.processes if self.dice.random() < 0.3}
        self.tell(CloseRequested(frozenset(busy)))
        for _ in range(100):
            self.step()
            self.check()
        self.pass_time(60.0)
        assert Closed in self.once
        assert self.ward.supervision.wake_at() is None


@pytest.mark.parametrize("_", range(40))
def test_whatever_happens_the_workers_are_restored_within_the_budget_or_given_up(_: int) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")  # noqa: T201 -- what to run it again with
    chaos = Chaos(seed)
    chaos.obey(chaos.ward.start())
    for _ in range(150):
        chaos.step()
        chaos.check()
        if chaos.dice.random() < 0.002:
            chaos.tell(StartCancelled(LoadCancelledError("not wanted")))
    chaos.calm()
    workers = chaos.ward.supervision.workers
    if not {GaveUp, StartFailed} & set(chaos.once):
        assert Loaded in chaos.once
        spent = chaos.options.max_restarts == 0
        assert all(worker.ready for worker in workers) or spent
    chaos.end()
