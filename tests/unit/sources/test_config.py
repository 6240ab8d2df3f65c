from __future__ import annotations

from pathlib import Path

import pytest

from servman.errors import InvalidArgumentError
from servman.sources.completeness import Completeness, immediate, marker, settled
from servman.sources.config import ServableToMonitor, check_options, check_servables
from servman.sources.versions import All, Latest


def test_slashes_at_the_end_of_a_base_path_do_not_matter() -> None:
    assert ServableToMonitor("m", "/models/m//") == ServableToMonitor("m", "/models/m")
    assert ServableToMonitor("m", "//").base_path == "/"


def test_the_policy_is_latest_1_unless_told_otherwise() -> None:
    assert ServableToMonitor("m", "/m").version_policy == Latest(1)


@pytest.mark.parametrize("path", ["", "models/m", "./m", "~/m", "/m\0"])
def test_a_base_path_that_is_not_absolute_is_refused(path: str) -> None:
    servable = ServableToMonitor("m", path)
    with pytest.raises(InvalidArgumentError, match=r"servable 'm': base path .* absolute path"):
        check_servables([servable])


@pytest.mark.parametrize("path", [None, 5, b"/m", Path("/m")])
def test_a_base_path_is_a_text(path: object) -> None:
    servable = ServableToMonitor("m", path)  # type: ignore[arg-type] # the point
    with pytest.raises(InvalidArgumentError, match=r"servable 'm': base path .* is no text"):
        check_servables([servable])


@pytest.mark.parametrize("wrong", ["m", None, ("m", "/m"), {"name": "m"}])
def test_what_is_no_servable_is_a_fault_among_others(wrong: object) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a ServableToMonitor; servable 'r': "):
        check_servables([wrong, ServableToMonitor("r", "r")])  # type: ignore[list-item] # the point


@pytest.mark.parametrize("name", [None, "", 5, ["m"], {}])
def test_what_cannot_be_a_name_is_a_fault_among_others(name: object) -> None:
    wrong = ServableToMonitor(name, "/m")  # type: ignore[arg-type] # the point
    with pytest.raises(InvalidArgumentError, match=r"not a servable name: .* servable 'r': "):
        check_servables([wrong, ServableToMonitor("r", "r")])


@pytest.mark.parametrize("interval", [float("nan"), "1", None, True, 10**400])
def test_a_poll_interval_is_a_number(interval: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"poll_interval is .* pass seconds"):
        check_options(interval, 8)  # type: ignore[arg-type] # the point


@pytest.mark.parametrize("most", ["8", None, True, 8.0])
def test_how_many_base_paths_are_watched_is_an_int(most: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"max_watches is .* an int"):
        check_options(1.0, most)  # type: ignore[arg-type] # the point


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_servables(
            [
                ServableToMonitor("a", "relative"),
                ServableToMonitor("b:1", "/b"),
                ServableToMonitor("c", "/c"),
                ServableToMonitor("c", "/other"),
                ServableToMonitor("d", "/d", "latest"),  # type: ignore[arg-type] # the point
                ServableToMonitor("e", "/e", All(), 5),  # type: ignore[arg-type] # the point
                ServableToMonitor("f", "/f", fail_if_zero_versions_at_startup="no"),  # type: ignore[arg-type] # the point
                ServableToMonitor("g", "/g", servable_versions_always_present=1),  # type: ignore[arg-type] # the point
            ]
        )
    text = str(caught.value)
    for fault in (
        "'relative'",
        "'b:1'",
        "'c': named twice",
        "'latest' is not a version policy",
        "'e': 5 does not tell what is complete",
        "'f': fail_if_zero_versions_at_startup is 'no'",
        "'g': servable_versions_always_present is 1",
    ):
        assert fault in text


def test_what_is_complete_is_told_in_four_ways() -> None:
    ways: list[Completeness] = [immediate, settled(5), marker("DONE"), lambda _: True]
    servables = [ServableToMonitor(f"m{at}", "/m", All(), way) for at, way in enumerate(ways)]
    assert [one.completeness for one in check_servables(servables).values()] == ways
    assert ServableToMonitor("m", "/m").completeness is immediate


def test_several_servables_may_share_a_base_path() -> None:
    shared = [ServableToMonitor("a", "/m"), ServableToMonitor("b", "/m")]
    assert list(check_servables(shared)) == ["a", "b"]
