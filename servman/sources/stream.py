"""One servable of a file system source: from what a look found to the list that is sent."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, final

from servman.data import ServableData
from servman.errors import NotFoundError
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason
from servman.sources.status import Findings, SourceStatus
from servman.sources.versions import Selection, Specific, select

if TYPE_CHECKING:
    from servman.sources.config import ServableToMonitor
    from servman.sources.look import Look, Place

_log = logging.getLogger(__name__)

Versions = tuple[ServableData[str], ...]


@final
class MonitoredStream:
    """What a source knows of one servable under one configuration.

    Threads: written by the source's actor, one attribute at a time; `status` and `findings` any.

    Args:
        servable: The configuration.
        keep_last: Whether an empty list may not take the place of one that was sent.
        sent: The list last sent for the servable under an earlier configuration, if any.

    Attributes:
        place: Where looks for it go.
        sent: The list last sent; None before the first.
        look_again: Whether something has happened since the look in flight began.
    """

    def __init__(
        self, servable: ServableToMonitor, *, keep_last: bool, sent: Versions | None = None
    ) -> None:
        self.servable = servable
        self.place: Final[Place] = (servable.name, servable.base_path)
        self.sent = sent
        self.look_again = False
        self._keep_last = keep_last
        self._entries: list[tuple[str, bool]] | None = None
        self._selection: Selection | None = None
        self._versions: Versions | None = None
        self._failure: Reason | None = None
        self._error_since: float | None = None
        self._last_look: float | None = None
        self._last_success: float | None = None

    def take(self, look: Look, now: float) -> Versions | None:
        """Take in what *look* found *now*, since the epoch; return the list to send, or None if none is due."""
        self._last_look = now
        if look.entries is not None and look.entries != self._entries:
            self._select(look.entries)
        failure = look.failure or self._nothing_left()
        if failure is not None or self._failure is not None:
            self._set_failure(failure, now)
        if failure is not None:
            return None
        self._last_success = now
        return None if self._versions == self.sent else self._versions

    def status(self, *, watched: bool, looking_since: float | None) -> SourceStatus:
        """Return what is known now."""
        selection = self._selection or Selection()
        failure = self._failure
        return SourceStatus(
            error=failure.error if failure else None,
            error_since=self._error_since if failure else None,
            last_look=self._last_look,
            last_success=self._last_success,
            looking_since=looking_since,
            versions=self._aspired(),
            found=tuple(selection.names),
            missing=selection.missing,
            ignored=selection.ignored,
            watched=watched,
        )

    def findings(self, hanging: float | None) -> Findings:
        """Return what `explain` speaks from; *hanging* is for how long a look has been hanging."""
        return Findings(self.servable, self._aspired(), self._selection, self._failure, hanging)

    def _aspired(self) -> tuple[int, ...]:
        return tuple(one.id.version for one in self.sent or ())

    def _select(self, entries: list[tuple[str, bool]]) -> None:
        before = self._selection or Selection()
        selection = select(entries, self.servable.version_policy)
        for one in selection.duplicates:
            if one not in before.duplicates:
                _log.warning(
                    "servable %r: %s in %s, and is ignored; remove one of them",
                    self.servable.name,
                    one,
                    self.servable.base_path,
                )
        self._selection = selection
        self._versions = tuple(
            self._data(version, selection.names[version]) for version in selection.aspired
        )
        self._entries = entries

    def _data(self, version: int, name: str) -> ServableData[str]:
        path = os.path.join(self.servable.base_path, name)  # noqa: PTH118 -- keeps the spelling
        return ServableData(ServableId(self.servable.name, version), path, origin=path)

    def _nothing_left(self) -> Reason | None:
        selection = self._selection
        if not self._keep_last or not self.sent or selection is None or selection.aspired:
            return None
        if self.servable.version_policy == Specific():  # the empty list is what was asked for
            return None
        request = ServableRequest.latest(self.servable.name)
        why = Findings(self.servable).explain_selection(request, selection)
        text = f"{why}; what was aspired before stays, as servable_versions_always_present asks"
        return Reason(why.code, text, why.facts, NotFoundError(text))

    def _set_failure(self, failure: Reason | None, now: float) -> None:
        before = self._failure.text if self._failure else None
        after = failure.text if failure else None
        if after == before:
            return
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
