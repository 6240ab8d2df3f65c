"""The life of one incarnation of one version: which moves are legal, and what it knows of itself.

Pure: no thread, no lock, no clock. A harness belongs to the reconciler and is touched by nobody else;
what others see of it is a `ServableStateSnapshot`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, final

from servman.errors import FailedPreconditionError, InternalError
from servman.manager.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from servman.data import ServableData
    from servman.errors import ServmanError
    from servman.ids import ServableId
    from servman.loader import Loader
    from servman.manager.handle import HandleSite
    from servman.manager.tracker import Shortage
    from servman.worker_state import WorkerSnapshot


class HarnessState(Enum):
    """The manager's own, fine states of an incarnation."""

    NEW = "new"
    """Taken up; nobody has asked for its load."""
    LOAD_REQUESTED = "load requested"
    """Waits for a load thread."""
    LOAD_APPROVED = "load approved"
    """May load: what it needs is set aside. Passed through: no snapshot shows it."""
    LOADING = "loading"
    """The loader works, or the next attempt is waited for."""
    READY = "ready"
    """Lookups find it."""
    UNLOAD_REQUESTED = "unload requested"
    """Its unload was asked for. Passed through: no snapshot shows it."""
    QUIESCING = "quiescing"
    """Lookups find it no longer; handles are still open."""
    QUIESCED = "quiesced"
    """The last handle is closed; it waits for an unload thread."""
    UNLOADING = "unloading"
    """The loader takes it apart."""
    DISABLED = "disabled"
    """It ended without an error."""
    ERROR = "error"
    """It ended with an error."""

    __hash__ = object.__hash__  # that of `Enum` runs Python code at each move


NO_REVISION: Final = object()
"""The revision of a loader that has none."""

_S = HarnessState

NEXT: Final[Mapping[HarnessState, frozenset[HarnessState]]] = {
    _S.NEW: frozenset({_S.LOAD_REQUESTED, _S.ERROR}),
    _S.LOAD_REQUESTED: frozenset({_S.LOAD_APPROVED, _S.ERROR}),
    _S.LOAD_APPROVED: frozenset({_S.LOADING, _S.ERROR}),
    # A load that nobody wants any more when it returns goes straight on to its unload.
    _S.LOADING: frozenset({_S.READY, _S.UNLOADING, _S.ERROR}),
    _S.READY: frozenset({_S.UNLOAD_REQUESTED, _S.ERROR}),
    _S.UNLOAD_REQUESTED: frozenset({_S.QUIESCING, _S.ERROR}),
    _S.QUIESCING: frozenset({_S.QUIESCED, _S.ERROR}),
    _S.QUIESCED: frozenset({_S.UNLOADING, _S.ERROR}),
    _S.UNLOADING: frozenset({_S.DISABLED, _S.ERROR}),
    _S.DISABLED: frozenset(),
    _S.ERROR: frozenset(),
}
"""The legal moves. From `DISABLED` and `ERROR` there is none: to load again takes a new incarnation."""

ON_ITS_WAY_OUT: Final = frozenset({_S.UNLOAD_REQUESTED, _S.QUIESCING, _S.QUIESCED, _S.UNLOADING})
"""Where it is no longer found, and may still be in memory."""

ENDED: Final = frozenset({_S.DISABLED, _S.ERROR})
"""Where nothing more becomes of it."""


