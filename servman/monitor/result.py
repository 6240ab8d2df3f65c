"""How a wait ended: what was reached, what is missing, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from servman.errors import ServableUnavailableError, ServmanError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.ids import ServableId, ServableRequest
    from servman.monitor.answer import Answer
    from servman.monitor.goals import Decision
    from servman.reasons import Reason
    from servman.state import ServableState


@final
@dataclass(frozen=True, slots=True)
class WaitResult:
    """How a wait ended. `bool()` of it is `reached`.

    Attributes:
        reached: Every request came to the goal, or as many as were asked for.
        timed_out: The deadline came before that was decided.
        states: The state that decided, for every request that is decided.
        pending: The requests that are not decided.
        reasons: Why, for every request that is pending or has failed.
        ids: The version that has come to the goal, for every request that one has.

    Threads: never changes; any thread.
    """

    reached: bool
    timed_out: bool
    states: Mapping[ServableId, ServableState]
    pending: tuple[ServableRequest, ...]
    reasons: Mapping[ServableRequest, Reason]
    ids: Mapping[ServableRequest, ServableId] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.reached


def conclude(answer: Answer, explain: Callable[[ServableRequest], Reason]) -> WaitResult:
    """Make the result of *answer*; *explain* is asked about each request that is missing."""
    table = answer.table()
    decisions = [decision for decision in table.values() if decision is not None]
    missing = [request for request, one in table.items() if one is None or not one.reached]
    return WaitResult(
        reached=answer.reached,
        timed_out=not answer.complete,
        states={decision.state.id: decision.state for decision in decisions},
        pending=tuple(request for request in missing if table[request] is None),
        reasons={request: explain(request) for request in missing},
        ids={request: one.state.id for request, one in table.items() if one and one.reached},
    )


def unavailable(answer: Answer, result: WaitResult, timeout: float | None) -> ServmanError:
    """Return the error that tells a caller what is missing of what was wanted, and why."""
    table = answer.table()
    text = "; missing:" + "".join(
        f"\n  {_line(request, reason)}{_cause(table[request], reason)}"
        for request, reason in result.reasons.items()
    )
    count, total = answer.question.count or 0, len(table)
    if result.timed_out:
        what = "not everything was" if count == total else f"fewer than {count} of {total} were"
        return WaitTimeoutError(
            f"{what} available within {timeout:g} s{text}",
            states=result.states,
            reasons=result.reasons,
        )
    failed = ", ".join(str(request) for request in result.reasons if table[request] is not None)
    can = "" if count == total else f", as fewer than {count} of {total} can become available"
    return ServableUnavailableError(
        f"{failed} failed, which ended the wait{can}{text}",
        states=result.states,
        reasons=result.reasons,
    )


def _line(request: ServableRequest, reason: Reason) -> str:
    """Return *reason*, led by the request where its own text does not begin with it."""
    text = str(reason)
    return text if text.startswith(f"{request} ") else f"{request}: {text}"


def _cause(decision: Decision | None, reason: Reason) -> str:
    """Return the error that decided a request where its reason does not carry one."""
    if decision is None or decision.state.error is None or reason.error is not None:
        return ""
    return f" (it ended with: {decision.state.error})"
