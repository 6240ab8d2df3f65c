"""From the messages of a server to the values that the rest of servman speaks of. Pure.

What makes no sense raises a `ValueError` or a `KeyError`; `failures.reading` says whose fault it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servman.client.failures import load_error
from servman.ids import ServableId, ServableRequest, check_name
from servman.protos import POOL
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels
from servman.worker_state import WorkerSnapshot, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from servman.errors import ServmanError

_CODES = POOL.FindEnumTypeByName("tensorflow.error.Code").values_by_number


def read_state(message: Any) -> ServableState:
    """Return the state that a `servman.v1.State` tells."""
    return ServableState(
        ServableId(message.name, message.version),
        ManagerState(message.state),
        read_error(message.error) if message.HasField("error") else None,
        message.time,
        message.cause,
    )


def read_states(messages: Iterable[Any]) -> dict[ServableId, ServableState]:
    """Return the states that several `servman.v1.State` tell, by version."""
    return {state.id: state for state in map(read_state, messages)}


def read_aspiration(message: Any) -> StreamAspiration:
    """Return what a `servman.v1.Aspiration` tells."""
    return StreamAspiration(check_name(message.name), frozenset(message.versions))


def read_labels(message: Any) -> StreamLabels:
    """Return what a `servman.v1.Labels` tells."""
    return StreamLabels(check_name(message.name), dict(message.wanted), dict(message.targets))


def read_version(name: str, message: Any) -> ServableState:
    """Return the state that a `ModelVersionStatus` of the model *name* tells."""
    error = read_error(message.status)
    return ServableState(ServableId(name, message.version), ManagerState(message.state), error)


def read_error(status: Any) -> ServmanError | None:
    """Return the error that a `StatusProto` tells; None where nothing was wrong."""
    if not status.error_code:
        return None
    known = _CODES.get(status.error_code)
    return load_error("UNKNOWN" if known is None else known.name, status.error_message)


def read_worker(message: Any) -> WorkerSnapshot:
    """Return what a `servman.v1.Worker` tells."""
    device, pid, due = (
        getattr(message, name) if message.HasField(name) else None
        for name in ("device", "pid", "due")
    )
    return WorkerSnapshot(
        index=message.index,
        kind=message.kind,
        device=device,
        pid=pid,
        state=WorkerState(message.state),
        restarts=message.restarts,
        since=message.since,
        running=message.running,
        error=read_error(message.error) if message.HasField("error") else None,
        log_path=message.log_path or None,
        due=due,
    )


def read_reason(message: Any, error: ServmanError | None = None) -> Reason:
    """Return the reason that a `servman.v1.Reason` tells; *error* is the one behind it."""
    facts: dict[str, object] = {}
    if message.attempts:
        facts["attempts"] = message.attempts
    if message.HasField("retry_in"):
        facts["retry_in"] = message.retry_in
    return Reason(_reason_code(message.code), message.text, facts, error)


def read_reasons(
    messages: Any, states: Mapping[ServableId, ServableState]
) -> dict[ServableRequest, Reason]:
    """Return the reasons of a map from the texts of requests, with the errors that *states* tell."""
    requests = {ServableRequest.parse(text): one for text, one in messages.items()}
    return {
        request: read_reason(one, _error_behind(request, states))
        for request, one in requests.items()
    }


def _error_behind(
    request: ServableRequest, states: Mapping[ServableId, ServableState]
) -> ServmanError | None:
    errors = [
        state.error
        for one, state in states.items()
        if one.name == request.name and request.version in (None, one.version)
    ]
    return next((error for error in errors if error is not None), None)


def read_requests(texts: Iterable[str]) -> Iterator[ServableRequest]:
    """Yield the requests that *texts* are."""
    return map(ServableRequest.parse, texts)


def read_ids(messages: Mapping[str, str]) -> dict[ServableRequest, ServableId]:
    """Return the versions of a map from the texts of requests, as in "m:3"."""
    return {ServableRequest.parse(text): _read_id(one) for text, one in messages.items()}


def _read_id(text: str) -> ServableId:
    request = ServableRequest.parse(text)
    if request.version is None:
        raise ValueError(f"{text!r} names no version")
    return ServableId(request.name, request.version)


def _reason_code(text: str) -> ReasonCode:
    """Return the code; a newer server may have codes that are not known here."""
    try:
        return ReasonCode(text)
    except ValueError:
        return ReasonCode.UNKNOWN
