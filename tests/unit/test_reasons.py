"""Reasons, and whose answer counts."""

from __future__ import annotations

import pickle

from servman.errors import LoadFailedError
from servman.ids import ServableRequest
from servman.reasons import Reason, ReasonCode, first_reason

REQUEST = ServableRequest.latest("m")


class Knows:
    """An explainer with one answer."""

    def __init__(self, answer: Reason | None) -> None:
        self.answer = answer
        self.asked = 0

    def explain(self, request: ServableRequest) -> Reason | None:
        assert request is REQUEST
        self.asked += 1
        return self.answer


def test_the_first_explainer_that_knows_answers_and_the_others_are_not_asked() -> None:
    queued = Reason(ReasonCode.QUEUED, "m:1 is queued")
    nothing, knows, later = Knows(None), Knows(queued), Knows(None)
    assert first_reason([nothing, knows, later], REQUEST) is queued
    assert (nothing.asked, knows.asked, later.asked) == (1, 1, 0)


def test_where_nobody_knows_there_is_no_reason() -> None:
    assert first_reason([Knows(None)], REQUEST) is None
    assert first_reason([], REQUEST) is None


def test_a_reason_reads_as_its_sentence() -> None:
    assert str(Reason(ReasonCode.QUEUED, "m:1 is queued")) == "m:1 is queued"


def test_a_reason_survives_pickling_with_its_facts_and_error() -> None:
    reason = Reason(ReasonCode.FAILED, "m:1 failed", {"attempt": 3}, LoadFailedError("boom"))
    again = pickle.loads(pickle.dumps(reason))
    assert (again.code, again.text, again.facts) == (reason.code, reason.text, reason.facts)
    assert str(again.error) == "boom"


def test_a_code_is_its_text_so_that_programs_may_compare_either() -> None:
    text: str = ReasonCode.NO_VERSIONS
    assert text == "no versions found"
