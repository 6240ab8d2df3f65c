"""Why a request finds nothing, as far as a manager can tell from its snapshots. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from servman.ids import Selector
from servman.manager.harness import HarnessState
from servman.reasons import Reason, ReasonCode
from servman.worker_state import WorkerState, workers_as_facts, workers_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servman.ids import ServableId, ServableRequest
    from servman.manager.harness import ServableStateSnapshot
    from servman.state import StreamLabels

_NEARNESS: Final[Mapping[HarnessState, int]] = {
    HarnessState.READY: 5,
    HarnessState.LOADING: 4,
    HarnessState.LOAD_APPROVED: 3,
    HarnessState.LOAD_REQUESTED: 2,
    HarnessState.NEW: 1,
}
"""How near an aspired version is to being available; those not named here are no nearer than 0."""

_NAMED: Final = 3
"""How many handles a sentence names; the facts have them all."""


def chosen(
    request: ServableRequest, snapshots: Sequence[ServableStateSnapshot]
) -> ServableStateSnapshot | None:
    """Return the version whose fate decides *request*, or None where the manager knows of none."""
    if request.selector is Selector.SPECIFIC:
        return next((one for one in snapshots if one.id.version == request.version), None)
    ready = [one for one in snapshots if one.state is HarnessState.READY]
    if ready and request.selector is not Selector.NEWEST:  # what a lookup finds, wanted or not
        choose = max if request.selector is Selector.LATEST else min
        return choose(ready, key=lambda one: one.id.version)
    aspired = [one for one in snapshots if one.aspired or one.wanted_again]
    if not aspired:
        return None
    if request.selector is Selector.NEWEST:
        return max(aspired, key=lambda one: one.id.version)
    return max(aspired, key=lambda one: (_NEARNESS.get(one.state, 0), one.id.version))


def unknown_label(labels: StreamLabels, label: str) -> Reason:
    """Say that there is no such *label* among the *labels* of a stream."""
    known = ", ".join(sorted(labels.wanted)) or "none"
    text = f"unrecognized servable version label {label!r} of {labels.name} (there are: {known})"
    return Reason(ReasonCode.NO_LABEL, text, {"label": label, "labels": dict(labels.wanted)})


def explain_label(
    request: ServableRequest, version: int, target: int | None, reason: Reason | None
) -> Reason:
    """Say why a label does not point to the version that it is to, where it does not.

    Args:
        request: The request by that label.
        version: Where it is to point to.
        target: Where it points to, if it does.
        reason: What is said of that version; None where nothing of it is known.
    """
    which, facts = f"{request.name}:{version}", {"version": version, "target": target}
    if target == version:
        return Reason(ReasonCode.AVAILABLE, f"{request} is {which}{_degraded(reason)}", facts)
    until = "" if target is None else f"; until then it is {request.name}:{target}"
    if reason is None:
        text = f"{request} is to be {which}, which is not aspired{until}"
        return Reason(ReasonCode.NOT_ASPIRED, text, facts)
    if reason.code is ReasonCode.AVAILABLE:
        text = f"{request} is to be {which} when its stream, which is held, is committed{until}"
        return Reason(ReasonCode.HELD, text, facts)
    text = f"{request} is to be {which}: {reason.text}{until}"
    return Reason(reason.code, text, {**reason.facts, **facts}, reason.error)


def explain(
    snapshot: ServableStateSnapshot,
    *,
    siblings: Sequence[ServableStateSnapshot],
    loads: tuple[int, ServableId | None],
    max_attempts: int,
    unasked: str,
    now: float,
    wall: float,
) -> Reason:
    """Say why the version of *snapshot* is not available.

    Args:
        snapshot: The version, with its handles counted and its workers asked for.
        siblings: Every version of its stream.
        loads: How many loads of the manager run or wait, and which has run for longest.
        max_attempts: How often a load is tried.
        unasked: What to say of a version whose load nobody has asked for.
        now: The time, on the scale of the snapshots.
        wall: The time in seconds since the epoch, as workers tell it.
    """
    match snapshot.state:
        case HarnessState.NEW:
            return _waiting(snapshot, siblings, unasked)
        case HarnessState.LOAD_REQUESTED | HarnessState.LOAD_APPROVED | HarnessState.LOADING:
            return _coming(snapshot, loads, max_attempts, now)
        case HarnessState.READY:
            return _available(snapshot, wall)
        case HarnessState.ERROR:
            text = f"{snapshot.id} failed{_after(snapshot.attempts)}: {_cause(snapshot)}"
            return Reason(ReasonCode.FAILED, text, _facts(snapshot), snapshot.error)
        case HarnessState.DISABLED:
            return Reason(ReasonCode.UNLOADED, f"{snapshot.id} was unloaded", _facts(snapshot))
        case _:
            return _failed(snapshot, _going(snapshot, now))


def _available(snapshot: ServableStateSnapshot, wall: float) -> Reason:
    workers = snapshot.workers
    text, facts = f"{snapshot.id} is available", workers_as_facts(workers)
    others = [one.told(wall) for one in workers if one.state is not WorkerState.READY]
    if others:
        told = "; ".join(others).replace(f"{snapshot.id}: ", "")
        text += f", by {workers_in_words(workers)} ({told})"
    return Reason(ReasonCode.AVAILABLE, text, facts)


def _degraded(reason: Reason | None) -> str:
    """Return what *reason* says of an available version beside that, where not all of its workers serve."""
    facts = {} if reason is None else reason.facts
    same = facts.get("workers") == facts.get("workers_ready")
    return "" if reason is None or same else f"; {reason.text}"


def _coming(
    snapshot: ServableStateSnapshot,
    loads: tuple[int, ServableId | None],
    max_attempts: int,
    now: float,
) -> Reason:
    which, age, facts = snapshot.id, now - snapshot.since, _facts(snapshot)
    attempt = f"attempt {max(1, snapshot.attempts)} of {max_attempts}"
    if snapshot.shortage is not None:
        text = f"{which} waits for memory: {snapshot.shortage}"
        return Reason(ReasonCode.WAITING_FOR_MEMORY, text, {"shortage": snapshot.shortage})
    if snapshot.retry_at is not None:
        wait = max(0.0, snapshot.retry_at - now)
        text = f"{which} is tried again in {wait:.1f} s; {attempt} failed: {_cause(snapshot)}"
        return Reason(ReasonCode.RETRYING, text, {**facts, "retry_in": wait}, snapshot.error)
    if snapshot.held:
        text = f"{which} is loaded, and has been held for {age:.1f} s until others are, too"
        return Reason(ReasonCode.HELD, text, facts)
    if snapshot.running:
        before = "" if snapshot.error is None else f"; the one before failed: {_cause(snapshot)}"
        ready = f", {workers_in_words(snapshot.workers)} ready" if snapshot.workers else ""
        text = f"{which} has been loading for {age:.1f} s ({attempt}){ready}{before}"
        return Reason(ReasonCode.LOADING, text, facts | workers_as_facts(snapshot.workers))
    others, longest = max(0, loads[0] - 1), loads[1]
    named = f"; {longest} has run for longest" if longest not in (None, which) else ""
    text = f"{which} is queued for a load thread, with {others} other loads{named}"
    facts.update(others=others, longest=longest)
    return Reason(ReasonCode.QUEUED, text, facts, snapshot.error)


def _going(snapshot: ServableStateSnapshot, now: float) -> Reason:
    which, age, facts = snapshot.id, now - snapshot.since, _facts(snapshot)
    match snapshot.state:
        case HarnessState.QUIESCED:
            text = f"{which} has waited {age:.1f} s for an unload thread"
            return Reason(ReasonCode.UNLOADING, text, facts)
        case HarnessState.UNLOADING:
            text = f"{which} has been unloading for {age:.1f} s"
            return Reason(ReasonCode.UNLOADING, text, facts)
        case _:
            what = snapshot.handles_in_words
            text = f"{which} is on its way out and has waited {age:.1f} s for {what} to close"
            facts.update(handles=snapshot.handles, sites=snapshot.sites)
            return Reason(ReasonCode.WAITING_FOR_HANDLES, text + _taken(snapshot, now), facts)


def _failed(snapshot: ServableStateSnapshot, going: Reason) -> Reason:
    """Say of a version that is on its way out why it is, where it has failed."""
    if not snapshot.aspired or snapshot.error is None:
        return going
    text = f"{snapshot.id} failed: {_cause(snapshot)}; {going.text}"
    return Reason(going.code, text, going.facts, snapshot.error)


def _facts(snapshot: ServableStateSnapshot) -> dict[str, object]:
    return {"since": snapshot.since, "attempts": snapshot.attempts}


def _cause(snapshot: ServableStateSnapshot) -> str:
    return str(snapshot.error).removeprefix(f"{snapshot.id}: ")


def _taken(snapshot: ServableStateSnapshot, now: float) -> str:
    sites = [f"at {one.where}, {now - one.since:.1f} s ago" for one in snapshot.sites]
    more = len(sites) - _NAMED
    if more > 0:  # the oldest come first
        sites[_NAMED:] = [f"and {more} more"]
    return f"; taken {', '.join(sites)}" if sites else ""


def _after(attempts: int) -> str:
    if not attempts:
        return ""
    return " after 1 attempt" if attempts == 1 else f" after {attempts} attempts"


def _waiting(
    snapshot: ServableStateSnapshot, siblings: Sequence[ServableStateSnapshot], unasked: str
) -> Reason:
    if snapshot.policy_error is not None:
        text = f"{snapshot.id} is not loading: the policy failed: {snapshot.policy_error}"
        return Reason(ReasonCode.WAITING, text, {}, snapshot.policy_error)
    others = [one for one in siblings if one.id != snapshot.id and not one.aspired]
    names = ", ".join(f"{one.id} ({one.state.value})" for one in others)
    why = f"the policy lets {names} go first" if others else unasked
    return Reason(ReasonCode.WAITING, f"{snapshot.id} is not loading yet: {why}")
