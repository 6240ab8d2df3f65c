"""The catalogue's cases on ids, requests and data."""

from __future__ import annotations

import pytest

from servman.data import ServableData
from servman.errors import NotFoundError
from servman.ids import Selector, ServableId, ServableRequest


@pytest.mark.case("ID-01")
def test_ids_are_equal_when_name_and_version_are() -> None:
    assert ServableId("m", 1) == ServableId("m", 1)
    assert hash(ServableId("m", 1)) == hash(ServableId("m", 1))


@pytest.mark.case("ID-02")
def test_ids_differ_when_name_or_version_does() -> None:
    assert ServableId("m", 1) != ServableId("m", 2)
    assert ServableId("m", 1) != ServableId("n", 1)


@pytest.mark.case("ID-03")
def test_ids_are_ordered_by_name_then_by_version() -> None:
    ids = [ServableId("b", 1), ServableId("a", 10), ServableId("a", 9)]
    assert sorted(ids) == [ServableId("a", 9), ServableId("a", 10), ServableId("b", 1)]


@pytest.mark.case("SD-01")
def test_data_holds_an_id_and_a_payload() -> None:
    data = ServableData(ServableId("m", 1), "payload")
    assert data.id == ServableId("m", 1)
    assert data.payload == "payload"
    assert data.error is None


@pytest.mark.case("SD-02")
def test_data_takes_a_payload_of_any_type() -> None:
    payload = object()
    assert ServableData(ServableId("m", 1), payload).payload is payload


@pytest.mark.case("SD-03")
def test_data_with_an_error_has_no_payload_and_raises_the_error_in_its_place() -> None:
    data: ServableData[str] = ServableData.from_error(ServableId("m", 1), NotFoundError("gone"))
    assert data.id == ServableId("m", 1)
    assert isinstance(data.error, NotFoundError)
    with pytest.raises(NotFoundError, match="gone"):
        _ = data.payload


@pytest.mark.case("SP-01")
def test_equality_of_path_data_compares_id_and_path() -> None:
    data = ServableData(ServableId("m", 1), "/m/1")
    assert data == ServableData(ServableId("m", 1), "/m/1")
    assert data != ServableData(ServableId("m", 2), "/m/1")
    assert data != ServableData(ServableId("m", 1), "/m/2")


@pytest.mark.case("MG-09")
def test_a_specific_request_has_a_version() -> None:
    request = ServableRequest.specific("m", 3)
    assert (request.name, request.selector, request.version) == ("m", Selector.SPECIFIC, 3)


@pytest.mark.case("MG-10")
def test_a_request_for_the_latest_has_no_version() -> None:
    request = ServableRequest.latest("m")
    assert (request.name, request.selector, request.version) == ("m", Selector.LATEST, None)


@pytest.mark.case("MG-11")
def test_a_request_made_from_an_id_asks_for_exactly_that_version() -> None:
    assert ServableRequest.of(ServableId("m", 3)) == ServableRequest.specific("m", 3)
