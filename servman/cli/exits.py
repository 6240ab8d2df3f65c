"""How the commands that ask a server end: their exit codes, and what they print of an error."""

from __future__ import annotations

import contextlib
import json
from enum import IntEnum
from typing import TYPE_CHECKING, Final, final

import click

from servman.cli.plain import echo
from servman.errors import (
    AccessDeniedError,
    InvalidArgumentError,
    ServableUnavailableError,
    ServerUnreachableError,
    ServmanError,
    UnimplementedError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.reasons import Reason
    from servman.state import ServableState


@final
class Exit(IntEnum):
    """What a command tells the shell."""

    WELL = 0
    """What was asked for is so."""
    FAILED = 1
    """It has failed, and waiting would not help."""
    USAGE = 2
    """The call can never be right, or the server does not take it from this caller."""
    DEADLINE = 3
    """The time was up before it was decided."""
    NEVER_REACHED = 4
    """The server was never reached."""
    INTERRUPTED = 130
    """Ctrl-C."""


CODES: Final = (
    "Exit codes: 0 {well}; 1 {failed}; 2 for bad usage, a refused token included; 3 when the time is up, the"
    " server having gone away included; 4 when the server was never reached; 130 after Ctrl-C."
)


def codes(well: str, failed: str) -> str:
    """Return the paragraph that tells the exit codes of a command."""
    return CODES.format(well=well, failed=failed)


def exit_of(error: ServmanError) -> Exit:
    """Return the exit code for *error*."""
    match error:
        case ServerUnreachableError(ever_reached=False):
            return Exit.NEVER_REACHED
        case WaitTimeoutError():
            return Exit.DEADLINE
        case AccessDeniedError() | InvalidArgumentError() | UnimplementedError():
            return Exit.USAGE
        case _:
            return Exit.FAILED


@contextlib.contextmanager
def exits(*, as_json: bool = False) -> Iterator[dict[str, object]]:
    """End the command by its exit code where an error comes from within, and print it.

    Yields what that object is to tell besides; it is empty at first.

    Args:
        as_json: Whether to print an object on the standard output, in place of a text on the other.
    """
    told: dict[str, object] = {}
    try:
        yield told
    except ServmanError as error:
        code = exit_of(error)
        if as_json:
            click.echo(json.dumps({"exit_code": int(code), **told, **error_as_dict(error)}))
        else:
            echo(f"Error: {error}", err=True)
        raise SystemExit(code) from error
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None


def error_as_dict(error: ServmanError) -> dict[str, object]:
    """Return what *error* tells, ready for JSON."""
    told: dict[str, object] = {"error": {"code": error.code, "text": str(error)}}
    if isinstance(error, WaitTimeoutError | ServableUnavailableError):
        told["states"] = [state_as_dict(state) for state in error.states.values()]
        told["reasons"] = {
            str(request): reason_as_dict(reason) for request, reason in error.reasons.items()
        }
    return told


def reason_as_dict(reason: Reason) -> dict[str, object]:
    """Return *reason*, ready for JSON."""
    return {"code": reason.code.value, "text": reason.text}


def state_as_dict(state: ServableState) -> dict[str, object]:
    """Return *state*, ready for JSON; what is empty is left out."""
    known = {
        "name": state.id.name,
        "version": state.id.version,
        "state": state.manager_state.name,
        "error": None if state.error is None else str(state.error),
        "time": state.time or None,
        "cause": state.cause or None,
    }
    return {key: value for key, value in known.items() if value is not None}
