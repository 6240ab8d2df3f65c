"""What a wait asks for, and when it is decided. Pure: no thread, no lock, no clock.

A wait for AVAILABLE is decided by what is aspired, not by history: a version that ended earlier, was
cancelled or is no longer wanted says nothing about the one that is awaited. Every other goal, and every
goal where nothing on the bus has told what is aspired, is decided by the recorded states alone, as
TensorFlow Serving does it. A label is decided by the version that it is to mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, final

from servman.errors import InvalidArgumentError
from servman.ids import AnyRequest, Selector, ServableId, ServableRequest
from servman.state import ManagerState, ServableState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from servman.monitor.answer import Judgement
    from servman.monitor.stream import StreamView

Requests = AnyRequest | Iterable[AnyRequest]


@final
@dataclass(frozen=True, slots=True)
class Decision:
    """A request is decided: *state* did it, and the goal was *reached* or will not be."""

    reached: bool
    state: ServableState


def decide(request: ServableRequest, goal: ManagerState, view: StreamView) -> Decision | None:
    """Return how *view* decides *request*, or None while it does not."""
    if request.label is not None:
        return _decide_label(request.label, goal, view)
    if goal is not ManagerState.AVAILABLE or view.aspired is None:
        return _decide_by_states(request, goal, view)
    if request.selector in (Selector.LATEST, Selector.EARLIEST):
        return _decide_any(request, view)
    return _decide_one(_chosen(request, view), view)


def _decide_label(label: str, goal: ManagerState, view: StreamView) -> Decision | None:
    """Decide for the version that *label* is to mean, which lookups by it have to find as well."""
    version = view.labels.get(label)
    if version is None:
        return None
    decision = decide(ServableRequest.specific(view.name, version), goal, view)
    if decision is None or not decision.reached or goal is not ManagerState.AVAILABLE:
        return decision
    return decision if view.targets.get(label) == version else None


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
    """Asks that requests come to a goal.

    Attributes:
        requests: What is asked for, each once, in the caller's order.
        goal: The state in question.
        count: How many have to come to it, so that the wait ends when they have or no longer can; None:
            all, and the wait ends when every request is decided.
        streams: The requests by the name of their stream.
    """

    requests: tuple[ServableRequest, ...]
    goal: ManagerState
    count: int | None = None
    streams: Mapping[str, tuple[ServableRequest, ...]] = field(init=False)

    def __post_init__(self) -> None:
        streams: dict[str, list[ServableRequest]] = {}
        for request in self.requests:
            streams.setdefault(request.name, []).append(request)
        frozen = {name: tuple(requests) for name, requests in streams.items()}
        object.__setattr__(self, "streams", frozen)

    @classmethod
    def of(
        cls,
        requests: Requests,
        goal: ManagerState,
        *,
        count: int | None = None,
        fail_fast: bool = False,
        labels: bool = False,
    ) -> Self:
        """Make a question of what a caller passed in.

        Args:
            requests: One request or several.
            goal: The state in question.
            count: As the attribute.
            fail_fast: Whether a *count* of None means all of them: the first failure then ends the wait.
            labels: Whether requests by label are understood.

        Raises:
            InvalidArgumentError: A request is none, the goal is no `ManagerState`, or there are not as
                many requests as *count*.
        """
        if not isinstance(goal, ManagerState):
            raise InvalidArgumentError(f"a goal is a ManagerState, not {goal!r}")
        # A mapping of requests to states would be taken for its keys alone, and the states for nothing.
        one = isinstance(requests, (str, ServableId, ServableRequest, Mapping))
        several: Iterable[AnyRequest] = (
            (requests,) if one or not isinstance(requests, Iterable) else requests  # type: ignore[assignment] # `of` refuses what is no request
        )
        every = tuple(dict.fromkeys(map(ServableRequest.of, several)))
        if not labels:
            _refuse_labels(every)
        if count is not None:
            _check_count(count, len(every))
        return cls(every, goal, len(every) if count is None and fail_fast else count)

    @property
    def names(self) -> Collection[str]:
        """The streams of the requests."""
        return self.streams.keys()

    def unseen(self) -> dict[str, Judgement]:
        """Return the requests, of which none is decided; see `Asked`."""
        return {
            name: tuple((request, None) for request in requests)
            for name, requests in self.streams.items()
        }

    def judge(self, view: StreamView) -> Judgement:
        """Return how *view* decides the requests on its stream; see `Asked`."""
        requests = self.streams[view.name]
        if len(requests) == 1:  # as with most waits, and it takes half the time
            (request,) = requests
            return ((request, decide(request, self.goal, view)),)
        return tuple((request, decide(request, self.goal, view)) for request in requests)

    def arrange(self, _: Iterable[ServableRequest]) -> Iterable[ServableRequest]:
        """Return the requests in the caller's order; see `Asked`."""
        return self.requests


def _check_count(count: int, total: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= total:
        raise InvalidArgumentError(
            f"a count is None (all) or an int from 1 to the number of different requests, here {total},"
            f" not {count!r}"
        )


def _refuse_labels(requests: Iterable[ServableRequest]) -> None:
    for request in requests:
        if request.label is not None:
            raise InvalidArgumentError(
                f"{request} asks by label, which this monitor does not follow: ask for a version, or wait"
                " on a ServerCore, or make the monitor with labels=True"
            )
