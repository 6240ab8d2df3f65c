"""Following what happens on a server, over connections that break: what is asked, and what is told. Pure.

The server numbers what it tells. After a connection was lost it is asked for what came after the last
number, so that nothing is missed; where it cannot resume, it tells all anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, final

from servman.client import methods
from servman.client.attempts import Attempts
from servman.client.failures import is_unimplemented, reading
from servman.client.reading import read_aspiration, read_labels, read_state, read_states
from servman.client.talk import Call, Failure, Talk
from servman.errors import UnimplementedError
from servman.ids import ServableId, check_name
from servman.state import ServableState, StreamAspiration, StreamLabels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from servman.clock import Clock
    from servman.errors import ServmanError

ENDED: Final = Failure("UNAVAILABLE", "it has ended the stream")
"""What a stream has come to that ends without an error."""


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """How all that is watched stands: the first that is told, and told anew where events may be missing.

    Attributes:
        states: The last state of each version.
        server: Which life of the server it is; it changes with a restart.
        aspirations: What is wanted of each stream; nothing of one that is not among them.
        labels: The labels of each stream; one that is not among them has none.

    Threads: immutable; any thread.
    """

    states: Mapping[ServableId, ServableState]
    server: str
    aspirations: Mapping[str, StreamAspiration] = field(default_factory=dict)
    labels: Mapping[str, StreamLabels] = field(default_factory=dict)


WatchEvent: TypeAlias = Snapshot | ServableState | StreamAspiration | StreamLabels


@final
class Watching:
    """One watch: makes its calls, and reads what comes.

    Args:
        names: The models; none: all.
        timeout: Seconds until it ends; None: never.
        server: The address.
        clock: The time.

    Threads: one at a time.

    Raises:
        InvalidArgumentError: A name is none, or the timeout.
    """

    def __init__(
        self, names: str | Iterable[str], timeout: float | None, server: str, clock: Clock
    ) -> None:
        self._names = [check_name(one) for one in ([names] if isinstance(names, str) else names)]
        self._attempts = Attempts(server, timeout, clock, too_late=self._too_late)
        self._life = ""
        self._number = 0

    def call(self) -> Call:
        """Return what to ask, after what was told last."""
        request = methods.WATCH.new(names=self._names, server=self._life, after=self._number)
        return Call(methods.WATCH, request, self._attempts.remaining())

    def take(self, content: bytes) -> WatchEvent | None:
        """Return what *content* tells; None where it was told already.

        Raises:
            InternalError: It makes no sense.
        """
        with reading(self._attempts.contact.server):
            message = methods.WATCH.parse(content)
            event = _read(message)
        known = message.server == self._life and message.number <= self._number
        self._attempts.answered(message.server)
        self._life, self._number = message.server, message.number
        return None if known and not isinstance(event, Snapshot) else event

    def is_over(self, failure: Failure) -> bool:
        """Tell whether *failure* means that the time is up, with the server there to the end."""
        return (
            failure.code == "DEADLINE_EXCEEDED"
            and self._attempts.contact.in_touch
            and self._attempts.remaining() == 0.0
        )

    def bear(self, failure: Failure) -> Talk[None]:
        """Wait until it makes sense to ask again.

        Raises:
            ServmanError: It never does, or the time is up.
        """
        if is_unimplemented(failure):
            server = self._attempts.contact.server
            raise UnimplementedError(
                f"{server} cannot be watched: it is no servman server, or older"
            )
        yield from self._attempts.bear(failure)

    def _too_late(self) -> ServmanError:
        asked = f"the events of {', '.join(self._names) or 'all models'}"
        return self._attempts.contact.too_late(asked, self._attempts.timeout or 0.0, {}, {})


def _read(message: Any) -> WatchEvent:
    match message.WhichOneof("event"):
        case "state":
            return read_state(message.state)
        case "snapshot":
            return _read_snapshot(message.snapshot, message.server)
        case "aspiration":
            return read_aspiration(message.aspiration)
        case "labels":
            return read_labels(message.labels)
        case _:
            raise ValueError("an event of a kind that is not known here")


def _read_snapshot(message: Any, server: str) -> Snapshot:
    aspirations = map(read_aspiration, message.aspirations)
    labels = map(read_labels, message.labels)
    return Snapshot(
        read_states(message.states),
        server,
        {one.name: one for one in aspirations},
        {one.name: one for one in labels},
    )
