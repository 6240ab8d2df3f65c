"""What becomes of an error when it is stored."""

from __future__ import annotations

import gc
import weakref

import pytest

from servman.errors import (
    LoadFailedError,
    NotFoundError,
    ServmanError,
    WaitTimeoutError,
    settled,
)
from servman.ids import ServableRequest
from servman.reasons import Reason, ReasonCode


class Servable:
    """Something that a frame may keep alive."""


def fail(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return *error* as it is after it was raised and caught: with a traceback."""
    with pytest.raises(type(error)) as raised:
        fail(error, cause)
    return raised.value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad weights"), "ValueError: bad weights"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_foreign_error_is_stored_as_a_failed_load_that_names_its_class(
    error: BaseException, text: str
) -> None:
    stored = settled(error)
    assert type(stored) is LoadFailedError
    assert str(stored) == text


def test_an_error_of_ours_keeps_class_text_and_fields() -> None:
    request = ServableRequest.latest("m")
    reason = Reason(ReasonCode.QUEUED, "m is queued")
    error = WaitTimeoutError("too late", reasons={request: reason})
    stored = settled(caught(error))
    assert type(stored) is WaitTimeoutError
    assert str(stored) == "too late"
    assert stored.reasons == {request: reason}


def test_a_stored_error_has_the_traceback_as_text_and_holds_no_frame() -> None:
    stored = settled(caught(NotFoundError("outer"), cause=caught(OSError("cause"))))
    assert stored.__traceback__ is None
    assert stored.__context__ is None
    assert stored.__cause__ is None
    assert stored.traceback is not None
    assert "test_errors.py" in stored.traceback
    assert "OSError: cause" in stored.traceback


def test_a_stored_error_keeps_nothing_alive_that_the_failing_frame_held() -> None:
    def load_and_fail() -> None:
        servable = Servable()
        seen.append(weakref.ref(servable))
        raise ValueError("after it was made")

    seen: list[weakref.ref[Servable]] = []
    stored: list[ServmanError] = []
    try:
        load_and_fail()
    except ValueError as error:
        stored.append(settled(error))
    gc.collect()
    assert stored[0].traceback
    assert seen[0]() is None


def test_an_error_that_was_never_raised_has_no_traceback() -> None:
    assert settled(ValueError("x")).traceback is None


def test_the_first_traceback_stays_when_a_stored_error_is_raised_again() -> None:
    stored = settled(caught(ValueError("x")))
    again = settled(caught(stored))
    assert again is not stored
    assert again.traceback == stored.traceback


def test_an_error_whose_text_cannot_be_read_is_stored_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert str(settled(caught(BrokenError()))).endswith("BrokenError: (its text cannot be read)")


def test_a_subclass_that_cannot_be_copied_is_stored_as_its_root_with_its_text() -> None:
    class PickyError(ServmanError):
        def __init__(self, *, needed: str) -> None:
            super().__init__(f"picky about {needed}")

    stored = settled(caught(PickyError(needed="arguments")))
    assert type(stored) is ServmanError
    assert str(stored) == "picky about arguments"
