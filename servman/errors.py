"""Every error that servman raises, publishes or stores.

Each carries a canonical `code` (a name from the gRPC status codes), also derives from the standard
class that a host would catch, survives pickling, names the servable that it is about, and says
what to do next where that is known.
"""

from __future__ import annotations

import copy
import traceback as _traceback
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.ids import ServableId, ServableRequest
    from servman.reasons import Reason
    from servman.state import ServableState


class ServmanError(Exception):
    """The root of the tree. `traceback` is the text of where foreign code raised it, if it did."""

    code: ClassVar[str] = "UNKNOWN"
    traceback: str | None = None


class InvalidArgumentError(ServmanError, ValueError):
    """What was passed in can never be right, whatever the state of the system.

    Where all that is wrong with it was looked for, `faults` are the single texts.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, message: str = "", *, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class NotFoundError(ServmanError, LookupError):
    """What was asked for is not there (now). `reason` says why, where it is known."""

    code = "NOT_FOUND"

    def __init__(self, message: str = "", *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class AlreadyExistsError(ServmanError, FileExistsError):
    """What should be made is there already, and was not touched."""

    code = "ALREADY_EXISTS"


class FailedPreconditionError(ServmanError, RuntimeError):
    """The call is right, the moment is not: something else has to happen first."""

    code = "FAILED_PRECONDITION"


class ResourceExhaustedError(ServmanError, RuntimeError):
    """There is not enough of something: memory, threads, room in a queue."""

    code = "RESOURCE_EXHAUSTED"


class LoadCancelledError(ServmanError, RuntimeError):
    """The version was no longer wanted before it became available."""

    code = "CANCELLED"


class LoadFailedError(ServmanError, RuntimeError):
    """A loader or a payload raised something that is no ServmanError; its text is kept."""

    code = "UNKNOWN"


class WaitTimeoutError(ServmanError, TimeoutError):
    """The deadline came first. `states` and `reasons` tell how far it got and what is missing."""

    code = "DEADLINE_EXCEEDED"

    def __init__(
        self,
        message: str = "",
        *,
        states: Mapping[ServableId, ServableState] | None = None,
        reasons: Mapping[ServableRequest, Reason] | None = None,
    ) -> None:
        super().__init__(message)
        self.states = dict(states or {})
        self.reasons = dict(reasons or {})


class ServerUnreachableError(WaitTimeoutError):
    """There was no server to ask when the time was up: it was never reached, or has gone away.

    Attributes:
        server: Its address.
        ever_reached: Whether it has answered at all before.
        restarts: How often another life of it answered than before.
    """

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str = "",
        *,
        states: Mapping[ServableId, ServableState] | None = None,
        reasons: Mapping[ServableRequest, Reason] | None = None,
        server: str = "",
        ever_reached: bool = False,
        restarts: int = 0,
    ) -> None:
        super().__init__(message, states=states, reasons=reasons)
        self.server = server
        self.ever_reached = ever_reached
        self.restarts = restarts


class ServableUnavailableError(ServmanError, RuntimeError):
    """A version that was waited for has failed. `states` and `reasons` tell which and why."""

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str = "",
        *,
        states: Mapping[ServableId, ServableState] | None = None,
        reasons: Mapping[ServableRequest, Reason] | None = None,
    ) -> None:
        super().__init__(message)
        self.states = dict(states or {})
        self.reasons = dict(reasons or {})


class AccessDeniedError(ServmanError, PermissionError):
    """The server does not take the call from this caller: without a token or certificate, or with these."""

    code = "PERMISSION_DENIED"


class ClosedError(ServmanError, RuntimeError):
    """The object was closed, or closed while the call was waiting."""

    code = "UNAVAILABLE"


class UnimplementedError(ServmanError, NotImplementedError):
    """Known, but not available here: a platform that was not asked for or cannot be imported."""

    code = "UNIMPLEMENTED"


class DataLossError(ServmanError, RuntimeError):
    """A file is damaged, cut off, or in another format than it should be."""

    code = "DATA_LOSS"


class WorkerDiedError(ServmanError, RuntimeError):
    """The process that held the servable has ended, or had to be ended, while it was wanted.

    Attributes:
        exit_code: What it exited with, or None where it did not exit by itself.
        signal: The number of the signal that killed it, or None.
        log_tail: The end of what it wrote to its standard output and error.
    """

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str = "",
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        log_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal
        self.log_tail = log_tail


class WorkerUnavailableError(ServmanError, RuntimeError):
    """No process serves the version at present, and none did in the time that a call may be held."""

    code = "UNAVAILABLE"


class WorkerCallError(ServmanError, RuntimeError):
    """A method in a worker raised what cannot be sent from there to here; `traceback` is its text.

    Attributes:
        kind: The name of the class of what was raised.
        bases: The names of the classes of Python's own that it derives from.
    """

    code = "INTERNAL"

    def __init__(self, message: str = "", *, kind: str = "", bases: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.bases = bases


class QuarantinedError(ServmanError, RuntimeError):
    """Processes have crashed while they worked on a request like this one, so it is refused for a while."""

    code = "FAILED_PRECONDITION"


class InternalError(ServmanError, RuntimeError):
    """servman, or something plugged into it, broke its own rules."""

    code = "INTERNAL"


def settled(error: BaseException) -> ServmanError:
    """Return *error* in the form in which it is stored, published and pickled.

    An exception object keeps the frames that it passed through alive, and through them the
    servable that failed; so what is stored is a `ServmanError` without frames, context or cause,
    and with the traceback as text. A `ServmanError` keeps its class, text and fields.
    """
    text = "".join(_traceback.format_exception(error)) if error.__traceback__ else None
    if isinstance(error, ServmanError):
        plain = _copy(error)
    else:
        said, kind = _text(error), type(error).__qualname__
        plain = LoadFailedError(f"{kind}: {said}" if said else kind)
    # The first place wins: an error that is passed on is raised again in places that did no wrong.
    plain.traceback = plain.traceback or text
    return plain


def _copy(error: ServmanError) -> ServmanError:
    try:
        copied: object = copy.copy(error)
    except BaseException:  # noqa: BLE001 -- a foreign subclass with a constructor of its own
        copied = None
    return copied if isinstance(copied, ServmanError) else ServmanError(_text(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 -- a foreign __str__; its fault must not replace the error
        return "(its text cannot be read)"
