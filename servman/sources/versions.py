"""From the names in a base path and a policy to the versions that are aspired. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from servman.errors import InvalidArgumentError
from servman.ids import MAX_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@final
@dataclass(frozen=True, slots=True)
class Latest:
    """Aspire the *n* highest versions, the highest first.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: *n* is no positive `int`.
    """

    n: int = 1

    def __post_init__(self) -> None:
        if not _is_int(self.n) or self.n < 1:
            raise InvalidArgumentError(
                f"Latest({self.n!r}): pass how many versions to serve, an int of at least 1; to serve"
                " none, use Specific() or take the servable out of the configuration"
            )

    def choose(self, found: tuple[int, ...], is_complete: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the versions of *found*, which ascends, that are aspired, in their order.

        Only those are asked about that would be chosen.
        """
        most = min(self.n, len(found))  # islice takes no larger number than a list may be long
        return tuple(itertools.islice(filter(is_complete, reversed(found)), most))

    def __str__(self) -> str:
        return f"latest {self.n}"


@final
@dataclass(frozen=True, slots=True)
class All:
    """Aspire every version, the lowest first.

    Threads: immutable; any thread.
    """

    def choose(self, found: tuple[int, ...], is_complete: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the complete versions of *found*."""
        return tuple(filter(is_complete, found))

    def __str__(self) -> str:
        return "all versions"


@final
@dataclass(frozen=True, slots=True, init=False)
class Specific:
    """Aspire exactly these versions, in this order, as far as they are there; none for `Specific()`.

    A version named twice counts once.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: One of them is no `int` from 0 to 2**63 - 1.
    """

    versions: tuple[int, ...]

    def __init__(self, *versions: int) -> None:
        for version in versions:
            if not _is_int(version) or not 0 <= version <= MAX_VERSION:
                raise InvalidArgumentError(
                    f"Specific: {version!r} is not a version; pass ints from 0 to 2**63 - 1"
                )
        object.__setattr__(self, "versions", tuple(dict.fromkeys(versions)))

    def choose(self, found: tuple[int, ...], is_complete: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the complete ones of its versions that are in *found*, in the policy's order."""
        there = frozenset(found)
        return tuple(filter(is_complete, filter(there.__contains__, self.versions)))

    def __repr__(self) -> str:
        return f"Specific({', '.join(map(str, self.versions))})"

    def __str__(self) -> str:
        return f"specific {', '.join(map(str, self.versions)) or '(no version named)'}"


VersionPolicy = Latest | All | Specific
"""Which of the versions that are there are aspired."""


@final
@dataclass(frozen=True, slots=True)
class IgnoredName:
    """A name in a base path that is not taken for a version.

    Attributes:
        name: As spelled on disk.
        why: Why not, to be read after the name: "is not a directory".
        version: The number that the name stands for; None where it stands for none.
    """

    name: str
    why: str
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.name!r} {self.why}"


@final
@dataclass(frozen=True, slots=True)
class IncompleteVersion:
    """A version that the policy would choose, were its directory complete.

    Attributes:
        version: The version.
        name: As spelled on disk.
        why: What it lacks: "it holds no file 'DONE' yet".
        why_not_watched: Why a change in it is noticed at polls only; None where it is noticed at once, and where no
            change can make it complete, because it settles when it is let alone.

    Threads: immutable; any thread.
    """

    version: int
    name: str
    why: str
    why_not_watched: str | None = None

    def __str__(self) -> str:
        return f"{self.name!r} is not complete: {self.why}"


@final
@dataclass(frozen=True, slots=True)
class Selection:
    """What a policy makes of the names in a base path.

    Attributes:
        names: Each version that is there, ascending, with its name as spelled on disk.
        aspired: The chosen versions, in the order in which they are emitted.
        missing: Versions that the policy names and that are not there.
        ignored: The names that are not versions, sorted.
        incomplete: The versions that were not chosen because they are not complete, ascending.
        recheck: When one of these may have become complete by itself, on the monotonic clock; None
            where only a change of its files can make it so.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    aspired: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    ignored: tuple[IgnoredName, ...] = ()
    incomplete: tuple[IncompleteVersion, ...] = ()
    recheck: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is chosen for the one reason that it is not complete."""
        return bool(self.incomplete) and not self.aspired

    @property
    def duplicates(self) -> tuple[IgnoredName, ...]:
        """The ignored names whose version is there under another name."""
        return tuple(one for one in self.ignored if one.version in self.names)


def select(
    entries: Iterable[tuple[str, bool]],
    policy: VersionPolicy,
    why_incomplete: Callable[[str], str | None] = lambda _: None,
) -> Selection:
    """Read *entries*, each a name and whether it is a directory, and let *policy* choose.

    A version is a directory named with ASCII digits below 2**63; leading zeros are allowed. Of two
    names with one number the one with fewest leading zeros is taken. Chosen are complete versions only:
    *why_incomplete* is called with the name of each version that would be chosen, and returns what it lacks.
    """
    names, ignored = _read(entries)
    incomplete = {}

    def is_complete(version: int) -> bool:
        why = why_incomplete(names[version])
        if why is not None:
            incomplete[version] = IncompleteVersion(version, names[version], why)
        return why is None

    asked = policy.versions if isinstance(policy, Specific) else ()
    return Selection(
        names=names,
        aspired=policy.choose(tuple(names), is_complete),
        missing=tuple(version for version in asked if version not in names),
        ignored=ignored,
        incomplete=tuple(incomplete[version] for version in sorted(incomplete)),
    )


def _read(
    entries: Iterable[tuple[str, bool]],
) -> tuple[dict[int, str], tuple[IgnoredName, ...]]:
    names: dict[int, str] = {}
    ignored = []
    # By length first: among the spellings of one number the shortest has the fewest zeros.
    for name, is_directory in sorted(entries, key=lambda entry: (len(entry[0]), entry[0])):
        fault = _fault(name, is_directory=is_directory, names=names)
        if fault is None:
            names[int(name)] = name
        else:
            ignored.append(fault)
    return dict(sorted(names.items())), tuple(sorted(ignored, key=lambda one: one.name))


def _fault(name: str, *, is_directory: bool, names: Mapping[int, str]) -> IgnoredName | None:
    # `isdigit` alone also holds for digits of other scripts and for superscripts.
    if not (name.isascii() and name.isdigit()):
        return IgnoredName(name, "is not a number")
    version = int(name)
    if version > MAX_VERSION:
        return IgnoredName(name, "is above 2**63 - 1")
    if not is_directory:
        return IgnoredName(name, "is not a directory", version)
    if version in names:
        return IgnoredName(name, f"is the same version as {names[version]!r}", version)
    return None
