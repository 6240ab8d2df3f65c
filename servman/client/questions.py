"""All that a client asks of a server, but for waiting and watching: one call, one answer, no second attempt.

Who wants a server that is not up yet to be waited for waits first. A call that changes something
is never made twice: after a connection that was lost in the middle nobody knows what was done.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from servman.client import methods, tensorflow_serving
from servman.client.answers import (
    Explanation,
    RemoteConfig,
    RemotePlan,
    RemoteReload,
    ServerStatus,
    read_explanation,
    read_plan,
    read_reload,
    read_status,
)
from servman.client.configuration import to_message, to_text
from servman.client.failures import (
    error_of,
    has_not_left,
    in_words,
    is_told_late,
    is_unimplemented,
    reading,
)
from servman.client.talk import Call, Failure, Talk, ask
from servman.errors import InvalidArgumentError, ServerUnreachableError
from servman.ids import AnyRequest, ServableRequest, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from servman.client.methods import Method

T = TypeVar("T")

_LONGEST: Final = 1e9
"""Seconds of a timeout; more are as good as none."""

_MOST: Final = 2**31 - 1
"""How many transitions can be asked for; more are as good as all."""

_TOO_HIGH: Final = 2**64
"""What no generation comes to."""

_GRACE: Final = 2.0
"""Seconds that the answer of a call that waits may come after its deadline; it may have to connect first."""


def status(server: str, names: str | Iterable[str], timeout: float | None) -> Talk[ServerStatus]:
    """Ask how the models *names*, or all, stand; of TensorFlow Serving, those that are named."""
    wanted = [check_name(name) for name in ([names] if isinstance(names, str) else names)]
    request = methods.GET_STATUS.new(names=wanted)
    reply = yield from ask(Call(methods.GET_STATUS, request, _checked(timeout)))
    if isinstance(reply, Failure):
        if is_unimplemented(reply):
            return (yield from tensorflow_serving.status(server, wanted, timeout))
        raise error_of(reply, server)
    with reading(server):
        return read_status(methods.GET_STATUS.parse(reply.content))


def explain(server: str, request: AnyRequest, timeout: float | None) -> Talk[Explanation]:
    """Ask why *request* is as it is."""
    text = str(ServableRequest.of(request))
    return _ask(
        server,
        methods.EXPLAIN,
        methods.EXPLAIN.new(request=text),
        timeout,
        lambda message: read_explanation(text, message),
    )


def history(
    server: str, name: str | None, limit: int | None, timeout: float | None
) -> Talk[tuple[dict[str, object], ...]]:
    """Ask what has happened to *name*, or to all."""
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        raise InvalidArgumentError(f"a limit is None (all) or an int above 0, not {limit!r}")
    limit = None if limit is None or limit > _MOST else limit
    request = methods.GET_HISTORY.new(
        name="" if name is None else check_name(name), limit=limit or 0
    )
    return _ask(
        server,
        methods.GET_HISTORY,
        request,
        timeout,
        lambda message: tuple(map(_read_object, message.transitions)),
    )


def config(server: str, timeout: float | None) -> Talk[RemoteConfig]:
    """Ask for the configuration in force."""
    return _ask(
        server,
        methods.GET_CONFIG,
        methods.GET_CONFIG.new(),
        timeout,
        lambda message: RemoteConfig(to_text(message.config), message.generation, message.origin),
    )


def plan(server: str, config: str, timeout: float | None) -> Talk[RemotePlan]:
    """Ask what it would do to put *config* in force."""
    request = methods.PLAN.new(config=to_message(config), timeout=_checked(timeout) or 0.0)
    return _ask(server, methods.PLAN, request, _with_grace(timeout), read_plan)


def reload(
    server: str,
    config: str,
    timeout: float | None,
    *,
    wait: bool,
    atomic: bool,
    expected_generation: int | None,
) -> Talk[RemoteReload]:
    """Put *config* in force."""
    fields: dict[str, Any] = {}
    if expected_generation is not None:
        fields["expected_generation"] = _generation(expected_generation)
    request = methods.RELOAD_CONFIG.new(
        config=to_message(config),
        atomic=atomic,
        no_wait=not wait,
        timeout=_checked(timeout) or 0.0,
        **fields,
    )
    reply = yield from ask(Call(methods.RELOAD_CONFIG, request, _with_grace(timeout)))
    if isinstance(reply, Failure):
        raise _unknown_end(reply, server)
    with reading(server):
        return read_reload(methods.RELOAD_CONFIG.parse(reply.content))


def _ask(
    server: str,
    method: Method,
    request: Any,
    timeout: float | None,
    read: Callable[[Any], T],
) -> Talk[T]:
    reply = yield from ask(Call(method, request, _checked(timeout)))
    if isinstance(reply, Failure):
        raise error_of(reply, server)
    with reading(server):
        return read(method.parse(reply.content))


def _unknown_end(failure: Failure, server: str) -> Exception:
    error = error_of(failure, server)
    unknown = isinstance(error, ServerUnreachableError) or is_told_late(failure)
    if not unknown or has_not_left(failure):
        return error
    return ServerUnreachableError(
        f"{server} has gone away, or does not answer, and it is not known whether the configuration came into"
        f" force: {in_words(failure)}; ask for its configuration and its history",
        server=server,
        ever_reached=True,
    )


def _read_object(text: str) -> dict[str, object]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{text!r} is no transition")  # noqa: TRY004 -- it is the server's fault
    return found


def _generation(number: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _TOO_HIGH:
        raise InvalidArgumentError(f"a generation is None or an int from 0 on, not {number!r}")
    return number


def _checked(timeout: float | None) -> float | None:
    good = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    if timeout is not None and not good:
        raise InvalidArgumentError(
            f"the timeout of a call is None or a number of seconds above 0, not {timeout!r}"
        )
    return None if timeout is None or timeout > _LONGEST else timeout


def _with_grace(timeout: float | None) -> float | None:
    seconds = _checked(timeout)
    return None if seconds is None else seconds + _GRACE
