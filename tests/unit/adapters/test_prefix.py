from __future__ import annotations

import pytest

from servman.adapters.prefix import PrefixStoragePathAdapter
from servman.data import ServableData
from servman.errors import InvalidArgumentError
from servman.ids import ServableId

M1 = ServableId("m", 1)


@pytest.mark.parametrize(
    ("prefix", "path", "joined"),
    [
        ("/baz", "/bar", "/baz/bar"),
        ("/baz/", "/bar", "/baz/bar"),
        ("/", "bar", "/bar"),
        ("s3://", "bucket/bar", "s3://bucket/bar"),
        ("s3://bucket", "/bar/1", "s3://bucket/bar/1"),
        ("/baz", "", "/baz"),
    ],
)
def test_one_slash_joins_them_wherever_there_was_one(prefix: str, path: str, joined: str) -> None:
    data = ServableData(M1, path)
    assert PrefixStoragePathAdapter(prefix).adapt_one(data) == ServableData(M1, joined)


def test_the_origin_gets_the_prefix_too_so_that_the_load_is_told_the_place() -> None:
    data = ServableData(M1, "/m/1", "/m/0001")
    adapted = PrefixStoragePathAdapter("/mnt").adapt_one(data)
    assert (adapted.payload, adapted.origin) == ("/mnt/m/1", "/mnt/m/0001")


def test_without_an_origin_there_is_none_afterwards() -> None:
    assert PrefixStoragePathAdapter("/mnt").adapt_one(ServableData(M1, "/m/1")).origin is None


def test_what_is_no_path_is_an_error_of_its_version() -> None:
    data: ServableData[str] = ServableData(M1, 3)  # type: ignore[arg-type] # the point
    adapted = PrefixStoragePathAdapter("/mnt").adapt_one(data)
    assert isinstance(adapted.error, InvalidArgumentError)
    assert "m:1: a prefix goes before a path, not before 3" in str(adapted.error)


def test_a_prefix_is_a_text() -> None:
    with pytest.raises(InvalidArgumentError, match="is a text, not None"):
        PrefixStoragePathAdapter(None)  # type: ignore[arg-type] # the point
