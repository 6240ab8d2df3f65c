"""Puts together what all stages know of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from servman.core.advice import Advice, advise
from servman.core.diagnosis import Diagnosis, VersionDiagnosis
from servman.errors import ServmanError
from servman.ids import Selector, ServableId, ServableRequest
from servman.manager import HarnessState
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from servman.clock import Clock
    from servman.core.config import ModelConfig
    from servman.core.stages import Stages
    from servman.ids import AnyRequest
    from servman.manager import ServableStateSnapshot

_TRANSITIONS: Final = 8
"""How many transitions a diagnosis has at most."""


@final
class Examiner:
    """Asks every stage what it knows of one model.

    All of it is read from what the stages have published: nothing is waited for, and what it costs does
    not depend on how many models there are.

    Threads: any.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        reason: Callable[[ServableRequest], Reason],
        poll_interval: float,
        clock: Clock,
    ) -> None:
        self._configuration = stages.configuration
        self._pipeline = stages.pipeline
        self._manager = stages.manager
        self._history = stages.history
        self._roll = stages.roll
        self._reason = reason
        self._poll_interval = poll_interval
        self._clock = clock

    def examine(self, request: AnyRequest) -> Diagnosis:
        """Return what is going on with what *request* asks for.

        Raises:
            InvalidArgumentError: The request cannot be read.
        """
        asked = ServableRequest.of(request)
        name = asked.name
        in_force = self._configuration.in_force
        config = in_force.models.get(name)
        snapshots = self._manager.snapshots(name)
        reason = self._missing(_meant(asked))
        advice = self._advice(asked, reason, config, snapshots)
        return Diagnosis(
            name,
            config,
            tuple(self._manager.list_available_ids(name)),
            reason,
            self._versions(snapshots),
            None if config is None else self._pipeline.status(name),
            request=str(asked),
            next=advice.next,
            remedy=advice.remedy,
            labels=self._manager.labels(name),
            required=self._roll.required(name),
            delays_ready=self._roll.awaits(name),
            generation=in_force.generation,
            origin=in_force.config.origin,
            history=self._history.transitions(name, _TRANSITIONS),
            time=self._clock.wall(),
        )

    def _missing(self, request: ServableRequest) -> Reason | None:
        # During an atomic reload the stages speak of what is to come, and what is in force stands.
        if request.label is None and self._is_found(request):
            return None
        reason = self._reason(request)
        if reason.code is not ReasonCode.AVAILABLE:
            return reason
        wanted = self._configuration.wanted
        if request.label is not None or not wanted.atomic or request.name not in wanted.changed:
            return None
        text = f"{request} is not looked after while an atomic reload is under way that changes it"
        return Reason(ReasonCode.HELD, text, {"name": request.name})

    def _is_found(self, request: ServableRequest) -> bool:
        try:
            self._manager.get_servable_handle(request).close()
        except ServmanError:
            return False
        return True

    def _versions(self, snapshots: Sequence[ServableStateSnapshot]) -> tuple[VersionDiagnosis, ...]:
        epoch = self._clock.wall() - self._clock.monotonic()
        return tuple(VersionDiagnosis.of(one, self._why(one), epoch) for one in snapshots)

    def _why(self, snapshot: ServableStateSnapshot) -> Reason | None:
        if not snapshot.aspired or snapshot.state is HarnessState.READY:
            return None
        return self._manager.explain(snapshot.id)

    def _advice(
        self,
        asked: ServableRequest,
        reason: Reason | None,
        config: ModelConfig | None,
        snapshots: Sequence[ServableStateSnapshot],
    ) -> Advice:
        if reason is None:
            return Advice()
        version = asked.version
        if asked.selector is Selector.LABELED and config is not None:
            version = config.version_labels.get(asked.label or "")
        elif version is None:
            wanted = (one.id.version for one in snapshots if one.aspired or one.wanted_again)
            version = max(wanted, default=None)
        about = None if version is None else ServableId(asked.name, version)
        return advise(reason, about, self._poll_interval)


def _meant(asked: ServableRequest) -> ServableRequest:
    """Return what decides whether all is well: of a model, its newest wanted version."""
    return ServableRequest.newest(asked.name) if asked.selector is Selector.LATEST else asked
