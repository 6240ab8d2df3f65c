"""What the manager's reconciler is told: events. What it wants done is in `effects`.

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
    from servman.manager.options import StreamOptions
    from servman.manager.policy import ServableAction
    from servman.resources import ResourceAllocation


class Reply(Protocol):
    """Waits for what becomes of a request."""

    def answer(self, error: ServmanError | None) -> None:
        """Be told how it has ended: done, or why not. Runs no foreign code; only the first time counts."""
        ...


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
