"""Why a request is not satisfied, told from the recorded states alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from servman.errors import LoadCancelledError
from servman.ids import Selector
from servman.reasons import Reason, ReasonCode
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from servman.ids import ServableRequest
    from servman.monitor.stream import StreamView
    from servman.state import ServableState


def explain(request: ServableRequest, view: StreamView, now: float) -> Reason:
    """Return what *view* tells of *request*; *now* is the wall clock, for the ages in the text."""
    version = telling_version(request, view)
    if version is None:
        return _explain_nothing(request, view)
    reason = _explain_version(version, view, now)
    if request.label is None or reason.code is not ReasonCode.AVAILABLE:
        return reason
    if view.targets.get(request.label) == version:
        return reason
    text = f"{request} is to mean {view.name}:{version}, which is available, but does not yet"
    return Reason(ReasonCode.WAITING, text, {"version": version})


def explain_unsettled(request: ServableRequest, reason: Reason, view: StreamView) -> Reason:
    """Return why *request*, a version, has not settled, where *reason* is why it is not available."""
    wanted = view.aspired is None or request.version in view.aspired
    if reason.code is not ReasonCode.AVAILABLE or wanted:
        return reason
    text = f"{request} is no longer aspired, and serves until it may go"
    return Reason(ReasonCode.WAITING, text, reason.facts)


def _explain_version(version: int, view: StreamView, now: float) -> Reason:
    state = view.states.get(version)
    ended = state is None or state.manager_state is ManagerState.END
    if ended and version in view.unstarted:
        text = f"{view.name}:{version} is aspired, and the manager has not started on it yet"
        return Reason(ReasonCode.QUEUED, text, {"version": version})
    if state is None:
        return _explain_unknown(version, view)
    return _explain_state(state, view, now)


def telling_version(request: ServableRequest, view: StreamView) -> int | None:
    """Return the version whose state says most: the newest wanted one that has not failed."""
    if request.label is not None:
        return view.labels.get(request.label)
    if request.selector is Selector.SPECIFIC:
        return request.version
    wanted = view.aspired or view.states.keys()
    if request.selector is Selector.NEWEST:
        return max(wanted, default=None)
    hopeful = [version for version in wanted if not view.failed(version)]
    return max(hopeful or wanted, default=None)


def _explain_nothing(request: ServableRequest, view: StreamView) -> Reason:
    if request.label is not None and not view.empty:
        known = ", ".join(sorted(view.labels)) or "none"
        text = f"{view.name!r} has no label {request.label!r}; there are: {known}"
        return Reason(ReasonCode.NO_LABEL, text, {"labels": dict(view.labels)})
    return _explain_no_version(view)


def _explain_no_version(view: StreamView) -> Reason:
    if view.aspired is None:
        return Reason(
            ReasonCode.NOT_CONFIGURED,
            f"nothing is known of {view.name!r}: no source has asked for it yet; check the name and"
            " the configuration",
        )
    return Reason(ReasonCode.NOT_ASPIRED, f"no version of {view.name!r} is aspired")


def _explain_unknown(version: int, view: StreamView) -> Reason:
    if not (view.aspired or view.states):
        return _explain_no_version(view)
    wanted = sorted(view.states if view.aspired is None else view.aspired)
    kind = "known" if view.aspired is None else "aspired"
    text = f"{view.name}:{version} is not {kind}; {kind} of {view.name!r}: {_listed(wanted)}"
    return Reason(ReasonCode.NOT_ASPIRED, text, {"version": version, kind: tuple(wanted)})


def _explain_state(state: ServableState, view: StreamView, now: float) -> Reason:
    age = f"{max(0.0, now - state.time):.1f} s"
    facts = {"version": state.id.version, "since": state.time}
    match state.manager_state:
        case ManagerState.START:
            text = f"{state.id} has waited for its turn for {age}"
            return Reason(ReasonCode.QUEUED, text, facts)
        case ManagerState.LOADING:
            return Reason(ReasonCode.LOADING, f"{state.id} has been loading for {age}", facts)
        case ManagerState.AVAILABLE:
            return Reason(ReasonCode.AVAILABLE, f"{state.id} is available", facts)
        case ManagerState.UNLOADING:
            return Reason(ReasonCode.UNLOADING, f"{state.id} has been unloading for {age}", facts)
        case ManagerState.END:
            return _explain_end(state, view, age, facts)
        case _ as never:
            assert_never(never)


def _explain_end(
    state: ServableState, view: StreamView, age: str, facts: dict[str, float]
) -> Reason:
    unwanted = view.aspired is not None and state.id.version not in view.aspired
    suffix = ", and is no longer aspired" if unwanted else ""
    if state.error is None:
        text = f"{state.id} was unloaded {age} ago{suffix}"
        return Reason(ReasonCode.UNLOADED, text, facts)
    if isinstance(state.error, LoadCancelledError):
        text = f"{state.id} was cancelled {age} ago{suffix}"
        return Reason(ReasonCode.UNLOADED, text, facts, state.error)
    text = f"{state.id} failed {age} ago{suffix}: {state.error}"
    return Reason(ReasonCode.FAILED, text, facts, state.error)


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
