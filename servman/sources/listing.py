"""Listing base paths again and again, without reading again what has not changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.sources.look import list_directory
from servman.sources.mounts import Mount, kind_of_device, read_mounts, tells_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from servman.clock import Clock

SETTLED: Final = 2.0
"""Seconds after which no further change can bear the same time: that is the coarsest a file system counts."""

RELISTED: Final = 60.0
"""Seconds after which a base path is listed again, whatever it looks like; a device likewise."""

_Appearance = tuple[int, int, int]


@final
@dataclass(frozen=True, slots=True)
class _Listing:
    """What was found in a base path.

    Attributes:
        appearance: Its device, inode and time of change just before it was listed.
        since: Since when it is known to look like that, on the monotonic clock.
        listed: When it was listed, on the same clock.
        entries: What was in it.
        is_final: Whether what looks the same holds the same.
    """

    appearance: _Appearance
    since: float
    listed: float
    entries: list[tuple[str, bool]]
    is_final: bool


@final
class Listings:
    """Lists base paths as `list_directory` does, but those only that may have changed.

    The time of change of a directory tells, on local file systems: the kernel sets it, and no program can. What was
    listed is therefore taken for what is there while device, inode and time of change are the same, if that time was
    settled when it was listed, and all that could be versions are directories; for what a link leads to may become
    one unseen. Once in a minute it is listed all the same.

    Threads: any; for one base path one at a time.

    Args:
        clock: The time.
        mounts: Tells what is mounted.
    """

    def __init__(self, clock: Clock, mounts: Callable[[], Sequence[Mount]] = read_mounts) -> None:
        self._clock = clock
        self._mounts = mounts
        self._known: dict[str, _Listing] = {}
        self._devices: dict[int, tuple[float, bool]] = {}  # until when it is known, and what

    def __call__(self, base_path: str) -> list[tuple[str, bool]]:
        """Return each name in *base_path* with whether it is a directory; see `Lister`.

        Blocks: as long as the storage does.
        """
        status = os.stat(base_path)  # noqa: PTH116 -- at each look
        appearance = (status.st_dev, status.st_ino, status.st_ctime_ns)
        now = self._clock.monotonic()
        known = self._known.get(base_path)
        if known is not None and known.appearance == appearance:
            if known.is_final and now < known.listed + RELISTED:
                return known.entries
            return self._list(base_path, appearance, now, since=known.since)
        return self._list(base_path, appearance, now, since=now)

    def retain(self, base_paths: Collection[str]) -> None:
        """Forget all but *base_paths*."""
        known = list(self._known.items())
        if not all(path in base_paths for path, _ in known):
            self._known = {path: listing for path, listing in known if path in base_paths}

    def _list(
        self, base_path: str, appearance: _Appearance, now: float, *, since: float
    ) -> list[tuple[str, bool]]:
        entries = list_directory(base_path)
        is_final = (
            now >= since + SETTLED
            and self._tells_changes(appearance[0], now)
            and all(_is_plain(base_path, *entry) for entry in entries)
        )
        self._known[base_path] = _Listing(appearance, since, now, entries, is_final)
        return entries

    def _tells_changes(self, device: int, now: float) -> bool:
        until, answer = self._devices.get(device, (now, False))
        if now >= until:
            answer = tells_changes(kind_of_device(device, self._mounts()))
            self._devices[device] = now + RELISTED, answer
        return answer


def _is_plain(base_path: str, name: str, is_directory: bool) -> bool:
    """Return whether *name* is no possible version, or a directory and no link to one."""
    if not name.isdigit():
        return True
    path = os.path.join(base_path, name)  # noqa: PTH118 -- for each version
    return is_directory and not os.path.islink(path)  # noqa: PTH114 -- as above
