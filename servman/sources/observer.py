"""What the watcher uses of watchdog, and which of its observers that is."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import ObservedWatch


class Observer(Protocol):
    """What is used of a watchdog observer."""

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str,
        *,
        recursive: bool = False,
        event_filter: list[type[FileSystemEvent]] | None = None,
        follow_symlink: bool = False,
    ) -> ObservedWatch:
        """Place a watch."""
        ...

    def unschedule(self, watch: ObservedWatch) -> None:
        """Take a watch away."""
        ...

    def start(self) -> None:
        """Begin to deliver events."""
        ...

    def stop(self) -> None:
        """Take all watches away and deliver no more events."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait for the observer's thread to end."""
        ...


def native_observer() -> Observer:
    """Return an observer of the operating system's own file events. It has started a thread."""
    if platform.system() == "Linux":
        from servman.sources.inotify import PromptObserver  # noqa: PLC0415 -- costs 60 ms

        return PromptObserver()
    from watchdog.observers import Observer as NativeObserver  # noqa: PLC0415 -- as above

    return NativeObserver()
