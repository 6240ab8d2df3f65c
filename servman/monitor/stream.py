"""What a monitor knows of one stream: an immutable view, replaced by each event."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from servman.errors import LoadCancelledError
from servman.state import ManagerState, ServableState, StreamAspiration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.state import StreamLabels


@final
@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream as it stood after one event.

    Attributes:
        name: The stream.
        states: The last recorded state of each version; the version that changed last is last.
        aspired: The versions that a manager has taken up; None while nobody has told.
        unstarted: The aspired versions whose present incarnation has not shown itself: an END
            recorded for one of them belongs to an earlier incarnation.
        labels: Each label that is wanted, and the version that it is to mean.
        targets: Each label by which lookups find a version, and that version.

    Threads: immutable; any thread.
    """

    name: str
    states: Mapping[int, ServableState] = field(default_factory=dict)
    aspired: frozenset[int] | None = None
    unstarted: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing is known of it."""
        return not self.states and self.aspired is None and not self.labels

    @property
    def ended(self) -> bool:
        """Whether every version in it has ended, and neither a version nor a label is wanted."""
        return not (self.aspired or self.labels) and all(
            state.manager_state is ManagerState.END for state in self.states.values()
        )

    def failed(self, version: int) -> bool:
        """Return whether *version* is aspired and its present incarnation ended with an error.

        A cancelled load is no failure: the version was not wanted any more when it ended.
        """
        state = self.states.get(version)
        return (
            state is not None
            and state.manager_state is ManagerState.END
            and state.error is not None
            and not isinstance(state.error, LoadCancelledError)
            and version in (self.aspired or ())
            and version not in self.unstarted
        )

    def with_state(self, state: ServableState, ended_capacity: int) -> StreamView:
        """Return the view after *state*, with at most so many versions that ended for good."""
        version = state.id.version
        states = dict(self.states)
        states.pop(version, None)  # so that the order of the dict is the order of the events
        states[version] = state
        unstarted = self.unstarted
        if state.manager_state is ManagerState.START and version in unstarted:
            unstarted -= {version}
        elif state.manager_state is ManagerState.END:
            _drop_ended(states, self.aspired, ended_capacity)
        return StreamView(self.name, states, self.aspired, unstarted, self.labels, self.targets)

    def with_aspiration(self, aspiration: StreamAspiration, ended_capacity: int) -> StreamView:
        """Return the view after *aspiration*, with at most so many versions that ended for good."""
        aspired = aspiration.versions
        brought = aspired - (self.aspired or frozenset())
        unstarted = (self.unstarted & aspired) | {v for v in brought if not self._available(v)}
        states = dict(self.states)
        _drop_ended(states, aspired, ended_capacity)
        return StreamView(self.name, states, aspired, unstarted, self.labels, self.targets)

    def with_labels(self, labels: StreamLabels) -> StreamView:
        """Return the view after *labels*."""
        return dataclasses.replace(self, labels=labels.wanted, targets=labels.targets)

    def without_ended(self) -> StreamView:
        """Return the view without the versions that ended and are not aspired."""
        states = dict(self.states)
        _drop_ended(states, self.aspired, 0)
        return dataclasses.replace(self, states=states)

    def _available(self, version: int) -> bool:
        state = self.states.get(version)
        return state is not None and state.manager_state is ManagerState.AVAILABLE


def _drop_ended(
    states: dict[int, ServableState], aspired: frozenset[int] | None, capacity: int
) -> None:
    if len(states) <= capacity:
        return
    wanted = aspired or frozenset()
    ended = [
        version
        for version, state in states.items()
        if state.manager_state is ManagerState.END and version not in wanted
    ]
    for version in ended[: max(0, len(ended) - capacity)]:
        del states[version]
