"""Closing against everything that a manager can be in the midst of, and against other calls."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence

import pytest

from servman.errors import ClosedError, FailedPreconditionError, NotFoundError, ServmanError
from servman.manager import (
    AspiredVersionsManager,
    AvailabilityPreservingPolicy,
    CloseReport,
    ServableAction,
    ServableStateSnapshot,
)
from servman.state import ManagerState
from servman.testing import FakeClock, Spawned
from servman.testing.clock import WATCHDOG
from tests.concurrency.gates import Gate, halts, outcome, together
from tests.concurrency.situations import SITUATIONS, Situation, looking
from tests.unit.manager.live import Live
from tests.unit.manager.rig import entry, sid

every_situation = pytest.mark.parametrize("begin", SITUATIONS)

Begin = Callable[[], Situation]


def assert_each_has_one_end(situation: Situation) -> None:
    for one in situation.ids:
        states = situation.live.states(one)
        assert states.count("END") == states.count("START") > 0, (one, states)
        assert states[-1] == "END"


# ---- whatever it is in the midst of --------------------------------------------------------------


@every_situation
def test_closing_from_two_threads_waits_for_what_runs_and_leaves_nothing(begin: Begin) -> None:
    situation = begin()
    live = situation.live
    closing = together(live.manager.close, live.manager.close)
    situation.wait_until_closing()
    if situation.stays:
        assert not any(one.done for one in closing)
    situation.let_go()
    assert [one.result() for one in closing] == [CloseReport()] * 2
    assert_each_has_one_end(situation)
    assert live.manager.snapshots() == ()
    assert live.manager.close(0) == CloseReport(), "once more"


@every_situation
def test_closing_leaves_at_its_deadline_what_has_not_gone_and_names_it(begin: Begin) -> None:
    situation = begin()
    live = situation.live
    closing = Spawned(lambda: live.manager.close(30.0))
    situation.wait_until_closing()
    for one in set(situation.ids) - set(situation.stays):
        live.wait_for(one, ManagerState.END)
    if situation.stays:
        situation.clock.advance(30.0)
    else:
        situation.let_go()
    report = closing.result()
    assert [str(one.id) for one in report.left] == situation.stays
    assert live.manager.close(0) == report
    assert_each_has_one_end(situation)
    situation.let_go()  # what returns now finds nobody
    assert_each_has_one_end(situation)
    assert live.serving() == []


@every_situation
def test_a_list_and_calls_that_come_while_it_closes_change_nothing(begin: Begin) -> None:
    situation = begin()
    live = situation.live
    closing = Spawned(live.manager.close)
    situation.wait_until_closing()
    live.aspire("m", 1, 2, 3)
    live.aspire("late", 1)
    live.manager.num_load_threads = 2
    for call in (live.manager.retry, live.manager.cancel_retry):
        told = outcome(functools.partial(call, sid("m:1")))
        assert told is ClosedError
    assert outcome(live.manager.start) is ClosedError
    situation.let_go()
    assert closing.result()
    assert_each_has_one_end(situation)
    assert (live.states("late:1"), live.states("m:3"), live.serving()) == ([], [], [])


def test_a_look_at_files_that_hangs_is_waited_for_for_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    situation, joining = looking(), threading.Event()
    looks = situation.live.manager._pools[-1]
    join = looks.join

    def tell_and_join(deadline: float | None) -> bool:
        joining.set()
        return join(deadline)

    monkeypatch.setattr(looks, "join", tell_and_join)
    closing = Spawned(situation.live.manager.close)
    assert joining.wait(WATCHDOG)
    situation.clock.wait_until_parked(1)
    assert not closing.done
    situation.clock.advance(1.0)
    assert closing.result()
    situation.let_go()


def test_a_policy_that_does_not_return_holds_closing_up_for_a_second_beyond_its_deadline() -> None:
    clock, gate = FakeClock(), Gate()

    class Stuck:
        def next_action(self, snapshots: Sequence[ServableStateSnapshot]) -> ServableAction | None:
            if snapshots[0].id.name == "stuck":
                gate()
            return AvailabilityPreservingPolicy().next_action(snapshots)

    live = Live(policy=Stuck(), clock=clock)
    live.bring("m", 1)
    live.aspire("stuck", 1)
    gate.wait()
    closing = Spawned(lambda: live.manager.close(30.0))
    clock.wait_until_parked(1)  # nobody but the one who closes
    clock.advance(31.0)
    assert [str(one.id) for one in closing.result().left] == ["m:1", "stuck:1"]
    gate.open()
    live.wait_for("m:1", ManagerState.END)
    live.wait_for("stuck:1", ManagerState.END)
    assert live.manager.close(None).left


# ---- against other calls, halted at every line ---------------------------------------------------


def serving(lives: list[Live], name: str) -> Live:
    """Add and return a started manager that serves "name:1"."""
    lives.append(Live(num_load_threads=1, num_unload_threads=1))
    lives[-1].bring(name, 1)
    return lives[-1]


def what_is_told_by(live: Live, name: str) -> list[type[ServmanError] | None]:
    """Call what waits for no lock; return what each call raised."""
    return [
        Spawned(functools.partial(outcome, call)).result()
        for call in (
            lambda: live.aspire(name, 2),
            lambda: live.handle(name).close(),
            lambda: live.manager.explain(name),
            live.manager.snapshots,
        )
    ]


def test_a_close_halted_anywhere_is_joined_by_another_and_found_out_by_whoever_calls() -> None:
    lives: list[Live] = []
    for name, halted in halts(lambda name: serving(lives, name).manager.close):
        live = lives[-1]
        assert set(what_is_told_by(live, name)) <= {None, NotFoundError, ClosedError}
        another = Spawned(live.manager.close)
        start = Spawned(functools.partial(outcome, live.manager.start))
        assert halted.resume() == another.result() == CloseReport()
        assert start.result() in (None, ClosedError)
        assert live.ends(f"{name}:1") == [None]
        assert live.states(f"{name}:2").count("END") == live.states(f"{name}:2").count("START")
    assert len(lives) > 20


CALLS: dict[str, Callable[[Live, str], object]] = {
    "set_aspired_versions": lambda live, name: live.aspire(name, 1, 2),
    "retry": lambda live, name: live.manager.retry(sid(f"{name}:1")),
    "cancel_retry": lambda live, name: live.manager.cancel_retry(sid(f"{name}:1")),
    "num_load_threads": lambda live, _: setattr(live.manager, "num_load_threads", 2),
    "start": lambda live, _: live.manager.start(),
}


@pytest.mark.parametrize("over", [True, False], ids=["closed", "closing"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_halted_anywhere_while_the_manager_closes_is_done_refused_or_of_no_account(
    call: Callable[[Live, str], object], over: bool
) -> None:
    lives: list[Live] = []

    def begin(name: str) -> Callable[[], object]:
        live = serving(lives, name)
        return lambda: outcome(functools.partial(call, live, name))

    refusals = (None, ClosedError, NotFoundError, FailedPreconditionError)
    for name, halted in halts(begin):
        live = lives[-1]
        handle = live.handle(name)
        if over:
            handle.close()
        closing = Spawned(live.manager.close)
        if not live.manager._lock.locked():
            live.wait_for(f"{name}:1", ManagerState.END if over else ManagerState.UNLOADING)
        assert halted.resume() in refusals
        handle.close()
        assert closing.result()
        assert live.ends(f"{name}:1") == [None]
        assert live.states(f"{name}:2") == []
    lives[-1].close()


def test_a_start_halted_anywhere_while_the_manager_closes_leaves_no_thread_behind() -> None:
    managers: list[AspiredVersionsManager] = []

    def begin(name: str) -> Callable[[], object]:
        managers.append(AspiredVersionsManager())
        managers[-1].set_aspired_versions(name, [entry(f"{name}:1")])
        return lambda: outcome(managers[-1].start)

    for _, halted in halts(begin):
        closing = Spawned(managers[-1].close)
        if not managers[-1]._lock.locked():
            assert closing.result()
        assert halted.resume() in (None, ClosedError)
        assert closing.result()
        assert managers[-1].snapshots() == ()
    managers[-1].close()
