"""`set_debug`: handles that remember where they were taken, and tell when nobody closed them."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Final, TypeVar, final

from servman.manager.handle import HandleSite, ServableHandle, new_handle

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from servman.manager.handle import Entry

T = TypeVar("T")


@final
class _Debugging:
    """Whether handles are to remember; read by every lookup."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


debugging: Final = _Debugging()


def set_debug(enabled: bool) -> None:
    """Have handles remember where they were taken, from now on and in the whole process, or not.

    While it is on, snapshots and reasons tell where each handle that holds a version was taken and for how
    long it has been held, and one that is collected without having been closed gives a `ResourceWarning`
    (which Python shows only with `-X dev` or `-W default`). A lookup then takes some microseconds more.
    Handles that exist already stay as they are.

    Threads: any.
    """
    debugging.on = bool(enabled)


class _DebugHandle(ServableHandle[T]):
    """A handle that is on record with its entry until it is closed."""

    __slots__ = ()

    def close(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.sites.pop(id(self), None)

    def __exit__(self, exc_type: object, exc: object, trace: object) -> None:
        self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        # Still open when this returns: finalisers of the same reference cycle may yet use the servable.
        entry: Entry | None = getattr(self, "_entry", None)
        if entry is None:
            return
        which, site = entry.id, entry.sites.pop(id(self), None)
        where = f", taken at {site.where}," if site is not None else ""
        del entry, self  # where warnings are errors, a traceback keeps this frame
        warn(
            f"a handle on {which}{where} was never closed; use it in a `with` statement",
            ResourceWarning,
            stacklevel=2,
        )


def make_debug_handle(entry: Entry, now: float) -> ServableHandle[object]:
    """Return a handle on *entry* that remembers who asks for it."""
    handle: ServableHandle[object] = new_handle(_DebugHandle)
    handle._entry = entry  # noqa: SLF001 -- whoever makes a handle stores its entry
    entry.sites[id(handle)] = HandleSite(_site(sys._getframe(1)), now)  # noqa: SLF001 -- as `logging` does
    return handle


def _site(frame: FrameType | None) -> str:
    """Tell the place outside of servman that called; keep no frame, for a frame pins what it names."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("servman."):
        frame = frame.f_back
    if frame is None:
        return "unknown"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
