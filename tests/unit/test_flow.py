"""Joining two stages."""

from __future__ import annotations

from servman.data import ServableData
from servman.flow import Target, connect
from servman.ids import ServableId
from servman.testing import RecordingTarget


class OneShotSource:
    """A source that emits one list when it is told to."""

    def __init__(self) -> None:
        self._target: Target[str] | None = None

    def set_target(self, target: Target[str]) -> None:
        self._target = target

    def emit(self) -> None:
        assert self._target is not None
        self._target.set_aspired_versions("m", [ServableData(ServableId("m", 3), "/m/3")])


def test_a_connected_source_emits_to_its_target_and_not_before() -> None:
    source, target = OneShotSource(), RecordingTarget[str]()
    connect(source, target)
    assert target.calls == []
    source.emit()
    assert target.versions("m") == [3]
