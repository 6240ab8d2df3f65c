"""Why a request finds nothing, as far as a manager can tell from its snapshots. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from servman.ids import Selector
from servman.manager.harness import HarnessState
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.ids import ServableId, ServableRequest
    from servman.manager.harness import ServableStateSnapshot

_NEARNESS: Final[Mapping[HarnessState, int]] = {
    HarnessState.READY: 5,
    HarnessState.LOADING: 4,
    HarnessState.LOAD_APPROVED: 3,
    HarnessState.LOAD_REQUESTED: 2,
    HarnessState.NEW: 1,
}
"""How near an aspired version is to being available; those not named here are no nearer than 0."""


def chosen(
    request: ServableRequest, snapshots: Sequence[ServableStateSnapshot]
) -> ServableStateSnapshot | None:
    """Return the version whose fate decides *request*, or None where the manager knows of none."""
    if request.selector is Selector.SPECIFIC:
        return next((one for one in snapshots if one.id.version == request.version), None)
    aspired = [one for one in snapshots if one.aspired or one.wanted_again]
    if not aspired:
        return None
    if request.selector is Selector.NEWEST:
        return max(aspired, key=lambda one: one.id.version)
    return max(aspired, key=lambda one: (_NEARNESS.get(one.state, 0), one.id.version))


def explain(  # noqa: C901, PLR0911 -- one answer for each state
    snapshot: ServableStateSnapshot,
    *,
    siblings: Sequence[ServableStateSnapshot],
    loads: tuple[int, ServableId | None],
    max_attempts: int,
    now: float,
) -> Reason:
    """Say why the version of *snapshot* is not available.

    Args:
        snapshot: The version, with its handles counted.
        siblings: Every version of its stream.
        loads: How many loads of the manager run or wait, and which has run for longest.
        max_attempts: How often a load is tried.
        now: The time, on the scale of the snapshots.
    """
    which, age = snapshot.id, now - snapshot.since
    attempt = f"attempt {max(1, snapshot.attempts)} of {max_attempts}"
    facts: dict[str, object] = {"since": snapshot.since, "attempts": snapshot.attempts}
    cause = str(snapshot.error).removeprefix(f"{which}: ")
    match snapshot.state:
        case HarnessState.NEW:
            return _waiting(snapshot, siblings)
        case _ if snapshot.shortage is not None:
            text = f"{which} waits for memory: {snapshot.shortage}"
            return Reason(ReasonCode.WAITING_FOR_MEMORY, text, {"shortage": snapshot.shortage})
        case HarnessState.LOAD_REQUESTED | HarnessState.LOAD_APPROVED:
            ahead, longest = max(0, loads[0] - 1), loads[1]
            named = f"; {longest} has run for longest" if longest not in (None, which) else ""
            text = f"{which} is queued for a load thread, with {ahead} other loads{named}"
            return Reason(ReasonCode.QUEUED, text, {"ahead": ahead, "longest": longest})
        case HarnessState.LOADING if snapshot.retry_at is not None:
            wait = max(0.0, snapshot.retry_at - now)
            text = f"{which} is tried again in {wait:.1f} s; {attempt} failed: {cause}"
            facts["retry_in"] = wait
            return Reason(ReasonCode.RETRYING, text, facts, snapshot.error)
        case HarnessState.LOADING:
            text = f"{which} has been loading for {age:.1f} s ({attempt})"
            return Reason(ReasonCode.LOADING, text, facts)
        case HarnessState.READY:
            return Reason(ReasonCode.AVAILABLE, f"{which} is available")
        case HarnessState.UNLOAD_REQUESTED | HarnessState.QUIESCING:
            what = snapshot.handles_in_words
            text = f"{which} is on its way out and has waited {age:.1f} s for {what} to close"
            facts["handles"] = snapshot.handles
            return Reason(ReasonCode.WAITING_FOR_HANDLES, text, facts)
        case HarnessState.QUIESCED | HarnessState.UNLOADING:
            text = f"{which} has been unloading for {age:.1f} s"
            return Reason(ReasonCode.UNLOADING, text, facts)
        case HarnessState.ERROR:
            text = f"{which} failed{_after(snapshot.attempts)}: {cause}"
            return Reason(ReasonCode.FAILED, text, facts, snapshot.error)
        case HarnessState.DISABLED:
            return Reason(ReasonCode.UNLOADED, f"{which} was unloaded by the policy", facts)


def _after(attempts: int) -> str:
    if not attempts:
        return ""
    return " after 1 attempt" if attempts == 1 else f" after {attempts} attempts"


def _waiting(snapshot: ServableStateSnapshot, siblings: Sequence[ServableStateSnapshot]) -> Reason:
    others = [one for one in siblings if one.id != snapshot.id and not one.aspired]
    names = ", ".join(f"{one.id} ({one.state.value})" for one in others)
    why = f"the policy lets {names} go first" if others else "the policy has not asked for it"
    return Reason(ReasonCode.WAITING, f"{snapshot.id} is not loading yet: {why}")
