"""The lane: places in the order of asking, never more than there are."""

from __future__ import annotations

from servman.manager.lane import Lane


def drain(lane: Lane) -> list[int]:
    given = []
    while (member := lane.next()) is not None:
        given.append(member)
    return given


def test_places_are_given_in_the_order_of_asking_and_no_more_than_there_are() -> None:
    lane = Lane(2)
    for member in (3, 1, 2):
        lane.enter(member)
    assert drain(lane) == [3, 1]
    assert lane.waits(2)
    assert not lane.waits(3)


def test_a_place_given_back_goes_to_the_next() -> None:
    lane = Lane(1)
    lane.enter(1)
    lane.enter(2)
    assert drain(lane) == [1]
    lane.leave(1)
    assert drain(lane) == [2]


def test_who_waits_can_leave_without_having_had_a_place() -> None:
    lane = Lane(1)
    for member in (1, 2, 3):
        lane.enter(member)
    assert drain(lane) == [1]
    lane.leave(2)
    lane.leave(1)
    assert drain(lane) == [3]


def test_leaving_twice_or_as_a_stranger_does_nothing() -> None:
    lane = Lane(1)
    lane.enter(1)
    assert drain(lane) == [1]
    lane.leave(9)
    lane.enter(2)
    assert drain(lane) == []
    lane.leave(1)
    lane.leave(1)
    assert drain(lane) == [2]


def test_a_lower_limit_disturbs_nobody_and_holds_for_the_next() -> None:
    lane = Lane(2)
    for member in (1, 2, 3):
        lane.enter(member)
    assert drain(lane) == [1, 2]
    lane.limit = 1
    lane.leave(1)
    assert drain(lane) == []
    lane.leave(2)
    assert drain(lane) == [3]


def test_a_higher_limit_lets_more_in_at_once() -> None:
    lane = Lane(1)
    for member in (1, 2, 3):
        lane.enter(member)
    assert drain(lane) == [1]
    lane.limit = 3
    assert drain(lane) == [2, 3]


def test_those_who_wait_have_their_places_in_the_order_that_was_set() -> None:
    lane = Lane(1)
    for member in (1, 2, 3, 4):
        lane.enter(member)
    lane.order([3, 1, 4, 2])
    assert lane.waiting == [3, 1, 4, 2]
    assert drain(lane) == [3]
    lane.enter(5)  # behind those that were ordered, until the next order
    lane.leave(3)
    assert drain(lane) == [1]
    assert lane.waiting == [4, 2, 5]


def due(lane: Lane) -> bool:
    return lane.unordered


def test_an_order_is_due_when_a_place_is_free_and_somebody_has_come_since_the_last_one() -> None:
    lane = Lane(1)
    lane.enter(1)
    assert not due(lane)  # one alone needs no order
    assert drain(lane) == [1]
    lane.enter(2)
    lane.enter(3)
    assert not due(lane)  # there is no place to give
    lane.leave(1)
    assert due(lane)
    lane.order([3, 2])
    assert not due(lane)
    lane.enter(4)
    assert due(lane)


def test_places_are_contended_when_several_wait() -> None:
    lane = Lane(1)
    contended = []
    for member in (1, 2):
        contended.append(lane.contended)
        lane.enter(member)
    contended.append(lane.contended)
    assert drain(lane) == [1]
    contended.append(lane.contended)
    assert contended == [False, False, True, False]
