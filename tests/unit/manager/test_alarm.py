from __future__ import annotations

from servman.manager.alarm import Alarm


def test_nothing_rings_before_its_time() -> None:
    alarm = Alarm({1})
    alarm.set(5.0, 1)
    assert alarm.next() == 5.0
    assert list(alarm.ring(4.9)) == []
    assert list(alarm.ring(5.0)) == [1]
    assert alarm.next() is None


def test_what_is_due_rings_in_the_order_of_time_each_as_often_as_asked_for() -> None:
    alarm = Alarm({1, 2})
    for time, incarnation in ((3.0, 2), (1.0, 1), (2.0, 2)):
        alarm.set(time, incarnation)
    assert list(alarm.ring(3.0)) == [1, 2, 2]


def test_those_that_have_gone_do_not_ring() -> None:
    living = {1, 2}
    alarm = Alarm(living)
    alarm.set(1.0, 1)
    alarm.set(1.0, 2)
    living.discard(1)
    assert list(alarm.ring(1.0)) == [2]


def test_entries_of_those_that_have_gone_do_not_pile_up() -> None:
    living = {0}
    alarm = Alarm(living)
    alarm.set(60.0, 0)
    for incarnation in range(1, 10_000):
        living.add(incarnation)
        alarm.set(60.0, incarnation)
        living.discard(incarnation)
    assert len(alarm._due) <= 1001
    assert list(alarm.ring(60.0)) == [0]
