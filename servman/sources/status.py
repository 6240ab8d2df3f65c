"""What a source knows of one servable, and why a version of it is not aspired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, final

from servman.ids import Selector
from servman.reasons import Reason, ReasonCode
from servman.sources.completeness import immediate, told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from servman.errors import ServmanError
    from servman.ids import ServableRequest
    from servman.sources.config import ServableToMonitor
    from servman.sources.versions import IgnoredName, IncompleteVersion, Selection

_LISTED: Final = 8
"""How many names or versions a text lists at most."""


@final
@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What a source knows of one servable at one moment. Times are seconds since the epoch.

    Attributes:
        error: Why the last look told nothing to act on; None when it did. It names the path.
        error_since: When that error first appeared.
        last_look: When the last look ended; None before the first.
        last_success: When the last look without an error ended.
        looking_since: When a look began that hangs; None while none does.
        versions: What is aspired: the versions last sent, in their order. An error leaves them.
        versions_cause: Why the look that led to that list began: "start", "poll", "file event",
            "configuration", "poll() was called", or "settled" where a version was waited for to be complete;
            empty before the first list.
        versions_since: When that list was sent.
        up_to_date: Whether that is what the policy chooses now: not before the first look under the present
            configuration, nor while an error lasts, nor while all that it would choose is incomplete.
        found: The versions that the last successful look found, ascending.
        missing: The versions that the policy names and that were not found.
        ignored: The names in the base path that are not versions, each with why.
        incomplete: The versions that would be aspired, were they complete, each with what it lacks.
        watched: Whether file events are followed there; where not, changes are noticed at polls.
        why_not_watched: Why they are not followed; None where they are, and before the first look.

    Threads: immutable; any thread.
    """

    error: ServmanError | None = None
    error_since: float | None = None
    last_look: float | None = None
    last_success: float | None = None
    looking_since: float | None = None
    versions: tuple[int, ...] = ()
    versions_cause: str = ""
    versions_since: float | None = None
    found: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    ignored: tuple[IgnoredName, ...] = ()
    incomplete: tuple[IncompleteVersion, ...] = ()
    up_to_date: bool = False
    watched: bool = False
    why_not_watched: str | None = None


class Outlook(NamedTuple):
    """What is aspired of a servable, and whether it is what its policy has chosen.

    Attributes:
        versions: The versions last sent.
        missing: The versions that the policy names and that were not found.
        known: Whether that is what the policy has chosen at the last look that told anything, under the present
            configuration. An error afterwards leaves it, unlike `SourceStatus.up_to_date`.
    """

    versions: tuple[int, ...]
    missing: tuple[int, ...]
    known: bool


NOTHING_KNOWN: Final = Outlook((), (), known=False)
"""Of a servable that has not been taken up."""


@final
@dataclass(frozen=True, slots=True)
class Findings:
    """What `explain` speaks from.

    Attributes:
        servable: What was configured.
        aspired: The versions last sent.
        selection: What the last successful look came to; None before it.
        failure: Why the last look could not read the base path; None if it could.
        hanging: For how many seconds a look has been hanging; None while none does.
    """

    servable: ServableToMonitor
    aspired: tuple[int, ...] = ()
    selection: Selection | None = None
    failure: Reason | None = None
    hanging: float | None = None

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return why *request* is not aspired, or None if it is."""
        if self._is_aspired(request):
            return None
        if self.hanging is not None:
            return self._reason(
                ReasonCode.BASE_PATH_UNREADABLE,
                f"a look at base path {self._path} has not returned for {self.hanging:.0f} s; check the"
                f" storage that it is on{self._check}",
                hanging=self.hanging,
            )
        if self.failure is not None:
            return self.failure
        if self.selection is None:
            return self._reason(
                ReasonCode.NOT_LOOKED_YET, f"base path {self._path} has not been looked at yet"
            )
        return self.explain_selection(request, self.selection)

    @property
    def _path(self) -> str:
        return self.servable.base_path

    @property
    def _check(self) -> str:
        if self.servable.completeness is immediate:
            return ""
        return f", and the check of what is complete, {told(self.servable.completeness)}"

    def _is_aspired(self, request: ServableRequest) -> bool:
        if request.selector is Selector.SPECIFIC:
            return request.version in self.aspired
        return bool(self.aspired)

    def explain_selection(self, request: ServableRequest, selection: Selection) -> Reason:
        """Return why *request* is not among what was selected."""
        version = request.version
        if not selection.names:
            return self._no_versions(selection)
        if version is not None and version not in selection.names:
            return self._not_on_disk(selection, (version,))
        waited_for = [one for one in selection.incomplete if version in (one.version, None)]
        if waited_for:
            return self._incomplete(waited_for)
        if version is None and selection.missing:
            return self._not_on_disk(selection, selection.missing)
        what = "a version" if version is None else f"version {version}"
        takes = f"{self.servable.version_policy} takes {listed(selection.aspired)}"
        return self._reason(
            ReasonCode.NOT_CHOSEN,
            f"the version policy does not choose {what}: {takes}; change the policy if it should",
            aspired=selection.aspired,
            found=tuple(selection.names),
        )

    def _not_on_disk(self, selection: Selection, versions: tuple[int, ...]) -> Reason:
        ignored = [one for one in selection.ignored if one.version in versions]
        but = f", but {listed(ignored)}" if ignored else ""
        return self._reason(
            ReasonCode.NOT_ON_DISK,
            f"version {listed(versions)} is not in {self._path} (found {listed(selection.names)}"
            f"{but}); publish it there",
            found=tuple(selection.names),
            missing=versions,
        )

    def _incomplete(self, waited_for: list[IncompleteVersion]) -> Reason:
        return self._reason(
            ReasonCode.STILL_CHANGING,
            f"in {self._path}, {listed(waited_for)}; finish writing it, or change the servable's"
            f" completeness, which is {told(self.servable.completeness)}",
            versions=tuple(one.version for one in waited_for),
            incomplete=tuple(waited_for),
        )

    def _no_versions(self, selection: Selection) -> Reason:
        ignored = f" ({listed(selection.ignored)})" if selection.ignored else ""
        return self._reason(
            ReasonCode.NO_VERSIONS,
            f"no versions found in {self._path}{ignored}; publish a directory there that is named with"
            " the version's number",
            ignored=tuple(one.name for one in selection.ignored),
        )

    def _reason(self, code: ReasonCode, text: str, **facts: object) -> Reason:
        known = {"name": self.servable.name, "base_path": self._path, **facts}
        return Reason(code, f"servable {self.servable.name!r}: {text}", known)


def listed(things: Iterable[object]) -> str:
    """Return *things* in one line, and no more of them than people read."""
    texts = [str(thing) for thing in things]
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more if texts else "none"
