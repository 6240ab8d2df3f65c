"""What must hold of a manager of aspired versions: what is aspired, held, committed, rolled back and labeled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from servman.errors import FailedPreconditionError
from servman.ids import ServableId
from servman.manager import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    HarnessState,
    StreamOptions,
)
from servman.manager.messages import (
    Aspire,
    CloseRequested,
    Commit,
    Configure,
    Hold,
    Rollback,
    SetLabels,
)
from servman.manager.replies import FutureReply
from servman.state import StreamAspiration
from tests.simulation.invariants import Invariants
from tests.simulation.labelling import LABELS, Labelling
from tests.simulation.ledger import Ledger, Rule
from tests.simulation.reports import Found, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from servman.data import ServableData
    from servman.events import Event as BusEvent
    from servman.loader import Loader
    from servman.manager.messages import Event
    from tests.simulation.aspiring import AspiringWorld

_SELECTORS: Final = ("", ":1", ":2", ":3", ":earliest", ":newest", *(f"@{one}" for one in LABELS))


@final
class AspiringInvariants(Invariants):
    """Also follows what is aspired.

    Attributes:
        wanted: Name to the versions that are aspired, as the manager has been told so far.
        held: Name of each stream that is held, to what lookups found when it was, but for what has failed since.
        labelling: Follows the labels.
        asked: How many orders, such as holds and commits, the manager was given.
        turns: Each entry that was aspired, and how many orders had been given before it, by its identity.
    """

    def __init__(self, world: AspiringWorld, ledger: Ledger) -> None:
        super().__init__(world, ledger)
        self.wanted: dict[str, set[int]] = {}
        self.held: dict[str, Found] = {}
        self.labelling = Labelling(world, ledger)
        # What was wanted of a stream when it was held.
        self._remembered: dict[str, tuple[tuple[ServableData[Loader], ...], Mapping[str, int]]] = {}
        # What lookups found before a rollback, or before a commit that has to be refused.
        self._rolling: dict[str, Found] = {}
        self._refusing: dict[str, Found] = {}
        self._promised: tuple[FutureReply, bool] | None = None
        self._options: Mapping[str, StreamOptions] = {}
        self.turns: dict[int, tuple[ServableData[Loader], int]] = {}
        self.asked = self._taken = 0
        self._newest: dict[str, int | None] = {}
        self._announced: dict[str, frozenset[int]] = {}
        self._replaced: set[ServableId] = set()
        # What serves on in a held stream although its version is wanted from another origin.
        self._standing: dict[ServableId, ServableData[Loader]] = {}

    # ---- what the manager takes up -------------------------------------------------------------

    def taking(self, event: Event | None) -> None:
        """Follow *event*, which the manager is about to take up."""
        super().taking(event)
        for which in self.failures.leaving:
            self._lose(which)
        self._taken += isinstance(event, Hold | Commit | Rollback | SetLabels | Configure)
        match event:
            case Aspire() if not self.closing:
                self._check_turn(event)
                self._aspire(event.name, event.versions)
            case Hold() if not self.closing:
                for name in event.names - self.held.keys():
                    self._hold(name)
            case Commit() if not self.closing:
                self._try_to_commit(event)
            case Rollback() if not self.closing:
                self._rollback(event.names & self.held.keys())
            case SetLabels() if not self.closing:
                self.labelling.want(event.wanted)
            case Configure():
                self._configure(event.streams())
            case CloseRequested():
                self.wanted.clear()
                self.held.clear()
                self._standing.clear()
            case _:
                pass

    def _lose(self, id: ServableId) -> None:
        """Know that *id* has failed, and goes even where its stream is held."""
        self._standing.pop(id, None)
        if id.name in self.held:
            self.held[id.name] = without(self.held[id.name], _SELECTORS, id)

    def _check_turn(self, event: Aspire) -> None:
        for data in event.versions:
            _, asked = self.turns.get(id(data), (data, 0))
            text = f"{event.name}: a list that comes after {asked} orders is taken up after {self._taken}"
            self._ledger.require(asked <= self._taken, Rule.IN_TURN, text)

    def _aspire(self, name: str, versions: Iterable[ServableData[Loader]]) -> None:
        wanted = tuple(versions)
        for data in wanted:
            self._want(data)
        self.wanted[name] = {data.id.version for data in wanted}

    def _hold(self, name: str) -> None:
        wanted = self.wanted.get(name, ())
        entries = tuple(self._ledger.expected[ServableId(name, one)] for one in wanted)
        self._remembered[name] = entries, self.labelling.hold(name)
        self.held[name] = self._found_in(name)
        self._newest[name] = max(wanted, default=None)

    def _rollback(self, names: Iterable[str]) -> None:
        for name in names:
            entries, labels = self._remembered[name]
            self._rolling[name] = self._found_in(name)
            self._aspire(name, entries)
            self.labelling.roll_back(name, labels)
        self._commit(names)

    def _try_to_commit(self, event: Commit) -> None:
        right = self._is_as_expected(event)
        if event.reply is not None:
            assert isinstance(event.reply, FutureReply)
            self._promised = event.reply, right
        if right:
            self.labelling.commit(event.names, event.labels)
            self._commit(event.names)
        else:
            self._refusing = {name: self._found_in(name) for name in event.names}

    def _is_as_expected(self, event: Commit) -> bool:
        for name, versions in event.expected.items():
            there = {
                one.id.version
                for one in self._world.manager.snapshots(name)
                if one.aspired and (one.held or one.state is HarnessState.READY)
            }
            if not versions == self.wanted.get(name, set()) <= there:
                return False
        return True

    def _configure(self, streams: Mapping[str, StreamOptions]) -> None:
        self._options = streams
        for name, options in streams.items():
            if options.max_num_load_retries is not None:
                self._ledger.limits[name].add(options.max_num_load_retries)

    def policy_of(self, name: str) -> AspiredVersionPolicy:
        """Return the policy of *name* that is in force."""
        own = self._options.get(name)
        return self._world.options.policy if own is None or own.policy is None else own.policy

    def carried_out(self) -> None:
        """Check what a commit or a rollback has done, before policies are asked."""
        self.labelling.committed()
        for name, before in self._rolling.items():
            self._check_rollback(name, before)
        for name, before in self._refusing.items():
            text = f"{name}: {self._found_in(name)} after a commit that was refused, not {before}"
            self._ledger.require(self._found_in(name) == before, Rule.COMMITS_WHOLE, text)
        self._rolling, self._refusing = {}, {}
        if self._promised is not None:
            reply, right = self._promised
            self._promised = None
            error = reply.exception(0) if reply.done() else FailedPreconditionError("no answer")
            fits = error is None if right else isinstance(error, FailedPreconditionError)
            text = f"answered {error!r}, although it can be done: {right}"
            self._ledger.require(fits and reply.done(), Rule.COMMITS_WHOLE, text)

    def _check_rollback(self, name: str, before: Found) -> None:
        now = self._found_in(name)
        remembered = {one.id.version for one in self._remembered[name][0]}
        specific = [one for one in _SELECTORS if one[1:].isdigit()]
        came = False
        for selector, was, found in zip(_SELECTORS, before, now, strict=True):
            if selector in specific and found != was:
                came = True
                right = was is None and int(selector[1:]) in remembered
                text = f"{name}{selector} finds {found} after the rollback, not {was}"
                self._ledger.require(right, Rule.ROLLED_BACK, text)
        text = f"{name}: {now} after the rollback, not {before}"
        self._ledger.require(came or now == before, Rule.ROLLED_BACK, text)

    def _want(self, data: ServableData[Loader]) -> None:
        which, standing = data.id, self._standing.get(data.id)
        if standing is not None:
            taken_back = _compatible(standing, data)
            self._ledger.expected[which] = standing if taken_back else data
            if taken_back:
                del self._standing[which]
                self._begun.add(which)
            return
        kept = self._ledger.expected.get(which)
        # What has begun, or still serves though nobody wanted it, stays as it is.
        stays = which in (self._begun if self._wants(which) else self._served)
        if kept is not None and stays and _compatible(kept, data):
            return
        if kept is not None and which.name in self.held and which in self._served:
            self._standing[which] = kept
        elif stays:
            self._replaced.add(which)
        self._begun.discard(which)
        self._ledger.expected[which] = data

    def _commit(self, names: Iterable[str]) -> None:
        for name in names:
            self.held.pop(name, None)
        for which in [one for one in self._standing if one.name in names]:
            standing = self._standing.pop(which)
            if self._wants(which):
                self._replaced.add(which)
            else:
                self._ledger.expected[which] = standing
                self._begun.add(which)

    def record(self, event: BusEvent) -> None:
        """Check *event* as it is published."""
        super().record(event)
        self.labelling.record(event)

    def found_by(self, request: str) -> ServableId | None:
        """Return what a lookup of *request* is to find."""
        name, at, label = request.partition("@")
        if not at:
            return super().found_by(request)
        target = self.labelling.targets.get(name, {}).get(label)
        return None if target is None else ServableId(name, target)

    def refuses(self, request: str) -> bool:
        """Whether *request* is by a label that there is not."""
        name, at, label = request.partition("@")
        return bool(at) and self.labelling.refuses(name, label)

    def newest(self, name: str) -> int | None:
        """Return which version of *name* a lookup of the newest is to find."""
        if name in self.held:
            return self._newest[name]
        return max(self.wanted.get(name, ()), default=None)

    def _wants(self, id: ServableId) -> bool:
        return id.version in self.wanted.get(id.name, ())

    def wanted_ids(self) -> set[ServableId]:
        """Return what is aspired."""
        return {
            ServableId(name, version)
            for name, versions in self.wanted.items()
            for version in versions
        }

    # ---- what it publishes and serves ----------------------------------------------------------

    def announced(self, event: StreamAspiration) -> None:
        """Follow what is published as aspired."""
        self._announced[event.name] = event.versions

    def started(self, id: ServableId) -> None:
        """Check that *id* was announced."""
        announced = id.version in self._announced.get(id.name, ())
        self._ledger.require(announced, Rule.ASPIRED_FIRST, f"{id} began unannounced")

    def before_step(self) -> None:
        """Note what the step starts from."""
        super().before_step()
        self._replaced.clear()

    def after_step(self, *, idle: bool) -> None:
        """Check all that can be seen."""
        super().after_step(idle=idle)
        self.labelling.check()
        self.labelling.check_told()
        for name, before in self.held.items():
            found = self._found_in(name)
            text = f"{name}: {found} found, {before} when it was held"
            self._ledger.require(found == before, Rule.HELD_STANDS, text)
        if idle and not self.closing:
            self._check_policies()

    def _found_in(self, name: str) -> Found:
        entries = (self._world.manager._serving.find(name + one) for one in _SELECTORS)
        return tuple(None if one is None else (str(one.id), id(one.servable)) for one in entries)

    def _check_policies(self) -> None:
        """Check that nothing is left undone that a policy without whims asks for."""
        snapshots = self._world.manager.snapshots()
        for name in {one.id.name for one in snapshots} - self.held.keys():
            own = self._options.get(name)
            if self._world.options.moods is None or (own is not None and own.policy is not None):
                stream = tuple(one for one in snapshots if one.id.name == name)
                action = self.policy_of(name).next_action(stream)
                self._ledger.require(action is None, Rule.ASKED, f"{action} was not taken")

    def check_service(self, served: set[ServableId]) -> None:
        """Check that what a step took out was wanted no more, and that its stream still serves."""
        for which in self._served - served - self._replaced - self.failures.leaving:
            text = f"{which} is wanted and was taken out"
            self._ledger.require(not self._wants(which), Rule.STAYS_SERVED, text)
            if isinstance(self.policy_of(which.name), AvailabilityPreservingPolicy):
                excused = not self.wanted.get(which.name) or any(
                    one.name == which.name for one in (*served, *self._replaced)
                )
                text = f"{which} was taken out, and its stream serves nothing now"
                self._ledger.require(excused, Rule.SOMETHING_SERVES, text)


def _compatible(kept: ServableData[Loader], data: ServableData[Loader]) -> bool:
    if None not in (kept.origin, data.origin) and kept.origin != data.origin:
        return False
    return kept.error is None or data.error is not None