@final
@dataclass(frozen=True, slots=True)
class ServableStateSnapshot:
    """What the manager knows of one incarnation, at one moment.

    Attributes:
        id: The version.
        state: The manager's own state of it.
        aspired: Whether it is wanted.
        error: What it ended with, or what the last attempt failed with.
        attempts: How many loads were started, the running one included.
        since: When it came into this state, on the scale of the manager's clock.
        handles: About how many handles hold it. For people; policies see 0.
        retry_at: When the next attempt is due, if one is waited for.
        incarnation: Grows with every start of any version.
        shortage: What its load waits for, if it waits for memory.
        wanted_again: Whether it is on its way out and its version is aspired anew: as soon as this
            incarnation has ended, the next one begins.
        held: Whether it is loaded, and waits to be let in together with others.
        running: Whether an attempt to load it runs.
        policy_error: What keeps the stream as it is, where its policy raised.
        sites: Where handles on it were taken that remember it; see `set_debug`. Policies see none.
        origin: Where it comes from: a path, of what was found on storage.
        workers: How each process is that the servable lives in; none where it lives in this one. Policies see
            none.

    Threads: immutable; any thread.
    """

    id: ServableId
    state: HarnessState
    aspired: bool
    error: ServmanError | None = None
    attempts: int = 0
    since: float = 0.0
    handles: int = 0
    retry_at: float | None = None
    incarnation: int = 0
    shortage: Shortage | None = None
    wanted_again: bool = False
    held: bool = False
    running: bool = False
    policy_error: ServmanError | None = None
    sites: tuple[HandleSite, ...] = ()
    origin: str | None = None
    workers: tuple[WorkerSnapshot, ...] = ()

    @property
    def handles_in_words(self) -> str:
        """How many handles hold it, for a sentence."""
        return "1 handle" if self.handles == 1 else f"about {self.handles} handles"


