"""How long to pause before a failed load is tried again: a fixed time, or longer from time to time.

Pure: whoever asks draws the chance, so that a simulation can run it from a seed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, final

from servman.errors import InvalidArgumentError

_MOST: Final = sys.float_info.max


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialBackoff:
    """Pauses that grow by a factor with each failed attempt, up to a limit, and differ by chance.

    The names are those of gRPC's "Connection Backoff Protocol". The jitter is that of Marc Brooker's
    "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), as it never exceeds the limit: a part
    of each pause is left to chance. A jitter of 1 is his *full jitter*, 0.5, the default, his *equal
    jitter*, of which half is certain, and 0 is none. So models that failed together, because the
    storage was away for all of them, are not tried again together.

    Attributes:
        initial: Seconds of the first pause, before chance.
        maximum: Seconds that no pause exceeds.
        multiplier: By how much each pause is longer than the one before it.
        jitter: The part of a pause that chance may take away, from 0 to 1.

    Raises:
        InvalidArgumentError: A field is no finite number or out of its range: `0 <= initial <= maximum`,
            `multiplier >= 1`, `0 <= jitter <= 1`.

    Threads: immutable; any thread.
    """

    initial: float = 1.0
    maximum: float = 60.0
    multiplier: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _check("initial", self.initial, 0.0, _MOST, "seconds, 0 or more")
        _check("maximum", self.maximum, self.initial, _MOST, f"{self.initial!r} (initial) or more")
        _check("multiplier", self.multiplier, 1.0, _MOST, "1 or more")
        _check("jitter", self.jitter, 0.0, 1.0, "from 0 to 1")

    def pause(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after *attempt* attempts have failed.

        Args:
            attempt: How many attempts have failed, from 1; however large, the pause stays finite.
            chance: A number drawn from [0, 1), by `random.random()` say; the larger, the shorter the
                pause.

        Raises:
            InvalidArgumentError: *attempt* is below 1, or *chance* outside [0, 1).
        """
        if attempt < 1 or not 0.0 <= chance < 1.0:
            raise InvalidArgumentError(
                f"a pause comes after 1 or more attempts, with a chance from 0 to below 1; not after"
                f" {attempt!r} attempts with {chance!r}"
            )
        longest = min(self.initial * self._growth(attempt - 1), self.maximum)
        return longest * (1.0 - self.jitter * chance)

    def _growth(self, steps: int) -> float:
        try:
            return float(self.multiplier) ** steps
        except OverflowError:
            return _MOST


RetryInterval = float | ExponentialBackoff
"""What stands for the pauses between attempts: seconds, the same each time, or a back-off."""


def pause_after(interval: RetryInterval, attempt: int, chance: float) -> float:
    """Return the seconds to wait after *attempt* attempts have failed; see `ExponentialBackoff.pause`."""
    if isinstance(interval, ExponentialBackoff):
        return interval.pause(attempt, chance)
    return interval


def _check(field: str, value: float, least: float, most: float, wanted: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and least <= value <= most):  # NaN and infinity are not, either
        raise InvalidArgumentError(
            f"{field} of an ExponentialBackoff must be {wanted}, not {value!r}"
        )
