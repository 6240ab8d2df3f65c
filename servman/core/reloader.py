"""Putting a configuration in force, and waiting for what becomes of it, with nothing held."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, final

from servman.core.configuration import UNANSWERED, by_name
from servman.core.pipeline import labels_of
from servman.core.progress import Progress
from servman.core.reload import Cancellation, ModelOutcome, ReloadOutcome, ReloadResult
from servman.core.standing import (
    Stand,
    Standing,
    departure,
    not_taken_up,
    standing,
    standing_to_commit,
    standing_to_leave,
)
from servman.core.validation import check
from servman.errors import ClosedError, FailedPreconditionError, ServmanError, WaitTimeoutError
from servman.ids import ServableId, ServableRequest
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from servman.clock import Clock
    from servman.core.config import ModelConfig, ServerConfig
    from servman.core.configuration import Accepted
    from servman.core.noticeboard import Listener
    from servman.core.options import ServerCoreOptions
    from servman.core.stages import Stages


@final
class Reloader:
    """Changes the configuration of a core that is serving, and tells what has come of it.

    Args:
        stages: What serves.
        explain: Says why a request finds nothing.
        note: Is told of each configuration that has come into force, or, with an error, has not.
        options: How the core works.
        clock: The time.

    Threads: any.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        explain: Callable[[ServableRequest], Reason],
        note: Callable[[Accepted, str], None],
        options: ServerCoreOptions,
        clock: Clock,
    ) -> None:
        self._configuration = stages.configuration
        self._pipeline = stages.pipeline
        self._manager = stages.manager
        self._noticeboard = stages.noticeboard
        self._explain = explain
        self._note = note
        self._options = options
        self._clock = clock

    def change(
        self,
        change: Callable[[ServerConfig], ServerConfig],
        *,
        origin: str = "call",
        expected: int | None = None,
        atomic: bool = False,
        deadline: float | None = None,
    ) -> Accepted:
        """Want what *change* makes of the configuration in force; put it in force unless it is atomic.

        *change* may be called several times, where somebody else is quicker.

        Raises:
            InvalidArgumentError: It has faults; the error lists all of them. Nothing was changed.
            FailedPreconditionError: Another generation than the *expected* one is in force, or a label names
                what does not serve, and labels are strict.
            WaitTimeoutError: The manager has not answered a commit by *deadline* (None: for ever).
            ClosedError: The core was closed.
        """
        while True:
            seen, in_force = self._configuration.wanted, self._configuration.in_force
            config = change(in_force.config)
            check(config, self._options, in_force.config)
            if self._options.strict_version_labels:
                self._check_labels(by_name(config))
            if seen is not in_force:  # an atomic one is under way, and may be let in at this moment
                check(config, self._options, seen.config)
            accepted = self._configuration.accept(
                config,
                seen=seen,
                origin=origin,
                atomic=atomic,
                expected=expected,
                deadline=deadline,
            )
            if accepted is not None:
                if accepted.generation > seen.generation and not atomic:
                    self._note(accepted, "")
                self._configuration.hand_on()
                self._noticeboard.wake()  # whoever waits for an older one
                return accepted

    def wait(
        self, accepted: Accepted, deadline: float | None, cancellation: Cancellation | None = None
    ) -> ReloadResult:
        """Wait until every model is decided, and return how each stands then.

        What is optional is not waited for.

        Blocks: until then, until a newer configuration is wanted, until *cancellation*, or until
            *deadline* (None: for ever).

        Raises:
            ClosedError: The core was closed.
        """
        cancellation = cancellation or Cancellation()
        progress = Progress(functools.partial(self._standing, accepted), accepted.counts)
        at_once = deadline is not None and deadline <= self._clock.monotonic()
        heard = False
        with self._noticeboard.listening() as listener:
            cancellation.wakes(listener.wake)
            progress.look_at(accepted.models.keys() | accepted.before.keys())
            while (progress.pending or not heard) and not self._over(
                accepted, deadline, cancellation
            ):
                if progress.pending:
                    progress.look_at(listener.wait(deadline))
                else:  # as far as the manager knows, and lists may be on their way to it
                    before = progress.standings.copy()
                    progress.look_at(self._hear_out(accepted, listener, deadline, cancellation))
                    heard = progress.standings == before  # else more may have been sent meanwhile
        if at_once:  # what changes may not have come to the manager yet
            progress.doubt(accepted.changed)
        outcomes = {
            name: self._outcome(accepted, name, progress.standings[name])
            for name in {**accepted.models, **accepted.before}
        }
        superseded = self._superseded_by(accepted)
        return ReloadResult(
            accepted.generation,
            outcomes,
            superseded_by=superseded,
            timed_out=bool(progress.pending) and superseded is None,
        )

    def outcome_unseen(self, accepted: Accepted) -> ReloadResult:
        """Return what is to become of each model, without looking at any: what changes is pending."""
        # Two for all of them, which may be ten thousand.
        unchanged = {
            one: ModelOutcome(ReloadOutcome.UNCHANGED, required=one) for one in (False, True)
        }
        outcomes = {name: unchanged[model.required] for name, model in accepted.models.items()}
        for name in accepted.changed:
            required = accepted.counts(name)
            outcomes[name] = ModelOutcome(ReloadOutcome.PENDING, required=required)
        return ReloadResult(accepted.generation, outcomes)

    def switch(
        self, accepted: Accepted, deadline: float | None, cancellation: Cancellation | None = None
    ) -> ReloadResult | None:
        """Wait until all that is to change is loaded, and let it in at once, or else put everything back.

        Blocks: until then, until a newer configuration is wanted, until *cancellation*, or until
            *deadline* (None: for ever).

        Returns:
            None where it is in force now; else what kept it from that.

        Raises:
            ClosedError: The core was closed.
        """
        cancellation = cancellation or Cancellation()
        progress = Progress(functools.partial(self._standing_to_commit, accepted), lambda _: True)
        refused: ServmanError | None = None
        try:
            with self._noticeboard.listening() as listener:
                cancellation.wakes(listener.wake)
                progress.look_at(accepted.changed)
                while not self._over(accepted, deadline, cancellation):
                    if progress.failed:  # as far as the manager knows, as in `wait`
                        progress.look_at(self._hear_out(accepted, listener, deadline, cancellation))
                        if progress.failed:
                            break
                        continue  # what it has waited for may have been something newer
                    if not progress.pending:
                        committed, refused = self._commit(accepted, deadline)
                        if committed:
                            self._note(accepted, "")
                            return None
                    # Where it was refused, something has moved in between: a version was published, say.
                    progress.look_at(listener.wait(deadline))
            result = self._not_switched(accepted, progress, refused)
        except BaseException as error:  # a Ctrl-C, say
            self._put_back(accepted, deadline)
            why = "" if self._is_in_force(accepted) else str(error) or type(error).__name__
            self._note(accepted, why)
            raise
        self._put_back(accepted, deadline)
        self._note(accepted, str(result))
        return result

    def _check_labels(self, models: Mapping[str, ModelConfig]) -> None:
        """Refuse labels for what does not serve, as TensorFlow Serving does.

        Raises:
            FailedPreconditionError: There are some; the error lists all of them.
        """
        available = frozenset(self._manager.list_available_ids())
        absent = [
            f"label {label!r} of model {name!r} names version {version}"
            for name, labels in labels_of(models).items()
            for label, version in labels.items()
            if ServableId(name, version) not in available
        ]
        if absent:
            raise FailedPreconditionError(
                f"{'; '.join(absent)}, not currently available for inference; load it first, or turn"
                " strict_version_labels off"
            )

    def _hear_out(
        self,
        accepted: Accepted,
        listener: Listener,
        deadline: float | None,
        cancellation: Cancellation,
    ) -> set[str]:
        """Wait until the manager has taken up what it was told by now; return what has changed with that."""
        reply = self._manager.commit((), expected={})
        reply.add_done_callback(lambda _: listener.wake())
        changed: set[str] = set()
        while not reply.done() and not self._over(accepted, deadline, cancellation):
            changed |= listener.wait(deadline)
        return changed | listener.names()

    # ---- what the waits ask --------------------------------------------------------------------

    def _over(self, accepted: Accepted, deadline: float | None, cancellation: Cancellation) -> bool:
        if self._configuration.closed:
            raise ClosedError("the server core was closed while a reload waited")
        if cancellation.cancelled or self._superseded_by(accepted) is not None:
            return True
        return deadline is not None and self._clock.monotonic() >= deadline

    def _superseded_by(self, accepted: Accepted) -> int | None:
        latest = self._configuration.latest
        return latest if latest > accepted.latest else None

    def _is_in_force(self, accepted: Accepted) -> bool:
        return self._configuration.in_force.generation == accepted.generation

    def _is_taken_up(self, accepted: Accepted) -> bool:
        return self._pipeline.generation == accepted.generation

    def _standing(self, accepted: Accepted, name: str) -> Standing | None:
        model = accepted.models.get(name)
        if model is None and name not in accepted.before:
            return None
        if name in accepted.changed and not self._is_taken_up(accepted):
            return not_taken_up(name)
        outlook, passed = self._pipeline.source.outlook(name), self._pipeline.intake.passed(name)
        snapshots = self._manager.snapshots(name, count_handles=False)
        if model is None:
            return departure(name, passed, snapshots)
        return standing(model, outlook, passed, snapshots, self._manager.labels(name))

    def _standing_to_commit(self, accepted: Accepted, name: str) -> Standing | None:
        if name not in accepted.changed:
            return None
        if not self._is_taken_up(accepted):
            return not_taken_up(name)
        outlook, passed = self._pipeline.source.outlook(name), self._pipeline.intake.passed(name)
        snapshots = self._manager.snapshots(name, count_handles=False)
        if name not in accepted.models:
            return standing_to_leave(name, passed, snapshots)
        return standing_to_commit(accepted.models[name], outlook, passed, snapshots)

    # ---- atomic --------------------------------------------------------------------------------

    def _commit(
        self, accepted: Accepted, deadline: float | None
    ) -> tuple[bool, ServmanError | None]:
        """Let everything in by one assignment, if it is all there, and put it in force; return whether, or why not.

        From the question to the manager's answer nothing else is accepted: so what is in force is what is
        served, and nothing is taken back that lookups may have found.

        Raises:
            WaitTimeoutError: The manager has not answered by *deadline*.
        """
        expected = {
            name: frozenset(self._pipeline.intake.passed(name)) for name in accepted.changed
        }
        labels = labels_of(accepted.models)
        if not self._configuration.begin_commit(accepted):
            return False, None
        reply = None
        try:
            reply = self._manager.commit(accepted.changed, expected=expected, labels=labels)
        finally:
            if reply is None:
                self._configuration.end_commit(accepted, done=False)
            else:  # not on this thread, which a Ctrl-C may call away
                reply.add_done_callback(functools.partial(self._committed, accepted))
        self._configuration.wait_for_commit(deadline)
        if not reply.done() and not self._configuration.closed:
            raise WaitTimeoutError(UNANSWERED)
        # Not by what is in force: that may be the next one already.
        return reply.done() and reply.exception() is None, _why_not(reply)

    def _committed(self, accepted: Accepted, reply: Future[None]) -> None:
        done = reply.exception() is None
        if done:
            self._pipeline.keep()
        left = self._configuration.end_commit(accepted, done=done)
        if left and done:
            self._note(accepted, "")  # after all
        elif left:
            with contextlib.suppress(ClosedError):
                self._configuration.hand_on()

    def _put_back(self, accepted: Accepted, deadline: float | None) -> None:
        """Want again what is in force, unless something newer is wanted."""
        if self._configuration.withdraw(accepted, deadline):
            with contextlib.suppress(ClosedError):  # then nothing is served any more
                self._configuration.hand_on()

    def _not_switched(
        self, accepted: Accepted, progress: Progress, refused: ServmanError | None
    ) -> ReloadResult:
        superseded = self._superseded_by(accepted)
        outcomes = {
            name: ModelOutcome(ReloadOutcome.PUT_BACK, required=accepted.counts(name))
            if found.stand is Stand.AVAILABLE
            else self._outcome(accepted, name, found)
            for name in {**accepted.models, **accepted.before}
            if (found := progress.standings.get(name)) is not None
        }
        asked, in_force = accepted.generation, self._configuration.in_force.generation
        return ReloadResult(
            in_force if superseded is None else asked,
            outcomes,
            superseded_by=superseded,
            timed_out=not progress.failed and superseded is None,
            rolled_back=True,
            error=None if progress.failed else refused,
        )

    # ---- results -------------------------------------------------------------------------------

    def _outcome(self, accepted: Accepted, name: str, found: Standing) -> ModelOutcome:
        required = accepted.counts(name)
        if found.stand is Stand.AVAILABLE:
            changed = name in accepted.changed
            outcome = ReloadOutcome.AVAILABLE if changed else ReloadOutcome.UNCHANGED
            return ModelOutcome(outcome, required=required)
        if found.stand is Stand.GONE:
            return ModelOutcome(ReloadOutcome.REMOVED)
        failed = found.stand is Stand.FAILED
        outcome = ReloadOutcome.FAILED if failed else ReloadOutcome.PENDING
        return ModelOutcome(outcome, self._why(accepted, name, found), required)

    def _why(self, accepted: Accepted, name: str, found: Standing) -> Reason | None:
        if found.about is None:
            return None
        newer = self._superseded_by(accepted)
        if newer is not None:
            text = f"generation {newer} took the place of generation {accepted.generation} before that was decided"
            return Reason(ReasonCode.UNKNOWN, f"model {name!r}: {text}", {"name": name})
        source = self._pipeline.source
        known = source.explain_outlook(found.about) if found.at_source else None
        if known is None and self._is_in_force(accepted) and name in accepted.models:
            known = self._explain(found.about)
        elif known is None:  # what there is beyond that it is to go, or is not to be found yet
            known = self._manager.explain(found.about) or self._pipeline.explain(found.about)
        if known is not None and known.code is not ReasonCode.AVAILABLE:
            return known
        text = f"model {name!r}: generation {accepted.generation} has not been taken up yet"
        return Reason(ReasonCode.NOT_LOOKED_YET, text, {"name": name})


def _why_not(reply: Future[None]) -> ServmanError | None:
    error = reply.exception() if reply.done() else None
    return error if isinstance(error, ServmanError) else None
