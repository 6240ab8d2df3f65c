"""TFRecord files: byte for byte what TensorFlow writes, and no damage goes unseen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servman.adapters.tf_record import read_records, write_record
from servman.errors import DataLossError
from tests.unit.adapters.warm_up_rig import GOLDEN

ABC = bytes.fromhex("0300000000000000b099490e") + b"abc" + bytes.fromhex("6e57f121")
"""A file of one record, b"abc", as TensorFlow writes it."""


def written(*records: bytes) -> bytes:
    file = io.BytesIO()
    for record in records:
        write_record(file, record)
    return file.getvalue()


def read(content: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(content)))


def test_a_record_is_written_as_tensorflow_writes_it() -> None:
    assert written(b"abc") == ABC


def test_a_file_of_tensorflow_is_read_and_written_again_to_the_byte() -> None:
    records = read(GOLDEN)
    assert len(records) == 7
    assert written(*records) == GOLDEN


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_what_is_written_is_read_again(records: list[bytes]) -> None:
    assert read(written(*records)) == records


def test_records_before_a_damaged_one_are_read() -> None:
    records = read_records(io.BytesIO(ABC + b"nonsense, as long as a header"))
    assert next(records) == b"abc"
    with pytest.raises(DataLossError, match="at byte 19 is no record"):
        next(records)


@pytest.mark.parametrize("length", range(1, len(ABC)))
def test_a_file_that_is_cut_off_anywhere_is_data_loss(length: int) -> None:
    with pytest.raises(DataLossError, match="the record at byte 0 is cut off"):
        read(ABC[:length])


@pytest.mark.parametrize("bit", range(len(ABC) * 8))
def test_each_bit_that_flips_is_data_loss(bit: int) -> None:
    content = bytearray(ABC)
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataLossError):
        read(bytes(content))


def test_a_length_that_is_damaged_is_not_believed() -> None:
    with pytest.raises(DataLossError, match="is no record: the checksum of its length differs"):
        read(b"\xff" * 7 + b"\x7f" + ABC[8:])
