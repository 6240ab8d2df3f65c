"""`ServableData`: a payload, or the error in its place."""

from __future__ import annotations

import pickle

import pytest

from servman.data import ServableData
from servman.errors import InvalidArgumentError, LoadFailedError, NotFoundError
from servman.ids import ServableId

ID = ServableId("m", 1)


def test_each_reading_of_an_absent_payload_raises_a_fresh_error() -> None:
    data: ServableData[str] = ServableData.from_error(ID, NotFoundError("no file"))
    errors = []
    for _ in range(2):
        with pytest.raises(NotFoundError, match="no file") as caught:
            _ = data.payload
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert data.error is not None
    assert data.error.__traceback__ is None


def test_a_foreign_error_becomes_one_of_ours() -> None:
    data: ServableData[str] = ServableData.from_error(ID, OSError("disk"))
    assert isinstance(data.error, LoadFailedError)


@pytest.mark.parametrize("id", ["m:1", None, ("m", 1)])
def test_an_id_that_is_none_is_refused(id: ServableId) -> None:
    with pytest.raises(InvalidArgumentError, match="takes a ServableId"):
        ServableData(id, "payload")
    with pytest.raises(InvalidArgumentError, match="takes a ServableId"):
        ServableData.from_error(id, OSError())


def test_an_error_that_is_no_exception_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="m:1"):
        ServableData.from_error(ID, "broken")  # type: ignore[arg-type] # the point


def test_none_is_a_payload_like_any_other() -> None:
    data = ServableData(ID, None)
    assert data.payload is None
    assert data.error is None


def test_two_entries_are_equal_when_id_payload_origin_and_what_the_error_says_are() -> None:
    assert ServableData(ID, "p", "/a") == ServableData(ID, "p", "/a")
    assert ServableData(ID, "p", "/a") != ServableData(ID, "p", "/b")
    failed: ServableData[str] = ServableData.from_error(ID, NotFoundError("x"))
    assert failed == ServableData.from_error(ID, NotFoundError("x"))
    assert failed != ServableData.from_error(ID, NotFoundError("y"))
    assert failed != ServableData.from_error(ID, LoadFailedError("x"))
    assert failed != ServableData(ID, None)
    assert ServableData(ID, "p") != "p"


def test_equal_entries_have_equal_hashes() -> None:
    assert hash(ServableData(ID, "p", "/a")) == hash(ServableData(ID, "p", "/a"))


def test_the_representation_tells_payload_or_error() -> None:
    assert repr(ServableData(ID, "p")) == "ServableData(m:1, 'p')"
    failed: ServableData[str] = ServableData.from_error(ID, NotFoundError("x"))
    assert repr(failed) == "ServableData(m:1, error=NotFoundError('x'))"


def test_entries_survive_pickling() -> None:
    data = ServableData(ID, "p", "/a")
    failed: ServableData[str] = ServableData.from_error(ID, NotFoundError("x"), "/a")
    assert pickle.loads(pickle.dumps(data)) == data
    assert pickle.loads(pickle.dumps(failed)) == failed
