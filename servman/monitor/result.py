"""How a wait ended: what was reached, what is missing, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from servman.errors import ServableUnavailableError, ServmanError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.ids import ServableId, ServableRequest
    from servman.monitor.goals import Answer
    from servman.reasons import Reason
    from servman.state import ServableState


@final
@dataclass(frozen=True, slots=True)
class WaitResult:
    """How a wait ended. `bool()` of it is `reached`.

    Attributes:
        reached: Every request came to the goal.
        timed_out: The deadline came before every request was decided.
        states: The state that decided, for every request that is decided.
        pending: The requests that are not decided.
        reasons: Why, for every request that is pending or has failed.

    Threads: never changes; any thread.
    """

    reached: bool
    timed_out: bool
    states: Mapping[ServableId, ServableState]
    pending: tuple[ServableRequest, ...]
    reasons: Mapping[ServableRequest, Reason]

    def __bool__(self) -> bool:
        return self.reached


def conclude(answer: Answer, explain: Callable[[ServableRequest], Reason]) -> WaitResult:
    """Make the result of *answer*; *explain* is asked about each request that is missing."""
    decisions = answer.decisions
    requests = answer.question.requests
    return WaitResult(
        reached=answer.reached,
        timed_out=not answer.complete,
        states={decision.state.id: decision.state for decision in decisions.values()},
        pending=tuple(request for request in requests if request not in decisions),
        reasons={request: explain(request) for request in missing(answer)},
    )


def missing(answer: Answer) -> list[ServableRequest]:
    """Return the requests that are pending or have failed, in the caller's order."""
    decisions = answer.decisions
    return [
        request
        for request in answer.question.requests
        if request not in decisions or not decisions[request].reached
    ]


def unavailable(answer: Answer, result: WaitResult, timeout: float | None) -> ServmanError:
    """Return the error that tells a caller who wanted everything what is missing, and why."""
    text = "".join(
        f"\n  {_line(request, reason)}{_cause(answer, request, reason)}"
        for request, reason in result.reasons.items()
    )
    if result.timed_out:
        return WaitTimeoutError(
            f"not everything was available within {timeout:g} s; missing:{text}",
            states=result.states,
            reasons=result.reasons,
        )
    failed = ", ".join(str(request) for request in result.reasons if request in answer.decisions)
    return ServableUnavailableError(
        f"{failed} failed, which ended the wait; missing:{text}",
        states=result.states,
        reasons=result.reasons,
    )


def _line(request: ServableRequest, reason: Reason) -> str:
    """Return *reason*, led by the request where its own text does not begin with it."""
    text = str(reason)
    return text if text.startswith(f"{request} ") else f"{request}: {text}"


def _cause(answer: Answer, request: ServableRequest, reason: Reason) -> str:
    """Return the error that decided *request* where its reason does not carry one."""
    decision = answer.decisions.get(request)
    if decision is None or decision.state.error is None or reason.error is not None:
        return ""
    return f" (it ended with: {decision.state.error})"
