"""Threads of a test, which raise in the test what they raised."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar, final

from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@final
class Spawned(Generic[T]):
    """Runs a function in a thread; `result` waits for it and returns or raises what it did.

    Ask for the result even where it is None: what the function raised shows nowhere else.

    Threads: any.
    """

    def __init__(self, run: Callable[[], T]) -> None:
        self._run = run
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._call, name="test-spawned", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the function has returned or raised."""
        return not self._thread.is_alive()

    def result(self, timeout: float = WATCHDOG) -> T:
        """Wait for the function; return its value or raise what it raised.

        Raises:
            AssertionError: It did not end within *timeout* real seconds.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise AssertionError(f"{self._run!r} has not ended after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _call(self) -> None:
        try:
            self._results.append(self._run())
        except BaseException as error:  # noqa: BLE001 -- raised again by `result`
            self._error = error
