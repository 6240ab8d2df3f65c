"""What TensorFlow raises, as typed errors of one sentence. Imports TensorFlow: on a load thread only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf

from servman.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServmanError,
    UnimplementedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId

_MAX_TEXT: Final = 400
"""How many characters of a text of TensorFlow's are passed on."""

_BEFORE: Final = "Graph execution error:"
_BEHIND: Final = ("\n\t [[", "\nTraceback (most recent call last):")
"""What stands before and behind the sentence that says what is wrong."""

_ERRORS: Final[Mapping[int, type[ServmanError]]] = {
    tf.errors.INVALID_ARGUMENT: InvalidArgumentError,
    tf.errors.OUT_OF_RANGE: InvalidArgumentError,
    tf.errors.NOT_FOUND: NotFoundError,
    tf.errors.FAILED_PRECONDITION: FailedPreconditionError,
    tf.errors.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    tf.errors.UNIMPLEMENTED: UnimplementedError,
}


def load_failure(id: ServableId, path: str, error: Exception) -> ServmanError:
    """Return the error of a load in which TensorFlow raised *error*; a typed one stays as it is."""
    if isinstance(error, ServmanError):
        return error.with_traceback(None)
    text = _brief(error)
    if isinstance(error, tf.errors.ResourceExhaustedError | tf.errors.UnimplementedError):
        return _ERRORS[error.error_code](f"{id}: TensorFlow cannot load {path}: {text}")
    return FailedPreconditionError(
        f"{id}: TensorFlow cannot load the SavedModel in {path}: {text}; copy the whole version"
        " directory again and rename it into place, or export it with the TensorFlow installed here"
    )


def run_failure(where: str, error: Exception) -> ServmanError:
    """Return the error of a run in which TensorFlow raised *error*; *where* says of which signature."""
    if isinstance(error, tf.errors.OpError):
        kind = _ERRORS.get(error.error_code, InternalError)
        return kind(f"{where}: the model failed: {_brief(error)}")
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow could not raise its own error, for its text is none: it quotes bytes of an input.
        return InvalidArgumentError(f"{where}: the model failed: {_brief(error)}")
    return InternalError(f"{where}: the model failed: {type(error).__name__}: {_brief(error)}")


def _brief(error: Exception) -> str:
    """Return, on one line, what is wrong: without the names of operations and without pages of frames.

    It may quote inputs, and so hold whatever a client has sent.
    """
    text = getattr(error, "message", None) or str(error)
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode("utf-8", "backslashreplace")
    for behind in _BEHIND:
        text = text.partition(behind)[0]
    text = "".join(one if one.isprintable() else " " for one in text.removeprefix(_BEFORE))
    return " ".join(text.split())[:_MAX_TEXT] or type(error).__name__
