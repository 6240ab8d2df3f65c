"""The variables of a SavedModel as they lie on disk: is all there that their index names?

TensorFlow keeps them in a *bundle*: `variables.index`, a sorted table of which variable lies where, and the
shards `variables.data-00000-of-00002` and so on. The index is small, so this can be told without
TensorFlow, and before anything is loaded. The bytes in the shards are not read: their checksums
are TensorFlow's to compare, when it loads them.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from servman.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from servman.adapters.directory import VersionDirectory

INDEX_FILE: Final = "variables/variables.index"
"""Names the shards."""

_SHARD_FILE: Final = "variables/variables.data-{:05d}-of-{:05d}"

_FOOTER: Final = 48
_MAGIC: Final = bytes.fromhex("57fb808b247547db")
_TRAILER: Final = 5
"""Bytes behind each block: whether it is compressed, and a checksum."""

_NUM_SHARDS: Final = 1  # of a BundleHeaderProto
_SHARD, _OFFSET, _SIZE = 3, 4, 5  # of a BundleEntryProto

_VARINT, _LENGTH = 0, 2
_FIXED: Final = {1: 8, 5: 4}
"""Kinds of fields in a message; a fixed one has so many bytes."""


def bundle_faults(files: VersionDirectory) -> Iterator[str]:
    """Yield what of the variables is missing or cut off, by the names of the files.

    Without an index there are no variables, or they are in a format of old; that is no fault here.

    Blocks: for the file system.

    Raises:
        OSError: A file is there and cannot be read.
    """
    try:
        with open(files.join(INDEX_FILE), "rb") as file:  # noqa: PTH123 -- spelled as the source spelled it
            index = file.read()
    except FileNotFoundError:
        return
    try:
        shards = least_sizes(index)
    except _DAMAGE as error:
        yield f"{INDEX_FILE} is cut off or damaged ({str(error) or type(error).__name__})"
        return
    for name, least in shards.items():
        yield from _shard_faults(files.join(name), name, least)


def not_whole(files: VersionDirectory, faults: Iterable[str]) -> FailedPreconditionError:
    """Return the error of a version of which files are missing or cut off."""
    return FailedPreconditionError(
        f"{files.id}: the SavedModel in {files.path} is not whole: {', '.join(faults)}; copy the whole"
        " version directory again and rename it into place"
    )


def least_sizes(index: bytes) -> Mapping[str, int]:
    """Return the shards in which an index places something, and how many bytes each has at least.

    Of an index that is compressed, which TensorFlow does not write, nothing is told.

    Raises:
        ValueError, IndexError, struct.error: It is cut off, or no index.
    """
    try:
        entries = dict(_entries(index))
    except _CompressedError:
        return {}
    count = _message(entries.pop(b"", b"")).get(_NUM_SHARDS, 0)
    if not count:
        raise ValueError("it has no header")
    ends: defaultdict[int, int] = defaultdict(int)
    for content in entries.values():
        entry = _message(content)
        shard = entry.get(_SHARD, 0)
        ends[shard] = max(ends[shard], entry.get(_OFFSET, 0) + entry.get(_SIZE, 0))
    return {_SHARD_FILE.format(shard, count): end for shard, end in sorted(ends.items()) if end}


class _CompressedError(Exception):
    """A block is compressed."""


_DAMAGE: Final = (ValueError, IndexError, struct.error)


def _shard_faults(path: str, name: str, least: int) -> Iterator[str]:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 -- paths are texts, as spelled by the source
    except FileNotFoundError:
        yield f"{name} is missing"
        return
    if size < least:
        yield f"{name} has {size} bytes where {INDEX_FILE} tells of {least}"


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = table[-_FOOTER:]
    if not footer.endswith(_MAGIC):
        raise ValueError("it does not end as an index does")
    *_, offset, size = _varints(footer, 4)  # of the block of names, and of the block of blocks
    for _, handle in _block(table, offset, size):
        yield from _block(table, *_varints(handle, 2))


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block; a key shares its beginning with the one before."""
    block = table[offset : offset + size + _TRAILER]
    if len(block) != size + _TRAILER:
        raise ValueError("a block is cut off")
    if block[size]:
        raise _CompressedError
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end, at, key = size - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        at += rest
        yield key, block[at : at + length]
        at += length


def _message(content: bytes) -> dict[int, int]:
    """Return the numbers among the fields of a message."""
    numbers, at = {}, 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _VARINT:
            numbers[tag >> 3], at = _varint(content, at)
        elif kind == _LENGTH:
            length, at = _varint(content, at)
            at += length
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError("an entry is no message")
    return numbers


def _varints(content: bytes, count: int) -> list[int]:
    numbers, at = [], 0
    for _ in range(count):
        number, at = _varint(content, at)
        numbers.append(number)
    return numbers


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins there, and where it ends."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 -- the highest bit says that more follow
            return number, at
