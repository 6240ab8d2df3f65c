"""When a version directory is complete, so that nothing half-copied is ever aspired."""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from servman import errors
from servman.sources.look import is_directory, is_meant_for_host
from servman.sources.versions import Selection, select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from servman.clock import Clock
    from servman.sources.config import ServableToMonitor


def immediate(path: str) -> bool:
    """Take every version directory for complete as soon as it is seen.

    Right where finished directories are renamed into place, and the way of TensorFlow Serving.
    """
    del path
    return True


@final
@dataclass(frozen=True, slots=True)
class Marker:
    """What `marker` returns.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: *name* is no plain file name.
    """

    name: str

    def __post_init__(self) -> None:
        name: object = self.name
        plain = isinstance(name, str) and name not in ("", ".", "..")
        if not plain or "/" in self.name or "\0" in self.name:
            raise errors.InvalidArgumentError(
                f"marker({name!r}): pass the plain name of a file in the version directory, such as"
                ' "DONE"'
            )

    def __call__(self, path: str) -> bool | str:
        """Return whether the file is in *path*; a text says that it is not."""
        try:
            mode = os.stat(os.path.join(path, self.name)).st_mode  # noqa: PTH116, PTH118 -- at each look
        except (FileNotFoundError, NotADirectoryError):
            mode = 0
        return stat.S_ISREG(mode) or f"it holds no file {self.name!r} yet"

    def __repr__(self) -> str:
        return f"marker({self.name!r})"


def marker(name: str) -> Marker:
    """Take a version directory for complete once it holds the file *name*, which is written last.

    Raises:
        InvalidArgumentError: *name* is no plain file name.
    """
    return Marker(name)


@final
@dataclass(frozen=True, slots=True)
class Settled:
    """What `settled` returns. It has no answer of its own: a source remembers what it has seen.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: *seconds* is no number above 0.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < number(self.seconds) < math.inf:
            raise errors.InvalidArgumentError(
                f"settled({self.seconds!r}): pass for how many seconds nothing may have changed, a number"
                " above 0; immediate is for directories that are renamed into place"
            )

    def __repr__(self) -> str:
        return f"settled({self.seconds:g})"


def settled(seconds: float) -> Settled:
    """Take a version directory for complete once nothing in its tree has changed for *seconds*.

    What counts is names, sizes and times of change as the source sees them when it looks, and the time from
    the first look that saw them so: also for versions that were there before the source. A directory without a
    file in it never settles. A writer that pauses for longer is taken for done; better is one that writes a
    `marker` last, or renames what is finished into place.

    Raises:
        InvalidArgumentError: *seconds* is no number above 0.
    """
    return Settled(seconds)


Completeness = Callable[[str], bool | str] | Settled
"""When a version is complete: `immediate`, `settled(...)`, `marker(...)` or a callable of yours.

A callable is given the path of a version directory, the base path joined with the name as spelled on
disk. It returns True if the version is complete; False, or a text that says why, if it is not. What it
raises is such a reason, too. It is called on a thread of the source's, at every look until the version
is aspired, for one version of a servable at a time; while it takes long, no other servable waits. Where file events
can be followed it is called soon after files below that directory have come, gone or been closed by who wrote them, but
not more than ten times a second; what it reads elsewhere is noticed at polls. Pass the same object at each update of the
configuration: another one is another configuration.
"""


def told(completeness: Completeness) -> str:
    """Return what *completeness* is called, for people."""
    try:
        return getattr(completeness, "__qualname__", None) or repr(completeness)
    except Exception:  # noqa: BLE001 -- foreign code, met while something else is being told
        return f"a {type(completeness).__name__}"


def depth(completeness: Completeness) -> int:
    """Return how much of a version directory *completeness* looks into when something changes there.

    0 for nothing, as with `settled`, which no change makes complete; 1 for the directory itself; 2 for all below it.
    """
    if completeness is immediate or isinstance(completeness, Settled):
        return 0
    return 1 if isinstance(completeness, Marker) else 2


def number(value: object) -> float:
    """Return *value* as a float; NaN where it is no number, or an int that is too large for one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


