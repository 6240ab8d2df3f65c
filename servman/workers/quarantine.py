"""Which requests are refused because processes crash over them.

Pure: whoever asks tells the time, and holds the lock that guards it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Hashable

    from servman.errors import WorkerDiedError

_FATAL: Final = 2
"""Processes that crashed over a request from which on it is refused."""

_MOST: Final = 1024
"""Requests that are remembered; of more, the oldest are forgotten."""

_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT})
"""Signals that people, supervisors and the kernel send: that they came is the fault of no request."""


def is_crash(death: WorkerDiedError) -> bool:
    """Return whether what runs in a process may have brought this end about, rather than somebody outside."""
    if death.signal is not None:
        return death.signal not in _FROM_OUTSIDE
    return death.exit_code is not None


@final
class _Suspicion:
    __slots__ = ("crashed", "size", "until")

    def __init__(self, size: int) -> None:
        self.size = size
        self.crashed: set[Hashable] = set()  # the processes
        self.until = 0.0


@final
class Quarantine:
    """Remembers which requests were running when processes crashed, by what they hold.

    Args:
        period: How many seconds a request is refused, and how long a suspicion lasts, from the last crash on.

    Attributes:
        empty: Whether nothing is remembered. May be read at any time.

    Threads: one at a time.
    """

    def __init__(self, period: float) -> None:
        self.empty = True
        self._period = period
        self._suspicions: dict[bytes, _Suspicion] = {}  # in the order of their last crashes

    def may_know(self, size: int) -> bool:
        """Return whether a request of *size* bytes is remembered. May be asked at any time.

        So only those requests have to be hashed.
        """
        return any(suspicion.size == size for suspicion in tuple(self._suspicions.values()))

    def accuse(self, fingerprint: bytes, process: Hashable, size: int, now: float) -> None:
        """Remember that *process* has crashed while the request was running, however often it was running there."""
        suspicion = self._suspicions.pop(fingerprint, None) or _Suspicion(size)
        if suspicion.until <= now:
            suspicion.crashed.clear()
        suspicion.crashed.add(process)
        suspicion.until = now + self._period
        self._suspicions[fingerprint] = suspicion
        self._forget(now)

    def acquit(self, fingerprint: bytes) -> None:
        """Forget the request: it was answered."""
        self._suspicions.pop(fingerprint, None)
        self.empty = not self._suspicions

    def suspects(self, fingerprint: bytes) -> bool:
        """Return whether a process has crashed over the request; ask `refused_for` first."""
        return fingerprint in self._suspicions

    def refused_for(self, fingerprint: bytes, now: float) -> float:
        """Return for how many seconds the request is to be refused; 0 if it may run."""
        self._forget(now)
        suspicion = self._suspicions.get(fingerprint)
        if suspicion is None or len(suspicion.crashed) < _FATAL:
            return 0.0
        return suspicion.until - now

    def _forget(self, now: float) -> None:
        """Let go of what is too old, and of what is too much."""
        for fingerprint, suspicion in tuple(self._suspicions.items()):
            if suspicion.until > now and len(self._suspicions) <= _MOST:
                break
            del self._suspicions[fingerprint]
        self.empty = not self._suspicions
