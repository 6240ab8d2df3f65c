"""A stage for talks: what the network would answer is written down, and time is fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, final

from servman.client.talk import Answer, Call, Failure, Talk
from servman.protos import message_class
from servman.testing import FakeClock

T = TypeVar("T")

Line = Answer | Failure | Callable[[Call], Answer | Failure]

SERVER = "host:8500"


@final
class Script:
    """Plays talks; the last line goes on for ever.

    Attributes:
        clock: The time; a pause lets it pass.
        calls: The calls that were made.
        pauses: The seconds of each pause.
    """

    def __init__(self, *lines: Line) -> None:
        self.clock = FakeClock()
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self._lines = list(lines)

    def play(self, talk: Talk[T]) -> T:
        reply: object = None
        while True:
            try:
                step = talk.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            assert len(self.calls) + len(self.pauses) < 10_000, "it never ends"
            if isinstance(step, Call):
                self.calls.append(step)
                reply = self._next(step)
            else:
                seconds = step.until - self.clock.monotonic()
                self.pauses.append(seconds)
                self.clock.advance(max(0.0, seconds))
                reply = None

    @property
    def asked(self) -> list[Any]:
        """The messages that were sent."""
        return [call.request for call in self.calls]

    def lasting(self, seconds: float, line: Line) -> Line:
        """Return *line* as it comes after *seconds*."""

        def reply(call: Call) -> Answer | Failure:
            self.clock.advance(seconds)
            return line(call) if callable(line) else line

        return reply

    def add(self, *lines: Line) -> None:
        self._lines.extend(lines)

    def _next(self, call: Call) -> Answer | Failure:
        line = self._lines.pop(0) if len(self._lines) > 1 else self._lines[0]
        return line(call) if callable(line) else line


def message(name: str, /, **fields: object) -> Any:
    return message_class(name)(**fields)


def answer(name: str, /, **fields: object) -> Answer:
    return Answer(message(name, **fields).SerializeToString())


def reason(code: str = "loading", text: str = "it is loading") -> Any:
    return message("servman.v1.Reason", code=code, text=text)


def state(name: str, version: int, number: int, error: str = "") -> Any:
    made = message("servman.v1.State", name=name, version=version, state=number, time=5.0)
    if error:
        made.error.error_code, made.error.error_message = 2, error
    return made


def waited(**fields: object) -> Answer:
    return answer("servman.v1.WaitUntilResponse", **fields)


def reached(*, life: str = "a", **ids: str) -> Answer:
    return waited(reached=True, ids=ids, server=life)


def pending(*requests: str, life: str = "a", code: str = "loading") -> Answer:
    reasons = {one: reason(code, f"{one} is {code}") for one in requests}
    return waited(timed_out=True, pending=requests, reasons=reasons, server=life)


REFUSED = Failure(
    "UNAVAILABLE",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused",
)
DROPPED = Failure("UNAVAILABLE", "Socket closed")
SILENT = Failure("DEADLINE_EXCEEDED", "Deadline Exceeded")
BUSY = Failure("DEADLINE_EXCEEDED", "it found no free thread within 9.750 s")
UNIMPLEMENTED = Failure("UNIMPLEMENTED", "Method not found!")
NOT_FOUND = Failure("NOT_FOUND", "Could not find any versions of model m")
