"""How calls fail, in the errors of servman: which may pass by itself, and which never will. Pure."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from servman.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    LoadCancelledError,
    LoadFailedError,
    NotFoundError,
    ResourceExhaustedError,
    ServerUnreachableError,
    ServmanError,
    UnimplementedError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servman.client.talk import Failure

_BY_CODE: Final[Mapping[str, type[ServmanError]]] = {
    "ALREADY_EXISTS": AlreadyExistsError,
    "DATA_LOSS": DataLossError,
    "DEADLINE_EXCEEDED": WaitTimeoutError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "INTERNAL": InternalError,
    "INVALID_ARGUMENT": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "OUT_OF_RANGE": InvalidArgumentError,
    "PERMISSION_DENIED": AccessDeniedError,
    "RESOURCE_EXHAUSTED": ResourceExhaustedError,
    "UNAUTHENTICATED": AccessDeniedError,
    "UNIMPLEMENTED": UnimplementedError,
}

_FINAL: Final = frozenset(
    {
        "ALREADY_EXISTS",
        "DATA_LOSS",
        "FAILED_PRECONDITION",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "UNIMPLEMENTED",
    }
)

_SILENT: Final = "DEADLINE_EXCEEDED"

_NOISE: Final = re.compile(r"^failed to connect to all addresses; last error: (?:[A-Z_]+: )?")
"""What gRPC puts before the one thing that helps."""

_NO_GRPC: Final = "http2 header with status"
"""What gRPC says of an answer by something that speaks HTTP/2 and no gRPC, such as a proxy."""


def is_unimplemented(failure: Failure) -> bool:
    """Tell whether a gRPC server has answered that it has no such call."""
    return failure.code == "UNIMPLEMENTED" and _NO_GRPC not in failure.text


def is_final(failure: Failure) -> bool:
    """Tell whether asking again later cannot help."""
    return failure.code in _FINAL and _NO_GRPC not in failure.text


def is_answer(failure: Failure) -> bool:
    """Tell whether a server was there to refuse the call."""
    return is_final(failure) or failure.code == "RESOURCE_EXHAUSTED"


def in_words(failure: Failure) -> str:
    """Return what has gone wrong, without what gRPC puts around it."""
    if failure.code == _SILENT:
        return "it does not answer"
    text = _NOISE.sub("", failure.text).strip() or failure.code
    if _NO_GRPC in text:
        text = f"what answers there is no gRPC server ({text})"
    return text


def error_of(failure: Failure, server: str) -> ServmanError:
    """Return *failure* of a call to *server* as the error that a caller is to see."""
    words = in_words(failure)
    if failure.code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        what = f"{server} refuses the call: {words}; pass the token or the certificate that it asks for"
        return AccessDeniedError(what)
    if is_unimplemented(failure):
        return UnimplementedError(
            f"{server} has no such call ({words}): it is no servman server, or an older one"
        )
    if failure.code in _BY_CODE and failure.code != _SILENT and _NO_GRPC not in words:
        return _BY_CODE[failure.code](f"{server}: {words}")
    return ServerUnreachableError(
        f"{server} cannot be reached: {words}; is the server running, and is this its address?",
        server=server,
    )


def load_error(code: str, text: str) -> ServmanError:
    """Return the error that a version has ended with, of which a server tells *code* and *text*."""
    if code == "CANCELLED":
        return LoadCancelledError(text)
    kind = _BY_CODE.get(code, LoadFailedError)
    return LoadFailedError(text) if kind in (AccessDeniedError, WaitTimeoutError) else kind(text)


@contextlib.contextmanager
def reading(server: str) -> Iterator[None]:
    """Turn what an answer that makes no sense raises from within into an error that says whose it is.

    Raises:
        InternalError: It did.
    """
    try:
        yield
    except (DecodeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InternalError(
            f"what {server} has answered cannot be read ({error}); is it a servman server of this version?"
        ) from error
