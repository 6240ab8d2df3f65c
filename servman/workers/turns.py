"""What happens to workers, and what is to be done about it: all that `supervision` hears and says.

An event that tells of a process names the `Child`. What comes late, of a process that was given up or
replaced meanwhile, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from servman.errors import ServmanError


@final
@dataclass(frozen=True, slots=True)
class Child:
    """One process: the worker that it is, and the how many-th of that worker, from 1."""

    index: int
    incarnation: int


# Events


@final
@dataclass(frozen=True, slots=True)
class StartRequested:
    """The first processes are wanted."""


@final
@dataclass(frozen=True, slots=True)
class StartCancelled:
    """Nobody wants the servable any more, for this reason; of no matter once it is loaded."""

    error: ServmanError


@final
@dataclass(frozen=True, slots=True)
class CloseRequested:
    """The processes are to end: of their own accord, but those that are *busy* with calls by force."""

    busy: frozenset[Child] = frozenset()


@final
@dataclass(frozen=True, slots=True)
class TimePassed:
    """It may be time for something."""


@final
@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """There is no process: the system refused it."""

    child: Child
    error: ServmanError


@final
@dataclass(frozen=True, slots=True)
class BecameReady:
    """It has loaded the servable."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class LoadRefused:
    """It could not load the servable, and says why."""

    child: Child
    error: ServmanError


@final
@dataclass(frozen=True, slots=True)
class HeartBeat:
    """It has said that it is alive."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class CallAbandoned:
    """The caller has gone at its deadline, and the call with this number still runs."""

    child: Child
    call: int


@final
@dataclass(frozen=True, slots=True)
class CallReturned:
    """The call with this number, which was abandoned, has come to its end after all."""

    child: Child
    call: int


@final
@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """It has closed a connection: it is at its end, or has lost its mind."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class Unloaded:
    """It has unloaded the servable, as it was told to, and will exit."""

    child: Child
    error: ServmanError | None


@final
@dataclass(frozen=True, slots=True)
class Died:
    """The process has ended and is reaped. *worked*: it had answered a call."""

    child: Child
    error: ServmanError
    worked: bool


ChildEvent = (
    SpawnFailed
    | BecameReady
    | LoadRefused
    | HeartBeat
    | CallAbandoned
    | CallReturned
    | ConnectionLost
    | Unloaded
    | Died
)
Event = StartRequested | StartCancelled | CloseRequested | TimePassed | ChildEvent

# Effects


@final
@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process; answered by `BecameReady`, `LoadRefused`, `SpawnFailed` or `Died`."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class Admit:
    """Give it calls."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class Withdraw:
    """Give it no more calls; those that run may finish."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class SendUnload:
    """Tell it to unload when its calls have finished; answered by `Unloaded`, then by `Died`."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class Terminate:
    """Send it SIGTERM; *why* is what its end is to be blamed on."""

    child: Child
    why: str


@final
@dataclass(frozen=True, slots=True)
class Kill:
    """Kill it with all its descendants; *why* is what its end is to be blamed on."""

    child: Child
    why: str


@final
@dataclass(frozen=True, slots=True)
class Abandon:
    """Wait for it no longer: not even SIGKILL ends it. It is not replaced."""

    child: Child


@final
@dataclass(frozen=True, slots=True)
class Loaded:
    """As many workers as are wanted at least serve; said once."""


@final
@dataclass(frozen=True, slots=True)
class StartFailed:
    """The servable could not be loaded, and every process has ended; said once."""

    error: ServmanError


@final
@dataclass(frozen=True, slots=True)
class GaveUp:
    """Nothing serves, and the budget allows no further process; said once."""

    error: ServmanError


@final
@dataclass(frozen=True, slots=True)
class Closed:
    """Every process has ended, as was requested; *error* is the first that unloading brought. Said once."""

    error: ServmanError | None


Effect = (
    Spawn
    | Admit
    | Withdraw
    | SendUnload
    | Terminate
    | Kill
    | Abandon
    | Loaded
    | StartFailed
    | GaveUp
    | Closed
)
