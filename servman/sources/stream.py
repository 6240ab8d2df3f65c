"""One servable of a file system source: from what a look found to the list that is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, final

from servman.data import ServableData
from servman.errors import NotFoundError
from servman.ids import ServableId
from servman.log import Log
from servman.reasons import Reason, ReasonCode
from servman.sources.completeness import Inspector, depth
from servman.sources.status import Findings, Outlook, SourceStatus, listed
from servman.sources.versions import Selection, Specific

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.sources.config import ServableToMonitor
    from servman.sources.look import Look, Place
    from servman.sources.versions import IncompleteVersion

_log = Log(__name__)

MOST_FOLLOWED: Final = 4
"""Incomplete versions of a servable that are watched at most, the newest: old ones may never become complete."""

Versions = tuple[ServableData[str], ...]


class Sending(NamedTuple):
    """Why and when a list was sent.

    Attributes:
        cause: Why the look that led to it began.
        time: When it was sent, in seconds since the epoch; None before the first.
    """

    cause: str = ""
    time: float | None = None


@final
class MonitoredStream:
    """What a source knows of one servable under one configuration.

    Threads: written by the source's actor, one attribute at a time; `status` and `findings` any; `read`
        that of a look, of which there is one at a time.

    Args:
        servable: The configuration.
        keep_last: Whether an empty list may not take the place of one that was sent, unless the
            servable says otherwise.
        sent: The list last sent for the servable under an earlier configuration, if any.
        resend: Whether the first list is sent even if it is the same.

    Attributes:
        place: Where looks for it go.
        sent: The list last sent; None before the first.
        resend: Whether the target has to be told again, even of the same.
        sending: Why and when that list was sent.
        look_cause: Why the last look began.
        look_again: Whether something has happened since the look in flight began.
        unfinished: The paths of the incomplete versions to be watched, each with whether all below it matters.
        again_cause: What that was.
        changed: Whether the last look has changed more of the status than its times.
    """

    def __init__(
        self,
        servable: ServableToMonitor,
        *,
        keep_last: bool,
        sent: Versions | None = None,
        resend: bool = False,
    ) -> None:
        self.servable = servable
        self.place: Final[Place] = (servable.name, servable.base_path)
        self.sent = sent
        self.resend = resend
        self.sending = Sending()
        self.look_cause = ""
        self.look_again = False
        self.again_cause = ""
        self.changed = False
        override = servable.servable_versions_always_present
        self._keep_last = keep_last if override is None else override
        self._inspector = Inspector(servable)
        self._depth = depth(servable.completeness)
        self.unfinished: dict[str, bool] = {}
        self._selection: Selection | None = None
        self._versions: Versions | None = None
        self._unreadable: Reason | None = None  # as by the last look
        self._failure: Reason | None = None  # that, or what else keeps it from being acted on
        self._error_since: float | None = None
        self._last_look: float | None = None
        self._last_success: float | None = None

    @property
    def recheck(self) -> float | None:
        """When to look again because a version may have settled, on the monotonic clock."""
        return None if self._selection is None else self._selection.recheck

    def read(self, entries: list[tuple[str, bool]], clock: Clock) -> Selection:
        """Let the policy choose among the complete versions; see `Reader`.

        A version that is aspired stays so while its directory is there, whatever happens in it.
        """
        if not self._inspector.asks:
            return self._inspector.select(entries, (), clock)
        aspired = frozenset(one.origin for one in self.sent or () if one.origin is not None)
        return self._inspector.select(entries, aspired, clock)

    def take(self, look: Look, now: float) -> Versions | None:
        """Take in what *look* found *now*, since the epoch; return the list to send, or None if none is due."""
        self.changed = self._last_look is None
        self._last_look = now
        found, known = look.selection, self._selection
        if found is not None and found is not known and found != known:
            self._adopt(found)
            self.changed = True
        self._unreadable = look.failure
        failure = look.failure or self._nothing_left()
        if failure is not None or self._failure is not None:
            self._set_failure(failure, now)
        if failure is not None:
            return None
        self._last_success = now
        # That what would be chosen is not complete yet is no reason to unload what is loaded.
        if self._selection is None or self._selection.is_waiting or self._is_told:
            return None
        self._warn_of_unloading_all()
        return self._versions

    def status(
        self,
        *,
        watched: bool,
        looking_since: float | None,
        why_not_watched: Callable[[str, bool], str | None],
    ) -> SourceStatus:
        """Return what is known now.

        Args:
            watched: Whether the base path is.
            looking_since: When a look began that hangs.
            why_not_watched: Returns why a version is not, given its path and whether all below it matters.
        """
        selection = self._selection or Selection()
        failure = self._failure
        return SourceStatus(
            error=failure.error if failure else None,
            error_since=self._error_since if failure else None,
            last_look=self._last_look,
            last_success=self._last_success,
            looking_since=looking_since,
            versions=self._aspired(),
            versions_cause=self.sending.cause,
            versions_since=self.sending.time,
            found=tuple(selection.names),
            missing=selection.missing,
            ignored=selection.ignored,
            incomplete=tuple(
                replace(one, why_not_watched=self._why_not_watched(one, why_not_watched))
                for one in selection.incomplete
            ),
            watched=watched,
            up_to_date=self._up_to_date,
        )

    def findings(self, hanging: float | None) -> Findings:
        """Return what `explain` speaks from; *hanging* is for how long a look has been hanging."""
        # Of one that is to be sent again the target does not go by what was sent.
        aspired = () if self.resend else self._aspired()
        return Findings(self.servable, aspired, self._selection, self._unreadable, hanging)

    def _why_not_watched(
        self, one: IncompleteVersion, ask: Callable[[str, bool], str | None]
    ) -> str | None:
        path = self.servable.path_of(one.name)
        if path in self.unfinished:
            return ask(path, self.unfinished[path])
        return f"only the newest {MOST_FOLLOWED} are watched" if self._depth else None

    def _aspired(self) -> tuple[int, ...]:
        return tuple(one.id.version for one in self.sent or ())

    def _adopt(self, selection: Selection) -> None:
        before = self._selection or Selection()
        for one in selection.duplicates:
            if one not in before.duplicates:
                _log.warning(
                    "servable %r: %s in %s, and is ignored; remove one of them",
                    self.servable.name,
                    one,
                    self.servable.base_path,
                )
        known = {one.name for one in before.incomplete}
        for version in selection.incomplete:
            if version.name not in known:
                _log.info("servable %r: %s", self.servable.name, version)
        followed = selection.incomplete[-MOST_FOLLOWED:] if self._depth else ()
        self.unfinished = {self.servable.path_of(one.name): self._depth > 1 for one in followed}
        self._selection = selection
        self._versions = tuple(
            self._data(version, selection.names[version]) for version in selection.aspired
        )

    def _data(self, version: int, name: str) -> ServableData[str]:
        path = self.servable.path_of(name)
        return ServableData(ServableId(self.servable.name, version), path, origin=path)

    @property
    def outlook(self) -> Outlook:
        """What is aspired, and whether it is what should be."""
        missing = self._selection.missing if self._selection is not None else ()
        return Outlook(self._aspired(), missing, self._is_known)

    @property
    def _up_to_date(self) -> bool:
        return self._failure is None and self._is_known

    @property
    def _is_known(self) -> bool:
        selection = self._selection
        return selection is not None and not selection.is_waiting and self._is_told

    @property
    def _is_told(self) -> bool:
        """Whether the target was told of what the policy chooses."""
        return self._versions == self.sent and not self.resend

    @property
    def _has_lost_all(self) -> bool:
        """Whether the last look that succeeded leaves nothing of what is aspired, unasked."""
        selection = self._selection
        if not self.sent or selection is None or selection.aspired or selection.is_waiting:
            return False
        return self.servable.version_policy != Specific()  # the empty list is what was asked for

    def _nothing_left(self) -> Reason | None:
        if not self._keep_last or not self._has_lost_all:
            return None
        # Without what else is there: a loss is told once, whatever temporary names come and go.
        text = (
            f"{self._loss()} stay, as servable_versions_always_present asks; publish a version there, or"
            " turn that off to unload them"
        )
        facts = {
            "name": self.servable.name,
            "base_path": self.servable.base_path,
            "aspired": self._aspired(),
        }
        return Reason(ReasonCode.NO_VERSIONS, text, facts, NotFoundError(text))

    def _warn_of_unloading_all(self) -> None:
        if self._has_lost_all:
            _log.warning(
                "%s are unloaded; servable_versions_always_present would keep them",
                self._loss(),
            )

    def _loss(self) -> str:
        one = self.servable
        return (
            f"servable {one.name!r}: nothing is left in {one.base_path} for the policy ({one.version_policy})"
            f" to choose; all aspired versions ({listed(self._aspired())})"
        )

    def _set_failure(self, failure: Reason | None, now: float) -> None:
        before = self._failure.text if self._failure else None
        after = failure.text if failure else None
        if after == before:
            return
        self.changed = True
        # The time first: a status that is read in between shows no error without one.
        self._error_since = now
        self._failure = failure
        if after is not None:
            _log.warning("%s", after)
        else:
            _log.info(
                "servable %r: base path %s is well again",
                self.servable.name,
                self.servable.base_path,
            )
