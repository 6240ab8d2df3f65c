"""Section 5.6 of the catalogue: a manager of servables that exist already."""

from __future__ import annotations

import pytest

from servman.errors import InvalidArgumentError, NotFoundError
from servman.ids import ServableId
from servman.manager import StaticManager


@pytest.fixture
def manager() -> StaticManager:
    """Return a manager of two versions of one stream."""
    return StaticManager({ServableId("m", 2): "the second", ServableId("m", 1): "the first"})


@pytest.mark.case("ST-01")
def test_what_was_put_in_is_served() -> None:
    servable = object()
    manager = StaticManager({ServableId("m", 7): servable})
    with manager.get_servable_handle("m") as handle:
        assert (handle.servable, handle.id) == (servable, ServableId("m", 7))


@pytest.mark.case("ST-03")
def test_no_servable_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="m:1: None is no servable"):
        StaticManager({ServableId("m", 1): None})


@pytest.mark.departs("ST-03")
def test_of_two_servables_for_one_id_the_later_one_counts_as_in_any_dict() -> None:
    pairs = [(ServableId("m", 1), "first"), (ServableId("m", 1), "second")]
    with StaticManager(dict(pairs)).get_servable_handle("m", str) as handle:
        assert handle.servable == "second"


@pytest.mark.case("ST-04")
def test_the_latest_is_the_highest(manager: StaticManager) -> None:
    with manager.get_servable_handle("m", str) as handle:
        assert (handle.servable, handle.id.version) == ("the second", 2)


@pytest.mark.case("ST-05")
def test_a_version_is_found_by_its_id(manager: StaticManager) -> None:
    with manager.get_servable_handle(ServableId("m", 1), str) as handle:
        assert (handle.servable, handle.id.version) == ("the first", 1)


@pytest.mark.case("ST-06")
def test_an_unknown_name_is_not_found(manager: StaticManager) -> None:
    with pytest.raises(NotFoundError, match="n: nothing of it was put in"):
        manager.get_servable_handle("n")


@pytest.mark.case("ST-07")
def test_an_unknown_version_is_not_found(manager: StaticManager) -> None:
    with pytest.raises(NotFoundError, match="m:3: nothing of it was put in"):
        manager.get_servable_handle("m:3")
