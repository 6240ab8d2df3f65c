"""One look at one base path, and what it may come to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, final

from servman.errors import FailedPreconditionError, NotFoundError, ServmanError
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.sources.versions import Selection

Lister = Callable[[str], Iterable[tuple[str, bool]]]
"""Returns each name in a base path with whether it is a directory; raises `OSError` if it cannot."""

PATIENCE: Final = 1.0
"""Seconds after which a look is left behind with its worker."""

Place = tuple[str, str]
"""The name of a servable and its base path: one look at a time goes there."""


def list_directory(base_path: str) -> list[tuple[str, bool]]:
    """Return each name in *base_path* with whether it is a directory, or a link to one."""
    entries = list(os.scandir(base_path))
    try:
        return [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return [(entry.name, is_directory(entry)) for entry in entries]


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Return whether *entry* is a directory, or a link to one that can be followed."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a place that may not be read
        return False


def identity(base_path: str) -> tuple[int, int]:
    """Return what differs when another directory has taken the place of *base_path*."""
    status = os.stat(base_path)  # noqa: PTH116 -- at each look; a Path would double its cost
    return status.st_dev, status.st_ino


class Reader(Protocol):
    """Whom a look is for: it makes something of the names that were found."""

    def read(self, entries: list[tuple[str, bool]], clock: Clock) -> Selection:
        """Return what comes of *entries*. Called on the thread of the look, one look at a time.

        Blocks: as long as the checks of what is complete take.
        """
        ...


@final
@dataclass(slots=True, eq=False)
class Look:
    """One look at the base path of one servable.

    The actor makes it and hands it to a worker, which fills in the rest and hands it back.

    Attributes:
        place: The name of the servable and its base path.
        owner: For whom it was begun; a look whose owner is no longer there is dropped. Without one
            nothing is made of what is found.
        identify: Whether to find out the identity of the base path too.
        begun: When a worker took it up, on the monotonic clock; None before.
        left_behind: Whether the actor has lost patience with it. Only the actor uses it.
        storage: The storage that it hangs on, once it is left behind; or for which it was refused.
        refused: Whether it was not run, because too many hang on its storage.
        listed: Whether the storage has answered.
        entries: What is in the base path; only where there is no owner.
        selection: What its owner makes of them.
        ended: Whether it has come to its end.
        failure: Why that cannot be told.
        identity: See `identity`.
    """

    place: Place
    owner: Reader | None = None
    identify: bool = False
    begun: float | None = None
    left_behind: bool = False
    storage: str = ""
    refused: bool = False
    listed: bool = False
    entries: list[tuple[str, bool]] | None = None
    selection: Selection | None = None
    ended: bool = False
    failure: Reason | None = None
    identity: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The servable."""
        return self.place[0]

    @property
    def path(self) -> str:
        """Its base path."""
        return self.place[1]

    @property
    def is_running(self) -> bool:
        """Whether a worker has begun it and not come back."""
        return self.begun is not None and not self.ended

    @property
    def patience_ends(self) -> float | None:
        """When it should be left behind; None where it does not run, or has been."""
        if self.begun is None or not self.is_running or self.left_behind:
            return None
        return self.begun + PATIENCE

    def has_run_for(self, seconds: float, now: float) -> bool:
        """Return whether a worker has been at it for so long *now*."""
        return self.begun is not None and now - self.begun >= seconds

    def run(self, lister: Lister, clock: Clock) -> float:
        """Look, and return when that began.

        Blocks: as long as the storage does, and the checks of what is complete.

        Raises:
            KeyboardInterrupt: Ctrl-C on the main thread. The look has failed. Nothing else is raised.
        """
        self.begun = begun = clock.monotonic()
        name, path = self.place
        try:
            if self.identify:
                self.identity = identity(path)
            entries = lister(path)
            if not isinstance(entries, list):
                entries = list(entries)
            self.listed = True
            if self.owner is None:
                self.entries = entries
            else:  # and they are let go of: thousands that wait to be collected cost more than their room
                self.selection = self.owner.read(entries, clock)
        except BaseException as error:
            self.failure = failure(name, path, error)
            if is_meant_for_host(error):
                raise
        finally:
            self.ended = True
        return begun

    def refuse(self, storage: str) -> None:
        """Fail without looking."""
        self.refused = self.ended = True
        self.storage = storage
        self.failure = hanging_storage(*self.place, storage)


def hanging_storage(name: str, path: str, storage: str) -> Reason:
    """Say that the base path of a servable was not looked at, because others on its storage hang."""
    text = (
        f"servable {name!r}: base path {path} was not looked at, because looks at others on the same"
        f" storage hang: {storage}; check that storage"
    )
    facts = {"name": name, "base_path": path, "storage": storage}
    return Reason(ReasonCode.BASE_PATH_UNREADABLE, text, facts, FailedPreconditionError(text))


def is_meant_for_host(error: BaseException) -> bool:
    """Return whether *error* is a Ctrl-C, which comes on the main thread and is no fault of what it met."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and on_main_thread


def failure(name: str, path: str, error: BaseException) -> Reason:
    """Say why the base path of a servable could not be listed, and what to do about it."""
    kind: type[ServmanError] = FailedPreconditionError
    where = f"servable {name!r}: base path {path}"
    if isinstance(error, FileNotFoundError):
        kind, code = NotFoundError, ReasonCode.BASE_PATH_MISSING
        text = f"{where} does not exist; create it, or correct the path"
    elif isinstance(error, NotADirectoryError):
        code = ReasonCode.BASE_PATH_NOT_A_DIRECTORY
        text = (
            f"{where} is not a directory; put the version directories into one, or correct the path"
        )
    elif isinstance(error, PermissionError):
        code = ReasonCode.BASE_PATH_UNREADABLE
        text = f"{where} may not be read by this process; grant it read and search permission"
    else:
        what = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        code = ReasonCode.BASE_PATH_UNREADABLE
        text = f"{where} cannot be read ({what}); check the storage that it is on"
    return Reason(code, text, {"name": name, "base_path": path}, kind(text))
