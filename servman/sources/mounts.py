"""Which storage a path is on, and of what kind, as far as the system tells.

`storage_of` goes by the path's text, and reads links on local file systems only: to ask about a path that hangs would
hang.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

_TABLE: Final = Path("/proc/self/mountinfo")

_REMOTE: Final = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fakeowner", "gfs2", "glusterfs", "gpfs"),
    *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "pvfs2", "smb3", "smbfs"),
    *("vboxsf", "virtiofs", "vmhgfs"),
)
"""Kinds of file systems that other machines change too, or a host behind this one's back."""


_MOST_STEPS: Final = 256
"""Names that are followed of one path; links may lead in a circle."""

_LOCAL: Final = (
    "bcachefs",
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "overlay",
    "tmpfs",
    "xfs",
    "zfs",
)
"""Kinds that change the time of change of a directory whenever a name appears in it, or goes."""


@final
@dataclass(frozen=True, slots=True)
class Mount:
    """A file system at its place in the tree.

    Attributes:
        number: Tells it from every other mount, one at the same place included.
        device: What `os.stat` calls the device of files on it, as (major, minor).
        point: The directory that it is mounted on.
        kind: The type of the file system: "ext4", "nfs4", "fuse.sshfs".
    """

    number: int
    device: tuple[int, int]
    point: str
    kind: str


def is_remote(kind: str) -> bool:
    """Return whether a file system of that *kind* changes without this machine's kernel knowing."""
    return kind in _REMOTE or kind.startswith("fuse")


def tells_changes(kind: str) -> bool:
    """Return whether the time of change of a directory on such a file system tells that it has changed."""
    return kind in _LOCAL


def read_mounts() -> list[Mount]:
    """Return what is mounted, in order; nothing where the system does not tell."""
    try:
        return parse_mounts(os.fsdecode(_TABLE.read_bytes()))
    except OSError:
        return []


def parse_mounts(table: str) -> list[Mount]:
    """Read *table*, which is in the form of Linux's `/proc/self/mountinfo`."""
    mounts = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        major, _, minor = fields[2].partition(":")
        device = (int(major), int(minor))
        mounts.append(Mount(int(fields[0]), device, _unescaped(fields[4]), after.split(" ")[0]))
    return mounts


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return that of *mounts* which holds *path*, going by its text: links are not followed."""
    found = None
    for mount in mounts:
        holds = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        # Of two at one place the later one hides the earlier.
        if holds and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def storage_of(path: str, mounts: Sequence[Mount]) -> str:
    """Return a name of the storage that *path* is on: the same for paths that would hang together."""
    mount = mount_of(_followed(path, mounts), mounts)
    if mount is None:  # not Linux: what people mount is seldom deeper
        return "/".join(path.split("/")[:3])
    return f"{mount.point} ({mount.kind}, mount {mount.number})"


def _followed(path: str, mounts: Sequence[Mount]) -> str:
    """Return *path* without the links on its way that can be read without asking who might not answer."""
    points = {mount.point: mount for mount in mounts}
    holder = points.get("/")
    place, pending = "", path.split("/")[::-1]
    for _ in range(_MOST_STEPS):
        name = pending.pop() if pending else None
        if name is None:
            return place
        if name in ("", "."):
            continue
        place = f"{place}/{name}" if name != ".." else place.rpartition("/")[0]
        holder = points.get(place, holder) if name != ".." else mount_of(place or "/", mounts)
        if holder is None or holder.kind not in _LOCAL:
            return "/".join([place, *reversed(pending)])
        with contextlib.suppress(OSError):  # no link
            target = os.readlink(place)  # noqa: PTH115 -- as everywhere in this package
            place = "" if target.startswith("/") else place.rpartition("/")[0]
            holder = mount_of(place or "/", mounts)
            pending += target.split("/")[::-1]
    return path


def kind_of(path: str) -> str:
    """Return of which kind the file system is that *path* leads to; "" where nobody tells.

    Blocks: as long as the storage does.

    Raises:
        OSError: There is nothing at *path*.
    """
    mounts = read_mounts()
    kind = kind_of_device(os.stat(path).st_dev, mounts)  # noqa: PTH116 -- as everywhere in this package
    if kind:
        return kind
    # Some file systems give each part of themselves a device that is in no table.
    found = mount_of(os.path.realpath(path), mounts)
    return "" if found is None else found.kind


def kind_of_device(device: int, mounts: Sequence[Mount]) -> str:
    """Return of which kind the file system on *device* is; "" where none of *mounts* is on it."""
    numbers = (os.major(device), os.minor(device))
    return next((mount.kind for mount in mounts if mount.device == numbers), "")


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field)
