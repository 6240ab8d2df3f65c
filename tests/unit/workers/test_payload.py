from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from servman.workers.payload import BESIDE, Payload, load

LARGE = BESIDE // 4


def laid_out(payload: Payload) -> bytearray:
    parts, length = payload.parts()
    memory = bytearray(length)
    for offset, part in parts:
        memory[offset : offset + len(part)] = part
    return memory


def there_and_back(value: object) -> Any:
    payload = Payload(value)
    return load(memoryview(laid_out(payload)), payload.buffers)


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    square = np.arange(200 * 200, dtype=np.float64).reshape(200, 200)
    return {
        "contiguous": square,
        "Fortran": np.asfortranarray(square),
        "strided": square[::2, 1::3],
        "reversed": square[::-1],
        "transposed": square.reshape(100, 20, 20).transpose(1, 2, 0),
        "bfloat16": square.astype(ml_dtypes.bfloat16),
        "Fortran bfloat16": np.asfortranarray(square.astype(ml_dtypes.bfloat16)),
        "strided bfloat16": square.astype(ml_dtypes.bfloat16)[:, ::2],
        "dates": np.arange(40000).astype("M8[s]").reshape(200, 200),
        "fixed strings": np.array(["äö", "x"] * 20000),
        "fixed bytes": np.array([b"abc", b"x"] * 20000),
        "objects": np.array([["a", None], ["b", 3]], dtype=object),
        "many objects": np.array(["text"] * 20000, dtype=object),
        "records": np.zeros(20000, "i4,f8"),
        "no dimensions": np.array(3.5),
        "no elements": np.zeros((0, 3), np.int32),
        "small": np.arange(3),
        "byte-swapped": square.astype(">f8"),
        "masked": np.ma.masked_array(square, square > 7),
        "broadcast": np.broadcast_to(np.arange(500.0), (200, 500)),
    }


@pytest.mark.parametrize("name", arrays())
def test_an_array_arrives_as_it_was(name: str) -> None:
    sent = arrays()[name]
    got = there_and_back((sent, sent))[0]
    assert type(got) is type(sent)
    assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
    assert got.flags.writeable == sent.flags.writeable
    assert np.array_equal(got, sent)


@pytest.mark.parametrize(
    "name",
    ["contiguous", "Fortran", "strided", "bfloat16", "strided bfloat16", "dates", "fixed strings"],
)
def test_the_memory_of_an_array_is_no_part_of_the_pickle(name: str) -> None:
    payload = Payload(arrays()[name])
    assert payload.buffers == 1
    assert payload.size < 300


def test_order_in_memory_is_kept() -> None:
    assert there_and_back(arrays()["Fortran"]).flags.fnc
    assert there_and_back(arrays()["Fortran bfloat16"]).flags.fnc


def test_one_that_may_not_be_written_to_arrives_as_such() -> None:
    for name in ("contiguous", "strided", "bfloat16", "small", "Fortran"):
        sent = arrays()[name].copy(order="K") if name != "strided" else arrays()[name]
        sent.flags.writeable = False
        assert not there_and_back(sent).flags.writeable, name


def test_an_array_is_used_where_it_lies_and_is_aligned() -> None:
    payload = Payload([np.ones(LARGE), np.ones(LARGE + 1), np.ones(LARGE)])
    memory = laid_out(payload)
    base = np.frombuffer(memory, np.uint8).ctypes.data
    for array in load(memoryview(memory), payload.buffers):  # type: ignore[attr-defined]
        offset = array.ctypes.data - base
        assert 0 <= offset < len(memory)
        assert offset % 64 == 0


def test_large_bytes_are_not_copied_before_they_are_sent() -> None:
    blob = bytes(1 << 20)
    parts, _ = Payload(("m", blob)).parts()
    assert any(part is blob for _, part in parts)
    assert there_and_back(("m", blob)) == ("m", blob)


@pytest.mark.parametrize("size", [0, 1, 100, BESIDE - 1, BESIDE, 1 << 20])
def test_bytes_of_every_kind_arrive_as_they_were(size: int) -> None:
    blob = bytes(i % 251 for i in range(256)) * (size // 256 + 1)
    sent = (blob[:size], bytearray(blob[:size]), memoryview(blob[:size]), "ä" * size)
    got = there_and_back(sent)
    assert got == sent
    assert [type(one) for one in got] == [type(one) for one in sent]
    assert got[2].readonly


def test_a_memoryview_keeps_its_layout() -> None:
    square = np.arange(40000, dtype=np.int32).reshape(200, 200)
    for sent in (square.data, square.data[::2], memoryview(b"abcdef")[::2]):
        got = there_and_back(sent)
        assert (got.format, got.shape, got.readonly) == (sent.format, sent.shape, sent.readonly)
        assert got.tobytes() == sent.tobytes()


def test_equal_contents_have_equal_fingerprints() -> None:
    array = np.ones(LARGE)
    other = np.ones(LARGE)
    other[-1] = 2
    assert Payload(("m", array)).fingerprint() == Payload(("m", np.ones(LARGE))).fingerprint()
    assert Payload(("m", array)).fingerprint() != Payload(("m", other)).fingerprint()
    assert Payload(("m", 1)).fingerprint() != Payload(("m", 2)).fingerprint()


def test_what_cannot_be_pickled_raises_what_pickle_raises_and_spoils_nothing() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        Payload([np.ones(LARGE), lambda: None])
    assert there_and_back("next") == "next"
    assert Payload("next").buffers == 0


class Thing:
    inner: object = None

    def __reduce__(self) -> Any:
        return str, (len(Payload([1, 2]).pickled()),)


def test_pickling_may_pickle_on_the_way() -> None:
    assert there_and_back([Thing(), Thing()]) == [str(len(Payload([1, 2]).pickled()))] * 2


class Alive:
    pass


def test_nothing_that_was_pickled_is_kept() -> None:
    thing = Alive()
    gone = weakref.ref(thing)
    gc.disable()
    try:
        payload = Payload([thing])
        del thing
        assert gone() is None
        thing = Alive()
        gone = weakref.ref(thing)
        with pytest.raises(TypeError):
            Payload([thing, memoryview(b"").__class__, (i for i in "")])
        del thing
        assert gone() is None
    finally:
        gc.enable()
    assert payload.buffers == 0
