"""Shared memory of one direction of a connection: written by the lender, read in place by the borrower.

It has no name anywhere: a descriptor travels with the first message that lies in it, and when both sides
have let go, or are dead, the system frees it. A segment serves again when everything read from it is gone, so
in the steady state none is made and no page is faulted in; and what somebody keeps is never overwritten.

The lender numbers the segments that it keeps. The borrower reports those given back with its next
message, which is safe because the two take turns: what was lent meanwhile cannot be meant.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
import weakref
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from servman.errors import InternalError, ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Part = tuple[int, bytes | bytearray | memoryview]
    """Where in the segment bytes go, and the bytes."""

KEPT: Final = 3
"""Segments that a lender keeps: one in use, and two that the other side may hold on to."""

LARGEST_KEPT: Final = 64 << 20
"""Bytes of the largest segment that is kept; a larger one is made for one message."""

SMALLEST: Final = 1 << 20
"""Bytes of the smallest one. What is never touched takes no memory."""

ONE_MESSAGE: Final = -2
"""The place of a message whose segment is not kept."""

_LARGE: Final = 1 << 18
"""Bytes whose copying takes so long that other threads should run meanwhile."""


class Loan(NamedTuple):
    """Where a message lies."""

    place: int
    """The number of the segment, or ONE_MESSAGE."""

    fd: int | None
    """The descriptor of a new segment: to be sent along, and then closed by the caller."""


@final
class Lender:
    """Owns the segments that one side writes to.

    Threads: one at a time.
    """

    def __init__(self) -> None:
        self._segments: list[memoryview | None] = [None] * KEPT
        self._lent: list[int] = []  # numbers, in the order in which they were lent

    def lend(self, parts: Sequence[Part], length: int, *, keep: bool = True) -> Loan:
        """Copy *parts* into a segment of at least *length* bytes, and count it as lent.

        Args:
            parts: What to copy, to where.
            length: Bytes from the beginning to the end of the last part.
            keep: Whether the segment may be one that serves again.

        Raises:
            ResourceExhaustedError: There is no memory or descriptor left; nothing is lent.
        """
        if not keep or length > LARGEST_KEPT:
            return Loan(ONE_MESSAGE, _filled(length, parts))
        for number, segment in enumerate(self._segments):
            if segment is not None and len(segment) >= length and number not in self._lent:
                _copy(parts, segment)
                self._lent.append(number)
                return Loan(number, None)
        return self._lend_new(parts, max(SMALLEST, 1 << (length - 1).bit_length()))

    def take_back(self, returned: int) -> None:
        """Count the segments whose bits are set in *returned* as free again."""
        if returned:
            self._lent = [number for number in self._lent if not returned >> number & 1]

    def retract(self, loan: Loan) -> None:
        """Count *loan*, which was not sent, as free. Nobody else knows a new segment, so it is none."""
        if loan.place != ONE_MESSAGE:
            self._lent.remove(loan.place)
            if loan.fd is not None:
                self._segments[loan.place] = None

    def close(self) -> None:
        """Let go of all segments. What was read from them stays readable."""
        self._segments = [None] * KEPT
        self._lent.clear()

    def _lend_new(self, parts: Sequence[Part], size: int) -> Loan:
        fd = _filled(size, parts)
        try:
            segment = memoryview(_mapped(fd, size))
        except BaseException:
            os.close(fd)
            raise
        number = self._least_useful()
        self._segments[number] = segment
        self._lent = [*(other for other in self._lent if other != number), number]
        return Loan(number, fd)

    def _least_useful(self) -> int:
        """Return the number to give to a new segment: of none, else of one too small, else of the oldest lent."""
        free = [number for number in range(KEPT) if number not in self._lent]
        empty = [number for number in free if self._segments[number] is None]
        return (empty or free or self._lent)[0]


@final
class Borrower:
    """Maps the segments that the other side writes to, and knows which are still in use.

    Threads: one at a time; what is read may be let go of in any.
    """

    def __init__(self) -> None:
        self._mappings: list[mmap.mmap | None] = [None] * KEPT
        self._leases: dict[int, weakref.ref[object]] = {}
        _count_forks()
        self._forks = _Forks.count

    def map(self, place: int, fd: int | None, length: int) -> memoryview:
        """Map a new segment, and return its *length* bytes, writable, for as long as anything refers to them.

        Args:
            place: As the lender said.
            fd: The descriptor that came along; it is closed. None if it was lost on the way.
            length: Bytes of the message.

        Raises:
            ResourceExhaustedError: It cannot be mapped, and so is never reported as returned.
        """
        if place != ONE_MESSAGE:
            # Whatever happens now, what had this place is out of use.
            self._leases.pop(place, None)
            self._mappings[place] = None
        mapping = _received(fd, length)
        if place == ONE_MESSAGE:
            return memoryview(mapping)[:length]
        self._mappings[place] = mapping
        return self.borrow(place, length)

    def borrow(self, place: int, length: int) -> memoryview:
        """Return *length* bytes of a segment that was mapped before, as `map` does.

        Raises:
            InternalError: It was not.
        """
        mapping = self._mappings[place]
        if mapping is None:
            raise InternalError(f"a message lies in segment {place}, of which nothing is known")
        lease = _lease_type(len(mapping)).from_buffer(mapping)
        self._leases[place] = weakref.ref(lease)
        return PickleBuffer(lease).raw()[:length]

    def returned(self) -> int:
        """Return the bits of the segments that nothing refers to any more, each once.

        Should the lender not hear of it, it has to make a new one, and that is all.
        """
        if not self._leases:
            return 0
        free = [place for place, lease in self._leases.items() if lease() is None]
        if (
            self._forks != _Forks.count
        ):  # asked last: none of `free` was in use when somebody forked
            self._forks = _Forks.count
            self._leases.clear()
            return 0
        for place in free:
            del self._leases[place]
        return sum(1 << place for place in free)

    def close(self) -> None:
        """Let go of all segments. What was read from them stays readable."""
        self._mappings = [None] * KEPT
        self._leases.clear()


class _Forks:
    """How often this process was about to fork.

    What was in use then may be in use in a child of it, of which nothing is known here, and which shares
    the memory instead of having a copy. So it counts as in use for ever.
    """

    count = 0

    @classmethod
    def another(cls) -> None:
        cls.count += 1


@functools.cache
def _count_forks() -> None:
    os.register_at_fork(before=_Forks.another)


def _received(fd: int | None, length: int) -> mmap.mmap:
    if fd is None:
        raise ResourceExhaustedError(
            f"{length} bytes of shared memory have not arrived, as this process may open no more files;"
            " close some, or raise the limit (ulimit -n)"
        )
    try:
        return _mapped(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _filled(size: int, parts: Sequence[Part]) -> int:
    """Return the descriptor of a new segment with *parts* in it.

    They are written through the descriptor: that takes half the time of faulting new pages in, other
    threads run meanwhile, and a lack of memory is an error instead of a signal.
    """
    try:
        fd = os.memfd_create("servman", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            for offset, part in parts:
                _write(fd, offset, memoryview(part))
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise _exhausted(size, error) from error
    return fd


def _write(fd: int, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):  # one call writes 2 GiB at most
        done += os.pwrite(fd, view[done:], offset + done)


def _mapped(fd: int, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(fd, size)
    except OSError as error:
        raise _exhausted(size, error) from error


def _copy(parts: Sequence[Part], segment: memoryview) -> None:
    for offset, part in parts:
        view = memoryview(part)
        into = segment[offset : offset + len(view)]
        numpy: Any = sys.modules.get("numpy") if len(view) >= _LARGE else None
        if numpy is None:
            into[:] = view
        else:  # lets other threads run
            numpy.copyto(numpy.frombuffer(into, numpy.uint8), numpy.frombuffer(view, numpy.uint8))


@functools.cache
def _lease_type(size: int) -> Any:
    """Return the type of what stands between a mapping and everything that is read from it.

    A memoryview, and what is made from one, refers to the object below and not to the view that it was
    taken from; that object has to be our own, so that its end says that nothing of the message is left. ctypes
    has the objects which lend the memory of others and can be weakly referred to. There are as
    many types as sizes: powers of two.
    """
    return type("Lease", (ctypes.c_char * size,), {})


def _exhausted(size: int, error: OSError) -> ResourceExhaustedError:
    return ResourceExhaustedError(
        f"{size} bytes of shared memory cannot be had ({error.strerror}); end what uses memory, or raise the"
        " limit of memory or of open files (ulimit -n) of this process or container"
    )
