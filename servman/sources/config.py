"""What a file system source is told to look after."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

from servman.errors import InvalidArgumentError
from servman.ids import check_name
from servman.sources.completeness import Completeness, Settled, immediate, number
from servman.sources.versions import All, Latest, Specific, VersionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_NONE: Final[Mapping[str, ServableToMonitor]] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True)
class ServableToMonitor:
    """A servable whose versions are the numbered directories in a base path.

    Holds any values of the right types; the source that is given it checks them.

    Attributes:
        name: The stream.
        base_path: An absolute path; "~" is not expanded. Slashes at its end are taken off.
        version_policy: Which of the complete versions there are aspired.
        completeness: When a version there is complete.
        servable_versions_always_present: Whether an empty list may not take the place of another, for
            this servable; None for what the source says.
        fail_if_zero_versions_at_startup: Whether `start` and `update_config` raise when this servable
            has no versions; None for what the source says.

    Threads: immutable; any thread.
    """

    name: str
    base_path: str
    version_policy: VersionPolicy = Latest(1)  # noqa: RUF009 -- it is immutable
    completeness: Completeness = immediate
    servable_versions_always_present: bool | None = field(default=None, kw_only=True)
    fail_if_zero_versions_at_startup: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.base_path, str):
            path = self.base_path.rstrip("/") or self.base_path[:1]
            object.__setattr__(self, "base_path", path)

    def path_of(self, name: str) -> str:
        """Return the path of what is called *name* in the base path, spelled as it is."""
        return os.path.join(self.base_path, name)  # noqa: PTH118 -- keeps the spelling


def check_servables(
    servables: Iterable[ServableToMonitor], known: Mapping[str, ServableToMonitor] = _NONE
) -> dict[str, ServableToMonitor]:
    """Return *servables* by name; those that are *known* need no check.

    Raises:
        InvalidArgumentError: There are faults; all of them are listed.
    """
    checked: dict[str, ServableToMonitor] = {}
    found: list[str] = []
    given: Iterable[object] = servables
    for servable in given:
        if not isinstance(servable, ServableToMonitor):
            found.append(f"{servable!r} is not a ServableToMonitor")
            continue
        is_named = isinstance(servable.name, str)  # what is no text may not be hashable
        if not is_named or known.get(servable.name) is not servable:
            found.extend(f"servable {servable.name!r}: {fault}" for fault in faults(servable))
        if is_named:
            if servable.name in checked:
                found.append(f"servable {servable.name!r}: named twice; give each its own name")
            checked[servable.name] = servable
    if found:
        raise InvalidArgumentError("the servables cannot be monitored: " + "; ".join(found))
    return checked


def differs(before: ServableToMonitor | None, after: ServableToMonitor) -> bool:
    """Return whether the two differ; of thousands, most are one and the same."""
    return before is not after and before != after


def faults(servable: ServableToMonitor) -> Iterator[str]:
    """Yield what can never be right in *servable*, each to be read after whose fault it is."""
    try:
        check_name(servable.name)
    except InvalidArgumentError as error:
        yield str(error)
    path: object = servable.base_path
    if not isinstance(path, str):
        yield f"base path {path!r} is no text; pass a str"
    elif not Path(path).is_absolute() or "\0" in path:
        yield (
            f"base path {path!r} is not an absolute path; write it out in full"
            ' ("~" and relative paths would depend on who runs the process)'
        )
    policy: object = servable.version_policy
    if not isinstance(policy, Latest | All | Specific):
        yield f"{policy!r} is not a version policy; pass Latest(n), All() or Specific(...)"
    completeness: object = servable.completeness
    if not isinstance(completeness, Settled) and not callable(completeness):
        yield (
            f"{completeness!r} does not tell what is complete; pass immediate, settled(seconds),"
            " marker(name) or a callable"
        )
    for option in ("servable_versions_always_present", "fail_if_zero_versions_at_startup"):
        value: object = getattr(servable, option)
        if value is not None and not isinstance(value, bool):
            yield f"{option} is {value!r}; pass True, False or None"


def check_options(poll_interval: float, max_watches: int) -> None:
    """Check the options of a source that are numbers.

    Raises:
        InvalidArgumentError: One is not.
    """
    if math.isnan(number(poll_interval)):
        raise InvalidArgumentError(
            f"poll_interval is {poll_interval!r}, which is not a number; pass seconds"
        )
    if not isinstance(max_watches, int) or isinstance(max_watches, bool):
        raise InvalidArgumentError(
            f"max_watches is {max_watches!r}; pass how many base paths to watch, an int"
        )
