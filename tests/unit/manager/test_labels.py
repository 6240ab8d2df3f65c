"""Labels: which version a lookup by one finds, when it moves, and what is told of it."""

from __future__ import annotations

from typing import Any, final

import pytest

from servman.errors import ClosedError, InvalidArgumentError, NotFoundError
from servman.events import Event
from servman.ids import ServableRequest
from servman.manager import BasicManager, CachingManager, StaticManager
from servman.manager.base import Manager
from servman.manager.labels import Labels
from servman.reasons import Reason, ReasonCode
from servman.state import ServableState, StreamLabels
from tests.unit.manager.rig import ModelLoader, Rig, entry, sid

STABLE = ServableRequest.labeled("m", "stable")


def label(rig: Rig, **wanted: int) -> None:
    """Set the labels of m, and no others."""
    rig.manager.set_labels({"m": wanted})
    rig.step()


def points_to(rig: Rig, request: str | ServableRequest) -> str | None:
    try:
        with rig.manager.get_servable_handle(request) as handle:
            return str(handle.id)
    except NotFoundError:
        return None


def told(rig: Rig) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Return what was published of the labels of m: what is wanted, and what they resolve to."""
    events = [one for one in rig.events if isinstance(one, StreamLabels) and one.name == "m"]
    return [(dict(one.wanted), dict(one.targets)) for one in events]


# ---- where a label points to -----------------------------------------------------------------------


def test_a_label_finds_its_version_in_every_spelling(rig: Rig) -> None:
    rig.bring("m", 1, 2, 3)
    label(rig, stable=2)
    for request in ("m@stable", STABLE):
        assert points_to(rig, request) == "m:2"
    assert rig.manager.labels("m") == {"stable": 2}


def test_a_label_may_be_called_like_a_version_or_a_selector(rig: Rig) -> None:
    rig.bring("m", 1, 2, 3)
    rig.manager.set_labels({"m": {"3": 1, "latest": 2, "m": 1}})
    rig.step()
    found = [points_to(rig, request) for request in ("m@3", "m@latest", "m@m", "m:3", "m:latest")]
    assert found == ["m:1", "m:2", "m:1", "m:3", "m:3"]


def test_a_label_without_a_target_gets_one_as_soon_as_its_version_serves(rig: Rig) -> None:
    label(rig, stable=2)  # before anything is known of m
    assert points_to(rig, "m@stable") is None
    rig.bring("m", 1)
    assert points_to(rig, "m@stable") is None
    rig.bring("m", 1, 2)
    assert points_to(rig, "m@stable") == "m:2"


def test_a_label_keeps_its_target_until_the_wanted_version_serves(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    label(rig, stable=2)
    assert points_to(rig, "m@stable") == "m:1"
    rig.aspire("m", 1, 2)
    assert points_to(rig, "m@stable") == "m:1"
    rig.settle()
    assert points_to(rig, "m@stable") == "m:2"


def test_a_label_moves_at_once_to_a_version_that_serves_already(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    label(rig, stable=1)
    label(rig, stable=2)
    assert points_to(rig, "m@stable") == "m:2"


def test_a_wanted_version_that_fails_leaves_the_old_target(rig: Rig) -> None:
    rig = Rig(max_num_load_retries=0)
    rig.bring("m", 1)
    label(rig, stable=1)
    label(rig, stable=2)
    rig.bring("m", entry("m:2", ModelLoader(ValueError("torn"))))
    assert points_to(rig, "m@stable") == "m:1"
    reason = rig.why("m@stable")
    assert reason.code is ReasonCode.FAILED
    assert "torn" in reason.text
    assert reason.text.endswith("until then it is m:1")


def test_a_target_that_goes_before_the_wanted_version_is_there_leaves_nothing(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    label(rig, stable=1)
    label(rig, stable=5)
    rig.bring("m", 2)
    assert points_to(rig, "m@stable") is None
    rig.bring("m", 1, 2)  # it is not wanted any more, and not found by chance
    assert points_to(rig, "m@stable") is None
    rig.bring("m", 5)
    assert points_to(rig, "m@stable") == "m:5"


def test_a_wanted_version_that_goes_and_comes_back_is_found_again(rig: Rig) -> None:
    label(rig, stable=1)
    rig.bring("m", 1, 2)
    rig.bring("m", 2)
    assert points_to(rig, "m@stable") is None
    rig.bring("m", 1, 2)
    assert points_to(rig, "m@stable") == "m:1"


def test_a_label_survives_its_stream(rig: Rig) -> None:
    label(rig, stable=1)
    rig.bring("m", 1)
    rig.bring("m")
    assert rig.manager.snapshots("m") == ()
    assert rig.manager.labels("m") == {}
    rig.bring("m", 1)
    assert points_to(rig, "m@stable") == "m:1"


def test_a_label_that_is_left_out_is_gone_at_once(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1, canary=1)
    label(rig, canary=1)
    with pytest.raises(InvalidArgumentError, match=r"unrecognized.*'stable' of m.*canary"):
        rig.handle("m@stable")
    assert points_to(rig, "m@canary") == "m:1"


def test_a_handle_by_label_holds_the_version_that_it_found(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    with rig.handle("m@stable") as handle:
        label(rig, stable=2)
        rig.bring("m", 2)
        assert handle.id == sid("m:1")
        assert handle.servable.loaded
        assert rig.snapshot("m:1").handles == 1
    rig.settle()
    assert rig.state("m:1") is None


def test_labels_count_as_no_handles(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1, canary=1, other=1)
    assert rig.snapshot("m:1").handles == 0
    with rig.handle("m@canary"):
        assert rig.snapshot("m:1").handles == 1


# ---- in one step -----------------------------------------------------------------------------------


@final
class Watch:
    """Looks up whenever something is published."""

    def __init__(self, rig: Rig, *requests: str) -> None:
        self.seen: list[tuple[str, list[str | None]]] = []
        self._rig, self._requests = rig, requests
        rig.bus.attach(self)

    def record(self, event: Event) -> None:
        if isinstance(event, ServableState):
            what = f"{event.id} {event.manager_state.name}"
        else:
            what = f"{event.name} {type(event).__name__}"
        self.seen.append((what, [points_to(self._rig, one) for one in self._requests]))


def test_a_version_and_its_labels_come_in_together_and_before_available_is_told(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1, canary=1)
    label(rig, stable=2, canary=2)
    watch = Watch(rig, "m:2", "m@stable", "m@canary")
    rig.bring("m", 2)
    old, new = [None, "m:1", "m:1"], ["m:2", "m:2", "m:2"]
    assert watch.seen == [
        ("m StreamAspiration", old),
        ("m:2 START", old),
        ("m:2 LOADING", old),
        ("m StreamLabels", new),
        ("m:2 AVAILABLE", new),
        ("m:1 UNLOADING", new),
        ("m:1 END", new),
    ]


def test_labels_that_can_move_at_once_do_so_in_one_assignment_for_all_streams(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.bring(name, 1, 2)
    rig.manager.set_labels({"a": {"x": 1}, "b": {"x": 1}})
    rig.step()
    old = rig.manager._serving.streams
    rig.manager.set_labels({"a": {"x": 2}, "b": {"x": 2}})
    rig.step()
    new = rig.manager._serving.streams
    assert [old[name].labels["x"].id.version for name in "ab"] == [1, 1]
    assert [new[name].labels["x"].id.version for name in "ab"] == [2, 2]


def test_setting_what_is_set_changes_nothing_and_tells_nothing(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    entries, events = rig.manager._serving.streams["m"], len(rig.events)
    label(rig, stable=1)
    assert rig.manager._serving.streams["m"] is entries
    assert len(rig.events) == events


def test_what_was_passed_may_be_changed_afterwards(rig: Rig) -> None:
    rig.bring("m", 1, 2)
    table = {"m": {"stable": 1}}
    rig.manager.set_labels(table)
    table["m"]["stable"] = 2
    rig.step()
    assert points_to(rig, "m@stable") == "m:1"


# ---- what is told ----------------------------------------------------------------------------------


def test_every_change_is_told_with_what_is_wanted_and_what_resolves(rig: Rig) -> None:
    label(rig, stable=1)
    rig.bring("m", 1)
    label(rig, stable=2, canary=1)
    rig.bring("m", 2)
    rig.manager.set_labels({})
    rig.step()
    assert told(rig) == [
        ({"stable": 1}, {}),
        ({"stable": 1}, {"stable": 1}),
        ({"stable": 2, "canary": 1}, {"stable": 1, "canary": 1}),
        ({"stable": 2, "canary": 1}, {"stable": 2, "canary": 1}),
        ({"stable": 2, "canary": 1}, {"stable": 2}),
        ({}, {}),
    ]


def test_without_labels_nothing_is_told_of_them(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.bring("m", 2)
    rig.manager.set_labels({})
    rig.step()
    assert told(rig) == []


def test_labels_that_are_gone_leave_nothing_behind(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    rig.manager.set_labels({})
    rig.step()
    assert rig.manager._actor.labels == {}
    assert rig.manager._actor._reconciler._labels == {}


# ---- why -------------------------------------------------------------------------------------------


def test_a_lookup_by_a_label_that_finds_nothing_says_why_its_version_is_not_there(rig: Rig) -> None:
    label(rig, stable=1)
    rig.aspire("m", 1)
    with pytest.raises(NotFoundError, match="m@stable is to be m:1: m:1 has been loading") as why:
        rig.handle("m@stable")
    assert why.value.reason is not None
    assert why.value.reason.code is ReasonCode.LOADING
    assert why.value.reason.facts["version"] == 1


def test_the_reason_of_a_label_whose_version_is_not_aspired_says_so(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    label(rig, stable=7)
    reason = rig.why("m@stable")
    assert reason.code is ReasonCode.NOT_ASPIRED
    assert reason.text == "m@stable is to be m:7, which is not aspired; until then it is m:1"


def test_the_reason_of_a_label_that_is_where_it_should_be_is_that_it_is_available(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    reason = rig.why("m@stable")
    assert (reason.code, reason.text) == (ReasonCode.AVAILABLE, "m@stable is m:1")


def test_the_reason_of_a_label_that_waits_for_a_commit_says_so(rig: Rig) -> None:
    rig.bring("m", 1)
    rig.manager.hold(["m"])
    label(rig, stable=1)
    reason = rig.why("m@stable")
    assert reason.code is ReasonCode.HELD
    with pytest.raises(NotFoundError, match="when its stream, which is held, is committed"):
        rig.handle("m@stable")


def test_a_label_that_moves_while_it_is_asked_about_is_told_to_have_moved(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the version to be available sees that the label is there: it was told before."""
    rig.bring("m", 1)
    label(rig, stable=2)
    look = Manager._known_of

    def look_later(manager: Manager, wanted: ServableRequest) -> Reason | None:
        if wanted.version is not None:
            rig.bring("m", 1, 2)
        return look(manager, wanted)

    monkeypatch.setattr(Manager, "_known_of", look_later)
    reason = rig.why("m@stable")
    assert (reason.code, reason.text) == (ReasonCode.AVAILABLE, "m@stable is m:2")


