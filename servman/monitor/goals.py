"""What a wait asks for, and when it is decided. Pure: no thread, no lock, no clock.

A wait for AVAILABLE is decided by what is aspired, not by history: a version that ended earlier, was
cancelled or is no longer wanted says nothing about the one that is awaited. Every other goal, and every
goal where nothing on the bus has told what is aspired, is decided by the recorded states alone, as
TensorFlow Serving does it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from servman.errors import InvalidArgumentError
from servman.ids import AnyRequest, Selector, ServableId, ServableRequest
from servman.monitor.stream import StreamView
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Requests = AnyRequest | Iterable[AnyRequest]


@final
@dataclass(frozen=True, slots=True)
class Decision:
    """A request is decided: *state* did it, and the goal was *reached* or will not be."""

    reached: bool
    state: ServableState


def decide(request: ServableRequest, goal: ManagerState, view: StreamView) -> Decision | None:
    """Return how *view* decides *request*, or None while it does not."""
    if goal is not ManagerState.AVAILABLE or view.aspired is None:
        return _decide_by_states(request, goal, view)
    if request.selector in (Selector.LATEST, Selector.EARLIEST):
        return _decide_any(request, view)
    return _decide_one(_chosen(request, view), view)


def _decide_one(version: int | None, view: StreamView) -> Decision | None:
    state = None if version is None else view.states.get(version)
    if state is None:
        return None
    if state.manager_state is ManagerState.AVAILABLE:
        return Decision(reached=True, state=state)
    return Decision(reached=False, state=state) if view.failed(state.id.version) else None


def _decide_any(request: ServableRequest, view: StreamView) -> Decision | None:
    available = [
        version
        for version, state in view.states.items()
        if state.manager_state is ManagerState.AVAILABLE
    ]
    if available:
        earliest = request.selector is Selector.EARLIEST
        version = min(available) if earliest else max(available)
        return Decision(reached=True, state=view.states[version])
    if view.aspired and all(view.failed(version) for version in view.aspired):
        return Decision(reached=False, state=view.states[max(view.aspired)])
    return None


def _decide_by_states(
    request: ServableRequest, goal: ManagerState, view: StreamView
) -> Decision | None:
    for version in _candidates(request, view):
        state = view.states.get(version)
        if state is not None and state.manager_state in (goal, ManagerState.END):
            return Decision(reached=state.manager_state is goal, state=state)
    return None


def _candidates(request: ServableRequest, view: StreamView) -> Sequence[int]:
    """Return the versions of which the first at the goal or at its end decides."""
    if request.selector in (Selector.LATEST, Selector.EARLIEST):
        return sorted(view.states, reverse=True)
    version = _chosen(request, view)
    return () if version is None else (version,)


def _chosen(request: ServableRequest, view: StreamView) -> int | None:
    """Return the one version that a specific or newest request means now, if there is one."""
    if request.selector is Selector.SPECIFIC:
        return request.version
    return max(view.states if view.aspired is None else view.aspired, default=None)


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What a wait asks: that every request comes to the goal.

    Attributes:
        requests: What is asked for, each once, in the caller's order.
        goal: The state in question.
        fail_fast: Whether the first failure ends the wait; else it ends when every request is decided.
        streams: The requests by the name of their stream.
    """

    requests: tuple[ServableRequest, ...]
    goal: ManagerState
    fail_fast: bool = False
    streams: Mapping[str, tuple[ServableRequest, ...]] = field(init=False)

    def __post_init__(self) -> None:
        streams: dict[str, list[ServableRequest]] = {}
        for request in self.requests:
            streams.setdefault(request.name, []).append(request)
        frozen = {name: tuple(requests) for name, requests in streams.items()}
        object.__setattr__(self, "streams", frozen)

    @classmethod
    def of(cls, requests: Requests, goal: ManagerState, *, fail_fast: bool = False) -> Question:
        """Make a question of what a caller passed in.

        Raises:
            InvalidArgumentError: A request is none, or the goal is no `ManagerState`.
        """
        if not isinstance(goal, ManagerState):
            raise InvalidArgumentError(f"a goal is a ManagerState, not {goal!r}")
        one = isinstance(requests, (str, ServableId, ServableRequest))
        several: Iterable[AnyRequest] = (
            (requests,) if one or not isinstance(requests, Iterable) else requests  # type: ignore[assignment] # `of` refuses what is no request
        )
        return cls(tuple(dict.fromkeys(map(ServableRequest.of, several))), goal, fail_fast)


@final
class Answer:
    """How far a question has come: the last decision of each request that has one.

    Threads: one at a time; a waiter hands it from the thread that asks to the dispatcher and back.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.decisions: dict[ServableRequest, Decision] = {}
        self._given_up = False

    @property
    def complete(self) -> bool:
        """Whether the wait is over: every request is decided at one moment, or one failure is enough."""
        return self._given_up or len(self.decisions) == len(self.question.requests)

    @property
    def reached(self) -> bool:
        """Whether every request came to the goal."""
        return len(self.decisions) == len(self.question.requests) and all(
            decision.reached for decision in self.decisions.values()
        )

    def look(self, streams: Mapping[str, StreamView]) -> bool:
        """Decide every request anew; return whether the answer is complete."""
        for name in self.question.streams:
            self.see(streams.get(name) or StreamView(name))
        return self.complete

    def see(self, view: StreamView) -> bool:
        """Decide the requests on this stream anew; return whether the answer is complete."""
        for request in self.question.streams[view.name]:
            decision = decide(request, self.question.goal, view)
            if decision is None:
                self.decisions.pop(request, None)
            else:
                self.decisions[request] = decision
                self._given_up |= self.question.fail_fast and not decision.reached
        return self.complete