@final
class LoaderHarness:
    """One incarnation of one version.

    Attributes:
        data: What was aspired: the id, the loader (or the error in its place) and its origin.
        id: The version.
        attempts: Loads started so far.
        may_retry: False once somebody has cancelled its retries.
        retry_at: When the next attempt is due; set only in the pause before it.
        revision: What its files looked like when the last attempt began.
        revision_at: When to look at them again.
        looking: Whether a look at them is under way, or waits for its place.
        look_began: When the last one began.
        attempt_began: When the attempt that runs began; None while none does.
        begun: Attempts begun so far, whatever they count for: it only grows, and so tells each from the others.
        reported: What the loader has reported of the servable that the last attempt makes, or has made.
        shortage: What it waits for, while it waits for memory.
        held: Whether it is loaded, and not yet let in.
        leaving: Why it goes, or is to go; empty while it is to stay.
    """

    __slots__ = (
        "_aspired",
        "_error",
        "_shortage",
        "_since",
        "_snapshot",
        "_state",
        "attempt_began",
        "attempts",
        "begun",
        "data",
        "held",
        "id",
        "incarnation",
        "leaving",
        "look_began",
        "looking",
        "may_retry",
        "reported",
        "retry_at",
        "revision",
        "revision_at",
    )

    def __init__(self, data: ServableData[Loader], incarnation: int, now: float) -> None:
        self.data = data
        self.id = data.id
        self.incarnation = incarnation
        self._aspired = True
        self.attempts = 0
        self.begun = 0
        self.may_retry = True
        self.retry_at: float | None = None
        self.revision: Hashable = NO_REVISION
        self.revision_at: float | None = None
        self.attempt_began: float | None = None
        self.reported: ServmanError | None = None
        self._shortage: Shortage | None = None
        self._snapshot: ServableStateSnapshot | None = None  # until something in it changes
        self.looking = False
        self.look_began = 0.0
        self.held = False
        self.leaving = ""
        self._state = HarnessState.NEW
        self._error: ServmanError | None = None
        self._since = now

    @property
    def aspired(self) -> bool:
        """Whether it is wanted."""
        return self._aspired

    @aspired.setter
    def aspired(self, aspired: bool) -> None:
        if aspired != self._aspired:
            self._aspired = aspired
            self._snapshot = None
            if aspired:
                self.leaving = ""

    @property
    def shortage(self) -> Shortage | None:
        """What it waits for, while it waits for memory."""
        return self._shortage

    @shortage.setter
    def shortage(self, shortage: Shortage | None) -> None:
        self._shortage = shortage
        self._snapshot = None

    @property
    def state(self) -> HarnessState:
        """Where it stands."""
        return self._state

    @property
    def since(self) -> float:
        """When it came into its state."""
        return self._since

    @property
    def error(self) -> ServmanError | None:
        """What it ended with, or what the last attempt failed with."""
        return self._error

    @property
    def paused(self) -> bool:
        """Whether it waits for the time of its next attempt."""
        return self.retry_at is not None

    @property
    def ended(self) -> bool:
        """Whether its END was published."""
        return self._state in ENDED

    def leave(self, cause: str) -> None:
        """Be wanted no longer, for that *cause*; what is on its way out already keeps the first one."""
        self.aspired = False
        if self._state not in ON_ITS_WAY_OUT:
            self.leaving = cause

    def request_load(self, now: float) -> None:
        """Ask for the load.

        Raises:
            FailedPreconditionError: It was asked for before. Nothing changes.
        """
        if self._state is not HarnessState.NEW:
            raise FailedPreconditionError(
                f"{self.id}: duplicate load request; it is {self._state.value} already"
            )
        self.move(HarnessState.LOAD_REQUESTED, now)

    def request_unload(self, now: float) -> None:
        """Ask for the unload.

        Raises:
            FailedPreconditionError: It is not loaded, or on its way out already. Nothing changes.
        """
        if self._state is not HarnessState.READY:
            raise FailedPreconditionError(
                f"{self.id}: servable not loaded, or unload already requested or ongoing; it is"
                f" {self._state.value}"
            )
        self.move(HarnessState.UNLOAD_REQUESTED, now)

    def pause(self, error: ServmanError, until: float, now: float) -> None:
        """Wait until *until* for the next attempt, after one that failed with *error*."""
        self._error = error
        self._since = now
        self.retry_at = until
        self._snapshot = None

    def start_over(self, attempts: int) -> None:
        """Count from *attempts* on."""
        self.attempts = attempts
        self._snapshot = None

    def resume(self, now: float) -> None:
        """End the pause: the next attempt waits for its thread."""
        self._since = now
        self.retry_at = None
        self._snapshot = None
        self.revision_at = None

    def begin_attempt(self, now: float) -> None:
        """Count an attempt that starts now."""
        self.attempts += 1
        self.begun += 1
        self.attempt_began = now
        self.reported = None
        self.revision = NO_REVISION  # until the attempt returns and tells
        self._since = now
        self._snapshot = None

    def starve(self, shortage: Shortage, now: float) -> None:
        """Wait for memory; what had begun was no attempt, for nothing was loaded."""
        self.attempts -= 1
        self._since = now
        self.shortage = shortage

    def hold(self, now: float) -> None:
        """The attempt has made a servable: wait to be let in with others, as if still loading."""
        self._error = None
        self._since = now
        self.held = True
        self._snapshot = None

    def succeed(self, now: float) -> None:
        """The attempt has made a servable, or it need no longer be held: become ready."""
        self._error = None
        self.held = False
        self.move(HarnessState.READY, now)

    def break_down(self, error: ServmanError) -> None:
        """It serves no more: go, and end with *error*."""
        self._error = error
        self.leaving = Cause.FAILED
        self._snapshot = None

    def undo(self, error: ServmanError, now: float) -> None:
        """The attempt has made a servable that cannot come in: unload it, end with *error*."""
        self._error = error
        self.held = False
        self.move(HarnessState.UNLOADING, now)

    def fail(self, error: ServmanError, now: float) -> None:
        """End with *error*; legal from every state that is not an end."""
        self.retry_at = None
        self._error = error
        self.move(HarnessState.ERROR, now)

    def move(self, state: HarnessState, now: float) -> None:
        """Come into *state*.

        Raises:
            InternalError: The move is not legal: a fault of servman's.
        """
        if state not in NEXT[self._state]:
            raise InternalError(
                f"{self.id}: illegal move from {self._state.value} to {state.value};"
                " please report this with the log"
            )
        self._state = state
        self._since = now
        self._snapshot = None

    def snapshot(self) -> ServableStateSnapshot:
        """Return what is known of it now."""
        if self._snapshot is None:
            self._snapshot = ServableStateSnapshot(
                id=self.id,
                state=self._state,
                aspired=self._aspired,
                error=self._error,
                attempts=self.attempts,
                since=self._since,
                retry_at=self.retry_at,
                incarnation=self.incarnation,
                shortage=self._shortage,
                held=self.held,
                running=self.attempt_began is not None,
                origin=self.data.origin,
            )
        return self._snapshot
