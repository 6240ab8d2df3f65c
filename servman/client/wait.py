"""A wait on a server, from the first attempt to reach it to the answer, as a talk.

The server waits, not the client: each call stays with it until all is decided, or for some seconds, after
which it is asked again; so a server that has silently gone is noticed. Where nobody answers, the
client pauses and tries again, up to the deadline.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from servman.client import methods, tensorflow_serving
from servman.client.attempts import Attempts
from servman.client.failures import is_unimplemented, reading
from servman.client.reading import read_ids, read_reasons, read_requests, read_states
from servman.client.result import RemoteProgress, RemoteWaitResult
from servman.client.talk import Call, Failure, Talk, ask
from servman.errors import InvalidArgumentError
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servman.client.question import Question
    from servman.clock import Clock
    from servman.errors import ServmanError
    from servman.ids import ServableRequest

T = TypeVar("T")

_log = Log(__name__)

_AT_ONCE: Final = 0.001
"""Seconds of a wait that is none."""

_LONGEST: Final = 20.0
"""Seconds of one call. A server that is gone without a word is noticed after them, and some patience."""

_TOLD: Final = (0.5, 1.0, 2.0)
"""Seconds of the calls after the first, where somebody wants to be told how far it is; the last goes on."""


@final
class RemoteWait:
    """One wait on one server.

    Args:
        question: What is asked.
        timeout: Seconds that there are; None: no end.
        server: Its address.
        clock: The time.
        tell: Called with how far it is, at the beginning and whenever that has changed; None: nobody.
        give_up: Asked whenever the server has told how far it is; true ends the wait. None: nobody.

    Attributes:
        question: As passed.
        attempts: The attempts to have it answered.

    Threads: one at a time.

    Raises:
        InvalidArgumentError: The timeout is none, or *tell* or *give_up* cannot be called.
    """

    def __init__(
        self,
        question: Question,
        timeout: float | None,
        server: str,
        clock: Clock,
        tell: Callable[[RemoteProgress], None] | None = None,
        *,
        give_up: Callable[[RemoteProgress], bool] | None = None,
    ) -> None:
        for one in (tell, give_up):
            if one is not None and not callable(one):
                raise InvalidArgumentError(f"progress is told to something to call, not {one!r}")
        self.question: Final = question
        self.attempts: Final = Attempts(
            server,
            timeout,
            clock,
            too_late=self._too_late,
            on_trouble=None if tell is None else lambda: self._report(self._progress()),
        )
        self._tell = tell
        self._give_up = give_up
        self._told: object = None
        self._last: RemoteWaitResult | None = None

    def talk(self) -> Talk[RemoteWaitResult]:
        """Wait; return how it has ended.

        Raises:
            ServerUnreachableError: There was no server to ask when the time was up.
            ServmanError: The server has refused what was asked.
        """
        told = self._tell is not None or self._give_up is not None
        slices = _slices(told=told)
        while True:
            seconds, remaining = next(slices), self.attempts.remaining()
            last = remaining is not None and remaining <= seconds
            reply = yield from ask(
                self._call(seconds if remaining is None else min(seconds, remaining))
            )
            if isinstance(reply, Failure):
                if is_unimplemented(reply):
                    return (yield from tensorflow_serving.wait(self))
                yield from self.attempts.bear(reply)
                slices = _slices(told=told)
                continue
            result = self._read(reply.content)
            if last or not result.timed_out:
                return result
            if self.note(result):
                return replace(result, given_up=True)

    def note(self, result: RemoteWaitResult) -> bool:
        """Remember how it stands, tell it if it is news, and return whether the caller has enough."""
        self._last = result
        failed: dict[ServableRequest, Any] = dict.fromkeys(result.failed)
        pending = {one: result.reasons[one] for one in result.pending if one in result.reasons}
        progress = self._progress(pending=pending, decided={**result.ids, **failed})
        self._report(progress)
        return self._give_up is not None and self._give_up(progress)

    def _too_late(self) -> ServmanError:
        last = self._last
        timeout = self.attempts.timeout or 0.0
        states, reasons = ({}, {}) if last is None else (last.states, last.reasons)
        return self.attempts.contact.too_late(str(self.question), timeout, states, reasons)

    def _call(self, seconds: float) -> Call:
        question = self.question
        request = methods.WAIT_UNTIL.new(
            requests=map(str, question.requests),
            goal=int(question.goal),
            count=question.count or 0,
            fail_fast=question.fail_fast,
            timeout=max(seconds, _AT_ONCE),
        )
        return Call(methods.WAIT_UNTIL, request, self.attempts.patience(seconds))

    def _read(self, content: bytes) -> RemoteWaitResult:
        contact = self.attempts.contact
        with reading(contact.server):
            message = methods.WAIT_UNTIL.parse(content)
            states = read_states(message.states)
            ids = self._in_order(read_ids(message.ids))
            pending = tuple(read_requests(message.pending))
            reasons = self._in_order(read_reasons(message.reasons, states))
            if not (message.reached or message.timed_out or reasons):
                raise ValueError("it tells nothing")
        self.attempts.answered(message.server)
        return RemoteWaitResult(
            message.reached,
            message.timed_out,
            states,
            ids,
            pending,
            reasons,
            contact.server,
            contact.note,
        )

    def _in_order(self, found: Mapping[ServableRequest, T]) -> dict[ServableRequest, T]:
        """Return what was *found* in the order in which it was asked for; a message keeps none."""
        asked = {request: found[request] for request in self.question.requests if request in found}
        rest = sorted(found.keys() - asked.keys(), key=str)
        return {**asked, **{request: found[request] for request in rest}}

    def _progress(self, **known: Any) -> RemoteProgress:
        contact, remaining = self.attempts.contact, self.attempts.remaining()
        return RemoteProgress(
            contact.server, contact.in_touch, contact.complaint, remaining=remaining, **known
        )

    def _report(self, progress: RemoteProgress) -> None:
        if self._tell is None or progress.substance == self._told:
            return
        self._told = progress.substance
        try:
            self._tell(progress)
        except Exception:  # noqa: BLE001 -- foreign code; what is to end the thread ends the wait
            _log.exception("a progress callback raised: %r", self._tell)


def _slices(*, told: bool) -> Iterator[float]:
    """Yield the seconds of one call after another; those are shorter where it is *told* how far it is.

    The first is a look: so it is known whose answer is waited for, and what was missing, should the server
    go away before it answers again.
    """
    yield _AT_ONCE
    yield from _TOLD if told else ()
    yield from itertools.repeat(_TOLD[-1] if told else _LONGEST)
