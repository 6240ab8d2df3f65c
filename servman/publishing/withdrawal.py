"""Taking a published version back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from servman.errors import NotFoundError
from servman.publishing.faults import Faults
from servman.publishing.publication import absolute
from servman.publishing.staging import discarded, remove

if TYPE_CHECKING:
    from servman.ids import ServableId


def withdraw_version(base_path: str | os.PathLike[str], id: ServableId) -> None:
    """Take the version *id* out of *base_path*: by one step out of sight, and then off the disk.

    For a version that was published and is of no use. A server that has it loaded unloads it. What cannot
    be removed is left under a hidden name, which the next publisher removes.

    Blocks: while it is removed.

    Threads: any.

    Args:
        base_path: Where it was published.
        id: What `publish_version` has returned.

    Raises:
        InvalidArgumentError: *base_path* can never be right; an empty path is no path.
        NotFoundError: It is not there.
        FailedPreconditionError: It cannot be renamed; nothing was changed.
    """
    faults = Faults(id.name)
    base = absolute("base_path", base_path)
    with faults.listing(base):
        names = [name for name in os.listdir(base) if _is(name, id.version)]  # noqa: PTH208 -- names are all that is wanted
    if not names:
        raise NotFoundError(f"{id} is not in {base}; it was not published there, or is gone")
    for name in names:
        aside = discarded(base / name)
        with faults.writing(base / name):
            (base / name).rename(aside)
        remove(aside)


def _is(name: str, version: int) -> bool:
    return name.isascii() and name.isdigit() and int(name) == version
