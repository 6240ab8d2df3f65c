"""What has become of the contact with a server in the course of a wait. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.client.result import in_words
from servman.errors import ServerUnreachableError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.ids import ServableId, ServableRequest
    from servman.reasons import Reason
    from servman.state import ServableState


@final
class Contact:
    """Remembers whether a server was reached, went away, and came back as the same or as another.

    Attributes:
        server: Its address.
        in_touch: Whether the last that was heard was an answer.
        ever_reached: Whether there was any.
        losses: How often it went away after it had answered.
        restarts: How often another life of it answered than before.
        complaint: What was heard last in place of a good answer; empty where nothing was wrong.
        glimpse: How a connection has ended that there was, and that brought no answer; empty where none was.

    Threads: one at a time.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.in_touch = False
        self.ever_reached = False
        self.losses = 0
        self.restarts = 0
        self.complaint = ""
        self.glimpse = ""
        self._life = ""

    def answered(self, life: str = "", *, complaint: str = "") -> None:
        """Note an answer.

        Args:
            life: Which life of the server it came from; empty where it does not tell.
            complaint: Why the answer was of no use; empty where it was.
        """
        self.in_touch = self.ever_reached = True
        self.complaint = complaint
        if life:
            self.restarts += bool(self._life) and life != self._life
            self._life = life

    def lost(self, why: str, *, connected: bool = False) -> None:
        """Note that there was no answer, though it was *connected*."""
        if connected:
            self.glimpse = why
        self.losses += self.in_touch
        self.in_touch = False
        self.complaint = why

    @property
    def note(self) -> str:
        """What a text about the wait should add, in brackets with a space before them, or nothing."""
        if self.restarts:
            return f" (meanwhile the server was restarted{_times(self.restarts)})"
        if self.losses:
            return f" (meanwhile the connection to it was lost{_times(self.losses)})"
        return ""

    def too_late(
        self,
        asked: str,
        timeout: float,
        states: Mapping[ServableId, ServableState],
        reasons: Mapping[ServableRequest, Reason],
    ) -> WaitTimeoutError:
        """Return the error for a time that ran out without a good answer at its end.

        Args:
            asked: What was asked for, for people.
            timeout: The seconds that there were.
            states: What was heard last of it.
            reasons: What was heard last of why it is missing.
        """
        within = f"within {timeout:g} s"
        if self.in_touch:
            text = f"{self.server} did not take the wait for {asked} {within}: {self.complaint}"
            return WaitTimeoutError(text, states=states, reasons=reasons)
        if not self.ever_reached:
            once = self.glimpse if self.glimpse != self.complaint else ""
            text = (
                f"{self.server} was never reached {within}: {self.complaint}"
                + (f" (it was there for a while, and did not answer: {once})" if once else "")
                + f"; is the server running, and is this its address? What was asked for: {asked}"
            )
        else:
            again = "restarted, and has gone away again" if self.restarts else "has gone away"
            text = f"{self.server} {again}, and was not back {within}: {self.complaint}" + _missing(
                reasons, asked
            )
        return ServerUnreachableError(
            text,
            states=states,
            reasons=reasons,
            server=self.server,
            ever_reached=self.ever_reached,
            restarts=self.restarts,
        )


def _missing(reasons: Mapping[ServableRequest, Reason], asked: str) -> str:
    """Return what was heard before, if anything was."""
    if not reasons:
        return f"; what was asked for: {asked}"
    return "; what was missing before:" + "".join(
        f"\n  {in_words(request, reason)}" for request, reason in reasons.items()
    )


def _times(count: int) -> str:
    return "" if count == 1 else f" {count} times"
