"""Random histories of a whole core: whatever is reloaded, published, broken or slow, the rules hold."""

from __future__ import annotations

import pytest

from servman.core import ModelConfig
from servman.sources import Specific
from tests.simulation.common_decisions import Advance, Finish
from tests.simulation.core_decisions import (
    Ask,
    Become,
    Deploy,
    GoOn,
    Publish,
    Rehearse,
    Settle,
    StepManager,
    Waver,
)
from tests.simulation.core_faults import CORE_FAULTS
from tests.simulation.core_history import CoreHistory, minimised, run, seeds_to_find
from tests.simulation.core_options import CoreOptions
from tests.simulation.core_reloads import Order
from tests.simulation.core_storage import Health, Kind
from tests.simulation.plants import Fault

SEEDS = 300
BATCH = 30
MOST = 300

_QUICK = (
    "it is in force before it is checked",
    "an older one does not notice the newer",
    "what is on its way to the manager is not heard out",
    "labels come after the commit, and not with it",
    "streams are held after their first lists",
    "a plan forgets versions that are replaced by the same number",
)
"""Planted here, one of each kind; `make mutants` plants them all, and counts."""


def _model(name: str, base: str = "/p", **fields: object) -> ModelConfig:
    return ModelConfig(name, base, "bench", **fields)  # type: ignore[arg-type] # the fields of one


@pytest.mark.timeout(60)
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_rules_hold_in_every_history_of_a_core(first: int) -> None:
    for seed in range(first, first + BATCH):
        failure = run(CoreHistory.of(seed))
        if failure is not None:
            pytest.fail(str(minimised(failure)), pytrace=False)


def test_a_seed_is_one_history_however_often_it_is_drawn() -> None:
    assert CoreHistory.of(7).decisions == CoreHistory.of(7).decisions
    assert CoreHistory.of(7).decisions != CoreHistory.of(8).decisions


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "fault", [one for one in CORE_FAULTS if one.text in _QUICK], ids=lambda fault: fault.text
)
def test_a_fault_that_is_planted_in_a_core_is_found(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.plant(monkeypatch)
    assert seeds_to_find(MOST) is not None, f"{MOST} seeds did not find it"


def test_a_failure_is_told_with_its_seed_and_its_shortest_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (unchecked,) = (one for one in CORE_FAULTS if "before it is checked" in one.text)
    unchecked.plant(monkeypatch)
    faulty = Ask(Order((_model("b", "relative"),)))
    decisions = (Publish("/p", 1, Kind.GOOD), Ask(Order((_model("a"),))), Settle(), faulty)
    failure = run(CoreHistory(7, CoreOptions(), decisions))
    assert failure is not None
    shortest = minimised(failure)
    assert shortest.history.decisions == (faulty,)
    assert str(shortest).startswith("seed 7 of the core: ")
    assert "reload b at relative (latest 1) (within 20.0 s)" in str(shortest)


# ---- what the simulation has found ------------------------------------------------------------------


def _passes(*decisions: object) -> None:
    failure = run(CoreHistory(0, CoreOptions(poll_interval=-1.0), decisions))  # type: ignore[arg-type] # they are
    if failure is not None:
        pytest.fail(str(failure), pytrace=False)


def test_what_was_put_back_and_then_removed_goes_though_its_base_path_is_missing() -> None:
    _passes(
        Publish("/q", 3, Kind.GOOD),
        Ask(Order((_model("b", "/q"),))),
        Settle(),
        Become("/q", Health.MISSING),
        Ask(Order((_model("a"),), timeout=1.0, atomic=True)),
        Ask(Order((_model("a"),), edit="add")),
    )


def test_what_an_atomic_reload_removes_has_a_reason_meanwhile() -> None:
    _passes(
        Ask(Order((_model("a"),), wait=False)),
        Settle(),
        Ask(Order((_model("b", version_policy=Specific(3)),), atomic=True)),
        Settle(),
        Advance(1.0),
    )


def test_a_plan_knows_that_an_empty_base_path_unloads_what_is_served() -> None:
    _passes(
        Publish("/p", 3, Kind.GOOD),
        Ask(Order((_model("b"),))),
        Settle(),
        Rehearse(Order((_model("b", "/q"),))),
    )


@pytest.mark.parametrize("kind", [Kind.NEVER, Kind.ONCE])
def test_a_plan_does_not_try_again_what_has_failed(kind: Kind) -> None:
    _passes(
        Publish("/p", 1, kind),
        Ask(Order((_model("b", version_labels={"x": 2}),))),
        Settle(),
        Rehearse(Order((_model("b", required=False),))),
    )


def test_a_commit_that_is_refused_after_its_reload_gave_up_is_put_back() -> None:
    _passes(
        Publish("/p", 1, Kind.GOOD),
        Ask(Order((_model("a"),), timeout=1.0, atomic=True, pauses=frozenset({"begin commit"}))),
        Deploy("/p", 1),
        Finish("loads", 0),
        StepManager(9),
        GoOn(0),
        Deploy("/p", 3),
        GoOn(0),
        Advance(2.0),
        GoOn(0),
    )


def test_an_optional_model_is_not_available_while_lists_are_on_their_way() -> None:
    _passes(
        Publish("/p", 2, Kind.GOOD),
        Publish("/p", 3, Kind.GOOD),
        Ask(Order((_model("a", version_policy=Specific(2, 3), required=False),))),
        Settle(),
        Waver(Order(())),
    )
