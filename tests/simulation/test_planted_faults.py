"""The simulation finds what is wrong: each fault that is planted, within some hundred seeds.

Here one in each part; `make mutants` plants them all, and counts.
"""

from __future__ import annotations

import pytest

from tests.simulation.decisions import Aspire, Settle
from tests.simulation.faults import FAULTS
from tests.simulation.history import History, minimised, run
from tests.simulation.loaders import Kind, Wish
from tests.simulation.options import Options
from tests.simulation.plants import Fault, seeds_to_find

MOST = 400
ONE_OF_EACH_PART = {fault.part: fault for fault in reversed(FAULTS)}.values()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ONE_OF_EACH_PART, ids=lambda fault: f"{fault.part}: {fault.text}")
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    assert seeds_to_find(MOST) is not None, f"{MOST} seeds did not find it"


def test_a_failure_is_told_with_its_seed_and_its_shortest_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (twice,) = (fault for fault in FAULTS if "END twice" in fault.text)
    twice.plant(monkeypatch)
    wish, other = (Wish(1, Kind.ERRORED),), (Wish(2),)
    failing = (Aspire("b", other), Settle(), Aspire("a", wish), Settle(), Aspire("c", other))
    history = History(7, Options(), failing)
    failure = run(history)
    assert failure is not None
    shortest = minimised(failure)
    assert shortest.history.decisions == (Aspire("a", wish),)
    assert str(shortest).startswith("seed 7: ")
    assert "aspire a: 1 (could not be made, needs 1)" in str(shortest)
    assert "a:1 END" in str(shortest)
