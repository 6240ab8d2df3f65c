"""`on_change`: told of each stream whose snapshots or labels have changed, when they can be read."""

from __future__ import annotations

from typing import Any

import pytest

from servman.errors import InvalidArgumentError
from servman.manager import AspiredVersionsManager, HarnessState
from tests.unit.manager.rig import Rig, entry


class Watch:
    """Notes who has changed, and what is to be read of it then."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str]]] = []
        self.labels: list[dict[str, int]] = []
        self.rig: Rig | None = None

    def __call__(self, name: str) -> None:
        assert self.rig is not None
        snapshots = self.rig.manager.snapshots(name)
        self.seen.append((name, [f"{one.id.version} {one.state.value}" for one in snapshots]))
        self.labels.append(dict(self.rig.manager.labels(name)))


def watched() -> tuple[Rig, Watch]:
    watch = Watch()
    rig = watch.rig = Rig(on_change=watch)
    return rig, watch


def test_each_stream_that_changes_is_told_with_what_can_be_read_by_then() -> None:
    rig, watch = watched()
    rig.bring("m", entry("m:1"))
    states = [
        states[0].split(maxsplit=1)[1] for name, states in watch.seen if name == "m" and states
    ]
    assert states[0] == HarnessState.NEW.value
    assert states[-1] == HarnessState.READY.value
    rig.bring("m")
    assert watch.seen[-1] == ("m", [])


def test_a_stream_that_stays_as_it_is_is_not_told() -> None:
    rig, watch = watched()
    rig.bring("m", entry("m:1"))
    rig.bring("n", entry("n:1"))
    watch.seen.clear()
    rig.bring("n", entry("n:2"))
    assert {name for name, _ in watch.seen} == {"n"}


def test_labels_that_move_are_told_when_lookups_find_them() -> None:
    rig, watch = watched()
    rig.bring("m", entry("m:1"))
    watch.labels.clear()
    rig.manager.set_labels({"m": {"stable": 1}})
    rig.settle()
    assert watch.labels[-1] == {"stable": 1}


def test_one_that_raises_harms_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str) -> None:
        raise ValueError(name)

    rig = Rig(on_change=fail)
    rig.bring("m", entry("m:1"))
    assert [str(one) for one in rig.manager.list_available_ids()] == ["m:1"]
    assert "on_change raised" in caplog.text


@pytest.mark.parametrize("value", ["m", 1, True])
def test_what_cannot_be_called_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="on_change"):
        AspiredVersionsManager(on_change=value)
