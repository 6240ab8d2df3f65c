"""The deadline of the request that this thread works for, so that what is called on its way can keep it.

A server sets it round a request, and whatever passes the request on, to a worker process say, sends what is
left of it along.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, final

from servman.clock import SystemClock, deadline_after

if TYPE_CHECKING:
    from servman.clock import Clock

_CLOCK: Final = SystemClock()
_instant: Final[ContextVar[float | None]] = ContextVar("servman_deadline", default=None)


@final
class DeadlineScope:
    """Sets the deadline inside a `with`; made by `deadline` and `deadline_at`. Used once, on one thread."""

    __slots__ = ("_instant", "_token")

    def __init__(self, instant: float | None) -> None:
        self._instant = instant
        self._token: Token[float | None] | None = None

    def __enter__(self) -> None:
        outer, inner = _instant.get(), self._instant
        if inner is None or (outer is not None and outer < inner):
            inner = outer
        self._token = _instant.set(inner)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _instant.reset(self._token)


def deadline(seconds: float | None, *, clock: Clock = _CLOCK) -> DeadlineScope:
    """Return what sets a deadline, *seconds* from now, inside its `with`. None sets none of its own.

    One inside another only tightens: the earlier of the two holds. Each thread, and each asyncio task, has its own.

    Raises:
        InvalidArgumentError: *seconds* is neither None nor a number, or negative, or NaN.
    """
    return DeadlineScope(deadline_after(clock, seconds))


def deadline_at(instant: float | None) -> DeadlineScope:
    """Return what sets the deadline *instant*, on the scale of `Clock.monotonic`; otherwise as `deadline`."""
    return DeadlineScope(instant)


def current_deadline() -> float | None:
    """Return the instant of the deadline in force, on the scale of `Clock.monotonic`; None where there is none.

    It may have passed.
    """
    return _instant.get()


def remaining(*, clock: Clock = _CLOCK) -> float | None:
    """Return how many seconds are left until the deadline in force, 0 when it has passed; None where there is none."""
    instant = _instant.get()
    return None if instant is None else max(0.0, instant - clock.monotonic())
