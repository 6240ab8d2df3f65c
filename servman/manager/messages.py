"""What the manager's reconciler is told (events), and what it wants done (effects).

Plain records, so that a trace of a run can be printed, replayed and minimised. Nobody changes one, yet
they are not frozen: making a frozen one costs four times as much, and on the way from a load's return to
whoever waits for it that shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.harness import ServableStateSnapshot
    from servman.manager.options import StreamOptions
    from servman.manager.policy import ServableAction
    from servman.resources import ResourceAllocation
    from servman.state import ManagerState


class Reply(Protocol):
    """Waits for what becomes of a request."""

    def answer(self, error: ServmanError | None) -> None:
        """Be told how it has ended: done, or why not. Runs no foreign code; only the first time counts."""
        ...


# ---- events ------------------------------------------------------------------------------------


@final
@dataclass(slots=True)
class Aspire:
    """The complete list of versions of a stream that are wanted from now on; the newest counts."""

    name: str
    versions: tuple[ServableData[Loader], ...]


@final
@dataclass(slots=True)
class EstimateReturned:
    """What an incarnation will need, as its loader says, or why that cannot be known.

    Attributes:
        revision: What the files looked like.
        retriable: Where it cannot be known, whether it may be at another attempt.
    """

    incarnation: int
    needs: ResourceAllocation | None
    error: ServmanError | None
    revision: Hashable
    retriable: bool


@final
@dataclass(slots=True)
class LoadReturned:
    """An attempt has ended: with a servable, or with an error.

    Attributes:
        needs: What the servable needs now that it is loaded, where resources are tracked.
    """

    incarnation: int
    servable: object | None
    error: ServmanError | None
    retriable: bool
    revision: Hashable
    needs: ResourceAllocation | None = None


@final
@dataclass(slots=True)
class ServableFailed:
    """A loader reports that what its load has made, or is making, serves no more; see `LoadContext.report_failure`."""

    incarnation: int
    load: int
    error: ServmanError


@final
@dataclass(slots=True)
class Drained:
    """The last handle on an incarnation that lookups no longer find is gone."""

    incarnation: int


@final
@dataclass(slots=True)
class UnloadReturned:
    """The loader has taken the servable apart, or raised on it."""

    incarnation: int
    error: ServmanError | None


@final
@dataclass(slots=True)
class RevisionRead:
    """Whether the files of a failed or pausing incarnation no longer are as *known*."""

    incarnation: int
    known: Hashable
    changed: bool


@final
@dataclass(slots=True)
class RetryRequested:
    """Somebody wants a failed or pausing version tried again at once."""

    id: ServableId


@final
@dataclass(slots=True)
class RetryCancelled:
    """Somebody wants a version not tried again."""

    id: ServableId


@final
@dataclass(slots=True)
class LoadThreadsChanged:
    """Another number of loads may run at once from now on.

    Attributes:
        count: Tells how many.
    """

    count: Callable[[], int]


@final
@dataclass(slots=True)
class Manage:
    """Take a version up; nothing is done about it before somebody asks for that."""

    data: ServableData[Loader]
    reply: Reply


@final
@dataclass(slots=True)
class Act:
    """Load or unload a version that is managed; answered when that has ended."""

    action: ServableAction
    reply: Reply


@final
@dataclass(slots=True)
class StopManaging:
    """Forget a version that is not loaded."""

    id: ServableId
    reply: Reply


@final
@dataclass(slots=True)
class Obtain:
    """Have a version available, whatever that takes; answered when it is, or has failed."""

    data: ServableData[Loader]
    reply: Reply


@final
@dataclass(slots=True)
class Withdraw:
    """Whoever asked by `Obtain` waits no longer."""

    id: ServableId
    reply: Reply


@final
@dataclass(slots=True)
class Hold:
    """Let these streams serve what they serve now, and nothing else, until they are committed."""

    names: frozenset[str]


@final
@dataclass(slots=True)
class Commit:
    """Let in at once what these streams hold, and let go of what they no longer want.

    Attributes:
        expected: Name to the versions that must be aspired, and ready or held, else nothing is done.
        labels: What is wanted of all labels from then on, as in `SetLabels`; None: what was before.
        reply: Is told whether it was done; None where nobody asks.
    """

    names: frozenset[str]
    expected: Mapping[str, frozenset[int]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] | None = None
    reply: Reply | None = None


@final
@dataclass(slots=True)
class Rollback:
    """Want of these streams again what was wanted when they were held, and hold them no longer."""

    names: frozenset[str]


@final
@dataclass(slots=True)
class SetLabels:
    """Let labels point to these versions, as soon as they serve; what is not named here has none.

    Attributes:
        wanted: Name to label to version.
    """

    wanted: Mapping[str, Mapping[str, int]]


@final
@dataclass(slots=True)
class Configure:
    """Other streams have options of their own from now on.

    Attributes:
        streams: Tells which, by name.
    """

    streams: Callable[[], Mapping[str, StreamOptions]]


@final
@dataclass(slots=True)
class CloseRequested:
    """Everything is to go; what has not gone by the deadline is left."""

    deadline: float | None


Call = Manage | Act | StopManaging | Obtain
"""What a caller waits for the answer to."""

Event = (
    Aspire
    | EstimateReturned
    | LoadReturned
    | ServableFailed
    | Drained
    | UnloadReturned
    | RevisionRead
    | RetryRequested
    | RetryCancelled
    | LoadThreadsChanged
    | Call
    | Withdraw
    | Hold
    | Commit
    | Rollback
    | SetLabels
    | Configure
    | CloseRequested
)


# ---- effects -----------------------------------------------------------------------------------


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
