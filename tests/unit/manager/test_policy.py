"""The policies: pure functions of one stream's snapshots."""

from __future__ import annotations

import itertools

import pytest

from servman.ids import ServableId
from servman.manager import (
    ActionKind,
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    HarnessState,
    ResourcePreservingPolicy,
    ServableAction,
    ServableStateSnapshot,
)

S = HarnessState
POLICIES = (AvailabilityPreservingPolicy(), ResourcePreservingPolicy())


def stream(**versions: tuple[HarnessState, bool]) -> list[ServableStateSnapshot]:
    """Make the snapshots of a stream: v3=(state, aspired)."""
    return [
        ServableStateSnapshot(ServableId("m", int(key[1:])), state, aspired)
        for key, (state, aspired) in versions.items()
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_stream_needs_nothing(policy: AspiredVersionPolicy) -> None:
    assert policy.next_action([]) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_every_answer_is_one_that_the_manager_can_carry_out(policy: AspiredVersionPolicy) -> None:
    kinds = list(itertools.product(S, (True, False)))
    for v1, v2 in itertools.product(kinds, repeat=2):
        snapshots = stream(v1=v1, v2=v2)
        action = policy.next_action(snapshots)
        if action is None:
            continue
        chosen = next(one for one in snapshots if one.id == action.id)
        wanted = {ActionKind.LOAD: (S.NEW, True), ActionKind.UNLOAD: (S.READY, False)}
        assert (chosen.state, chosen.aspired) == wanted[action.kind]


def test_the_availability_policy_never_takes_the_last_ready_version_while_one_is_wanted() -> None:
    policy = AvailabilityPreservingPolicy()
    for state in (one for one in S if one is not S.READY):
        action = policy.next_action(stream(v1=(S.READY, False), v2=(state, True)))
        assert action is None or action.kind is ActionKind.LOAD


def test_the_availability_policy_drops_the_lower_of_two_old_versions_before_it_loads() -> None:
    snapshots = stream(v1=(S.READY, False), v2=(S.READY, False), v3=(S.NEW, True))
    action = AvailabilityPreservingPolicy().next_action(snapshots)
    assert action == ServableAction(ActionKind.UNLOAD, ServableId("m", 1))
