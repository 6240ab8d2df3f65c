"""What goes over the wire: an object as its pickle, with the large buffers beside it."""

from __future__ import annotations

import collections
import functools
import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.workers.segments import Part

    Bytes = bytes | bytearray | memoryview

BESIDE: Final = 32 << 10
"""Bytes from which on a buffer is no part of the pickle."""

_PROTOCOL: Final = 5

_ALIGNMENT: Final = 64
"""Bytes: what vector instructions and caches like, and TensorFlow asks for to use an array in place."""

_FORMATS: Final = frozenset("cbB?hHiIlLqQnNfdP")
"""Those that `memoryview.cast` understands."""


@final
class Payload:
    """An object, pickled once, that can be sent any number of times.

    Large buffers (of arrays above all) are not in the pickle but referred to: they are copied once, when
    it is sent, and must not change until then. So it keeps the arrays of the object alive.

    Threads: any, one at a time.
    """

    __slots__ = ("_buffers", "_chunks", "size")

    size: int
    """Bytes of the pickle."""

    def __init__(self, value: object) -> None:
        """Pickle *value*.

        Raises:
            Exception: Whatever pickling raises: PicklingError, TypeError, AttributeError, or what is foreign.
        """
        pickler = _pickler()
        pickler.dump(value)  # one that raised is not used again
        self._chunks, self._buffers = pickler.taken()
        if len(self._chunks) == 1:
            self.size = len(self._chunks[0])
            _idle.append(pickler)  # a small one: it costs as much to make as to use
        else:
            self.size = sum(map(len, self._chunks))

    @property
    def buffers(self) -> int:
        """How many buffers there are beside the pickle."""
        return len(self._buffers)

    def pickled(self) -> bytes:
        """Return the pickle itself."""
        return b"".join(self._chunks)

    def parts(self) -> tuple[list[Part], int]:
        """Return what goes where in a segment, and where it ends.

        The sizes of the buffers come first, then each of them, aligned, then the pickle.
        """
        sizes = [view.nbytes for view in self._buffers]
        parts: list[Part] = [(0, struct.pack(f"<{len(sizes)}Q", *sizes))]
        places, end = _layout(sizes)
        parts.extend(zip(places, self._buffers, strict=True))
        for chunk in self._chunks:
            parts.append((end, chunk))
            end += len(chunk)
        return parts, end

    def fingerprint(self) -> bytes:
        """Return a hash of the content: equal for equal pickles with equal buffers.

        Blocks: about 1 ms for a megabyte; other threads run meanwhile.
        """
        from hashlib import blake2b  # noqa: PLC0415 -- rarely needed, and a child should be up soon

        said = blake2b(struct.pack("<Q", self.size), digest_size=16)
        for part in (*self._chunks, *self._buffers):
            said.update(part)
        return said.digest()

    def clear(self) -> None:
        """Let go of what it holds."""
        self._buffers.clear()
        self._chunks.clear()


def load(body: memoryview | bytes, buffers: int) -> object:
    """Return the object of which *body* is the pickle, or, with *buffers*, what `Payload.parts` laid out.

    Raises:
        Exception: Whatever unpickling raises.
    """
    if not buffers:
        return pickle.loads(body)  # noqa: S301 -- from our own child, or our parent
    view = memoryview(body)
    sizes = struct.unpack_from(f"<{buffers}Q", view)
    places, end = _layout(sizes)
    beside = [view[place : place + size] for place, size in zip(places, sizes, strict=True)]
    return pickle.loads(view[end:], buffers=beside)  # noqa: S301 -- as above


def _layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return where each of the buffers is, behind the table of their sizes, and where the last ends."""
    places, end = [], 8 * len(sizes)
    for size in sizes:
        places.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = places[-1] + size
    return places, end


class _Pickler(pickle.Pickler):
    """Lets the memory of more objects stay out of the pickle than pickle and numpy do by themselves."""

    def __init__(self) -> None:
        self._out = _Chunks()
        self._beside: list[memoryview] = []
        # No method of its own: in a cycle it would keep what it could not pickle.
        takes_in = functools.partial(_takes_in, self._beside)
        super().__init__(self._out, _PROTOCOL, buffer_callback=takes_in)

    def taken(self) -> tuple[list[Bytes], list[memoryview]]:
        """Return the pickle and the buffers beside it, and forget all of it."""
        chunks, buffers = self._out.copy(), self._beside.copy()
        self._out.clear()
        self._beside.clear()
        self.clear_memo()
        return chunks, buffers

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, memoryview):
            return _reduced_view(value)
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and type(value) is numpy.ndarray:
            return _reduced_array(value)
        return NotImplemented


def _takes_in(beside: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Return whether *buffer* is to be a part of the pickle; else it is put *beside*."""
    try:
        view = buffer.raw()
    except BufferError:
        return True  # not contiguous; pickle says so
    if view.nbytes < BESIDE:
        return True
    beside.append(view)
    return False


def _pickler() -> _Pickler:
    try:
        return _idle.pop()
    except IndexError:
        return _Pickler()


_idle: Final[collections.deque[_Pickler]] = collections.deque(maxlen=8)
"""Picklers between two uses. Taking and giving back are atomic, so each has one user at a time."""


class _Chunks(list["Bytes"]):
    """Takes a pickle as it is made: large bytes come as the very object, and are not copied yet."""

    write = list.append


def _reduced_view(view: memoryview) -> Any:
    shape = view.shape or ()
    if view.format not in _FORMATS or 0 in shape[1:]:
        return NotImplemented  # there is no way to make such a one
    flat: Bytes = view
    if not view.c_contiguous:
        flat = view.tobytes() if view.readonly else bytearray(view.tobytes())
    return _view, (pickle.PickleBuffer(flat), view.format, shape)


def _view(buffer: Bytes, layout: Any, shape: tuple[int, ...]) -> Any:
    view = memoryview(buffer)
    return view.cast(layout) if len(shape) == 1 else view.cast(layout, shape)


def _reduced_array(array: Any) -> Any:
    """Keep the memory of an array out of the pickle where numpy would not.

    That is where it is not contiguous, or its type (bfloat16, dates) is unknown to the buffer protocol.
    """
    flags, dtype = array.flags, array.dtype
    if array.nbytes < BESIDE or dtype.hasobject or (flags.forc and _is_exported(array)):
        return NotImplemented
    order = "F" if flags.fnc else "C"
    flat = array.ravel(order).view("u1")  # contiguous, copied if it has to be
    flat.flags.writeable = flags.writeable
    return _array, (pickle.PickleBuffer(flat), dtype, array.shape, order)


def _is_exported(array: Any) -> bool:
    try:
        memoryview(array)
    except (ValueError, BufferError):
        return False
    return True


def _array(buffer: Bytes, dtype: Any, shape: tuple[int, ...], order: str) -> Any:
    numpy: Any = sys.modules["numpy"]  # which *dtype* comes from
    return numpy.frombuffer(buffer, dtype).reshape(shape, order=order)
