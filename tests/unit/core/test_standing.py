"""How a model stands, from what is known of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from servman.core import ModelConfig
from servman.core.standing import (
    Stand,
    Standing,
    departure,
    standing,
    standing_to_commit,
    standing_to_leave,
)
from servman.errors import ResourceExhaustedError
from servman.ids import ServableId, ServableRequest
from servman.manager import HarnessState, ServableStateSnapshot
from servman.sources import All, Latest, Outlook, Specific

READY, LOADING, ERROR = HarnessState.READY, HarnessState.LOADING, HarnessState.ERROR
NEWEST = ServableRequest.newest("m")


def at(version: int) -> ServableRequest:
    return ServableRequest.specific("m", version)


def snapshot(version: int, state: HarnessState = READY, **fields: Any) -> ServableStateSnapshot:
    fields = {"aspired": True, "origin": f"/m/{version}", **fields}
    return ServableStateSnapshot(ServableId("m", version), state, **fields)


def outlook(*versions: int, known: bool = True, missing: tuple[int, ...] = ()) -> Outlook:
    return Outlook(versions, missing, known)


def of(
    *snapshots: ServableStateSnapshot,
    source: Outlook | None = None,
    passed: Mapping[int, str | None] | None = None,
    labels: Mapping[str, int] | None = None,
    **fields: Any,
) -> Standing:
    """Say how a model stands of which the latest two are wanted, which are 1 and 2 where nothing else is said."""
    model = ModelConfig("m", "/m", **{"version_policy": Latest(2), **fields})
    given = {1: "/m/1", 2: "/m/2"} if passed is None else passed
    return standing(model, source or outlook(2, 1), given, snapshots, labels or {})


BOTH = (snapshot(1), snapshot(2))


def test_it_is_available_when_all_that_is_wanted_serves_and_nothing_else_is_there() -> None:
    assert of(*BOTH) == Standing(Stand.AVAILABLE)


@pytest.mark.parametrize(
    ("source", "at_source"),
    [(outlook(known=False), True), (outlook(2, 1, known=False), True), (outlook(), True)],
)
def test_it_is_pending_while_the_source_does_not_know(source: Outlook, at_source: bool) -> None:
    assert of(*BOTH, source=source) == Standing(Stand.PENDING, NEWEST, at_source)


def test_it_is_pending_while_the_list_is_on_its_way_to_the_manager() -> None:
    assert of(*BOTH, source=outlook(3, 2)) == Standing(Stand.PENDING, NEWEST)


@pytest.mark.parametrize(
    "snapshots",
    [
        (),
        (snapshot(1),),
        (*BOTH, snapshot(3)),
        (snapshot(1), snapshot(2, aspired=False)),
        (snapshot(1), snapshot(2, origin="/elsewhere/2")),
    ],
)
def test_it_is_pending_while_the_manager_has_another_list(
    snapshots: Sequence[ServableStateSnapshot],
) -> None:
    assert of(*snapshots) == Standing(Stand.PENDING, NEWEST)


def test_versions_that_are_not_found_are_pending_the_lowest_first() -> None:
    source = outlook(2, 1, missing=(9, 8))
    assert of(*BOTH, source=source) == Standing(Stand.PENDING, at(8))


@pytest.mark.parametrize(
    ("policy", "failed", "stand"),
    [
        (Latest(2), 2, Standing(Stand.FAILED, at(2))),
        (Latest(2), 1, Standing(Stand.AVAILABLE)),
        (All(), 1, Standing(Stand.AVAILABLE)),
        (Specific(1, 2), 1, Standing(Stand.FAILED, at(1))),
    ],
)
def test_it_has_failed_where_the_newest_has_or_one_that_is_named(
    policy: Any, failed: int, stand: Standing
) -> None:
    snapshots = [snapshot(one, ERROR if one == failed else READY) for one in (1, 2)]
    assert of(*snapshots, version_policy=policy) == stand


def test_what_has_failed_is_told_while_others_are_on_their_way() -> None:
    assert of(snapshot(1, LOADING), snapshot(2, ERROR)) == Standing(Stand.FAILED, at(2))


def test_what_has_failed_for_want_of_memory_is_pending_while_others_give_theirs_back() -> None:
    failed = snapshot(
        2, ERROR, error=ResourceExhaustedError("m:2: needs 6, of 10 there are 6 in use")
    )
    leaving = snapshot(3, HarnessState.QUIESCING, aspired=False)
    assert of(snapshot(1), failed, leaving) == Standing(Stand.PENDING, at(3))
    assert of(snapshot(1), failed) == Standing(Stand.FAILED, at(2))
    kept = snapshot(3, READY, aspired=False)  # until something else serves: it gives nothing back
    assert of(snapshot(1), failed, kept) == Standing(Stand.FAILED, at(2))


def test_what_has_failed_and_begins_anew_is_pending() -> None:
    assert of(snapshot(1), snapshot(2, ERROR, aspired=False, wanted_again=True)) == Standing(
        Stand.PENDING, at(2)
    )


@pytest.mark.parametrize("state", [LOADING, HarnessState.NEW, HarnessState.LOAD_APPROVED])
def test_what_is_on_its_way_in_is_pending(state: HarnessState) -> None:
    assert of(snapshot(1), snapshot(2, state)) == Standing(Stand.PENDING, at(2))


@pytest.mark.parametrize("state", [READY, HarnessState.QUIESCING, HarnessState.UNLOADING, LOADING])
def test_what_is_on_its_way_out_is_pending(state: HarnessState) -> None:
    assert of(*BOTH, snapshot(3, state, aspired=False)) == Standing(Stand.PENDING, at(3))


def test_what_has_gone_is_of_no_interest() -> None:
    assert of(*BOTH, snapshot(3, ERROR, aspired=False)) == Standing(Stand.AVAILABLE)


def test_what_is_on_its_way_in_is_told_before_what_is_on_its_way_out() -> None:
    snapshots = (
        snapshot(1),
        snapshot(2, LOADING),
        snapshot(3, HarnessState.QUIESCING, aspired=False),
    )
    assert of(*snapshots) == Standing(Stand.PENDING, at(2))


@pytest.mark.parametrize(
    ("wanted", "labels", "label"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, None),
        ({"a": 1, "b": 2}, {"a": 1}, "b"),
        ({"a": 2}, {"a": 1}, "a"),
        ({}, {"old": 1}, "old"),
    ],
)
def test_labels_have_to_mean_what_they_should_and_others_to_be_gone(
    wanted: dict[str, int], labels: dict[str, int], label: str | None
) -> None:
    expected = Standing(Stand.AVAILABLE)
    if label is not None:
        expected = Standing(Stand.PENDING, ServableRequest.labeled("m", label))
    assert of(*BOTH, labels=labels, version_labels=wanted) == expected


def test_a_label_for_what_has_failed_has_failed() -> None:
    label = Standing(Stand.FAILED, ServableRequest.labeled("m", "a"))
    assert of(snapshot(1, ERROR), snapshot(2), version_labels={"a": 1}) == label


def test_nothing_that_is_asked_for_is_there_at_once() -> None:
    nothing: dict[str, Any] = {"source": outlook(), "passed": {}, "version_policy": Specific()}
    assert of(**nothing) == Standing(Stand.AVAILABLE)
    assert of(snapshot(1, aspired=False), **nothing) == Standing(Stand.PENDING, at(1))


# ---- to be committed ---------------------------------------------------------------------------


def to_commit(*snapshots: ServableStateSnapshot, **fields: Any) -> Standing:
    source = fields.pop("source", outlook(2))
    passed = {one: f"/m/{one}" for one in source.versions}
    return standing_to_commit(ModelConfig("m", "/m", **fields), source, passed, snapshots)


OLD = snapshot(1, aspired=False)


@pytest.mark.parametrize(
    "new", [snapshot(2), snapshot(2, LOADING, held=True)], ids=["serves", "held"]
)
def test_it_may_be_committed_when_what_is_wanted_is_loaded(new: ServableStateSnapshot) -> None:
    assert to_commit(OLD, new) == Standing(Stand.AVAILABLE)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (snapshot(2, LOADING), Standing(Stand.PENDING, at(2))),
        (snapshot(2, ERROR), Standing(Stand.FAILED, at(2))),
        (snapshot(2, READY, wanted_again=True, aspired=False), Standing(Stand.FAILED, at(2))),
        (
            snapshot(2, HarnessState.UNLOADING, wanted_again=True, aspired=False),
            Standing(Stand.PENDING, at(2)),
        ),
    ],
)
def test_it_waits_for_what_is_on_its_way_and_fails_with_what_cannot_come(
    new: ServableStateSnapshot, expected: Standing
) -> None:
    assert to_commit(OLD, new) == expected


def test_what_a_label_names_has_to_be_among_what_is_wanted() -> None:
    assert to_commit(OLD, snapshot(2), version_labels={"a": 2}) == Standing(Stand.AVAILABLE)
    assert to_commit(OLD, snapshot(2), version_labels={"a": 2, "b": 1}) == Standing(
        Stand.PENDING, at(1), at_source=True
    )


def test_what_is_not_known_or_not_found_is_pending() -> None:
    assert to_commit(source=outlook(2, known=False)).stand is Stand.PENDING
    assert to_commit(snapshot(2), source=outlook(2, missing=(7,))) == Standing(Stand.PENDING, at(7))


# ---- to go -------------------------------------------------------------------------------------


def test_a_model_has_gone_when_nothing_of_it_is_there_or_on_its_way() -> None:
    assert departure("m", {}, ()) == Standing(Stand.GONE)
    assert departure("m", {}, [snapshot(1, ERROR, aspired=False)]) == Standing(Stand.GONE)
    assert departure("m", {}, [snapshot(1, ERROR)]) == Standing(Stand.PENDING, at(1))
    assert departure("m", {}, [OLD]) == Standing(Stand.PENDING, at(1))
    assert departure("m", {1: "/m/1"}, ()) == Standing(Stand.PENDING, ServableRequest.latest("m"))


def test_a_model_may_go_with_a_commit_when_nothing_of_it_is_wanted() -> None:
    assert standing_to_leave("m", {}, [OLD]) == Standing(Stand.AVAILABLE)
    pending = Standing(Stand.PENDING, ServableRequest.latest("m"))
    assert standing_to_leave("m", {1: "/m/1"}, [OLD]) == pending
    assert standing_to_leave("m", {}, [snapshot(1)]) == pending
