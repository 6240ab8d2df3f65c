"""TFRecord: the file format in which TensorFlow keeps one record of bytes after another.

A record is its length (8 bytes), a checksum of the length (4), the data, and a checksum of the data (4), all
little-endian. A checksum is CRC-32C, rotated and shifted, since a CRC of data that hold their own CRC would
say little.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

import google_crc32c

from servman.errors import DataLossError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER: Final = struct.Struct("<QI")
_FOOTER: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<Q")

_MASK: Final = 0xA282EAD8


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of each record; nothing of an empty file.

    A damaged length is found before it is used, so that no memory is asked for that it made up.

    Blocks: for the file.

    Raises:
        DataLossError: A record is cut off, or a checksum differs; the error says at which byte.
    """
    at = file.tell()
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise DataLossError(f"the record at byte {at} is cut off")
        length, checksum = _HEADER.unpack(header)
        if checksum != _masked_crc(header[: _LENGTH.size]):
            raise DataLossError(f"at byte {at} is no record: the checksum of its length differs")
        yield _data(file, at, length)
        at += _HEADER.size + length + _FOOTER.size


def write_record(file: BinaryIO, data: bytes) -> None:
    """Append *data* as one record. Blocks: for the file."""
    length = _LENGTH.pack(len(data))
    checksums = _FOOTER.pack(_masked_crc(length)), _FOOTER.pack(_masked_crc(data))
    file.write(b"".join((length, checksums[0], data, checksums[1])))


def _data(file: BinaryIO, at: int, length: int) -> bytes:
    data, footer = file.read(length), file.read(_FOOTER.size)
    if len(footer) < _FOOTER.size:
        raise DataLossError(f"the record at byte {at} is cut off")
    if _FOOTER.unpack(footer)[0] != _masked_crc(data):
        raise DataLossError(f"the record at byte {at} is damaged: the checksum of its data differs")
    return data


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
