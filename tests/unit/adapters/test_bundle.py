from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest

from servman.adapters.bundle import bundle_faults, least_sizes
from servman.adapters.directory import VersionDirectory
from servman.ids import ServableId
from tests.unit.adapters.bundles import TWO_SHARDS, entry, header, index

FIRST = "variables/variables.data-00000-of-00002"
SECOND = "variables/variables.data-00001-of-00002"


@pytest.fixture
def files(tmp_path: Path) -> VersionDirectory:
    """A version whose two shards are whole."""
    variables = tmp_path / "variables"
    variables.mkdir()
    (variables / "variables.index").write_bytes(TWO_SHARDS)
    (tmp_path / FIRST).write_bytes(b"x" * 40)
    (tmp_path / SECOND).write_bytes(b"x" * 500)
    return VersionDirectory(ServableId("m", 1), str(tmp_path))


def faults(files: VersionDirectory) -> list[str]:
    return list(bundle_faults(files))


def test_each_shard_ends_where_the_last_of_its_variables_does() -> None:
    assert least_sizes(TWO_SHARDS) == {FIRST: 40, SECOND: 500}


def test_keys_that_share_their_beginning_are_told_apart() -> None:
    shared = index(
        [{b"": header(1), b"ab": entry(0, 0, 8), b"abc": entry(0, 8, 8), b"c": entry(0, 4, 4)}]
    )
    assert list(least_sizes(shared).values()) == [16]


def test_a_shard_in_which_nothing_lies_need_not_be_there() -> None:
    sliced = index([{b"": header(1), b"v": entry(0, 0, 0)}])
    assert least_sizes(sliced) == {}


def test_large_offsets_are_read() -> None:
    large = index([{b"": header(1), b"v": entry(0, 2**40, 2**35)}])
    assert list(least_sizes(large).values()) == [2**40 + 2**35]


def test_of_a_compressed_index_nothing_is_told() -> None:
    assert least_sizes(index([{b"": header(1)}], compressed=True)) == {}


def test_whole_variables_have_no_fault(files: VersionDirectory) -> None:
    assert faults(files) == []


def test_without_an_index_there_is_nothing_to_find_fault_with(tmp_path: Path) -> None:
    assert faults(VersionDirectory(ServableId("m", 1), str(tmp_path))) == []


def test_a_missing_shard_is_named(files: VersionDirectory) -> None:
    Path(files.join(SECOND)).unlink()
    assert faults(files) == [f"{SECOND} is missing"]


def test_a_shard_that_is_cut_off_is_named_with_both_sizes(files: VersionDirectory) -> None:
    Path(files.join(SECOND)).write_bytes(b"x" * 499)
    assert faults(files) == [f"{SECOND} has 499 bytes where variables/variables.index tells of 500"]


def test_every_fault_is_told(files: VersionDirectory) -> None:
    Path(files.join(FIRST)).write_bytes(b"")
    Path(files.join(SECOND)).unlink()
    assert len(faults(files)) == 2


def test_an_index_that_is_cut_off_anywhere_is_refused() -> None:
    for length in range(len(TWO_SHARDS)):
        with pytest.raises(ValueError, match="it does not end as an index does"):
            least_sizes(TWO_SHARDS[:length])


def test_an_index_without_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="no header"):
        least_sizes(index([{b"v": entry(0, 0, 8)}]))


def test_an_index_that_is_cut_off_is_a_fault(files: VersionDirectory) -> None:
    Path(files.join("variables/variables.index")).write_bytes(TWO_SHARDS[:-1])
    told = "variables/variables.index is cut off or damaged (it does not end as an index does)"
    assert faults(files) == [told]


def test_whatever_one_damaged_byte_says_nothing_else_is_raised() -> None:
    for at in range(len(TWO_SHARDS)):
        for byte in (0x00, 0x7F, 0xFF):
            damaged = bytearray(TWO_SHARDS)
            damaged[at] = byte
            with contextlib.suppress(ValueError, IndexError, struct.error):
                least_sizes(bytes(damaged))


def test_an_index_that_cannot_be_read_is_left_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "variables" / "variables.index").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        faults(VersionDirectory(ServableId("m", 1), str(tmp_path)))
