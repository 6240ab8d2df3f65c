"""Commits that are done as a whole, with what is expected and with the labels, or not at all."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from types import FrameType
from typing import Any

import pytest

from servman.errors import ClosedError, FailedPreconditionError, InvalidArgumentError
from servman.ids import ServableId
from servman.manager.replies import FutureReply
from servman.reasons import ReasonCode
from servman.state import ServableState, StreamLabels
from tests.unit.manager.rig import ModelLoader, Rig, entry, errored

Expected = dict[str, Any]


def reload(rig: Rig, **wanted: int) -> None:
    """Load new versions of streams that serve version 1, and hold them."""
    for name in wanted:
        rig.bring(name, 1)
    rig.manager.hold(wanted)
    for name, version in wanted.items():
        rig.bring(name, version)


def commit(rig: Rig, expected: Expected, labels: Any = None) -> Future[None]:
    done = rig.manager.commit(expected, expected=expected, labels=labels)
    rig.step()
    return done


def refused(rig: Rig, expected: Expected) -> str:
    """Commit, which must fail; return why."""
    before = (rig.serving(), rig.manager.snapshots(), len(rig.events))
    error = commit(rig, expected).exception(0)
    assert isinstance(error, FailedPreconditionError)
    assert (rig.serving(), rig.manager.snapshots(), len(rig.events)) == before
    return str(error)


# ---- done ------------------------------------------------------------------------------------------


def test_what_is_aspired_and_loaded_as_expected_comes_in(rig: Rig) -> None:
    reload(rig, a=2, b=2)
    done = rig.manager.commit(["a", "b"], expected={"a": {2}, "b": [2]})
    assert not done.done()
    rig.step()
    assert done.exception(0) is None
    assert rig.serving() == ["a:2", "b:2"]


def test_what_served_before_and_stays_counts_as_there(rig: Rig) -> None:
    rig.bring("a", 1)
    rig.manager.hold(["a"])
    rig.bring("a", 1, 2)
    assert commit(rig, {"a": {1, 2}}).exception(0) is None
    assert rig.serving() == ["a:1", "a:2"]


def test_a_stream_that_is_to_go_is_expected_to_have_nothing(rig: Rig) -> None:
    rig.bring("a", 1)
    rig.manager.hold(["a", "b"])
    rig.aspire("a")
    rig.step()
    assert commit(rig, {"a": (), "b": ()}).exception(0) is None
    assert rig.serving() == []


def test_what_is_not_held_is_left_as_it_is(rig: Rig) -> None:
    rig.bring("a", 1)
    assert commit(rig, {"a": {1}}).exception(0) is None
    assert rig.serving() == ["a:1"]


def test_whoever_waits_for_the_commit_finds_it_done(rig: Rig) -> None:
    reload(rig, a=2)
    found: list[tuple[list[str], bool]] = []
    done = rig.manager.commit(["a"], expected={"a": {2}})
    assert isinstance(done, FutureReply)
    answer = done.answer

    def spy(error: Any) -> None:
        found.append((rig.serving(), rig.snapshot("a:2").held))
        answer(error)

    done.answer = spy  # type: ignore[method-assign] # a spy on this one future
    rig.step()
    assert found == [(["a:2"], False)]
    assert done.exception(0) is None


# ---- not done --------------------------------------------------------------------------------------


def test_another_list_than_the_expected_one_is_told_and_nothing_changes(rig: Rig) -> None:
    reload(rig, a=2, b=2)
    rig.bring("b", 3)
    text = refused(rig, {"a": {2}, "b": {2}})
    assert text == "nothing was committed: b is expected to have 2 aspired, and has 3"


def test_a_version_that_still_loads_is_told_and_nothing_changes(rig: Rig) -> None:
    reload(rig, a=2)
    rig.aspire("a", 3)
    assert refused(rig, {"a": {3}}) == "nothing was committed: a:3 is loading"
    rig.settle()
    assert rig.serving() == ["a:1"]  # it is still held
    assert commit(rig, {"a": {3}}).exception(0) is None


def test_a_version_that_has_failed_or_pauses_is_told_with_its_error(rig: Rig) -> None:
    rig.bring("a", 1)
    rig.manager.hold(["a"])
    rig.bring("a", errored("a:2", ValueError("torn")), entry("a:3", ModelLoader(ValueError("cut"))))
    text = refused(rig, {"a": {2, 3}})
    assert "a:2 is error (ValueError: torn); a:3 is loading (" in text
    assert "cut" in text


def test_everything_that_lacks_is_told_at_once(rig: Rig) -> None:
    reload(rig, a=2, b=2)
    rig.bring("a", 2, 3)
    rig.bring("b")
    text = refused(rig, {"a": {2}, "b": {2}, "c": {1}})
    assert "a is expected to have 2 aspired, and has 2, 3" in text
    assert "b is expected to have 2 aspired, and has nothing" in text
    assert "c is expected to have 1 aspired, and has nothing" in text


def test_a_version_that_is_wanted_from_elsewhere_cannot_be_there_yet(rig: Rig) -> None:
    rig.bring("a", entry("a:1", origin="/x"))
    rig.manager.hold(["a"])
    rig.bring("a", entry("a:1", origin="/y"))
    assert "a:1 is to be loaded anew" in refused(rig, {"a": {1}})


def test_a_version_that_serves_and_is_wanted_no_more_is_not_expected(rig: Rig) -> None:
    reload(rig, a=2)
    assert "expected to have 1, 2 aspired, and has 2" in refused(rig, {"a": {1, 2}})


def test_a_list_that_is_posted_after_the_commit_does_not_count(rig: Rig) -> None:
    reload(rig, a=2)
    done = rig.manager.commit(["a"], expected={"a": {2}})
    rig.aspire("a", 3)
    assert done.exception(0) is None


def test_a_list_that_is_posted_before_the_commit_counts(rig: Rig) -> None:
    reload(rig, a=2)
    rig.manager.set_aspired_versions("a", [entry("a:3")])
    done = rig.manager.commit(["a"], expected={"a": {2}})
    rig.step()
    assert isinstance(done.exception(0), FailedPreconditionError)


def test_a_commit_that_the_close_overtakes_is_refused(rig: Rig) -> None:
    reload(rig, a=2)
    rig.begin_close()
    rig.manager._closing = False  # as for a caller that has looked just before
    taken_up = commit(rig, {"a": {2}})
    rig.settle()
    too_late = rig.manager.commit(["a"], expected={"a": {2}})
    for done in (taken_up, too_late):
        assert isinstance(done.exception(0), ClosedError)


@pytest.mark.parametrize(
    "expected", [7, ["a"], {"b": {1}}, {"a": 1}, {"a": {-1}}, {"a": {"1"}}, {"a": "1"}]
)
def test_what_nobody_can_expect_is_refused(rig: Rig, expected: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        rig.manager.commit(["a"], expected=expected)


# ---- with labels -----------------------------------------------------------------------------------


def seen_at_every_bytecode(rig: Rig, requests: tuple[str, ...]) -> list[tuple[str | None, ...]]:
    """Let the manager step, and look *requests* up between any two of its bytecodes."""
    seen: list[tuple[str | None, ...]] = []

    def look(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("servman."):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            entries = [rig.manager._serving.find(request) for request in requests]
            now = tuple(None if one is None else str(one.id) for one in entries)
            if seen[-1:] != [now]:
                seen.append(now)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        rig.step()
    finally:
        sys.settrace(before)
    return seen


def test_no_lookup_sees_a_mixture_of_versions_and_labels(rig: Rig) -> None:
    rig.manager.set_labels({"a": {"x": 1}, "other": {"x": 1}, "gone": {"x": 1}})
    for name in ("other", "gone"):
        rig.bring(name, 1, 2)
    reload(rig, a=2, b=2)
    rig.manager.commit(
        ["a", "b"],
        expected={"a": {2}, "b": {2}},
        labels={"a": {"x": 2}, "b": {"x": 2}, "other": {"x": 2}},
    )
    requests = ("a", "a@x", "b", "b@x", "other@x", "gone@x")
    assert seen_at_every_bytecode(rig, requests) == [
        ("a:1", "a:1", "b:1", None, "other:1", "gone:1"),
        ("a:2", "a:2", "b:2", "b:2", "other:2", None),
    ]


def test_labels_are_told_after_the_change_and_before_available(rig: Rig) -> None:
    reload(rig, a=2)
    before = len(rig.events)
    commit(rig, {"a": {2}}, {"a": {"x": 2}})
    told = [
        one.manager_state.name if isinstance(one, ServableState) else one
        for one in rig.events[before:]
    ]
    assert told[:3] == ["UNLOADING", StreamLabels("a", {"x": 2}, {"x": 2}), "AVAILABLE"]


def test_labels_of_a_commit_that_is_refused_stay_as_they_were(rig: Rig) -> None:
    rig.manager.set_labels({"a": {"x": 1}})
    reload(rig, a=2)
    assert commit(rig, {"a": {3}}, {"a": {"x": 2}}).exception(0) is not None
    assert rig.manager.labels("a") == {"x": 1}
    assert rig.why("a@x").code is ReasonCode.AVAILABLE


def test_labels_come_with_an_unconditional_commit_as_well(rig: Rig) -> None:
    reload(rig, a=2)
    assert rig.manager.commit(["a"], labels={"a": {"x": 2}}) is None
    rig.step()
    assert rig.manager.labels("a") == {"x": 2}


def test_labels_of_a_stream_that_stays_held_do_not_move(rig: Rig) -> None:
    rig.manager.set_labels({"a": {"x": 1}, "b": {"x": 1}})
    rig.bring("b", 1, 2)
    rig.manager.hold(["b"])
    reload(rig, a=2)
    commit(rig, {"a": {2}}, {"a": {"x": 2}, "b": {"x": 2}})
    assert (rig.manager.labels("a"), rig.manager.labels("b")) == ({"x": 2}, {"x": 1})
    commit(rig, {"b": {1, 2}})
    assert rig.manager.labels("b") == {"x": 2}


def test_what_is_wanted_of_labels_is_told_though_their_stream_is_held_or_not_known(
    rig: Rig,
) -> None:
    reload(rig, a=2)
    rig.manager.commit([], labels={"a": {"x": 2}, "unknown": {"x": 1}})
    rig.step()
    told = [one for one in rig.events if isinstance(one, StreamLabels)]
    assert told == [StreamLabels("a", {"x": 2}, {}), StreamLabels("unknown", {"x": 1}, {})]


def test_in_a_held_stream_labels_neither_move_nor_vanish_nor_appear(rig: Rig) -> None:
    rig.bring("a", 1, 2)
    rig.manager.set_labels({"a": {"moves": 1, "goes": 1}})
    rig.manager.hold(["a"])
    rig.manager.set_labels({"a": {"moves": 2, "comes": 2}})
    rig.settle()
    assert rig.manager.labels("a") == {"moves": 1, "goes": 1}
    with rig.handle("a@goes") as handle:
        assert handle.id == ServableId("a", 1)
    assert rig.why("a@goes").code is ReasonCode.AVAILABLE
    commit(rig, {})
    rig.manager.commit(["a"])
    rig.step()
    assert rig.manager.labels("a") == {"moves": 2, "comes": 2}