def test_an_unknown_label_is_refused_with_those_that_there_are(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1, canary=1)
    text = r"unrecognized servable version label 'x' of m \(there are: canary, stable\)"
    with pytest.raises(InvalidArgumentError, match=text):
        rig.handle("m@x")
    reason = rig.why("m@x")
    assert reason.code is ReasonCode.NO_LABEL
    assert reason.facts == {"label": "x", "labels": {"stable": 1, "canary": 1}}


def test_of_a_label_of_a_stream_that_is_not_known_there_is_nothing_to_explain(rig: Rig) -> None:
    label(rig, stable=1)
    assert rig.manager.explain("other@stable") is None
    with pytest.raises(InvalidArgumentError, match=r"'stable' of other \(there are: none\)"):
        rig.handle("other@stable")


def test_managers_without_labels_refuse_requests_by_label() -> None:
    asked: list[object] = []

    def factory(request: object) -> Any:
        asked.append(request)

    with BasicManager() as basic, CachingManager(factory) as caching:
        managers = (basic, caching, StaticManager({sid("m:1"): "m"}))
        for manager in managers:
            for call in (manager.get_servable_handle, manager.explain):
                with pytest.raises(InvalidArgumentError, match="'stable' of m"):
                    call("m@stable")
        managers[-1].close()
    assert asked == []


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        None,
        "m",
        [],
        {"m": None},
        {"m": ["stable"]},
        {"a:b": {"stable": 1}},
        {"": {}},
        {"m": {"": 1}},
        {"m": {"a@b": 1}},
        {"m": {"a:b": 1}},
        {"m": {3: 1}},
        {"m": {"stable": -1}},
        {"m": {"stable": "1"}},
        {"m": {"stable": None}},
    ],
)
def test_what_can_be_no_label_is_refused_and_nothing_changes(rig: Rig, labels: Any) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    with pytest.raises(InvalidArgumentError):
        rig.manager.set_labels(labels)
    if labels is not None:
        with pytest.raises(InvalidArgumentError):
            rig.manager.commit(["m"], labels=labels)
    rig.step()
    assert rig.manager.labels("m") == {"stable": 1}


def test_labels_are_set_no_more_once_the_manager_is_closed(rig: Rig) -> None:
    rig.bring("m", 1)
    label(rig, stable=1)
    rig.begin_close()
    rig.settle()
    assert rig.manager.labels("m") == {}
    with pytest.raises(ClosedError):
        rig.manager.set_labels({})
    with pytest.raises(ClosedError):
        rig.handle("m@stable")
    assert told(rig)[-1] == ({"stable": 1}, {})


# ---- the rule, alone -------------------------------------------------------------------------------


def test_labels_move_by_the_rule_alone() -> None:
    labels = Labels()
    labels.wanted = {"a": 1, "b": 2}
    labels.move({1})
    assert labels.targets == {"a": 1}
    labels.wanted = {"a": 2, "b": 2, "c": 1}
    labels.move({1})
    assert labels.targets == {"a": 1, "c": 1}
    labels.move({1, 2})
    assert labels.targets == {"a": 2, "b": 2, "c": 1}
    labels.move(set())
    assert labels.targets == {}
    assert not labels.empty
