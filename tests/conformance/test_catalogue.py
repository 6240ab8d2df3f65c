"""The list of the catalogue's cases is whole, and says of each what the tests say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance import report
from tests.conformance.catalogue import Case, Mark, Section, Status, expanded, faults, read
from tests.conformance.report import TESTS, collect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MARKED = """
import pytest

pytestmark = pytest.mark.case("XX-01")

@pytest.mark.case("XX-02")
@pytest.mark.departs("XX-03")
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.case("XX-04"))])
def test_function(n): ...

@pytest.mark.case("XX-05")
class TestClass:
    def test_method(self): ...
"""


def section(*cases: Case, numbers: str = "XX-01") -> list[Section]:
    return [Section("5.0", "made up", list(expanded(numbers)), cases)]


def marks(*kinds: str, number: str = "XX-01") -> list[Mark]:
    return [Mark(kind, number, "test_it") for kind in kinds]


@pytest.mark.timeout(120)  # for every test module is imported
def test_the_list_and_the_tests_agree() -> None:
    assert faults(read(), collect(TESTS)) == []


def test_no_case_can_get_lost_with_its_number() -> None:
    sections = read()
    assert (len(sections), sum(len(section.cases) for section in sections)) == (19, 406)


def test_the_report_names_the_faults_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "collect", lambda _: [])
    assert report.main() == 1
    assert 'BM-01 says tested, and no test carries case("BM-01")\n' in capsys.readouterr().out


def test_the_report_on_a_list_without_a_fault_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "collect", lambda _: [])
    monkeypatch.setattr(report, "read", lambda: section(Case("XX-01", Status.LATER, "it", "note")))
    assert report.main() == 0
    assert "0 faults" in capsys.readouterr().out


def test_a_range_is_spelled_out() -> None:
    assert list(expanded("AV-09..11 SM-01")) == ["AV-09", "AV-10", "AV-11", "SM-01"]


@pytest.mark.parametrize("text", ["AV-1", "AV-01-02", "AV"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number"):
        list(expanded(text))


def test_marks_are_found_however_they_are_put_on(tmp_path: Path) -> None:
    (tmp_path / "test_marked.py").write_text(MARKED)
    numbers = [(mark.kind, mark.number) for mark in collect(tmp_path)]
    first = [("case", "XX-01"), ("case", "XX-01")]  # of the module: both tests carry it
    others = [("case", f"XX-0{number}") for number in (2, 4, 5)]
    assert numbers == [*first, *others, ("departs", "XX-03")]


def test_tests_that_cannot_be_collected_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    with pytest.raises(RuntimeError, match="no_such_module"):
        collect(tmp_path)


def test_who_interrupts_the_collection_interrupts_the_run_around_it(tmp_path: Path) -> None:
    (tmp_path / "test_interrupted.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (Status.TESTED, ["case"]),
        (Status.DEPARTS, ["departs"]),
        (Status.DEPARTS, ["case", "departs"]),
        (Status.LATER, []),
        (Status.DOES_NOT_APPLY, []),
    ],
)
def test_marks_that_fit_the_status_are_fine(status: Status, kinds: Sequence[str]) -> None:
    note = "" if status is Status.TESTED else "note"
    assert faults(section(Case("XX-01", status, "it", note)), marks(*kinds)) == []


@pytest.mark.parametrize(
    ("status", "kinds", "fault"),
    [
        (Status.TESTED, [], 'XX-01 says tested, and no test carries case("XX-01")'),
        (Status.DEPARTS, ["case"], 'XX-01 says departs, and no test carries departs("XX-01")'),
        (
            Status.TESTED,
            ["case", "departs"],
            'XX-01 says tested, yet test_it carries departs("XX-01")',
        ),
        (Status.LATER, ["case"], 'XX-01 says later, yet test_it carries case("XX-01")'),
        (
            Status.DOES_NOT_APPLY,
            ["departs"],
            'XX-01 says does not apply, yet test_it carries departs("XX-01")',
        ),
    ],
)
def test_marks_that_contradict_the_status_are_told(
    status: Status, kinds: Sequence[str], fault: str
) -> None:
    note = "" if status is Status.TESTED else "note"
    assert faults(section(Case("XX-01", status, "it", note)), marks(*kinds)) == [fault]


def test_a_case_that_is_not_tested_has_to_say_why() -> None:
    told = faults(section(Case("XX-01", Status.LATER, "it")), [])
    assert told == ["XX-01 says later, and does not note what, where or why"]


def test_a_number_that_is_not_listed_is_told() -> None:
    assert faults(section(), []) == ["XX-01 is missing from the list of section 5.0"]


def test_a_listed_number_that_the_section_does_not_have_is_told() -> None:
    case = Case("XX-01", Status.LATER, "it", "note")
    told = faults(section(case, numbers=""), [])
    assert told == ["XX-01 is no number of section 5.0, yet it is listed there"]


def test_a_test_with_a_number_that_is_not_in_the_list_is_told() -> None:
    told = faults(section(numbers=""), marks("case", number="XX-99"))
    assert told == ["XX-99 is not in the list, yet test_it carries it"]
