"""The harness against a table of its own: legal moves happen, others are refused and change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from servman.errors import FailedPreconditionError, InternalError, LoadFailedError, ServmanError
from servman.manager.harness import HarnessState, LoaderHarness
from tests.simulation.ledger import EDGES
from tests.unit.manager.rig import entry

S = HarnessState


class HarnessMachine(RuleBasedStateMachine):
    """One incarnation, asked for everything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = LoaderHarness(entry("m:1"), 1, 0.0)
        self.now = 0.0
        self.state = S.NEW
        self.since = 0.0
        self.error: ServmanError | None = None

    def becomes(self, state: HarnessState, call: Callable[[], None]) -> None:
        """Expect *call* to bring the harness into *state* if that is legal, else to be refused."""
        self.now += 1.0
        if state in EDGES[self.state]:
            call()
            self.state, self.since = state, self.now
        else:
            with pytest.raises((InternalError, FailedPreconditionError), match="m:1"):
                call()

    @rule(which=st.integers(0, 1))
    def go_on(self, which: int) -> None:
        onward = [state for state in EDGES[self.state] if state is not S.ERROR]
        if onward:
            state = onward[which % len(onward)]
            self.becomes(state, lambda: self.harness.move(state, self.now))

    @invariant()
    def no_illegal_move_is_made(self) -> None:
        for state in set(S) - set(EDGES[self.state]):
            with pytest.raises(InternalError, match="illegal move"):
                self.harness.move(state, self.now)

    @rule()
    def request_load(self) -> None:
        if self.state is S.NEW:
            self.becomes(S.LOAD_REQUESTED, lambda: self.harness.request_load(self.now))
        else:
            with pytest.raises(FailedPreconditionError, match="duplicate load request"):
                self.harness.request_load(self.now)

    @rule()
    def request_unload(self) -> None:
        self.becomes(S.UNLOAD_REQUESTED, lambda: self.harness.request_unload(self.now))

    @rule()
    def succeed(self) -> None:
        if self.state is S.LOADING:
            self.becomes(S.READY, lambda: self.harness.succeed(self.now))
            self.error = None

    @rule(now=st.integers(0, 5))
    def fail(self, now: int) -> None:
        error = LoadFailedError(f"at {self.now}")
        if now == 0 and S.ERROR in EDGES[self.state]:
            self.becomes(S.ERROR, lambda: self.harness.fail(error, self.now))
            self.error = error

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        one = self.harness.snapshot()
        assert (one.state, one.since) == (self.state, self.since)
        assert one.error is self.error
        assert self.harness.ended == (self.state in (S.DISABLED, S.ERROR))
        assert one is self.harness.snapshot(), "a snapshot is kept until something changes"


TestHarness = HarnessMachine.TestCase
TestHarness.settings = settings(max_examples=40, stateful_step_count=20)
