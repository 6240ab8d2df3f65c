"""The public states, and how one reads."""

from __future__ import annotations

from servman.errors import LoadFailedError
from servman.ids import ServableId
from servman.state import ManagerState, ServableState, StreamAspiration

ID = ServableId("m", 1)


def test_the_states_have_the_numbers_of_tensorflow_serving_and_move_up() -> None:
    assert [(state.name, state.value) for state in sorted(ManagerState)] == [
        ("START", 10),
        ("LOADING", 20),
        ("AVAILABLE", 30),
        ("UNLOADING", 40),
        ("END", 50),
    ]


def test_a_state_reads_as_id_state_and_error() -> None:
    assert str(ServableState(ID, ManagerState.LOADING)) == "m:1 LOADING"
    failed = ServableState(ID, ManagerState.END, LoadFailedError("boom"))
    assert str(failed) == "m:1 END: boom"


def test_a_state_has_no_time_before_the_bus_has_stamped_it() -> None:
    assert ServableState(ID, ManagerState.START).time == 0.0


def test_equal_aspirations_are_one_whatever_the_order_of_their_versions() -> None:
    first = StreamAspiration("m", frozenset({1, 2}))
    assert first == StreamAspiration("m", frozenset({2, 1}))
    assert hash(first) == hash(StreamAspiration("m", frozenset({2, 1})))
