"""From servman's words to the messages of `servman.v1`, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from servman.core.config_message import from_message
from servman.core.config_writing import write_message
from servman.errors import FailedPreconditionError, InvalidArgumentError
from servman.server.statuses import write_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.core import Diagnosis, ModelOutcome, Readiness, ServerConfig
    from servman.reasons import Reason
    from servman.state import ServableState
    from servman.worker_state import WorkerSnapshot

_MOST: Final = 2**31 - 1
"""What an int32 can hold."""


def config_from(message: Any) -> ServerConfig:
    """Return the configuration that a `ModelServerConfig` is.

    Raises:
        InvalidArgumentError: It is none; the error lists all of why.
    """
    if message.WhichOneof("config") is None:
        raise InvalidArgumentError(
            "there is no model_config_list; send an empty one if everything is to be unloaded"
        )
    config, faults = from_message(message)
    if config is None:
        texts = [fault.text for fault in faults]
        raise InvalidArgumentError("; ".join(texts), faults=texts)
    return config


def write_config(config: ServerConfig, message: Any) -> None:
    """Fill the empty `ModelServerConfig` *message*.

    Raises:
        FailedPreconditionError: Something in it can stand in a program only.
    """
    faults = list(write_message(config, message))
    if faults:
        raise FailedPreconditionError(
            "the configuration in force cannot be sent: " + "; ".join(faults)
        )


def write_reason(reason: Reason, message: Any) -> None:
    """Fill the empty `Reason` *message*."""
    message.code = reason.code.value
    message.text = readable(reason.text)
    attempts, retry_in = reason.facts.get("attempts"), reason.facts.get("retry_in")
    if isinstance(attempts, int):
        message.attempts = min(attempts, _MOST)
    if isinstance(retry_in, float):
        message.retry_in = retry_in


def write_state(state: ServableState, message: Any) -> None:
    """Fill the empty `State` *message*."""
    message.name, message.version = state.id.name, state.id.version
    message.state = int(state.manager_state)
    message.time, message.cause = state.time, state.cause
    if state.error is not None:
        write_status(state.error, message.error)


def write_probe(probe: Readiness, message: Any) -> None:
    """Fill the empty `Probe` *message*; what is wrong with the whole server is under the empty name."""
    message.ok = bool(probe)
    for name, reason in probe.missing.items():
        write_reason(reason, message.missing[name])
    for reason in probe.reasons:
        write_reason(reason, message.missing[""])


def write_diagnosis(
    diagnosis: Diagnosis, states: Mapping[int, ServableState], message: Any
) -> None:
    """Fill the empty `ModelStatus` *message*."""
    message.name = diagnosis.name
    if diagnosis.config is not None:
        message.base_path = diagnosis.config.base_path
        message.platform = diagnosis.config.platform
    message.wanted.extend(diagnosis.wanted)
    for state in states.values():
        write_state(state, message.versions.add())
    for label, version in diagnosis.labels.items():
        message.labels[label] = version
    if diagnosis.reason is not None:
        write_reason(diagnosis.reason, message.reason)
    for one in diagnosis.versions:
        for worker in one.workers:
            write_worker(worker, message.workers[one.id.version].workers.add())


def write_worker(worker: WorkerSnapshot, message: Any) -> None:
    """Fill the empty `Worker` *message*."""
    message.index, message.kind = worker.index, worker.kind
    message.state, message.since = worker.state.value, worker.since
    message.restarts, message.running = worker.restarts, worker.running
    message.log_path = readable(worker.log_path or "")
    for name in ("device", "pid", "due"):
        known = getattr(worker, name)
        if known is not None:
            setattr(message, name, known)
    if worker.error is not None:
        write_status(worker.error, message.error)


def write_outcome(outcome: ModelOutcome, message: Any) -> None:
    """Fill the empty `Outcome` *message*."""
    message.outcome = outcome.outcome.value
    message.required = outcome.required
    if outcome.reason is not None:
        write_reason(outcome.reason, message.reason)


def readable(text: str) -> str:
    """Return *text* as a message can hold it: names on disk may not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
