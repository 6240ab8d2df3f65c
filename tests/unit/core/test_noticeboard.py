"""The noticeboard: nothing that is posted while somebody listens is lost, and each is told once."""

from __future__ import annotations

import pytest

from servman.core.noticeboard import Noticeboard
from servman.testing import FakeClock, Spawned


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def board(clock: FakeClock) -> Noticeboard:
    return Noticeboard(clock)


def test_what_is_posted_before_the_wait_ends_it_at_once(board: Noticeboard) -> None:
    with board.listening() as listener:
        board.post("m")
        board.post("n")
        board.post("m")
        assert listener.wait(None) == {"m", "n"}
        assert listener.names() == set()


def test_what_is_posted_when_nobody_listens_is_told_to_nobody(board: Noticeboard) -> None:
    board.post("m")
    with board.listening() as listener:
        board.post("n")
    board.post("o")
    assert listener.names() == {"n"}


def test_everyone_who_listens_is_told(board: Noticeboard) -> None:
    with board.listening() as one, board.listening() as other:
        board.post("m")
        assert (one.names(), other.names()) == ({"m"}, {"m"})
        board.wake()
        assert (one.wait(None), other.wait(None)) == (set(), set())


def test_a_wait_ends_when_something_is_posted(board: Noticeboard, clock: FakeClock) -> None:
    with board.listening() as listener:
        waiting = Spawned(lambda: listener.wait(clock.monotonic() + 5))
        clock.wait_until_parked(1)
        board.post("m")
        assert waiting.result() == {"m"}


def test_a_wait_ends_when_it_is_woken(board: Noticeboard, clock: FakeClock) -> None:
    with board.listening() as listener:
        waiting = Spawned(lambda: listener.wait(clock.monotonic() + 5))
        clock.wait_until_parked(1)
        board.wake()
        assert waiting.result() == set()


def test_a_wait_ends_at_its_deadline_and_not_before(board: Noticeboard, clock: FakeClock) -> None:
    with board.listening() as listener:
        waiting = Spawned(lambda: listener.wait(clock.monotonic() + 5))
        clock.wait_until_parked(1)
        clock.advance(4)
        assert not waiting.done
        clock.advance(1)
        assert waiting.result() == set()
        assert listener.wait(clock.monotonic()) == set()


def test_a_wake_that_comes_early_counts_for_the_next_wait_alone(
    board: Noticeboard, clock: FakeClock
) -> None:
    with board.listening() as listener:
        board.wake()
        assert listener.wait(None) == set()
        waiting = Spawned(lambda: listener.wait(clock.monotonic() + 5))
        clock.wait_until_parked(1)
        clock.advance(5)
        assert waiting.result() == set()


def test_an_error_ends_the_listening(board: Noticeboard) -> None:
    with pytest.raises(KeyboardInterrupt), board.listening() as listener:
        raise KeyboardInterrupt
    board.post("m")
    assert listener.names() == set()
