"""Attempts to get an answer, up to a deadline: what may pass is waited out, the rest is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from servman.client.contact import Contact
from servman.client.failures import (
    error_of,
    has_not_left,
    in_words,
    is_answer,
    is_final,
    was_connected,
)
from servman.client.talk import Failure, Pause, Talk
from servman.clock import deadline_after
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servman.clock import Clock
    from servman.errors import ServmanError

_log = Log(__name__)

GRACE: Final = 1.0
"""Seconds that an answer may come after the deadline that it keeps: it has to travel."""

PATIENCE: Final = 5.0
"""Seconds that a server may take to answer what it can answer at once, the connection included."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_UNSENT_PAUSE: Final = 0.2
"""The longest after a call that has not left: it costs nothing, and gRPC itself connects once a second."""


@final
class Attempts:
    """The attempts to have one server answer one thing.

    Args:
        server: Its address.
        timeout: Seconds that there are; None: no end.
        clock: The time.
        on_trouble: Called when an attempt has failed; None: it is logged when the contact is lost, for a
            script that waits should not be silent about it.
        too_late: Makes the error for when the time is up.

    Attributes:
        contact: What has become of the contact with the server.
        timeout: As passed.

    Threads: one at a time.

    Raises:
        InvalidArgumentError: The timeout is none.
    """

    def __init__(
        self,
        server: str,
        timeout: float | None,
        clock: Clock,
        *,
        too_late: Callable[[], ServmanError],
        on_trouble: Callable[[], None] | None = None,
    ) -> None:
        self.contact: Final = Contact(server)
        self.timeout: Final = timeout
        self._clock = clock
        self._deadline = deadline_after(clock, timeout)
        self._too_late = too_late
        self._on_trouble = on_trouble
        self._pauses = _pauses()

    def remaining(self) -> float | None:
        """Return the seconds that are left; None where there is no end."""
        return (
            None if self._deadline is None else max(0.0, self._deadline - self._clock.monotonic())
        )

    def patience(self, seconds: float = 0.0) -> float:
        """Return the seconds after which a call counts as not answered that may wait for *seconds*."""
        remaining = self.remaining()
        if remaining is None or self.timeout == 0.0:  # then there is one call, which has to connect
            return seconds + PATIENCE
        return min(seconds + PATIENCE, remaining + GRACE)

    def answered(self, life: str = "") -> None:
        """Note a good answer, of the server's *life*; see `Contact.answered`."""
        self.contact.answered(life)
        self._pauses = _pauses()

    def pause(self, seconds: float) -> Talk[None]:
        """Pause for *seconds*, or until the time is up."""
        remaining = self.remaining()
        seconds = seconds if remaining is None else min(seconds, remaining)
        yield Pause(self._clock.monotonic() + seconds)

    def bear(self, failure: Failure) -> Talk[None]:
        """Take *failure* as something that may pass: pause, unless it never will, or the time is up.

        Raises:
            ServmanError: As said.
        """
        if is_final(failure):
            raise error_of(failure, self.contact.server)
        self._note(failure)
        if self.remaining() != 0.0:
            seconds = next(self._pauses)
            yield from self.pause(min(seconds, _UNSENT_PAUSE) if has_not_left(failure) else seconds)
        if self.remaining() == 0.0:
            raise self._too_late()

    def _note(self, failure: Failure) -> None:
        contact, words = self.contact, in_words(failure)
        news = contact.in_touch or not contact.complaint
        what = "has gone away" if contact.in_touch else "cannot be reached yet"
        if is_answer(failure):
            what = "cannot take the call yet"
            contact.answered(complaint=words)
        else:
            contact.lost(words, connected=was_connected(failure))
        if self._on_trouble is not None:
            self._on_trouble()
        elif news:
            _log.warning("%s %s (%s); waiting for it", contact.server, what, words)


def _pauses() -> Iterator[float]:
    """Yield the seconds from one attempt to the next."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
