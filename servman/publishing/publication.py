"""`publish_version`: copy, sync, verify, rename."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from servman.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from servman.ids import MAX_VERSION, ServableId, check_name, check_version
from servman.log import Log
from servman.publishing.copy import Copy, sync_directory
from servman.publishing.faults import Faults
from servman.publishing.rename import rename_new
from servman.publishing.staging import Staging, survey
from servman.publishing.tree import Entry, read_tree

_log = Log(__name__)

Progress = Callable[[int, int], None]
"""Is told how many bytes are through, of how many."""


def publish_version(
    source_dir: str | os.PathLike[str],
    base_path: str | os.PathLike[str],
    version: int | None = None,
    *,
    name: str | None = None,
    create: bool = False,
    progress: Progress | None = None,
) -> ServableId:
    """Copy *source_dir* into *base_path* as a version that is seen whole or not at all.

    The copy is written under a hidden name in the base path, which no source takes for a version,
    brought to the disk, read back and compared, and renamed into place by one step. If anything fails
    nothing is published, and nothing is left behind. If the process is killed, be it at any point, the
    version is whole or not there; the next publisher removes what was left.

    Two publishers never get the same number, and nothing that is there is replaced. Links in the source
    are followed, so that the version holds what they lead to. Permission bits are kept, except that the
    owner may always write to the directories, or could not remove the version.

    Blocks: until it is done, or has failed: for as long as it takes to write the bytes once and to read
        them twice. It waits for no other publisher.

    Threads: any. In other processes and on other machines others may publish to the same place.

    Args:
        source_dir: The finished version; it stays as it is.
        base_path: What the servable's source watches.
        version: The number. None takes the one after the highest that is there or being published; it
            is settled at the rename, so that it is the highest then.
        name: The servable; by default the last part of *base_path*.
        create: Whether to create the base path where it is missing.
        progress: Called on the calling thread with the bytes that are through and the bytes in all; a
            byte counts half when it is written, and whole when it has been read back. What it raises
            ends the call, with nothing published.

    Returns:
        What to wait for: `core.wait_until_available(id)`.

    Raises:
        AlreadyExistsError: The version is there already. Nothing was touched.
        InvalidArgumentError: A path, the name or the number can never be right (an empty path is no path), or
            the base path is in the source.
        NotFoundError: The source or the base path does not exist.
        ResourceExhaustedError: There is no space left, or no number.
        FailedPreconditionError: Something cannot be read, copied or written, the source changed meanwhile,
            or somebody else is publishing that version.
        DataLossError: The copy reads back other than it was written.
    """
    source, base = absolute("source_dir", source_dir), absolute("base_path", base_path)
    name = check_name(
        (base if base.name != ".." else base.resolve()).name if name is None else name
    )
    if version is not None:
        check_version(name, version)
    publication = Publication(name, source, base, version)
    publication.check(create=create)
    return publication.run(progress or _silent)


@final
class Publication:
    """One version on its way into a base path. Call `check`, then `run`.

    Threads: one at a time.
    """

    def __init__(self, name: str, source: Path, base: Path, version: int | None) -> None:
        self._name = name
        self._source = source
        self._base = base
        self._version = version
        self._faults: Final = Faults(name)

    def check(self, *, create: bool) -> None:
        """Raise what can be known to be wrong before anything is done."""
        with self._faults.reading(self._source):
            found = self._source.exists()
        if not found:
            raise NotFoundError(
                f"servable {self._name!r}: there is no {self._source} to publish; correct the path"
            )
        if not self._source.is_dir():
            raise self._faults.precondition(
                f"{self._source} is not a directory; put what is to be published into one"
            )
        if self._base.resolve().is_relative_to(self._source.resolve()):
            raise InvalidArgumentError(
                f"servable {self._name!r}: base path {self._base} is in the source {self._source}; publish"
                " a directory that does not hold its own destination"
            )
        if create:
            with self._faults.writing(self._base):
                _create(self._base)

    def run(self, progress: Progress) -> ServableId:
        """Publish it."""
        number = self._choose()
        entries = self._read_source()
        with Staging.create(self._base, number, self._faults) as staging:
            copy = Copy(self._source, staging.tree, entries, self._faults, progress)
            copy.write()
            copy.verify()
            number = self._place(staging, number)
        return ServableId(self._name, number)

    def _read_source(self) -> tuple[Entry, ...]:
        entries = read_tree(self._source, self._faults)
        if all(entry.is_directory for entry in entries):
            raise self._faults.precondition(
                f"there is no file in {self._source}; publish when it has been written"
            )
        return entries

    def _choose(self) -> int:
        """Return the number to publish."""
        found = survey(self._base, self._faults)
        if self._version is None:
            return self._checked(found.next)
        if self._version in found.versions:
            raise self._taken(found.versions[self._version])
        for hidden, number in found.publishing.items():
            if number == self._version:
                raise self._faults.precondition(
                    f"version {number} is being published by another process, in {self._base / hidden};"
                    " wait for it, or publish another number; if no publisher is at work there any"
                    " more, remove that directory"
                )
        return self._version

    def _place(self, staging: Staging, number: int) -> int:
        """Rename what is in *staging* into place, as *number* if that is still right; return what it became."""
        while True:
            found = survey(self._base, self._faults, staging)
            if self._version is None and found.highest >= number:
                number = self._checked(found.next)
            if number in found.versions:
                raise self._taken(found.versions[number])
            if self._rename(staging.tree, self._base / str(number)):
                return number

    def _rename(self, tree: Path, target: Path) -> bool:
        """Rename *tree* to *target*; return False if something has come there in the meantime."""
        with self._faults.writing(target):
            try:
                rename_new(tree, target)
            except FileExistsError:
                return False
        try:
            sync_directory(self._base)
        except OSError as error:  # it is there and seen, so that it is too late to fail
            _log.warning("%s was published, but may not survive a power failure: %s", target, error)
        return True

    def _checked(self, number: int) -> int:
        if number > MAX_VERSION:
            raise ResourceExhaustedError(
                f"servable {self._name!r}: no number is left above those in {self._base}; name a version"
                " to publish"
            )
        return number

    def _taken(self, there: str) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"{self._name}:{int(there)} is there already, as {self._base / there}, and was not touched;"
            " publish another number, or none to take the next"
        )


def absolute(what: str, path: str | os.PathLike[str]) -> Path:
    """Return the argument *what*, which is *path*, as an absolute path.

    Raises:
        InvalidArgumentError: It can be none.
    """
    # An empty text would mean the working directory, and comes from a variable that a script forgot to set.
    if isinstance(path, str | os.PathLike):
        text: object = os.fspath(path)
        if isinstance(text, str) and text and "\0" not in text and _is_spelled(text):
            return Path(text).absolute()
    raise InvalidArgumentError(f"{what} is {path!r}; pass the path of a directory, as a text")


def _is_spelled(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _create(base_path: Path) -> None:
    missing = [path for path in (base_path, *base_path.parents) if not path.exists()]
    base_path.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


def _silent(done: int, total: int) -> None:
    del done, total
