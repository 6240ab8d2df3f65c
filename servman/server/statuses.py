"""How a call has ended, in gRPC's words: a code, and a text that fits into the answer."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError

from servman.errors import InvalidArgumentError, ServmanError
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

_log = Log(__name__)

_CODES: Final = {code.name: code for code in grpc.StatusCode}

_MOST_BYTES: Final = 4096
"""Of a text as it is sent; above some 8,000 bytes of such data clients refuse the whole answer."""

_MOST_CHARACTERS: Final = 1024
"""Of a text inside of an answer; as in TensorFlow Serving."""

_CUT: Final = "...TRUNCATED"


def status_of(method: str, error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Return how a call of *method* ends that has raised *error*.

    What is no `ServmanError` is a fault of ours, is logged, and called so.
    """
    if isinstance(error, ServmanError):
        return _CODES[error.code], shortened(str(error))
    _log.exception("%s raised what it should not", method)
    return grpc.StatusCode.INTERNAL, shortened(f"{method} failed: {type(error).__name__}: {error}")


def shortened(text: str) -> str:
    """Return *text* as it may be sent as the text of a status: of characters that there are, and not too long."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) * 12 <= _MOST_BYTES or _sent_size(text) <= _MOST_BYTES:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _sent_size(text[:middle]) <= _MOST_BYTES
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + _CUT


def _sent_size(text: str) -> int:
    return len(urllib.parse.quote(text, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}"))


def write_status(error: ServmanError | None, message: Any) -> None:
    """Fill the empty `tensorflow.serving.StatusProto` *message*; None is success."""
    message.SetInParent()
    if error is None:
        return
    message.error_code = _CODES[error.code].value[0]
    text = str(error).encode("utf-8", "backslashreplace").decode()
    cut = len(text) > _MOST_CHARACTERS
    message.error_message = text[: _MOST_CHARACTERS - len(_CUT)] + _CUT if cut else text


def parsed(kind: Callable[[], Any], data: bytes) -> Any:
    """Return the message of that *kind* which *data* is.

    Raises:
        InvalidArgumentError: It is none.
    """
    message = kind()
    try:
        message.MergeFromString(data)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise InvalidArgumentError(f"the request is no {name}: {error}") from None
    return message
