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

_LATE: Final = "DEADLINE_EXCEEDED"

_OWN_DEADLINE: Final = "Deadline Exceeded"
"""What this side's gRPC says when the time is up; a server says in words of its own what keeps it."""

_NOISE: Final = re.compile(r"^failed to connect to all addresses; last error: (?:[A-Z_]+: )?")
"""What gRPC puts before the one thing that helps."""

_HINTS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": "it seems to speak no TLS; leave the credentials out (--tls, --ca, --cert)",
    "CERTIFICATE_VERIFY_FAILED": (
        "nobody whom this client trusts vouches for its certificate; pass the authority (--ca)"
    ),
    "Hostname Verification Check failed": (
        "its certificate is for another name than this address; use the name that stands in it"
    ),
    **dict.fromkeys(
        (
            "Socket closed",
            "Connection reset",
            "Broken pipe",
            "ALERT_CERTIFICATE",
            "ALERT_UNKNOWN_CA",
        ),
        "does it ask for TLS, or for a certificate of its callers? Pass credentials (--tls or --ca, --cert"
        " with --key)",
    ),
}
"""What may be wrong, by what gRPC says where no connection comes about; options are those of the command line."""

_NOT_SENT: Final = ("failed to connect", "errors resolving", "Failed to create XdsClient")
"""How gRPC begins to tell that a call never left."""

_NO_GRPC: Final = "http2 header with status"
"""What gRPC says of an answer by something that speaks HTTP/2 and no gRPC, such as a proxy."""


def is_unimplemented(failure: Failure) -> bool:
    """Tell whether a gRPC server has answered that it has no such call."""
    return failure.code == "UNIMPLEMENTED" and _NO_GRPC not in failure.text


def is_final(failure: Failure) -> bool:
    """Tell whether asking again later cannot help."""
    return failure.code in _FINAL and _NO_GRPC not in failure.text


def is_answer(failure: Failure) -> bool:
    """Tell whether a server was there to refuse the call, or to say why it is late."""
    return is_final(failure) or failure.code == "RESOURCE_EXHAUSTED" or is_told_late(failure)


def is_told_late(failure: Failure) -> bool:
    """Tell whether a server was there to say why it does not answer in time."""
    return failure.code == _LATE and not _is_silence(failure)


def has_not_left(failure: Failure) -> bool:
    """Tell whether the call has not left this machine: there was no connection to send it by."""
    return failure.code == "UNAVAILABLE" and failure.text.startswith(_NOT_SENT)


def was_connected(failure: Failure) -> bool:
    """Tell whether there was a connection, on which the call was sent and ended."""
    return not _is_silence(failure) and not has_not_left(failure)


def in_words(failure: Failure) -> str:
    """Return what has gone wrong, without what gRPC puts around it."""
    if _is_silence(failure):
        return "it does not answer"
    text = _NOISE.sub("", failure.text).strip() or failure.code
    if _NOISE.match(failure.text):
        text += next((f" ({hint})" for told, hint in _HINTS.items() if told in text), "")
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
    if failure.code in _BY_CODE and not _is_silence(failure) and _NO_GRPC not in words:
        return _BY_CODE[failure.code](f"{server}: {words}")
    return ServerUnreachableError(
        f"{server} cannot be reached: {words}; is the server running, and is this its address?",
        server=server,
    )


def _is_silence(failure: Failure) -> bool:
    return failure.code == _LATE and (not failure.text or _OWN_DEADLINE in failure.text)


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
