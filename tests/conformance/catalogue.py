"""The list of all cases of the behaviour catalogue, and what is wrong between it and the tests."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LIST: Final = Path(__file__).with_name("catalogue.toml")

_RANGE: Final = re.compile(r"([A-Z]+)-(\d\d)(?:\.\.(\d\d))?")


class Status(Enum):
    """Where servman stands on a case; `catalogue.toml` says what each means."""

    TESTED = "tested"
    DEPARTS = "departs"
    LATER = "later"
    DOES_NOT_APPLY = "does not apply"


_MARK_OF: Final = {Status.TESTED: "case", Status.DEPARTS: "departs"}
_MAY_HAVE: Final = {Status.TESTED: {"case"}, Status.DEPARTS: {"case", "departs"}}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the list; *note* is what the status needs said, empty for tested ones."""

    number: str
    status: Status
    situation: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the catalogue: the numbers that it has, and the cases that are listed."""

    number: str
    title: str
    numbers: Sequence[str]
    cases: Sequence[Case]

    def counts(self) -> Counter[Status]:
        return Counter(case.status for case in self.cases)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A number that a test carries, under the mark "case" or "departs"."""

    kind: str
    number: str
    test: str


def read(path: Path = LIST) -> list[Section]:
    """Return the sections of the list; raises ValueError or TypeError where it is malformed."""
    listed = tomllib.loads(path.read_text())["section"]
    return [
        Section(
            number=section["number"],
            title=section["title"],
            numbers=list(expanded(section["numbers"])),
            cases=[
                Case(number, Status(status), *texts)
                for number, (status, *texts) in section["cases"].items()
            ],
        )
        for section in listed
    ]


def expanded(numbers: str) -> Iterator[str]:
    """Yield each number of a text such as "AV-01..05 AV-07"."""
    for one in numbers.split():
        match = _RANGE.fullmatch(one)
        if match is None:
            raise ValueError(f"{one!r} is neither a number such as AV-07 nor a range AV-01..05")
        prefix, first, last = match.groups()
        for number in range(int(first), int(last or first) + 1):
            yield f"{prefix}-{number:02}"


def faults(sections: Sequence[Section], marks: Iterable[Mark]) -> list[str]:
    """Say in what the list is not whole, and where it and the marks of the tests contradict."""
    by_number: dict[str, list[Mark]] = {}
    for mark in marks:
        by_number.setdefault(mark.number, []).append(mark)
    found = [fault for section in sections for fault in _gaps(section)]
    for section in sections:
        for case in section.cases:
            found.extend(_contradictions(case, by_number.pop(case.number, ())))
    found.extend(
        f"{mark.number} is not in the list, yet {mark.test} carries it"
        for mark in itertools.chain.from_iterable(by_number.values())
    )
    return found


def _gaps(section: Section) -> Iterator[str]:
    listed = [case.number for case in section.cases]
    for number in section.numbers:
        if number not in listed:
            yield f"{number} is missing from the list of section {section.number}"
    for number in listed:
        if number not in section.numbers:
            yield f"{number} is no number of section {section.number}, yet it is listed there"


def _contradictions(case: Case, marks: Sequence[Mark]) -> Iterator[str]:
    says = f"{case.number} says {case.status.value}"
    if not case.note and case.status is not Status.TESTED:
        yield f"{says}, and does not note what, where or why"
    wanted = _MARK_OF.get(case.status)
    if wanted and wanted not in {mark.kind for mark in marks}:
        yield f'{says}, and no test carries {wanted}("{case.number}")'
    for mark in marks:
        if mark.kind not in _MAY_HAVE.get(case.status, ()):
            yield f'{says}, yet {mark.test} carries {mark.kind}("{mark.number}")'
