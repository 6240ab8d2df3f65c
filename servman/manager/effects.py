"""What the manager's reconciler wants done: effects, which the actor carries out in order. Plain records, as `messages` has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.messages import Reply
    from servman.state import ManagerState


@final
@dataclass(slots=True)
class PublishAspiration:
    """Tell the bus which versions of a stream are aspired."""

    name: str
    versions: frozenset[int]


@final
@dataclass(slots=True)
class PublishState:
    """Tell the bus that a version came into a public state; see `ServableState`."""

    id: ServableId
    state: ManagerState
    error: ServmanError | None = None
    cause: str = ""


@final
@dataclass(slots=True)
class PublishLabels:
    """Tell the bus how the labels of a stream stand; see `StreamLabels`."""

    name: str
    wanted: Mapping[str, int]
    targets: Mapping[str, int]


@final
@dataclass(slots=True)
class Served:
    """What lookups in a stream find.

    Attributes:
        incarnations: Version to incarnation; empty where the stream has nothing to serve.
        newest: The highest aspired version, whether or not it is among them.
        labels: Label to the version that it points to, which is among them.
    """

    incarnations: Mapping[int, int]
    newest: int | None
    labels: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(slots=True)
class Serve:
    """Let lookups in these streams find exactly that; in one step, where they are several."""

    streams: Mapping[str, Served]


@final
@dataclass(slots=True)
class Answer:
    """Tell who asked for it how it has ended."""

    reply: Reply
    error: ServmanError | None


@final
@dataclass(slots=True)
class StartEstimate:
    """Ask the loader what it will need, on the load pool; answered by `EstimateReturned`."""

    incarnation: int
    data: ServableData[Loader]


@final
@dataclass(slots=True)
class ResizePools:
    """Let so many loads and estimates, unloads, and looks at files run at once from now on."""

    load_threads: int
    unload_threads: int
    look_threads: int


@final
@dataclass(slots=True)
class StartLoad:
    """Run one attempt on the load pool; answered by `LoadReturned`.

    Attributes:
        attempt: Its number, for the loader; it begins anew when the version is tried again.
        load: Tells it from all others of the incarnation.
    """

    incarnation: int
    data: ServableData[Loader]
    attempt: int
    load: int


@final
@dataclass(slots=True)
class CancelLoad:
    """Tell the running attempt that nobody wants it any more."""

    incarnation: int


@final
@dataclass(slots=True)
class StartUnload:
    """Take the servable apart on the unload pool; answered by `UnloadReturned`."""

    incarnation: int
    data: ServableData[Loader]


@final
@dataclass(slots=True)
class ReadRevision:
    """Compare the files of an incarnation with *known*, on a pool; answered by `RevisionRead`.

    Where nothing is known, as of a load that has not returned, what its attempt saw at its beginning counts.
    """

    incarnation: int
    data: ServableData[Loader]
    known: Hashable


@final
@dataclass(slots=True)
class Forget:
    """Drop whatever is kept for an incarnation."""

    incarnation: int


@final
@dataclass(slots=True)
class PolicyFailed:
    """A policy raised, or asked for what cannot be; the stream stays as it is."""

    name: str
    error: ServmanError


@final
@dataclass(slots=True)
class SortingFailed:
    """The user's order of actions cannot be had; unloads went first."""

    error: ServmanError


@final
@dataclass(slots=True)
class Closed:
    """Nothing is left to do; *left* is what did not go by the deadline."""

    left: tuple[ServableStateSnapshot, ...]


Effect = (
    PublishAspiration
    | PublishState
    | PublishLabels
    | Serve
    | Answer
    | StartEstimate
    | ResizePools
    | StartLoad
    | CancelLoad
    | StartUnload
    | ReadRevision
    | Forget
    | PolicyFailed
    | SortingFailed
    | Closed
)
