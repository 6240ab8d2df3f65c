"""What TensorFlow Serving can be asked: it has no call that waits, so that a wait asks for states, politely."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from servman.client import methods
from servman.client.answers import ModelStatus, Probe, ServerStatus
from servman.client.failures import (
    error_of,
    in_words,
    is_unimplemented,
    reading,
)
from servman.client.judgement import Verdict, check, judge, unknown
from servman.client.reading import read_version
from servman.client.result import RemoteWaitResult
from servman.client.talk import Answer, Call, Failure, Talk, ask
from servman.errors import UnimplementedError
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.client.wait import RemoteWait

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_GROWTH: Final = 1.5

_NO_LABEL: Final = ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION")
"""How a lookup by a label fails that may work later; UNAVAILABLE where no labels were ever set."""


def wait(whole: RemoteWait) -> Talk[RemoteWaitResult]:
    """Go on with the wait *whole* by asking TensorFlow Serving again and again.

    Raises:
        UnimplementedError: It cannot answer what is asked, or is no TensorFlow Serving.
        ServmanError: As with any other wait.
    """
    check(whole.question, whole.attempts.contact.server)
    pause = _FIRST_PAUSE
    while True:
        verdicts = yield from _round(whole)
        if verdicts is not None:
            result = conclude(verdicts, whole)
            if not result.timed_out or whole.attempts.remaining() == 0.0:
                return result
            if whole.note(result):
                return replace(result, given_up=True)
        yield from whole.attempts.pause(pause)
        pause = min(_GROWTH * pause, _LONGEST_PAUSE)


def status(server: str, names: Sequence[str], timeout: float | None) -> Talk[ServerStatus]:
    """Ask for the states of the models *names*.

    Raises:
        UnimplementedError: No names; or it is no TensorFlow Serving.
    """
    if not names:
        raise UnimplementedError(
            f"{server} does not tell the models that it has; name them, if it is a TensorFlow Serving"
        )
    models: dict[str, ModelStatus] = {}
    for name in names:
        message = methods.GET_MODEL_STATUS.new()
        message.model_spec.name = name
        reply = yield from ask(Call(methods.GET_MODEL_STATUS, message, timeout))
        if isinstance(reply, Failure) and reply.code != "NOT_FOUND":
            raise _no_server(server, reply) if is_unimplemented(reply) else error_of(reply, server)
        models[name] = _model(
            name, {} if isinstance(reply, Failure) else _read(name, reply, server)
        )
    missing = {name: one.reason for name, one in models.items() if one.reason is not None}
    return ServerStatus(models, healthy=Probe(not missing, missing))


def _model(name: str, versions: Mapping[int, ServableState]) -> ModelStatus:
    verdict = judge(ServableRequest.latest(name), ManagerState.AVAILABLE, versions)
    newest_first = tuple(versions[one] for one in sorted(versions, reverse=True))
    return ModelStatus(name, versions=newest_first, reason=verdict.reason)


def conclude(verdicts: Mapping[ServableRequest, Verdict], whole: RemoteWait) -> RemoteWaitResult:
    """Make of *verdicts* what the wait has come to; `timed_out` says that it is not decided."""
    question = whole.question
    reached = sum(one.reached is True for one in verdicts.values())
    pending = tuple(request for request, one in verdicts.items() if one.reached is None)
    needed = question.count or len(verdicts)
    hopeless = reached + len(pending) < needed and (
        question.fail_fast or question.count is not None
    )
    decided = not pending or (question.count is not None and reached >= needed) or hopeless
    return RemoteWaitResult(
        reached=reached >= needed,
        timed_out=not decided,
        states={
            one.state.id: one.state
            for one in verdicts.values()
            if one.state is not None and one.reached is not None
        },
        ids={
            request: one.state.id
            for request, one in verdicts.items()
            if one.reached and one.state is not None
        },
        pending=pending,
        reasons={
            request: one.reason for request, one in verdicts.items() if one.reason is not None
        },
        server=whole.attempts.contact.server,
        note=whole.attempts.contact.note,
    )


def _round(whole: RemoteWait) -> Talk[Mapping[ServableRequest, Verdict] | None]:
    """Ask for every request once; return how they stand, or None where the server has gone away meanwhile."""
    verdicts: dict[ServableRequest, Verdict] = {}
    for request in whole.question.requests:
        look = _look_at_label if request.label is not None else _look_at_states
        reply = yield from look(request, whole)
        if isinstance(reply, Failure):
            if is_unimplemented(reply):
                raise _no_server(whole.attempts.contact.server, reply)
            yield from whole.attempts.bear(reply)
            return None
        whole.attempts.answered()
        verdicts[request] = reply
    return verdicts


def _look_at_states(request: ServableRequest, whole: RemoteWait) -> Talk[Verdict | Failure]:
    message = methods.GET_MODEL_STATUS.new()
    message.model_spec.name = request.name
    if request.version is not None:
        message.model_spec.version.value = request.version
    reply = yield from ask(Call(methods.GET_MODEL_STATUS, message, whole.attempts.patience()))
    if isinstance(reply, Failure):
        not_found = reply.code == "NOT_FOUND"
        return Verdict(None, reason=unknown(request)) if not_found else reply
    versions = _read(request.name, reply, whole.attempts.contact.server)
    return judge(request, whole.question.goal, versions)


def _read(name: str, answer: Answer, server: str) -> dict[int, ServableState]:
    with reading(server):
        found = methods.GET_MODEL_STATUS.parse(answer.content).model_version_status
        return {one.version: read_version(name, one) for one in found}


def _look_at_label(request: ServableRequest, whole: RemoteWait) -> Talk[Verdict | Failure]:
    """Ask for the metadata by label: `GetModelStatus` does not look at labels."""
    message = methods.GET_MODEL_METADATA.new(metadata_field=["signature_def"])
    message.model_spec.name = request.name
    message.model_spec.version_label = request.label
    reply = yield from ask(Call(methods.GET_MODEL_METADATA, message, whole.attempts.patience()))
    if isinstance(reply, Failure):
        if reply.code not in _NO_LABEL and not (
            reply.code == "UNAVAILABLE" and "label" in reply.text
        ):
            return reply
        text = f"{request} cannot be used yet: {in_words(reply)}"
        return Verdict(None, reason=Reason(ReasonCode.NO_LABEL, text))
    with reading(whole.attempts.contact.server):
        spec = methods.GET_MODEL_METADATA.parse(reply.content).model_spec
        found = ServableId(request.name, spec.version.value)
    return Verdict(reached=True, state=ServableState(found, ManagerState.AVAILABLE))


def _no_server(server: str, failure: Failure) -> UnimplementedError:
    """Return the error for what speaks gRPC, and is neither of the servers that a wait can be made on."""
    return UnimplementedError(
        f"{server} is neither a servman server nor a TensorFlow Serving ({error_of(failure, server)}); is"
        " this its gRPC port?"
    )
