"""What a file system source is told to look after."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from servman.errors import InvalidArgumentError
from servman.ids import check_name
from servman.sources.completeness import Completeness, Settled, immediate
from servman.sources.versions import All, Latest, Specific, VersionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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


def check_servables(servables: Iterable[ServableToMonitor]) -> dict[str, ServableToMonitor]:
    """Return *servables* by name.

    Raises:
        InvalidArgumentError: There are faults; all of them are listed.
    """
    checked: dict[str, ServableToMonitor] = {}
    faults: list[str] = []
    for servable in servables:
        faults.extend(_faults(servable))
        if servable.name in checked:
            faults.append(f"servable {servable.name!r}: named twice; give each its own name")
        checked[servable.name] = servable
    if faults:
        raise InvalidArgumentError("the servables cannot be monitored: " + "; ".join(faults))
    return checked


def _faults(servable: ServableToMonitor) -> list[str]:
    faults = []
    try:
        check_name(servable.name)
    except InvalidArgumentError as error:
        faults.append(str(error))
    path = servable.base_path
    if not isinstance(path, str) or not Path(path).is_absolute() or "\0" in path:
        faults.append(
            f"servable {servable.name!r}: base path {path!r} is not an absolute path; write it out in"
            ' full ("~" and relative paths would depend on who runs the process)'
        )
    policy: object = servable.version_policy
    if not isinstance(policy, Latest | All | Specific):
        faults.append(
            f"servable {servable.name!r}: {policy!r} is not a version policy; pass"
            " Latest(n), All() or Specific(...)"
        )
    faults.extend(_option_faults(servable))
    return faults


def _option_faults(servable: ServableToMonitor) -> Iterator[str]:
    completeness: object = servable.completeness
    if not isinstance(completeness, Settled) and not callable(completeness):
        yield (
            f"servable {servable.name!r}: {completeness!r} does not tell what is complete; pass"
            " immediate, settled(seconds), marker(name) or a callable"
        )
    for option in ("servable_versions_always_present", "fail_if_zero_versions_at_startup"):
        value: object = getattr(servable, option)
        if value is not None and not isinstance(value, bool):
            yield f"servable {servable.name!r}: {option} is {value!r}; pass True, False or None"
