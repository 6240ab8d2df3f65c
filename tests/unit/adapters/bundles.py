"""Writes indices of bundles, in the form in which TensorFlow writes them."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence

MAGIC = 0xDB4775248B80FB57

Entries = Mapping[bytes, bytes]


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def entry(shard: int, offset: int, size: int) -> bytes:
    """A BundleEntryProto with all kinds of fields; what is 0 is left out, as protobuf does."""
    shape = b"\x12\x04\x12\x02\x08\x03"
    numbers = [
        varint(tag << 3) + varint(number)
        for tag, number in ((3, shard), (4, offset), (5, size))
        if number
    ]
    return b"\x08\x01" + shape + b"".join(numbers) + b"\x35" + b"\x00\xff\xff\xff"


def header(shards: int) -> bytes:
    return b"\x08" + varint(shards) + b"\x1a\x02\x08\x01"


def block(entries: Entries, *, compressed: bool = False) -> bytes:
    content, last = b"", b""
    for key, value in sorted(entries.items()):
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(last, key, strict=False))
        shared = len(list(same))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        last = key
    restarts = struct.pack("<II", 0, 1)
    return content + restarts + bytes([compressed]) + b"\0" * 4


def index(blocks: Sequence[Entries], *, compressed: bool = False) -> bytes:
    """A table of these blocks; the keys of each are above those of the one before."""
    table, handles = b"", {}
    for entries in blocks:
        written = block(entries, compressed=compressed)
        handles[max(entries)] = varint(len(table)) + varint(len(written) - 5)
        table += written
    names = block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(names) - 5)
    return table + names + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


TWO_SHARDS = index(
    [
        {b"": header(2), b"layer/bias": entry(0, 0, 40)},
        {b"layer/kernel": entry(1, 200, 300), b"layer/kernel2": entry(1, 0, 200)},
    ]
)
"""Of 40 bytes in the first shard, and 500 in the second."""
