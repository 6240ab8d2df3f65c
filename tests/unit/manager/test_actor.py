from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from servman.manager import AspiredVersionsManager, HarnessState
from servman.manager.reconciler import Reconciler
from servman.manager.serving import ServingMap
from tests.unit.manager.rig import Rig, entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.manager.handle import Entry
    from servman.manager.messages import Effect, Event


def test_an_effect_that_cannot_be_carried_out_does_not_keep_the_others_from_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit, faults = rig.loads.submit, [RuntimeError("can't start new thread")]

    def submit_later(job: Callable[[], None]) -> None:
        if faults:
            raise faults.pop()
        submit(job)

    monkeypatch.setattr(rig.loads, "submit", submit_later)
    rig.manager.set_aspired_versions("m", [entry("m:1"), entry("m:2")])
    rig.settle()
    assert rig.state("m:2") is HarnessState.LOADING
    assert rig.state("m:1") is HarnessState.READY
    assert "could not carry out" in caplog.text


def test_a_fault_of_one_step_does_not_end_the_managers_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take, faults = Reconciler.take, [KeyError("a fault of servman's")]

    def faulty(self: Reconciler, event: Event | None, now: float) -> list[Effect]:
        if faults:
            raise faults.pop()
        return take(self, event, now)

    monkeypatch.setattr(Reconciler, "take", faulty)
    manager = AspiredVersionsManager()
    manager.start()
    with caplog.at_level(logging.ERROR):
        manager.set_aspired_versions("lost", [entry("lost:1")])
        assert manager.close(timeout=10)
    assert "please report this" in caplog.text


def test_a_version_is_not_shown_as_ready_before_lookups_find_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a lookup could fail with the reason that the version is available."""
    replace, shown = ServingMap.replace, []

    def watched(
        self: ServingMap, name: str, versions: Mapping[int, Entry], newest: int | None
    ) -> None:
        if versions:
            shown.append(rig.state("m:1"))
        replace(self, name, versions, newest)

    monkeypatch.setattr(ServingMap, "replace", watched)
    rig.bring("m", 1)
    assert shown == [HarnessState.LOADING]