@final
class Inspector:
    """Has a servable's policy choose among the versions that are complete.

    Attributes:
        asks: Whether it calls foreign code or reads files, and so may take long.

    Threads: one at a time, which is that of a look.
    """

    def __init__(self, servable: ServableToMonitor) -> None:
        self._servable = servable
        self._completeness = servable.completeness
        self.asks = servable.completeness is not immediate
        self._stillness = Stillness(getattr(servable.completeness, "seconds", 0.0))
        self._entries: list[tuple[str, bool]] | None = None
        self._selection = Selection()

    def select(
        self, entries: list[tuple[str, bool]], aspired: Collection[str], clock: Clock
    ) -> Selection:
        """Return what comes of *entries*, each a name and whether it is a directory.

        Versions whose paths are *aspired* are not asked about: once complete is complete.

        Blocks: while it asks, where it `asks`.
        """
        if self.asks or entries != self._entries:
            self._selection = self._select(entries, aspired, clock)
            self._entries = entries
        return self._selection

    def _select(
        self, entries: list[tuple[str, bool]], aspired: Collection[str], clock: Clock
    ) -> Selection:
        policy = self._servable.version_policy
        if not self.asks:
            return select(entries, policy)
        self._stillness.begin({self._servable.path_of(name) for name, _ in entries})

        def why_incomplete(name: str) -> str | None:
            path = self._servable.path_of(name)
            return None if path in aspired else self._why_incomplete(path, clock)

        selection = select(entries, policy, why_incomplete)
        return replace(selection, recheck=self._stillness.due)

    def _why_incomplete(self, path: str, clock: Clock) -> str | None:
        try:
            if isinstance(self._completeness, Settled):
                return self._lack(self._stillness.ask(path, clock))
            return self._lack(self._completeness(path))
        except BaseException as error:
            if is_meant_for_host(error):
                raise
            return f"{told(self._completeness)} raised {errors.settled(error)}"

    def _lack(self, answer: object) -> str | None:
        if answer is True:
            return None
        if isinstance(answer, str) and answer:
            return answer
        if answer is False:
            return f"{told(self._completeness)} says so"
        return f"{told(self._completeness)} returned {answer!r}; let it return a bool or a text"


@final
class Stillness:
    """Remembers what trees looked like, and since when they have.

    Attributes:
        due: When the first of the trees that were found moving since `begin` may have settled.

    Threads: one at a time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, tuple[bytes, float]] = {}
        self.due: float | None = None

    def begin(self, paths: Collection[str]) -> None:
        """Begin a look: forget all trees but *paths*."""
        self._seen = {path: seen for path, seen in self._seen.items() if path in paths}
        self.due = None

    def ask(self, path: str, clock: Clock) -> bool | str:
        """Return whether *path* has settled; a text says why it has not.

        Blocks: for the file system.

        Raises:
            OSError: The tree cannot be read. It counts as having changed.
        """
        before = self._seen.pop(path, None)
        began = clock.monotonic()
        try:
            seen, is_empty = _appearance(path)
        except OSError:
            self._ask_again(clock.monotonic() + self._seconds)
            raise
        # From the end of the one walk to the beginning of the other, for a walk takes its time.
        since = before[1] if before is not None and before[0] == seen else clock.monotonic()
        self._seen[path] = seen, since
        if began >= since + self._seconds and not is_empty:
            return True
        self._ask_again(clock.monotonic() + self._seconds if is_empty else since + self._seconds)
        if is_empty:
            return "no file is in it yet"
        return f"it has not been unchanged for {self._seconds:g} s yet"

    def _ask_again(self, instant: float) -> None:
        self.due = instant if self.due is None else min(self.due, instant)


def _appearance(path: str) -> tuple[bytes, bool]:
    """Return what differs when anything below *path* has changed, and whether no file is there."""
    found = list(_walk(path))
    is_empty = all(is_directory for *_, is_directory in found)
    return hashlib.sha256(repr(found).encode()).digest(), is_empty


def _walk(root: str) -> Iterator[tuple[str, int, int, bool]]:
    """Yield path, size and time of change of all below *root*, and whether it is a directory."""
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 -- walked by text, which is quicker
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            if folder == root:
                raise
            continue  # removed or renamed since it was listed, as writers do
        if (status.st_dev, status.st_ino) in seen:  # links may lead in a circle
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder, 0, status.st_mtime_ns, True
        for entry in inside:
            if is_directory(entry):
                folders.append(entry.path)
            else:
                yield entry.path, *_measured(entry), False


def _measured(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:  # as above, or a link to nowhere
        return -1, 0
    return status.st_size, status.st_mtime_ns
