"""Failures that loaders report of what they have made: which of them count, and what must follow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, final

from servman.errors import ClosedError
from servman.manager import HarnessState
from servman.manager.causes import Cause
from servman.manager.messages import ServableFailed
from servman.state import ManagerState, ServableState
from tests.simulation.ledger import Ledger, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.ids import ServableId
    from servman.manager import ServableStateSnapshot
    from servman.manager.messages import Event
    from tests.simulation.world import AnyWorld

Found = tuple[tuple[str, int] | None, ...]
"""What lookups find, by selector: which version, and what tells its servable from others."""

_REPORT: Final = re.compile(r"planted report \d+")


@final
class Failures:
    """Follows reports as the manager takes them up, and checks what becomes of them.

    A report counts where the load that it is about has made what serves now, what is held, or what is about to
    come in; the first one counts.

    Attributes:
        leaving: What has served, and has to leave in this step.
        ended: What the current or the latest incarnation of an id has ended with, where that was reported.
    """

    def __init__(self, world: AnyWorld, ledger: Ledger) -> None:
        self.leaving: set[ServableId] = set()
        self.ended: dict[ServableId, str] = {}
        self._world = world
        self._ledger = ledger
        self._to_tell: dict[ServableId, str] = {}
        # How many had asked for something when a report was taken up.
        self._asked: dict[str, int] = {}

    # ---- what the manager takes up -------------------------------------------------------------

    def before_step(self) -> None:
        """Begin anew: whatever has to leave leaves in one step."""
        self.leaving.clear()

    def taking(self, event: Event | None, asked: int = 0) -> None:
        """Follow *event*, which the manager is about to take up, after so many were *asked* for."""
        report = _report_in(event.error) if isinstance(event, ServableFailed) else None
        if report is None:
            return
        attempt = self._ledger.reports[report]
        self._asked[report] = asked
        model = attempt.model
        if model is None:
            return  # its load has failed anyway
        model.failed = True
        which = model.id
        snapshot = self._snapshot(which)
        if snapshot is None or self._ledger.in_memory[which] != [model]:
            return
        if snapshot.state is HarnessState.READY:
            self.leaving.add(which)
        elif not (snapshot.aspired and (snapshot.held or snapshot.running)):
            return
        self._to_tell.setdefault(which, report)

    def _snapshot(self, id: ServableId) -> ServableStateSnapshot | None:
        known: Sequence[ServableStateSnapshot] = self._world.manager.snapshots(id.name)
        return next((one for one in known if one.id == id), None)

    # ---- what can be seen ----------------------------------------------------------------------

    def record(self, event: ServableState, *, gave_up: bool) -> None:
        """Check *event* as it is published; where its load was given up at that moment, that is told instead."""
        which = event.id
        match event.manager_state:
            case ManagerState.START:
                self.ended.pop(which, None)
            case ManagerState.AVAILABLE:
                self._check_served(which)
            case ManagerState.UNLOADING:
                right = (event.cause == Cause.FAILED) == (which in self.leaving)
                self._ledger.require(right, Rule.FAILURE_TOLD, f"{event} because {event.cause!r}")
            case ManagerState.END:
                self._check_end(event, gave_up=gave_up)
            case _:
                pass

    def _check_end(self, event: ServableState, *, gave_up: bool) -> None:
        right, told = self._to_tell.pop(event.id, None), _report_in(event.error)
        if right is not None:
            self.ended[event.id] = right
        if gave_up or isinstance(event.error, ClosedError):
            return
        text = f"{event} with {event.error!r}, {right} would be right"
        self._ledger.require(told == right, Rule.FAILURE_TOLD, text)

    def check(self, served: set[ServableId]) -> None:
        """Check that nothing of what is *served* has failed."""
        for which in served:
            self._check_served(which)

    def _check_served(self, id: ServableId) -> None:
        failed = any(one.failed for one in self._ledger.in_memory[id])
        self._ledger.require(not failed, Rule.FAILED_LEAVES, f"{id} has failed, and is served")

    def precedes(self, error: BaseException | None, asked: int) -> bool:
        """Whether *error* was reported before something was asked for, as the one after so many."""
        report = _report_in(error)
        return report is not None and self._asked[report] <= asked


def without(found: Found, selectors: Sequence[str], id: ServableId) -> Found:
    """Return what is left of what was *found* in a stream that is held, now that *id* has failed."""
    by_selector = {
        selector: None if one is None or one[0] == str(id) else one
        for selector, one in zip(selectors, found, strict=True)
    }
    numbered = [by_selector[one] for one in selectors if one[1:].isdigit()]
    left = [one for one in numbered if one is not None]
    by_selector[""] = left[-1] if left else None
    by_selector[":earliest"] = left[0] if left else None
    return tuple(by_selector[one] for one in selectors)


def _report_in(error: BaseException | None) -> str | None:
    """Return which report *error* tells of, if it does."""
    match = _REPORT.search(str(error))
    return None if match is None else match.group()
