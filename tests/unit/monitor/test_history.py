"""What a monitor has seen, read while more happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from servman.ids import ServableId
from servman.monitor.history import History
from servman.state import ManagerState, ServableState


@final
class Meanwhile(list[str]):
    """Names; while they are read one by one, something happens to all of them."""

    def __init__(self, history: History, *names: str) -> None:
        super().__init__(names)
        self._history = history

    def __iter__(self) -> Iterator[str]:
        first, *others = super().__iter__()
        yield first
        come(self._history, ManagerState.AVAILABLE, first, *others)
        yield from others


def come(history: History, state: ManagerState, *names: str) -> None:
    for name in names:
        history.record(ServableState(ServableId(name, 1), state))


def test_several_streams_are_seen_as_they_stood_at_one_moment() -> None:
    history = History(10, 10, 10)
    come(history, ManagerState.LOADING, "a", "b")
    table = history.at_one_moment(Meanwhile(history, "a", "b"))
    assert len({table[name].states[1].manager_state for name in ("a", "b")}) == 1


def test_all_streams_are_seen_as_they_stood_at_one_moment() -> None:
    history = History(10, 10, 10)
    come(history, ManagerState.LOADING, "a", "b")
    table = history.at_one_moment(None)
    come(history, ManagerState.AVAILABLE, "a", "b", "c")
    assert {str(view.states[1]) for view in table.values()} == {"a:1 LOADING", "b:1 LOADING"}
