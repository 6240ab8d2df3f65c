"""Retries that are cancelled or asked for, against the attempt, the pause and the list, in every order."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import pytest

from servman.errors import FailedPreconditionError, NotFoundError
from servman.loader import LoadContext
from servman.manager import HarnessState
from servman.state import ManagerState
from tests.concurrency.gates import Gate, halts, let_it_act, outcome
from tests.unit.manager.live import Live
from tests.unit.manager.rig import Model, ModelLoader, Rig, entry, sid

# ---- cancelled retries against the attempt and the pause ----------------------------------------


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_retries_cancelled_at_the_very_end_of_a_pause_allow_what_had_begun_alone(
    rig: Rig, cancelled_first: bool
) -> None:
    loader = ModelLoader(ValueError("first"), ValueError("second"))
    rig.bring("m", entry("m:1", loader))
    rig.clock.advance(60.0)
    if not cancelled_first:
        rig.step()  # the attempt begins
    rig.manager.cancel_retry(sid("m:1"))
    rig.settle()
    assert len(loader.contexts) == (1 if cancelled_first else 2)
    assert ("first" if cancelled_first else "second") in str(rig.end("m:1"))


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_retries_cancelled_as_an_attempt_fails_end_the_version_with_its_error(
    rig: Rig, cancelled_first: bool
) -> None:
    loader = ModelLoader(ValueError("first"))
    rig.aspire("m", entry("m:1", loader))
    messages: list[Callable[[], object]] = [
        lambda: rig.manager.cancel_retry(sid("m:1")),
        rig.loads.run,
    ]
    for message in messages if cancelled_first else reversed(messages):
        message()
    rig.settle()
    rig.advance(60.0)
    assert (len(loader.contexts), "first" in str(rig.end("m:1"))) == (1, True)


def test_retries_cancelled_while_it_is_asked_whether_to_retry_are_cancelled() -> None:
    ask, loader = Gate(answer=True), ModelLoader(ValueError("first"))
    live = Live(should_retry=ask, load_retry_interval=0.0)
    live.aspire("m", entry("m:1", loader))
    ask.wait()
    live.manager.cancel_retry(sid("m:1"))
    ask.open()
    live.wait_for("m:1", ManagerState.END)
    assert "first" in str(live.ends("m:1")[0])
    assert len(loader.contexts) == 1
    live.close()


# ---- retries asked for ---------------------------------------------------------------------------


def test_two_retries_and_the_end_of_the_pause_at_one_moment_make_one_attempt(rig: Rig) -> None:
    loader = ModelLoader(ValueError("first"))
    rig.bring("m", entry("m:1", loader))
    rig.clock.advance(60.0)
    rig.manager.retry(sid("m:1"))
    rig.manager.retry(sid("m:1"))
    rig.settle()
    assert (len(loader.contexts), rig.serving()) == (2, ["m:1"])
    assert rig.states("m:1") == ["START", "LOADING", "AVAILABLE"]


@pytest.mark.parametrize("retried_first", [True, False])
def test_a_retry_and_a_list_without_the_version_leave_nothing_behind_in_either_order(
    retried_first: bool,
) -> None:
    rig, loader = Rig(max_num_load_retries=0), ModelLoader(ValueError("torn"))
    rig.bring("m", entry("m:1", loader))
    messages: list[Callable[[], object]] = [
        lambda: rig.manager.retry(sid("m:1")),
        lambda: rig.manager.set_aspired_versions("m", []),
    ]
    for message in messages if retried_first else reversed(messages):
        message()
    rig.settle()
    assert (rig.serving(), rig.manager.snapshots()) == ([], ())
    assert rig.states("m:1").count("START") == len(rig.ends("m:1")) == (2 if retried_first else 1)


class Torn(ModelLoader):
    """A loader whose first load fails, and whose second waits at a gate."""

    def __init__(self) -> None:
        super().__init__(ValueError("torn"))
        self.gate = Gate()

    def load(self, context: LoadContext) -> Model:
        if self.contexts:
            self.gate()
        return super().load(context)


CALLS: dict[str, Callable[[Live, str], None]] = {
    "retry": lambda live, name: live.manager.retry(sid(f"{name}:1")),
    "cancel_retry": lambda live, name: live.manager.cancel_retry(sid(f"{name}:1")),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_halted_anywhere_while_its_version_goes_does_nothing_to_the_next_of_its_number(
    call: Callable[[Live, str], None],
) -> None:
    live = Live(num_load_threads=1, num_unload_threads=1, max_num_load_retries=0)

    def begin(name: str) -> Callable[[], object]:
        live.bring(name, entry(f"{name}:1", ModelLoader(ValueError("torn"))))
        return lambda: outcome(functools.partial(call, live, name))

    for name, halted in halts(begin):
        live.aspire(name)
        let_it_act(live)
        live.bring(name, entry(f"{name}:1"))
        assert halted.resume() in (None, NotFoundError, FailedPreconditionError)
        let_it_act(live)
        lives = live.states(f"{name}:1")
        last = len(lives) - lives[::-1].index("START") - 1
        del lives[3:last]  # the call was far enough to be heard before its version went, perhaps
        assert lives == ["START", "LOADING", "END", "START", "LOADING", "AVAILABLE"]
    live.close()


@pytest.mark.parametrize("over", [True, False], ids=["it serves", "it loads"])
def test_a_retry_halted_anywhere_while_another_thread_has_it_retried_makes_no_second_attempt(
    over: bool,
) -> None:
    live = Live(num_load_threads=1, num_unload_threads=1, max_num_load_retries=0)
    loaders: dict[str, Torn] = {}

    def begin(name: str) -> Callable[[], object]:
        loaders[name] = Torn()
        live.bring(name, entry(f"{name}:1", loaders[name]))
        return lambda: outcome(lambda: live.manager.retry(sid(f"{name}:1")))

    for name, halted in halts(begin):
        if over:
            loaders[name].gate.open()
        with contextlib.suppress(
            FailedPreconditionError
        ):  # the halted one was far enough to be first
            live.manager.retry(sid(f"{name}:1"))
        loaders[name].gate.wait()
        if over:
            live.wait_for(f"{name}:1", ManagerState.AVAILABLE)
        assert halted.resume() in (None, FailedPreconditionError)
        loaders[name].gate.open()
        let_it_act(live)
        assert len(loaders[name].contexts) == 2
        assert live.state(f"{name}:1") is HarnessState.READY
    loaders.popitem()[1].gate.open()
    live.close()
