"""A target that writes down what it is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar, final

from servman.testing.clock import WATCHDOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.data import ServableData

T = TypeVar("T")


@final
class RecordingTarget(Generic[T]):
    """A `Target` that keeps every call.

    Attributes:
        calls: (name, versions) of each call, oldest first.

    Threads: any.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards `calls`
        self.calls: list[tuple[str, tuple[ServableData[T], ...]]] = []

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Write the call down."""
        with self._changed:
            self.calls.append((name, tuple(versions)))
            self._changed.notify_all()

    def versions(self, name: str) -> list[int] | None:
        """Return the version numbers of the last call for *name*, or None without one."""
        with self._changed:
            return self._versions_locked(name)

    def wait_for(self, name: str, versions: list[int]) -> None:
        """Wait until the last call for *name* has exactly these versions, in this order.

        Raises:
            AssertionError: It did not come within `WATCHDOG` real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._versions_locked(name) == versions, WATCHDOG
            ):
                raise AssertionError(
                    f"{name}: aspired {self._versions_locked(name)}, not {versions}"
                )

    def _versions_locked(self, name: str) -> list[int] | None:
        for called, data in reversed(self.calls):
            if called == name:
                return [one.id.version for one in data]
        return None
