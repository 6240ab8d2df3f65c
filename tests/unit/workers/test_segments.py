from __future__ import annotations

import gc
import mmap
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from servman.errors import InternalError, ResourceExhaustedError
from servman.workers import segments
from servman.workers.segments import KEPT, ONE_MESSAGE, Borrower, Lender


class Lane:
    """A lender and its borrower, without the sockets between them."""

    def __init__(self) -> None:
        self.lender = Lender()
        self.borrower = Borrower()
        self.made = 0

    def pass_on(self, data: bytes) -> memoryview:
        loan = self.lender.lend([(0, data)], len(data))
        if loan.fd is None:
            return self.borrower.borrow(loan.place, len(data))
        self.made += 1
        return self.borrower.map(loan.place, loan.fd, len(data))

    def give_back(self) -> int:
        returned = self.borrower.returned()
        self.lender.take_back(returned)
        return returned


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_what_was_lent_is_read_and_can_be_written_to() -> None:
    view = Lane().pass_on(b"hello")
    assert bytes(view) == b"hello"
    view[0] = ord("j")
    assert bytes(view) == b"jello"


def test_a_segment_serves_again_when_nothing_refers_to_it() -> None:
    lane = Lane()
    for i in range(20):
        data = bytes([i]) * 300_000
        assert bytes(lane.pass_on(data)) == data
        lane.give_back()
    assert lane.made == 1


def test_what_somebody_keeps_is_never_overwritten() -> None:
    lane = Lane()
    kept = []
    for i in range(3 * KEPT):
        kept.append(lane.pass_on(bytes([i]) * 100))
        assert lane.give_back() == 0
    assert [bytes(view) for view in kept] == [bytes([i]) * 100 for i in range(3 * KEPT)]


def test_the_last_two_may_be_kept_without_a_new_segment() -> None:
    lane = Lane()
    kept: list[memoryview] = []
    for i in range(20):
        kept = [*kept[-1:], lane.pass_on(bytes([i]) * 100)]
        lane.give_back()
    assert lane.made == KEPT


@pytest.mark.parametrize("how", ["array", "slice of it", "slice", "reshaped", "memoryview"])
def test_whatever_is_made_of_what_was_read_keeps_it(how: str) -> None:
    lane = Lane()
    view = lane.pass_on(bytes(800))
    array = np.frombuffer(view, np.float64)
    ways = {
        "array": array,
        "slice of it": array[3:5],
        "slice": view[8:16],
        "reshaped": array.reshape(10, 10).T,
        "memoryview": array.data,
    }
    kept: list[object] = [ways[how]]
    del view, array, ways
    assert lane.give_back() == 0
    kept.clear()
    assert lane.give_back() == 1


