"""Random histories of a whole manager: whatever is wanted, held, delayed or broken, the rules hold."""

from __future__ import annotations

import pytest

from servman.manager import ResourceTracker
from servman.reasons import ReasonCode
from tests.simulation.history import History, minimised, run
from tests.simulation.ledger import Ledger
from tests.simulation.loaders import Wish, make, memory_of
from tests.simulation.options import Options
from tests.unit.manager.rig import Rig

SEEDS = 1_000
BATCH = 50


@pytest.mark.timeout(60)
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_the_rules_hold_in_every_history(first: int) -> None:
    for seed in range(first, first + BATCH):
        failure = run(History.of(seed))
        if failure is not None:
            pytest.fail(str(minimised(failure)), pytrace=False)


def test_a_seed_is_one_history_however_often_it_is_drawn() -> None:
    assert History.of(7).decisions == History.of(7).decisions
    assert History.of(7).decisions != History.of(8).decisions


def test_a_wait_for_memory_is_no_attempt() -> None:
    rig = Rig(resource_tracker=ResourceTracker(memory_of(10)), max_num_load_retries=0)
    options, ledger = Options(memory=10), Ledger()
    old, new = (make(name, Wish(1, needs=10), ledger, options) for name in "ab")
    rig.bring("a", old)
    with rig.manager.get_servable_handle("a"):
        rig.bring("a")
        rig.bring("b", new)
        assert rig.why("b").code is ReasonCode.WAITING_FOR_MEMORY
    rig.settle()
    assert rig.serving() == ["b:1"]
    assert rig.snapshot("b:1").attempts == 1
