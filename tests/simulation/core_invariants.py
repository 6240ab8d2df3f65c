"""What must hold of a core whatever it is told, whenever nothing moves, and at rest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, final

from servman.errors import (
    ClosedError,
    LoadCancelledError,
    NotFoundError,
    ResourceExhaustedError,
)
from servman.ids import ServableRequest
from servman.manager import AvailabilityPreservingPolicy, HarnessState
from servman.manager.effects import Answer
from servman.manager.messages import Aspire, Commit, Hold, Rollback
from servman.reasons import ReasonCode
from servman.state import ManagerState, ServableState
from tests.simulation.core_callers import Caller
from tests.simulation.core_lookups import NAMES, Lookups
from tests.simulation.core_rules import CoreRule, at_home, chosen, faults_of, other_platforms
from tests.simulation.core_storage import PLANTED, Health
from tests.simulation.ledger import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from servman.core import ModelConfig
    from servman.core.configuration import Accepted
    from servman.events import Event as BusEvent
    from servman.ids import ServableId
    from servman.manager.effects import Effect
    from servman.manager.messages import Event
    from tests.simulation.core_reloads import Reload
    from tests.simulation.core_world import CoreWorld

    Models = Mapping[str, ModelConfig]


@final
class CoreInvariants:
    """Follows a core, and writes every breach into the ledger.

    Attributes:
        lookups: Follows what lookups find.
        started: The versions whose load began, in order.
        ended: The versions that have ended without an error, likewise.
        failed: Those that have ended with one, likewise.
        moves: How often each model has changed its state.
    """

    def __init__(self, world: CoreWorld) -> None:
        self._world = world
        self._core = world.core
        self._require = world.ledger.require
        self.lookups = Lookups(world)
        self.started: list[ServableId] = []
        self.ended: list[ServableId] = []
        self.failed: list[ServableId] = []
        self.moves: Counter[str] = Counter()
        self._config = world.core.config
        self._commits: dict[object, Reload] = {}  # by their replies
        self._follow_configuration()
        self._follow_manager()
        world.core.event_bus.attach(self)

    # ---- listening -----------------------------------------------------------------------------

    def _follow_configuration(self) -> None:
        one: Any = (
            self._core._stages.configuration
        )  # whose methods are replaced by those that look on
        one.accept = self._stopping("accept", one.accept, self._accepted)
        for name in ("hand_on", "begin_commit", "wait_for_commit", "withdraw"):
            setattr(one, name, self._stopping(name.replace("_", " "), getattr(one, name)))
        manager: Any = self._core._manager
        manager.commit = self._stopping("commit", manager.commit, self._commit_posted)

    def _stopping(
        self, where: str, call: Callable[..., Any], then: Callable[..., None] | None = None
    ) -> Callable[..., Any]:
        """Let a reload that wants to stop *where* it comes to *call*; tell *then* what came of that."""

        def stopping(*args: Any, **options: Any) -> Any:
            reload = self._running()
            if reload is None:
                return call(*args, **options)
            reload.pause(where)
            found = call(*args, **options)
            if then is not None:
                then(reload, found)
            self.follow_configuration()
            return found

        return stopping

    def _running(self) -> Reload | None:
        caller = Caller.current()
        return next((one for one in self._world.reloads if one.caller is caller), None)

    def _follow_manager(self) -> None:
        manager: Any = self._core._manager
        actor = manager._actor
        reconciler = actor._reconciler
        send, take, settle, do = actor.aspire, reconciler.take, reconciler.settle, actor._do

        def sending(aspire: Aspire) -> None:
            self.lookups.sent(aspire)
            send(aspire)

        def taking(event: Event | None, now: float) -> Sequence[Effect]:
            if isinstance(event, Aspire):
                self.lookups.taken_up(event)
            if isinstance(event, Hold):
                self.lookups.hold(event.names)
            effects: Sequence[Effect] = take(event, now)
            self._taken(event, effects)
            return effects

        def doing(effect: Effect) -> None:
            do(effect)
            self.lookups.look()

        def settling() -> Sequence[Effect]:
            self.lookups.carried_out()
            effects: Sequence[Effect] = settle()
            return effects

        actor.aspire, actor._do = sending, doing
        reconciler.take, reconciler.settle = taking, settling

    def _taken(self, event: Event | None, effects: Sequence[Effect]) -> None:
        if isinstance(event, Rollback):
            self.lookups.roll_back(event.names)
        if (
            not isinstance(event, Commit) or not event.names
        ):  # it is a question whether all is taken up
            return
        reload = self._commits.get(event.reply)
        done = any(isinstance(one, Answer) and one.error is None for one in effects)
        self._world.trace.append(f"{reload} is {'let in' if done else 'not let in'}")
        if reload is not None and done:
            reload.committed = True
            self.lookups.commit(reload, event.names)
        self._require(reload, CoreRule.WHOLE, f"{event} is nobody's")

    def record(self, event: BusEvent) -> None:
        """Follow what is published."""
        self._world.trace.append(event)
        if not isinstance(event, ServableState):
            return
        self.moves[event.id.name] += 1
        if event.manager_state is ManagerState.START:
            self.started.append(event.id)
        if event.manager_state is ManagerState.END:
            (self.ended if event.error is None else self.failed).append(event.id)
            text = f"{event.id} ends with {event.error!r}"
            self._require(self._is_planted(event.error), CoreRule.NO_FAULT, text)

    def _is_planted(self, error: BaseException | None) -> bool:
        if error is None or isinstance(error, LoadCancelledError | ClosedError):
            return True
        if isinstance(error, ResourceExhaustedError):
            return self._world.options.memory is not None
        return PLANTED in str(error)

    # ---- the configuration ---------------------------------------------------------------------

    def _accepted(self, reload: Reload, accepted: Accepted | None) -> None:
        if accepted is not None:
            reload.accepted = accepted
            looks = self._world.storage.looks
            reload.seen = {base: len(found) for base, found in looks.items()}

    def _commit_posted(self, reload: Reload, reply: object) -> None:
        self._commits[reply] = reload

    def follow_configuration(self) -> None:
        """Judge the configuration in force, if it is another one."""
        before, after = self._config, self._core.config
        if after is before:
            return
        self._config = after
        self._world.trace.append(f"generation {after.generation} is in force")
        old, new = ({model.name: model for model in one.models} for one in (before, after))
        self.lookups.were[after.generation] = new
        faults = [*faults_of(after.models), *other_platforms(old, new)]
        self._require(not faults, CoreRule.VALIDATED, f"generation {after.generation}: {faults}")
        text = f"{after.generation} after {before.generation}"
        self._require(after.generation > before.generation, CoreRule.GENERATIONS, text)
        for reload in self._world.reloads:
            if reload.accepted is not None and reload.accepted.generation == after.generation:
                self._judge_change(reload, before.generation, old, new)

    def _judge_change(self, reload: Reload, since: int, old: Models, new: Models) -> None:
        text = f"{reload} expected {reload.expected}, and came after {since}"
        self._require(reload.expected in (None, since), CoreRule.EXPECTED, text)
        if reload.order.edit:
            others = (old.keys() | new.keys()) - {one.name for one in reload.order.models}
            changed = [name for name in others if old.get(name) != new.get(name)]
            self._require(not changed, CoreRule.EDITS, f"{reload} also changed {changed}")

    def check_refusal(self, reload: Reload) -> None:
        """What is refused as invalid is invalid, if only beside what else is or was wanted."""
        models = {model.name: model for model in reload.order.models}
        asked = [one.accepted.models for one in self._world.reloads if one.accepted is not None]
        others = any(other_platforms(one, models) for one in (*self.lookups.were.values(), *asked))
        faulty = others or faults_of(reload.order.models)
        self._require(faulty, CoreRule.REFUSED, f"{reload}")
        self._require(reload.accepted is None, CoreRule.VALIDATED, f"{reload} was accepted before")

    # ---- when nothing moves --------------------------------------------------------------------

    def check_settled(self) -> None:
        """Check what must hold whenever nothing is left to do at this time."""
        for reload in self._world.reloads:
            stale = reload.superseded and not reload.caller.done
            self._require(not stale, CoreRule.RETURNS, f"{reload} is superseded, and waits on")
        for name, model in self._core.models.items():
            self._check_reason(name, self._finds(f"{name}:newest"))
            targets = self._core.manager.labels(name)
            for label, version in model.version_labels.items():
                self._check_label(f"{name}@{label}", targets.get(label), version)
        for name in NAMES:
            if name not in self._core.models:
                self._check_reason(name, found=False)

    def _check_reason(self, request: str, found: bool) -> None:
        reason = self._core.explain(request).reason
        text = f"{request} is {'found' if found else 'not found'}, and the reason is {reason}"
        self._require((reason is None) == found, CoreRule.EXPLAINED, text)
        if reason is not None:
            told = reason.text and reason.code not in (ReasonCode.UNKNOWN, ReasonCode.AVAILABLE)
            self._require(told, CoreRule.EXPLAINED, text)

    def _check_label(self, request: str, target: int | None, wanted: int) -> None:
        found = self._finds(request)
        text = f"{request} points to {target}, and is {'found' if found else 'not found'}"
        self._require(found == (target is not None), CoreRule.LABELS, text)
        self._check_reason(request, found=target == wanted)

    def _finds(self, request: str) -> bool:
        """Whether a lookup finds a model that may be used, and the right one."""
        asked = ServableRequest.parse(request)
        try:
            with self._core.get_servable_handle(asked, Model) as handle:
                right = asked.label is None or (
                    handle.id.version == self._core.manager.labels(asked.name).get(asked.label)
                )
                return handle.servable.loaded and handle.servable.id == handle.id and right
        except NotFoundError:
            return False

    # ---- at rest -------------------------------------------------------------------------------

    def check_rest(self) -> None:
        """What is served is what is in force, as far as it can be loaded; nothing else is left."""
        self.check_settled()
        for name in NAMES:
            model = self._core.models.get(name)
            if model is None:
                snapshots = self._core.manager.snapshots(name)
                self._require(not snapshots, CoreRule.SERVED, f"{name} is not wanted: {snapshots}")
            elif self._world.storage.health[model.base_path] is Health.WELL:
                self._check_model(model)
        self._require(not self.lookups.held, CoreRule.SERVED, f"{self.lookups.held} are held")

    def _check_model(self, model: ModelConfig) -> None:
        wanted = chosen(model, self._world.storage.versions[model.base_path])
        view = self.lookups.view(model.name)
        snapshots = self._core.manager.snapshots(model.name)
        text = f"{model.name} is to serve {sorted(wanted)} of {model.base_path}: {snapshots}"
        aspired = {one.id.version: one for one in snapshots if one.aspired}
        self._require(aspired.keys() == wanted, CoreRule.SERVED, text)
        for version, one in aspired.items():
            home = at_home(
                model, {version: view.versions[version]} if version in view.versions else {}
            )
            failed = one.state is HarnessState.ERROR and self._is_planted(one.error)
            ready = one.state is HarnessState.READY and version in view.versions and home
            self._require(ready or failed, CoreRule.SERVED, text)
        extra = view.versions.keys() - wanted
        keeps = isinstance(self._world.options.policy, AvailabilityPreservingPolicy)
        last = keeps and len(extra) == 1 and not view.versions.keys() & wanted and wanted
        self._require(not extra or last, CoreRule.SERVED, text)
        for label, version in model.version_labels.items():
            right = view.labels.get(label) == version or version not in view.versions
            self._require(right, CoreRule.LABELS, f"{label} does not point to {version}: {view}")

    def check_nothing_kept(self) -> None:
        """What is no longer configured has left nothing behind."""
        manager = self._core.manager
        kept = (*manager.snapshots(), *manager.list_available_ids(), *manager._actor.labels)
        self._require(not kept, CoreRule.NOTHING_KEPT, f"{kept} kept")
        in_memory = [one for one, models in self._world.ledger.in_memory.items() if models]
        self._require(not in_memory, CoreRule.NOTHING_KEPT, f"{in_memory} never unloaded")