class Knot:
    """Refers to itself, so that it lives until it is collected."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.me = self


def test_what_hangs_in_a_cycle_is_kept_until_it_is_collected() -> None:
    lane = Lane()
    gc.collect()
    gc.disable()
    try:
        Knot(lane.pass_on(b"kept"))
        assert lane.give_back() == 0
        lane.pass_on(b"more")
        assert [bytes(one.view) for one in gc.get_objects() if isinstance(one, Knot)] == [b"kept"]
    finally:
        gc.enable()
    gc.collect()
    assert lane.give_back() == 0b11


def test_one_too_small_makes_room_for_a_larger_one_when_there_is_no_other() -> None:
    lane = Lane()
    sizes = [1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 20]
    for size in sizes:
        assert len(lane.pass_on(bytes(size))) == size
        lane.give_back()
    assert lane.made == 4  # the last one fits into any


def test_sizes_are_powers_of_two() -> None:
    lane = Lane()
    lane.pass_on(bytes(segments.SMALLEST + 1))
    assert [len(one) for one in lane.lender._segments if one] == [2 * segments.SMALLEST]
    lane.give_back()
    lane.pass_on(bytes(2 * segments.SMALLEST))
    assert lane.made == 1


def test_a_very_large_one_is_kept_on_neither_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LARGEST_KEPT", 1000)
    lane = Lane()
    before = descriptors()
    loan = lane.lender.lend([(0, bytes(1001))], 1001)
    assert loan.place == ONE_MESSAGE
    view = lane.borrower.map(loan.place, loan.fd, 1001)
    assert len(view) == 1001
    assert lane.lender._segments == [None] * KEPT
    assert lane.borrower._mappings == [None] * KEPT
    del view
    assert descriptors() == before


def test_parts_lie_where_they_should_new_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wrote = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: wrote(fd, data[:1000], at))
    lane = Lane()
    big = np.random.default_rng(7).bytes(400_000)
    for _ in range(2):
        loan = lane.lender.lend([(0, b"abc"), (64, big), (500_000, bytearray(b"end"))], 500_003)
        if loan.fd is None:
            view = lane.borrower.borrow(loan.place, 500_003)
        else:
            view = lane.borrower.map(loan.place, loan.fd, 500_003)
        read = [bytes(view[:3]), bytes(view[64:400_064]), bytes(view[500_000:])]
        assert read == [b"abc", big, b"end"]
        del view
        lane.give_back()


def test_no_descriptor_is_an_error_that_says_so_and_the_next_loan_works() -> None:
    lane = Lane()
    before = descriptors()
    with no_descriptor_left(), pytest.raises(ResourceExhaustedError, match="ulimit -n"):
        lane.pass_on(b"x")
    assert bytes(lane.pass_on(b"y")) == b"y"
    lane.lender.close()
    lane.borrower.close()
    assert descriptors() == before


def test_no_memory_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: memoryview, at: int) -> int:
        raise OSError(28, "No space left on device")

    lender = Lender()
    before = descriptors()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ResourceExhaustedError, match="No space left"):
        lender.lend([(0, b"x")], 1)
    assert descriptors() == before


def test_a_segment_whose_descriptor_was_lost_is_not_mistaken_for_the_one_before() -> None:
    lane = Lane()
    kept = [lane.pass_on(bytes([i])) for i in range(KEPT)]
    loan = lane.lender.lend([(0, b"new")], 3)  # in the place of the oldest
    assert loan.fd is not None
    os.close(loan.fd)
    with pytest.raises(ResourceExhaustedError, match="open no more files"):
        lane.borrower.map(loan.place, None, 3)
    with pytest.raises(InternalError):
        lane.borrower.borrow(loan.place, 3)
    del kept
    assert not lane.give_back() >> loan.place & 1  # so it is never lent without a descriptor


def test_closing_leaves_what_was_read_and_nothing_else() -> None:
    before = descriptors()
    lane = Lane()
    view = lane.pass_on(b"kept")
    lane.lender.close()
    lane.borrower.close()
    assert bytes(view) == b"kept"
    del view
    assert descriptors() == before


def test_what_is_free_is_reported_once() -> None:
    lane = Lane()
    lane.pass_on(b"x")
    assert [lane.give_back(), lane.give_back()] == [1, 0]


def test_one_that_cannot_be_mapped_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    before = descriptors()
    monkeypatch.setattr(mmap, "mmap", full)
    with pytest.raises(ResourceExhaustedError, match="Cannot allocate"):
        Lender().lend([(0, b"x")], 1)
    assert descriptors() == before


def test_a_new_segment_that_was_not_sent_is_never_lent_without_its_descriptor() -> None:
    lane = Lane()
    kept = [lane.pass_on(bytes([i])) for i in range(KEPT)]
    loan = lane.lender.lend([(0, b"unsent")], 6)  # in the place of the oldest
    assert loan.fd is not None
    os.close(loan.fd)
    lane.lender.retract(loan)
    del kept
    assert lane.give_back() == (1 << KEPT) - 1  # the borrower means those before
    kept = [lane.pass_on(b"new %d" % i) for i in range(2 * KEPT)]
    assert [bytes(view) for view in kept] == [b"new %d" % i for i in range(2 * KEPT)]


def test_a_used_segment_whose_message_was_not_sent_serves_again() -> None:
    lane = Lane()
    lane.pass_on(b"x")
    lane.give_back()
    lane.lender.retract(lane.lender.lend([(0, b"unsent")], 6))
    lane.pass_on(b"y")
    assert lane.made == 1


def test_what_a_forked_child_may_use_is_never_overwritten() -> None:
    lane = Lane()
    view = lane.pass_on(b"of the child, too")
    go, may_go = os.pipe()
    child = os.fork()
    if not child:
        os.read(go, 1)
        os._exit(bytes(view) != b"of the child, too")
    del view
    for _ in range(2 * KEPT):
        lane.give_back()
        lane.pass_on(b"of another message")
    os.write(may_go, b"x")
    os.close(go)
    os.close(may_go)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lane.made == 2
