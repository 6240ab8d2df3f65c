"""What the tests of waits put on the bus, and how they look at it."""

from __future__ import annotations

from servman.errors import LoadFailedError, ServmanError
from servman.events import EventBus
from servman.ids import ServableId, ServableRequest
from servman.monitor.stream import StreamView
from servman.state import ManagerState, ServableState, StreamAspiration, StreamLabels

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
FAILURE = LoadFailedError("broken")

Script = (
    tuple[int, ManagerState]
    | tuple[int, ManagerState, ServmanError]
    | set[int]
    | tuple[dict[str, int], dict[str, int]]
)
"""A state of a version, the aspired versions, or the wanted labels and their targets."""


def view_of(*script: Script, name: str = "m") -> StreamView:
    """Return the view of a stream after *script*."""
    view = StreamView(name)
    for event in events(*script, name=name):
        if isinstance(event, ServableState):
            view = view.with_state(event, 100)
        elif isinstance(event, StreamAspiration):
            view = view.with_aspiration(event, 100)
        else:
            view = view.with_labels(event)
    return view


def events(
    *script: Script, name: str = "m"
) -> list[ServableState | StreamAspiration | StreamLabels]:
    """Return what *script* means on the bus."""
    return [_event(one, name) for one in script]


def publish(bus: EventBus, *script: Script, name: str = "m") -> None:
    """Publish *script*."""
    for event in events(*script, name=name):
        bus.publish(event)


def bring(bus: EventBus, name: str, *versions: int) -> None:
    """Aspire *versions* and have all of them come up."""
    publish(bus, set(versions), name=name)
    for version in versions:
        publish(bus, (version, START), (version, LOADING), (version, AVAILABLE), name=name)


def fail(bus: EventBus, name: str, version: int = 1) -> None:
    """Aspire *version*, and have it fail."""
    publish(bus, {version}, (version, START), (version, END, FAILURE), name=name)


def requests(*texts: str) -> tuple[ServableRequest, ...]:
    """Return the requests that *texts* mean."""
    return tuple(map(ServableRequest.parse, texts))


def _event(one: Script, name: str) -> ServableState | StreamAspiration | StreamLabels:
    if isinstance(one, set):
        return StreamAspiration(name, frozenset(one))
    first, second, *error = one
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return StreamLabels(name, first, second)
    assert isinstance(second, ManagerState)
    return ServableState(ServableId(name, first), second, error[0] if error else None)
