"""How the states that TensorFlow Serving tells decide a request. Pure.

It does not tell which versions are wanted, so that some questions have no answer there: they are refused
with what to ask in their place, where a guess could take an old version for the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from servman.errors import UnimplementedError
from servman.ids import Selector
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.client.question import Question
    from servman.ids import ServableRequest
    from servman.state import ServableState


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """How a request stands.

    Attributes:
        reached: Whether it came to the goal, or will not; None while that is not decided.
        state: What decided it.
        reason: Why it is not there.
    """

    reached: bool | None
    state: ServableState | None = None
    reason: Reason | None = None


def check(question: Question, server: str) -> None:
    """Refuse what TensorFlow Serving cannot answer.

    Raises:
        UnimplementedError: It cannot; the error says what to ask in its place.
    """
    if not question.requests:
        raise UnimplementedError(
            f"{server} is a TensorFlow Serving, which does not tell the models that it is configured for;"
            " name those to wait for"
        )
    for request in question.requests:
        if request.selector is Selector.NEWEST:
            raise UnimplementedError(
                f"{request}: {server} is a TensorFlow Serving, which does not tell the version that is"
                f' wanted; name it, as in "{request.name}:3"'
            )
        if request.label is not None and question.goal is not ManagerState.AVAILABLE:
            raise UnimplementedError(
                f"{request}: {server} is a TensorFlow Serving, which tells of a label only whether it can be"
                " used; name the version"
            )


def judge(
    request: ServableRequest, goal: ManagerState, versions: Mapping[int, ServableState]
) -> Verdict:
    """Return how *request* stands, where the model has *versions* in these states."""
    if goal is not ManagerState.AVAILABLE:
        return _judge_by_states(request, goal, versions)
    if request.version is not None:
        state = versions.get(request.version)
        return Verdict(None, reason=unknown(request)) if state is None else _judge_one(state)
    available = [one for one in versions.values() if one.manager_state is ManagerState.AVAILABLE]
    if available:
        chosen = min if request.selector is Selector.EARLIEST else max
        return Verdict(reached=True, state=chosen(available, key=lambda one: one.id))
    return _judge_hopes(request, versions)


def unknown(request: ServableRequest) -> Reason:
    """Return the reason of a request of which the server knows nothing."""
    return Reason(
        ReasonCode.NOT_CONFIGURED,
        f"{request} is not known to the server: it is not configured, or not found in its base path",
    )


def _judge_hopes(request: ServableRequest, versions: Mapping[int, ServableState]) -> Verdict:
    """Decide where nothing is available: the newest version that has not ended says most."""
    ended = ManagerState.END
    hopeful = [one for one in versions.values() if one.manager_state is not ended]
    if not versions:
        return Verdict(None, reason=unknown(request))
    return _judge_one(max(hopeful or versions.values(), key=lambda one: one.id))


def _judge_one(state: ServableState) -> Verdict:
    match state.manager_state:
        case ManagerState.AVAILABLE:
            return Verdict(reached=True, state=state)
        case ManagerState.END if state.error is not None:
            reason = Reason(
                ReasonCode.FAILED, f"{state.id} failed: {state.error}", error=state.error
            )
            return Verdict(reached=False, state=state, reason=reason)
        case _:
            return Verdict(None, state, _standing(state))


def _judge_by_states(
    request: ServableRequest, goal: ManagerState, versions: Mapping[int, ServableState]
) -> Verdict:
    candidates = sorted(versions.values(), key=lambda one: one.id, reverse=True)
    if request.version is not None:
        candidates = [one for one in candidates if one.id.version == request.version]
    for state in candidates:
        if state.manager_state is goal:
            return Verdict(reached=True, state=state)
        if state.manager_state is ManagerState.END:
            return Verdict(reached=False, state=state, reason=_standing(state))
    if candidates:
        return Verdict(None, candidates[0], _standing(candidates[0]))
    return Verdict(None, reason=unknown(request))


def _standing(state: ServableState) -> Reason:
    code = {
        ManagerState.START: ReasonCode.QUEUED,
        ManagerState.LOADING: ReasonCode.LOADING,
        ManagerState.AVAILABLE: ReasonCode.AVAILABLE,
        ManagerState.UNLOADING: ReasonCode.UNLOADING,
        ManagerState.END: ReasonCode.UNLOADED,
    }[state.manager_state]
    return Reason(code, f"{state.id} is in the state {state.manager_state.name}", error=state.error)
