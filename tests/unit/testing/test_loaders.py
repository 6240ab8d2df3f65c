"""The loaders of the kit."""

from __future__ import annotations

import pytest

import servman.testing.loaders
from servman.ids import ServableId
from servman.loader import LoadContext
from servman.resources import ResourceAllocation
from servman.testing import FailingLoader, GatedLoader, Spawned
from servman.testing.clock import WATCHDOG

CONTEXT = LoadContext(ServableId("m", 1))


def test_a_gated_load_waits_until_it_is_let() -> None:
    loader = GatedLoader("model")
    thread = Spawned(lambda: loader.load(CONTEXT))
    assert loader.load_entered.wait(WATCHDOG)
    assert not thread.done
    loader.let_load.set()
    assert thread.result() == "model"
    assert loader.contexts == [CONTEXT]


def test_a_gated_unload_waits_until_it_is_let() -> None:
    loader = GatedLoader(gate_load=False, gate_unload=True)
    thread = Spawned(lambda: loader.unload("model"))
    assert loader.unload_entered.wait(WATCHDOG)
    assert not thread.done
    loader.let_unload.set()
    thread.result()
    assert loader.unloaded == ["model"]


def test_gates_that_were_not_asked_for_are_open() -> None:
    loader = GatedLoader("model", gate_load=False)
    assert loader.load(CONTEXT) == "model"
    loader.unload("model")
    assert loader.unload_entered.is_set()


def test_a_gate_that_is_never_opened_is_a_failure_not_a_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servman.testing.loaders, "WATCHDOG", 0.001)
    loader = GatedLoader(gate_unload=True)
    with pytest.raises(AssertionError, match="never set let_load"):
        loader.load(CONTEXT)
    with pytest.raises(AssertionError, match="never set let_unload"):
        loader.unload("model")


def test_a_failing_loader_raises_its_errors_in_order_and_then_loads() -> None:
    loader = FailingLoader(OSError("first"), SystemExit(2), servable="model")
    with pytest.raises(OSError, match="first"):
        loader.load(CONTEXT)
    with pytest.raises(SystemExit):
        loader.load(CONTEXT)
    assert loader.load(CONTEXT) == "model"
    assert loader.attempts == 3
    loader.unload("model")
    assert loader.unloaded == ["model"]


def test_the_revision_of_a_failing_loader_is_what_the_test_says() -> None:
    loader = FailingLoader()
    before = loader.revision()
    loader.files = "changed"
    assert before != loader.revision() == "changed"


def test_the_loaders_of_the_kit_need_nothing() -> None:
    assert GatedLoader().estimate_resources() == ResourceAllocation()
    assert FailingLoader().estimate_resources() == ResourceAllocation()
