"""How a wait on a server has ended, and how far it is while it lasts."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from servman.errors import ServableUnavailableError, ServmanError, WaitTimeoutError
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId, ServableRequest
    from servman.reasons import Reason
    from servman.state import ServableState

_NAMED: Final = 10
"""How many requests a text names at most."""

_WHICH: Final = re.compile(r"\bipv[46]:\S+: ")
"""Which of the addresses of a name gRPC has tried: it tries one after the other."""


@final
@dataclass(frozen=True, slots=True)
class RemoteWaitResult:
    """How a wait on a server has ended. `bool()` of it is `reached`.

    Attributes:
        reached: Every request came to the goal, or as many as were asked for.
        timed_out: The deadline came before that was decided.
        states: The state that decided, for every request that is decided.
        ids: The version that each request which came to the goal has come to mean.
        pending: The requests that are not decided.
        reasons: Why, for every request that is pending or has failed.
        server: Who has told.
        note: What became of the contact with it meanwhile, for people; empty where nothing did.
        given_up: Whether the caller had enough before the deadline came; `timed_out` is true then, too.

    Threads: never changes; any thread.
    """

    reached: bool
    timed_out: bool
    states: Mapping[ServableId, ServableState] = field(default_factory=dict)
    ids: Mapping[ServableRequest, ServableId] = field(default_factory=dict)
    pending: tuple[ServableRequest, ...] = ()
    reasons: Mapping[ServableRequest, Reason] = field(default_factory=dict)
    server: str = ""
    note: str = ""
    given_up: bool = False

    def __bool__(self) -> bool:
        return self.reached

    @property
    def failed(self) -> tuple[ServableRequest, ...]:
        """The requests that can no longer come to the goal."""
        return tuple(request for request in self.reasons if request not in self.pending)

    def error(
        self, timeout: float | None, goal: ManagerState = ManagerState.AVAILABLE
    ) -> ServmanError:
        """Return the error that tells what has not come to *goal* in *timeout* seconds, and why."""
        wanted = goal.name if goal is not ManagerState.AVAILABLE else "available"
        missing = "; missing:" + "".join(
            f"\n  {in_words(request, reason)}" for request, reason in self.reasons.items()
        )
        if self.timed_out:
            within = "" if timeout is None or self.given_up else f" within {timeout:g} s"
            within += ", and the wait was given up" if self.given_up else ""
            return WaitTimeoutError(
                f"not everything was {wanted} on {self.server}{within}{self.note}{missing}",
                states=self.states,
                reasons=self.reasons,
            )
        failed = ", ".join(map(str, self.failed)) or "something"
        what = "failed" if goal is ManagerState.AVAILABLE else f"can no longer be {wanted}"
        return ServableUnavailableError(
            f"{failed} {what} on {self.server}, which ended the wait{self.note}{missing}",
            states=self.states,
            reasons=self.reasons,
        )


@final
@dataclass(frozen=True, slots=True)
class RemoteProgress:
    """How far a wait on a server has come. `str()` of it is for people.

    Attributes:
        server: Who is asked.
        reachable: Whether it has answered last time.
        complaint: Why not, or why it does not take the wait; empty where it does.
        pending: Each request that is not decided, and why.
        decided: Each that is, with its version; None where it has failed.
        remaining: The seconds that are left; None where there is no end.

    Threads: never changes; any thread.
    """

    server: str
    reachable: bool
    complaint: str = ""
    pending: Mapping[ServableRequest, Reason] = field(default_factory=dict)
    decided: Mapping[ServableRequest, ServableId | None] = field(default_factory=dict)
    remaining: float | None = None

    @property
    def substance(self) -> object:
        """What has to differ for it to be told anew: ages in reasons always do, and addresses take turns."""
        pending = tuple(
            (request, reason.code, reason.facts.get("attempts"))
            for request, reason in self.pending.items()
        )
        complaint = _WHICH.sub("", self.complaint)
        return self.reachable, complaint, pending, tuple(self.decided.items())

    def __str__(self) -> str:
        if self.complaint:
            what = "does not take the wait yet" if self.reachable else "is not reachable"
            return f"{self.server} {what}: {self.complaint}"
        count = f"{len(self.decided)} of {len(self.decided) + len(self.pending)} decided"
        named = [in_words(*one) for one in itertools.islice(self.pending.items(), _NAMED)]
        if len(self.pending) > _NAMED:
            named.append(f"and {len(self.pending) - _NAMED} more")
        return f"{count}; pending: {'; '.join(named)}" if named else count


def in_words(request: ServableRequest, reason: Reason) -> str:
    """Return *reason*, led by the request where its own text does not begin with it."""
    text = str(reason)
    return text if text.startswith(f"{request} ") else f"{request}: {text}"
