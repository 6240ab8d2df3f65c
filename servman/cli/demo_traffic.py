"""Requests without a pause, each of whose answers is checked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, final

from servman.threads import join, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.core import ServerCore


_PAUSE: Final = 0.01
"""Seconds between looks at the counts."""

_TOLD: Final = 3
"""How many failures each thread writes down; a model that is gone fails a million times."""


@final
class Traffic:
    """Threads that look up a model, ask it and check its answer, over and over.

    Attributes:
        failures: What went wrong, of each thread the first few texts.
    """

    def __init__(self, core: ServerCore, name: str, threads: int, clock: Clock) -> None:
        self.failures: list[str] = []
        self._core = core
        self._name = name
        self._clock = clock
        self._stop = threading.Event()
        self._served = [0] * threads
        self._failed = [0] * threads
        self._longest_gap = [0.0] * threads
        self._versions: list[set[int]] = [set() for _ in range(threads)]
        self._threads = [
            spawn(f"request-{number}", self._worker(number), owner=self)
            for number in range(threads)
        ]

    @property
    def served(self) -> int:
        """How many requests were answered rightly so far."""
        return sum(self._served)

    @property
    def failed(self) -> int:
        """How many requests were not answered, or wrongly, so far."""
        return sum(self._failed)

    @property
    def versions(self) -> list[int]:
        """Which versions have answered so far."""
        return sorted(set().union(*self._versions))

    @property
    def longest_gap(self) -> float:
        """The longest time in seconds that one thread spent from one right answer to the next."""
        return max(self._longest_gap)

    def wait_for_more(self, timeout: float) -> bool:
        """Wait until every thread has had two more right answers, so one asked later than now.

        Return whether that came within *timeout* seconds.
        """
        enough = [count + 2 for count in self._served]
        deadline = self._clock.monotonic() + timeout
        pause = threading.Condition(threading.Lock())  # nobody notifies it: the clock ends the wait
        while any(count < least for count, least in zip(self._served, enough, strict=True)):
            now = self._clock.monotonic()
            if now >= deadline:
                return False
            with pause:
                self._clock.wait_until(pause, min(deadline, now + _PAUSE))
        return True

    def stop(self, timeout: float) -> bool:
        """Stop asking; return whether every thread ended within *timeout* seconds."""
        self._stop.set()
        deadline = self._clock.monotonic() + timeout
        return all([join(thread, self._clock, deadline) for thread in self._threads])  # noqa: C419 -- all

    def _worker(self, number: int) -> Callable[[], None]:
        def run() -> None:
            last, x = self._clock.monotonic(), float(number)
            while not self._stop.is_set():
                fault = self._ask(number, x)
                x = x + 1.0 if x < 1000.0 else 0.0  # noqa: PLR2004 -- any bound will do
                if fault is not None:
                    self._write_down(number, fault)
                    continue
                now = self._clock.monotonic()
                self._served[number] += 1
                self._longest_gap[number] = max(self._longest_gap[number], now - last)
                last = now

        return run

    def _write_down(self, number: int, fault: str) -> None:
        self._failed[number] += 1
        if self._failed[number] <= _TOLD:
            self.failures.append(fault)

    def _ask(self, number: int, x: float) -> str | None:
        """Ask once; return what was wrong with that, or None."""
        try:
            with self._core.get_servable_handle(self._name) as handle:
                model: Any = handle.servable
                version = handle.id.version
                answer = float(model.predict({"x": [x]})["y"][0])
        except Exception as error:  # noqa: BLE001 -- whatever it is, the request has failed
            return f"{type(error).__name__}: {error}"
        if answer != x / 2 + version:
            return f"version {version} answered {answer} to {x}"
        self._versions[number].add(version)
        return None
