"""Where labels are to point to, followed beside the manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState, StreamLabels
from tests.simulation.ledger import Ledger, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.events import Event as BusEvent
    from tests.simulation.aspiring import AspiringWorld

    Table = Mapping[str, Mapping[str, int]]

LABELS: Final = ("x", "y")


@final
class Labelling:
    """Knows what is wanted of labels, and to which version each has to point.

    Attributes:
        wanted: Name to label to version, as the manager has been told so far.
        targets: Name to label to the version that a lookup by it has to find.
    """

    def __init__(self, world: AspiringWorld, ledger: Ledger) -> None:
        self.wanted: dict[str, Mapping[str, int]] = {}
        self.targets: dict[str, Mapping[str, int]] = {}
        self._world = world
        self._ledger = ledger
        self._held: set[str] = set()
        self._told: dict[str, StreamLabels] = {}
        # What a commit that is being carried out is to change, once lookups find something else.
        self._names: Iterable[str] = ()
        self._table: Table | None = None

    # ---- what the manager takes up -------------------------------------------------------------

    def want(self, table: Table) -> None:
        """Want exactly these."""
        self.wanted = dict(table)

    def hold(self, name: str) -> Mapping[str, int]:
        """Let no label of *name* move; return what is wanted of them."""
        self._held.add(name)
        return self.wanted.get(name, {})

    def roll_back(self, name: str, labels: Mapping[str, int]) -> None:
        """Want these of *name* again, and let them move."""
        self._held.discard(name)
        self.wanted[name] = labels

    def commit(self, names: Iterable[str], table: Table | None) -> None:
        """Let labels move in one step with what is committed."""
        self._names, self._table = names, table

    def committed(self) -> None:
        """Know that what was committed is found."""
        self._held.difference_update(self._names)
        if self._table is not None:
            self.want(self._table)
        self._names, self._table = (), None

    # ---- what can be seen ----------------------------------------------------------------------

    def record(self, event: BusEvent) -> None:
        """Check all labels at *event*."""
        unloading = (
            isinstance(event, ServableState) and event.manager_state is ManagerState.UNLOADING
        )
        if not unloading:
            self.committed()
        self.check()
        if isinstance(event, StreamLabels):
            self._told[event.name] = event
            self._check_told(event.name)

    def check(self) -> None:
        """Check that each label points to where it has to."""
        if self._world.closing:
            return  # labels go as their streams go
        served: dict[str, set[int]] = {}
        for which in self._world.manager.list_available_ids():
            served.setdefault(which.name, set()).add(which.version)
        for name in {*self.wanted, *self.targets, *served}:
            if name in self._held:  # what has failed is found by no label, and nothing else changes
                self._keep(name, served.get(name, set()))
            else:
                self._move(name, served.get(name, set()))
            self._check_targets(name)

    def check_told(self) -> None:
        """Check that what was told last is what is so, and that there is a reason for what is not."""
        if self._world.closing:
            return
        for name in {*self.wanted, *self.targets, *self._told}:
            self._check_told(name)
            for label, version in self.wanted.get(name, {}).items():
                reason = self._world.manager.explain(f"{name}@{label}")
                there = self.targets.get(name, {}).get(label) == version
                fits = reason is not None and there == (reason.code is ReasonCode.AVAILABLE)
                text = f"{name}@{label}, wanted {version}, there {there}: {reason}"
                self._ledger.require(fits, Rule.EXPLAINED, text)

    def refuses(self, name: str, label: str) -> bool:
        """Whether *label* is none of *name*."""
        return label not in {*self.wanted.get(name, ()), *self.targets.get(name, ())}

    def _keep(self, name: str, served: set[int]) -> None:
        before = self.targets.get(name, {})
        self.targets[name] = {label: one for label, one in before.items() if one in served}

    def _move(self, name: str, served: set[int]) -> None:
        now = {}
        before = self.targets.get(name, {})
        for label, version in self.wanted.get(name, {}).items():
            if version in served:
                now[label] = version
            elif label in before and before[label] in served:
                now[label] = before[label]
        self.targets[name] = now

    def _check_targets(self, name: str) -> None:
        entries = {label: self._world.manager._serving.find(f"{name}@{label}") for label in LABELS}
        found = {label: one.id.version for label, one in entries.items() if one is not None}
        right = dict(self.targets.get(name, {}))
        text = f"{name}: {found}, {right} would be right, {self.wanted.get(name)} wanted"
        self._ledger.require(found == right, Rule.LABELS, text)
        shown = dict(self._world.manager.labels(name))
        self._ledger.require(shown == right, Rule.LABELS, f"{name}: {shown} shown, not {right}")

    def _check_told(self, name: str) -> None:
        if self._world.closing:
            return
        told = self._told.get(name, StreamLabels(name, {}, {}))
        now = StreamLabels(name, self.wanted.get(name, {}), self.targets.get(name, {}))
        self._ledger.require(told == now, Rule.LABELS_TOLD, f"{told} told, {now} is so")
