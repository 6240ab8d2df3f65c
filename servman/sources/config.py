"""What a file system source is told to look after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from servman.errors import InvalidArgumentError
from servman.ids import check_name
from servman.sources.versions import All, Latest, Specific, VersionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable


@final
@dataclass(frozen=True, slots=True)
class ServableToMonitor:
    """A servable whose versions are the numbered directories in a base path.

    Holds any values of the right types; the source that is given it checks them.

    Attributes:
        name: The stream.
        base_path: An absolute path; "~" is not expanded. Slashes at its end are taken off.
        version_policy: Which of the versions there are aspired.

    Threads: immutable; any thread.
    """

    name: str
    base_path: str
    version_policy: VersionPolicy = Latest(1)  # noqa: RUF009 -- it is immutable

    def __post_init__(self) -> None:
        if isinstance(self.base_path, str):
            path = self.base_path.rstrip("/") or self.base_path[:1]
            object.__setattr__(self, "base_path", path)


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
    return faults
