"""User-written policies: what they are shown, and what becomes of their stream when they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from servman.errors import NotFoundError
from servman.manager import (
    ActionKind,
    AvailabilityPreservingPolicy,
    HarnessState,
    ServableAction,
    ServableStateSnapshot,
)
from servman.reasons import ReasonCode
from tests.unit.manager.rig import ModelLoader, Rig, entry, sid

S = HarnessState
Snapshots = Sequence[ServableStateSnapshot]
Answer = Callable[[Snapshots], Any]


class Policy:
    """Answers for the stream "bad" as it is told, and as usual for others; keeps what it was shown."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.broken = True
        self.shown: list[Snapshots] = []

    def next_action(self, snapshots: Snapshots) -> ServableAction | None:
        self.shown.append(snapshots)
        if self.broken and snapshots and snapshots[0].id.name == "bad":
            return self.answer(snapshots)  # type: ignore[no-any-return] # that is the point
        return AvailabilityPreservingPolicy().next_action(snapshots)


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ValueError("unreadable")


def raising(error: BaseException) -> Answer:
    def answer(_: Snapshots) -> None:
        raise error

    return answer


def asking(kind: Any, which: str) -> Answer:
    return lambda _: ServableAction(kind, sid(which))


WRONG: dict[str, tuple[Answer, str]] = {
    "raises": (raising(ValueError("confused")), "confused"),
    "exits": (raising(SystemExit(3)), "SystemExit: 3"),
    "is interrupted": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "raises what cannot be read": (raising(UnreadableError()), "cannot be read"),
    "names an unknown version": (asking(ActionKind.LOAD, "bad:9"), "not among its snapshots"),
    "names another stream": (asking(ActionKind.LOAD, "good:1"), "not among its snapshots"),
    "unloads what is new": (asking(ActionKind.UNLOAD, "bad:1"), "bad:1"),
    "invents a kind": (asking("explode", "bad:1"), "which is no ServableAction"),
    "returns a text": (lambda _: "nonsense", "'nonsense', which is no ServableAction"),
    "returns a list": (lambda _: [], r"\[\], which is no ServableAction"),
    "returns a snapshot": (lambda snapshots: snapshots[0], "which is no ServableAction"),
    "returns an id": (lambda snapshots: snapshots[0].id, "which is no ServableAction"),
    "puts a text for the id": (
        lambda _: ServableAction(ActionKind.LOAD, "bad:1"),  # type: ignore[arg-type]
        "str",
    ),
}

each_wrong = pytest.mark.parametrize(("answer", "text"), WRONG.values(), ids=WRONG)


@each_wrong
def test_only_its_stream_stands_still_and_the_reason_tells_why(answer: Answer, text: str) -> None:
    rig = Rig(policy=Policy(answer))
    rig.bring("bad", 1)
    rig.bring("good", 1)
    rig.bring("good", 2)
    assert (rig.serving(), rig.state("bad:1")) == (["good:2"], S.NEW)
    reason = rig.why("bad")
    assert reason.code is ReasonCode.WAITING
    assert reason.text.startswith("bad:1 is not loading: the policy failed: ")
    assert reason.error is not None
    assert rig.snapshot("bad:1").policy_error is reason.error
    with pytest.raises(NotFoundError, match=text):
        rig.handle("bad")
    assert rig.snapshot("good:2").policy_error is None


@each_wrong
def test_it_goes_on_once_the_policy_does(answer: Answer, text: str) -> None:
    policy = Policy(answer)
    rig = Rig(policy=policy)
    rig.bring("bad", 1)
    policy.broken = False
    rig.bring("bad", 1)
    assert text
    assert rig.serving() == ["bad:1"]
    assert rig.snapshot("bad:1").policy_error is None


@each_wrong
def test_it_is_asked_and_logged_once_a_turn(
    answer: Answer, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Policy(answer)
    rig = Rig(policy=policy)
    rig.aspire("bad", 1, 2, 3)
    assert text
    assert (len(policy.shown), len(caplog.records)) == (1, 1)
    assert "stream bad stands still" in caplog.text
    assert not rig.manager.step()
    rig.aspire("good", 1)
    assert len(caplog.records) == 1


def test_what_serves_goes_on_serving_while_the_policy_fails() -> None:
    policy = Policy(raising(ValueError("confused")))
    policy.broken = False
    rig = Rig(policy=policy)
    rig.bring("bad", 1)
    policy.broken = True
    rig.bring("bad", 2)
    assert rig.serving() == ["bad:1"]
    rig.begin_close()
    rig.settle()
    assert rig.report()
    assert rig.ends("bad:1") == [None]


def test_a_policy_that_fails_half_way_keeps_what_it_has_begun() -> None:
    policy = Policy(
        lambda snapshots: (
            ServableAction(ActionKind.LOAD, sid("bad:1"))
            if snapshots[0].state is S.NEW
            else raising(ValueError("confused"))(snapshots)
        )
    )
    rig = Rig(policy=policy)
    rig.bring("bad", 1, 2)
    assert rig.serving() == ["bad:1"]
    assert "confused" in rig.why("bad:2").text
    assert rig.why("bad:1").code is ReasonCode.AVAILABLE


def test_it_is_shown_one_moment_of_one_stream_in_ascending_order() -> None:
    policy = Policy(lambda _: None)
    rig = Rig(policy=policy)
    rig.bring("m", 3, 1, 2)
    rig.bring("other", 7)
    for snapshots in policy.shown:
        assert isinstance(snapshots, tuple)
        assert len({one.id.name for one in snapshots}) == 1
        versions = [one.id.version for one in snapshots]
        assert versions == sorted(versions)
    first = [one.state for one in policy.shown[0]]
    assert first == [S.NEW] * 3
    second = [one.state for one in policy.shown[1]]
    assert second == [S.NEW, S.NEW, S.LOADING]  # its own action was taken


def test_it_is_asked_again_after_each_of_its_actions_until_it_has_nothing_to_ask_for() -> None:
    policy = Policy(lambda _: None)
    rig = Rig(policy=policy)
    rig.aspire("m", 1, 2, 3)
    assert len(policy.shown) == 4


def test_a_slow_policy_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    def slow(_: Snapshots) -> None:
        rig.clock.advance(1.5)

    rig = Rig(policy=Policy(slow))
    rig.aspire("bad", 1)
    assert "a step of the manager took 1.5 s, at Aspire" in caplog.text


def test_a_policy_that_keeps_a_version_out_is_told_of_in_the_reason() -> None:
    rig = Rig(policy=Policy(lambda _: None))
    rig.bring("bad", 1)
    assert rig.why("bad").text == "bad:1 is not loading yet: the policy has not asked for it"


def test_a_policy_that_fails_does_not_keep_a_version_that_is_no_longer_wanted() -> None:
    loader = ModelLoader()
    rig = Rig(policy=Policy(raising(ValueError("confused"))))
    rig.bring("bad", entry("bad:1", loader))
    rig.bring("bad")
    assert len(rig.ends("bad:1")) == 1
    assert rig.manager.snapshots("bad") == ()
    assert loader.contexts == []
