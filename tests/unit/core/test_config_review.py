"""What comes of what a config file holds, one content after another: torn, empty, gone, or whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servman.core.config import ModelConfig, ServerConfig
from servman.core.config_review import GRACE, Reading, Review
from servman.core.config_text import format_model_config
from servman.errors import InvalidArgumentError, NotFoundError

NOW = 100.0


def config(*names: str) -> ServerConfig:
    return ServerConfig([ModelConfig(name, f"/{name}") for name in names])


def text(*names: str) -> bytes:
    return format_model_config(config(*names)).encode()


def holds(content: bytes) -> Reading:
    return Reading(content)


GONE = Reading(error=NotFoundError("it does not exist"))
A, B = holds(text("a")), holds(text("b"))
TORN = holds(text("b")[:-3])
EMPTY = holds(b"")


def review_of(first: Reading, *, allow_empty: bool = False) -> Review:
    """Return a review that has been through *first*."""
    review = Review("/f", allow_empty=allow_empty)
    review.take(first, NOW)
    return review


def said(review: Review) -> str:
    return str(review.error)


def test_a_whole_configuration_is_applied_at_once_and_only_once() -> None:
    review = Review("/f", allow_empty=False)
    assert review.take(A, NOW) == config("a")
    assert review.take(A, NOW) is None
    assert review.take(B, NOW) == config("b")
    assert (review.error, review.recheck) == (None, None)


def test_what_is_torn_is_believed_once_it_has_stood_for_a_second() -> None:
    review = review_of(A)
    assert review.take(TORN, NOW) is None
    assert (said(review), review.recheck) == ("None", NOW + GRACE)
    assert review.take(TORN, NOW + GRACE / 2) is None
    assert said(review) == "None"
    assert review.take(TORN, NOW + GRACE) is None
    assert said(review).startswith("/f:6:")
    assert review.recheck is None


def test_each_other_torn_content_has_to_stand_anew() -> None:
    review = review_of(A)
    for second in range(5):
        assert review.take(holds(text("b")[: 40 + second]), NOW + second) is None
        assert (review.error, review.recheck) == (None, NOW + second + GRACE)


def test_what_is_torn_for_a_moment_is_never_told_and_what_it_becomes_is_applied_at_once() -> None:
    review = review_of(A)
    review.take(TORN, NOW)
    assert review.take(B, NOW) == config("b")
    assert (review.error, review.recheck) == (None, None)


def test_what_was_torn_for_a_moment_and_is_as_before_is_not_applied_again() -> None:
    review = review_of(A)
    review.take(TORN, NOW)
    assert review.take(A, NOW) is None
    assert (review.error, review.recheck) == (None, None)


def test_a_file_that_was_faulty_and_is_put_back_is_applied_again() -> None:
    review = review_of(A)
    review.take(TORN, NOW)
    review.take(TORN, NOW + GRACE)
    assert review.take(A, NOW + 9) == config("a")
    assert review.error is None


def test_what_was_refused_is_not_judged_again_while_it_stands() -> None:
    review = review_of(A)
    review.take(TORN, NOW)
    review.take(TORN, NOW + GRACE)
    error = review.error
    for seconds in range(9):
        assert review.take(TORN, NOW + 2 + seconds) is None
        assert review.error is error
        assert review.recheck is None


def test_what_is_wrong_at_the_first_look_is_told_at_once() -> None:
    for reading, start in ((TORN, "/f:6:"), (EMPTY, "config file /f: it holds no"), (GONE, "it")):
        assert said(review_of(reading)).startswith(start)


def test_an_empty_file_changes_nothing_and_is_told_with_the_remedy() -> None:
    review = review_of(A)
    assert review.take(EMPTY, NOW) is None
    assert review.take(EMPTY, NOW + GRACE) is None
    assert "it holds no models; set allow_empty_config to unload everything" in said(review)


def test_an_empty_file_that_is_allowed_unloads_everything_once_it_has_stood_for_a_second() -> None:
    review = review_of(A, allow_empty=True)
    assert review.take(EMPTY, NOW) is None
    assert review.take(EMPTY, NOW + GRACE / 2) is None
    assert review.take(EMPTY, NOW + GRACE) == ServerConfig()
    assert review.take(EMPTY, NOW + 9) is None
    assert review.error is None


def test_an_allowed_empty_file_is_applied_at_the_first_look() -> None:
    assert Review("/f", allow_empty=True).take(EMPTY, NOW) == ServerConfig()


def test_a_file_that_is_gone_for_a_moment_is_not_told_and_not_applied_again() -> None:
    review = review_of(A)
    assert review.take(GONE, NOW) is None
    assert (review.error, review.recheck) == (None, NOW + GRACE)
    assert review.take(A, NOW) is None
    assert (review.error, review.recheck) == (None, None)


def test_a_file_that_is_gone_is_told_and_when_it_comes_back_as_it_was_not_applied_again() -> None:
    review = review_of(A)
    review.take(GONE, NOW)
    review.take(GONE, NOW + GRACE)
    assert review.error is GONE.error
    again = Reading(error=NotFoundError("it does not exist"))  # another object, of the same text
    assert review.take(again, NOW + 2) is None
    assert review.error is GONE.error
    assert review.recheck is None
    assert review.take(A, NOW + 3) is None
    assert review.error is None


def test_a_file_that_comes_back_as_another_is_applied() -> None:
    review = review_of(A)
    review.take(GONE, NOW)
    review.take(GONE, NOW + GRACE)
    assert review.take(B, NOW + 3) == config("b")
    assert review.error is None


def test_a_file_that_comes_back_as_what_was_refused_is_still_refused() -> None:
    review = review_of(TORN)
    refusal = review.error
    review.take(GONE, NOW)
    review.take(GONE, NOW + GRACE)
    assert review.error is GONE.error
    review.take(TORN, NOW + 3)
    assert review.error is refusal


def test_what_could_not_be_applied_is_refused_until_it_changes_or_is_asked_for() -> None:
    review = review_of(A)
    error = InvalidArgumentError("not now")
    assert review.take(B, NOW) == config("b")
    review.refuse(error)
    assert review.take(B, NOW) is None
    assert review.error is error
    review.reconsider()
    assert review.take(B, NOW) == config("b")
    assert review.error is None


def test_to_ask_again_applies_nothing_that_was_applied() -> None:
    review = review_of(A)
    review.reconsider()
    assert review.take(A, NOW) is None


def test_a_hang_is_told_until_the_file_has_been_read() -> None:
    review = review_of(A)
    review.note_hang()
    assert "/f: reading it hangs; check the storage" in said(review)
    review.take(TORN, NOW)
    assert review.error is None


def test_what_is_written_in_place_is_applied_when_it_is_whole_and_not_before() -> None:
    for allow_empty in (False, True):
        whole = text("b", "c")
        for cut in range(len(whole)):
            review = review_of(A, allow_empty=allow_empty)
            # Each write is seen, and after the last one nothing comes for long.
            applied = review.take(holds(whole[:cut]), NOW)
            is_whole = whole[:cut].rstrip() == whole.rstrip()
            assert applied == (config("b", "c") if is_whole else None)
            assert review.take(holds(whole[:cut]), NOW + GRACE / 2) is None
            later = review.take(holds(whole), NOW + GRACE / 2)
            assert later == config("b", "c")
            assert review.error is None


MEANT = {text("a"): config("a"), text("b"): config("b"), b"": ServerConfig()}


@given(st.lists(st.sampled_from([A, B, TORN, EMPTY, GONE]), max_size=12), st.booleans())
def test_nothing_is_applied_but_what_stands_in_the_file_and_what_is_whole_always_is(
    readings: list[Reading], allow_empty: bool
) -> None:
    review = Review("/f", allow_empty=allow_empty)
    in_force: ServerConfig | None = None
    for second, reading in enumerate(readings):
        applied = review.take(reading, NOW + second * GRACE)
        if applied is not None:
            assert reading.content is not None
            assert applied == MEANT[reading.content]
            assert allow_empty or applied.models
            in_force = applied
        if reading in (A, B):
            assert reading.content is not None
            assert in_force == MEANT[reading.content]
            assert review.error is None
