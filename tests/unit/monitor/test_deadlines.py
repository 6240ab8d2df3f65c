from __future__ import annotations

from servman.monitor.deadlines import Deadlines


def test_the_earliest_deadline_is_next_whatever_the_order_of_adding() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert deadlines.next() is None
    assert deadlines.add("b", 2.0)
    assert not deadlines.add("c", 3.0)
    assert deadlines.add("a", 1.0)
    assert deadlines.next() == 1.0


def test_take_due_takes_what_is_due_earliest_first_and_leaves_the_rest() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for owner, deadline in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        deadlines.add(owner, deadline)
    assert deadlines.take_due(0.5) == []
    assert deadlines.take_due(2.0) == ["a", "b"]
    assert deadlines.next() == 3.0
    assert len(deadlines) == 1


def test_who_leaves_is_not_due_and_does_not_come_next() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add("a", 1.0)
    deadlines.add("b", 2.0)
    deadlines.discard("a")
    deadlines.discard("a")
    deadlines.discard("never added")
    assert deadlines.next() == 2.0
    assert deadlines.take_due(9.0) == ["b"]


def test_who_leaves_takes_its_room_along() -> None:
    deadlines: Deadlines[int] = Deadlines()
    deadlines.add(-1, 1.0)
    for owner in range(1000):
        deadlines.add(owner, 5.0 + owner)
        deadlines.discard(owner)
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 25
    assert deadlines.next() == 1.0
