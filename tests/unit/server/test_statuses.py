"""What went wrong arrives as a code and a text that gRPC can carry."""

from __future__ import annotations

import logging

import grpc
import pytest

from servman.errors import InvalidArgumentError, NotFoundError, ServmanError
from servman.protos import message_class
from servman.server.statuses import parsed, shortened, status_of, write_status

Status = message_class("tensorflow.serving.StatusProto")


def test_an_error_has_its_code_and_text() -> None:
    assert status_of("/s/M", NotFoundError("not there")) == (grpc.StatusCode.NOT_FOUND, "not there")


def test_every_error_of_ours_has_a_code_of_grpc() -> None:
    def below(kind: type[ServmanError]) -> list[type[ServmanError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    for kind in below(ServmanError):
        assert kind.code in grpc.StatusCode.__members__


def test_a_fault_of_ours_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert status_of("/s/M", KeyError("x"))[0] is grpc.StatusCode.INTERNAL
    assert "/s/M raised what it should not" in caplog.text


@pytest.mark.parametrize("text", ["a" * 100_000, "ü" * 100_000, "\n" * 100_000, "𝄞\n" * 10_000])
def test_a_long_text_is_cut_to_what_can_be_sent(text: str) -> None:
    cut = shortened(text)
    assert cut.endswith("...TRUNCATED")
    assert text.startswith(cut.removesuffix("...TRUNCATED"))
    assert 300 < len(cut) < 4200


def test_a_short_text_is_kept() -> None:
    assert shortened("as\nit is: ü") == "as\nit is: ü"


def test_what_utf_8_cannot_hold_is_spelled_out() -> None:
    assert shortened("caf\udce9") == "caf\\udce9"
    status = Status()
    write_status(NotFoundError("caf\udce9"), status)
    assert status.error_message == "caf\\udce9"


def test_a_message_in_an_answer_is_cut_as_in_tensorflow_serving() -> None:
    status = Status()
    write_status(NotFoundError("a" * 2000), status)
    assert len(status.error_message) == 1024
    assert status.error_message.endswith("a...TRUNCATED")


def test_what_is_no_message_is_an_invalid_argument() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no tensorflow\.serving\.StatusProto"):
        parsed(Status, b"\xff")
    assert parsed(Status, b"\x08\x05").error_code == 5
