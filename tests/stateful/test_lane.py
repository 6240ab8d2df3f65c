"""The lane against a list and a set."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from servman.manager.lane import Lane

MEMBERS = st.integers(0, 5)


class LaneMachine(RuleBasedStateMachine):
    """Whoever asks first is first; those passed over keep their thread and lose their place."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane(2)
        self.waiting: list[int] = []
        self.working: list[int] = []
        self.passed_over: list[int] = []

    @rule(member=MEMBERS)
    def enter(self, member: int) -> None:
        if member in self.waiting + self.working + self.passed_over:
            return  # the manager never asks twice
        self.lane.enter(member)
        self.waiting.append(member)

    @rule(member=MEMBERS)
    def leave(self, member: int) -> None:
        self.lane.leave(member)
        for members in (self.waiting, self.working, self.passed_over):
            if member in members:
                members.remove(member)

    @rule(member=MEMBERS)
    def pass_over(self, member: int) -> None:
        self.lane.pass_over(member)
        if member in self.working:
            self.working.remove(member)
            self.passed_over.append(member)

    @rule(limit=st.integers(1, 4))
    def resize(self, limit: int) -> None:
        self.lane.limit = limit

    @precondition(lambda self: self.waiting and len(self.working) < self.lane.limit)
    @rule()
    def give_a_place(self) -> None:
        assert self.lane.next() == self.waiting[0]
        self.working.append(self.waiting.pop(0))

    @precondition(lambda self: not self.waiting or len(self.working) >= self.lane.limit)
    @rule()
    def have_none_to_give(self) -> None:
        assert self.lane.next() is None

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        members = [*self.waiting, *self.working, *self.passed_over]
        assert len(self.lane) == len(members)
        assert all(self.lane.waits(member) == (member in self.waiting) for member in range(6))
        assert self.lane.threads == self.lane.limit + len(self.passed_over)
        assert self.lane.oldest == next(iter(self.passed_over + self.working), None)


TestLane = LaneMachine.TestCase
TestLane.settings = settings(max_examples=40, stateful_step_count=30)
