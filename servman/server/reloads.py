"""Reloads that somebody asks for from afar: bounded by the call, and ended with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.core.reload import Cancellation
from servman.errors import FailedPreconditionError, WaitTimeoutError
from servman.log import Log

if TYPE_CHECKING:
    from servman.core import ReloadResult, ServerConfig, ServerCore
    from servman.server.calls import Call

_log = Log(__name__)


def reload(core: ServerCore, config: ServerConfig, call: Call, **options: Any) -> ReloadResult:
    """Put *config* in force for *call*, and wait for it until nobody waits for the answer any more.

    Blocks: as `ServerCore.reload_config`, whose *options* it takes.

    Raises:
        ServmanError: As there; or the call is over, or may not wait.
    """
    _log.info("%s: %d models are to be served", call.context.peer(), len(config.models))
    cancellation = Cancellation()
    with call.waiting(cancellation.cancel):
        result = core.reload_config(config, origin="rpc", cancellation=cancellation, **options)
    if cancellation.cancelled:
        raise call.over()
    return result


def require_well(result: ReloadResult) -> None:
    """Return if all is well.

    Raises:
        WaitTimeoutError: The time was up.
        FailedPreconditionError: A model has failed, or somebody has put another configuration in force.
    """
    if result:
        return
    failed = {name: str(one) for name, one in result.failed.items() if one.required}
    told = ", ".join(f"{name}: {outcome}" for name, outcome in failed.items())
    text = f"{len(failed)} model(s) did not become available: {{{told}}}"
    if result.superseded_by is not None:
        text = (
            f"generation {result.superseded_by} has taken the place of this configuration; {text}"
        )
    elif result.timed_out:
        raise WaitTimeoutError(f"{text}; the configuration is in force, and they go on")
    raise FailedPreconditionError(text)
