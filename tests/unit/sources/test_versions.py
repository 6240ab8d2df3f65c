from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servman.errors import InvalidArgumentError
from servman.ids import MAX_VERSION
from servman.sources.versions import All, Latest, Specific, VersionPolicy, select

POLICIES: list[VersionPolicy] = [Latest(3), All(), Specific(7)]


def directories(*names: str) -> list[tuple[str, bool]]:
    return [(name, True) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "tmp-3",
        "3.partial",
        "-5",
        "+5",
        " 5 ",
        "5\n",
        "1_000",
        "٣",
        "²",
        "0x1",
        "1.0",
        "",
        ".",
        "five",
    ],
)
def test_a_name_that_is_not_ascii_digits_is_no_version(name: str) -> None:
    selection = select(directories(name), All())
    assert dict(selection.names) == {}
    assert [str(one) for one in selection.ignored] == [f"{name!r} is not a number"]


def test_a_number_above_int64_is_no_version() -> None:
    names = directories(str(MAX_VERSION), str(MAX_VERSION + 1), "9999999999999999999999")
    selection = select(names, All())
    assert selection.aspired == (MAX_VERSION,)
    assert {one.why for one in selection.ignored} == {"is above 2**63 - 1"}


def test_zero_is_a_version() -> None:
    assert select(directories("0"), Latest()).aspired == (0,)


def test_a_file_named_like_a_version_is_ignored_and_says_so() -> None:
    selection = select([("7", False), ("5", True)], All())
    assert selection.aspired == (5,)
    assert [str(one) for one in selection.ignored] == ["'7' is not a directory"]
    assert selection.ignored[0].version == 7


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_of_two_names_for_one_number_the_one_with_fewest_zeros_is_taken(
    policy: VersionPolicy,
) -> None:
    for names in (("7", "007", "07"), ("007", "07", "7"), ("07", "7", "007")):
        selection = select(directories(*names), policy)
        assert dict(selection.names) == {7: "7"}
        assert selection.aspired == (7,)
        assert [one.name for one in selection.duplicates] == ["007", "07"]
        assert "same version as '7'" in selection.duplicates[0].why


def test_a_file_does_not_take_the_place_of_a_directory_of_the_same_number() -> None:
    selection = select([("7", False), ("007", True)], All())
    assert dict(selection.names) == {7: "007"}
    assert [one.name for one in selection.ignored] == ["7"]


def test_latest_takes_the_highest_numbers_the_highest_first() -> None:
    assert select(directories("9", "10", "2", "30"), Latest(3)).aspired == (30, 10, 9)
    assert select(directories("9"), Latest(3)).aspired == (9,)
    assert select([], Latest(3)).aspired == ()
    assert select(directories("1", "2"), Latest(10**30)).aspired == (2, 1)


def test_all_takes_every_number_in_ascending_order() -> None:
    assert select(directories("100", "20", "3"), All()).aspired == (3, 20, 100)


def test_specific_takes_what_is_there_in_its_own_order_and_tells_what_is_missing() -> None:
    selection = select(directories("1", "2", "3"), Specific(3, 9, 1, 3))
    assert selection.aspired == (3, 1)
    assert selection.missing == (9,)


def test_specific_without_versions_takes_none() -> None:
    selection = select(directories("1", "2"), Specific())
    assert (selection.aspired, selection.missing) == ((), ())


@pytest.mark.parametrize("n", [0, -1, True, 1.0, "1", None])
def test_latest_refuses_what_is_no_positive_int(n: object) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        Latest(n)  # type: ignore[arg-type] # the point


@pytest.mark.parametrize("version", [-1, True, 1.0, "1", None, MAX_VERSION + 1])
def test_specific_refuses_what_is_no_version(version: object) -> None:
    with pytest.raises(InvalidArgumentError, match="not a version"):
        Specific(1, version)  # type: ignore[arg-type] # the point


def test_policies_are_values_that_read_well() -> None:
    assert Latest() == Latest(1)
    assert Specific(1, 2, 1) == Specific(1, 2) != Specific(2, 1)
    assert hash(Specific(1)) == hash(Specific(1))
    assert [str(policy) for policy in (Latest(2), All(), Specific(3, 5), Specific())] == [
        "latest 2",
        "all versions",
        "specific 3, 5",
        "specific (no version named)",
    ]
    assert repr(Specific(3, 5)) == "Specific(3, 5)"


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "01", "7", "007", "30", "tmp", "-5", "0"]), st.booleans()),
        unique_by=lambda entry: entry[0],
    ).flatmap(lambda entries: st.tuples(st.just(entries), st.permutations(entries)))
)
def test_the_order_in_which_a_storage_lists_changes_nothing(
    listings: tuple[list[tuple[str, bool]], list[tuple[str, bool]]],
) -> None:
    for policy in (Latest(2), All(), Specific(7, 1)):
        assert select(listings[0], policy) == select(listings[1], policy)
