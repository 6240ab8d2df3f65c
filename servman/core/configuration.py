"""The configuration in force, and handing it on to the stages: one at a time, the newest last."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from servman.core.config import is_absolute
from servman.errors import ClosedError, FailedPreconditionError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from servman.clock import Clock
    from servman.core.config import ModelConfig, ServerConfig


UNANSWERED: Final = (
    "the manager has not answered the commit of an atomic reload in time, which may still be done: find out what"
    " its thread does; a policy or sort_actions of yours may hang"
)
"""What is told where the manager's thread is stuck."""


@final
@dataclass(frozen=True, slots=True)
class Accepted:
    """A configuration that was accepted.

    Attributes:
        config: It, with its generation.
        models: Its models by name.
        before: The models by name that were in force when it was accepted.
        changed: The names of those that are new, gone, or configured in another way.
        latest: The last generation that anybody had asked for by then.
        atomic: Whether it is to come into force when all of it is ready; false once it has.
    """

    config: ServerConfig
    models: Mapping[str, ModelConfig]
    before: Mapping[str, ModelConfig]
    changed: frozenset[str]
    latest: int
    atomic: bool = False

    @property
    def generation(self) -> int:
        """Its number."""
        return self.config.generation

    def counts(self, name: str) -> bool:
        """Return whether all is well only if the model *name* is as wanted: if it is required, or to go."""
        model = self.models.get(name)
        return model is None or model.required


@final
class Configuration:
    """Which configuration is in force, and which was asked for last.

    Args:
        config: The first one.
        tell: Tells the stages of one; never called by two threads at a time, and with no lock held.
        clock: The time.

    Attributes:
        in_force: What is served. Reading it never waits.
        wanted: What was asked for last. An atomic one is wanted before it is in force.
        latest: The last generation that was asked for, whatever has become of it.
        closed: Whether nothing is accepted any more.

    Threads: any.
    """

    def __init__(
        self, config: ServerConfig, tell: Callable[[Accepted], None], clock: Clock
    ) -> None:
        self._tell = tell
        self._clock = clock
        self.latest = 1
        first = dataclasses.replace(config, generation=self.latest, origin="start")
        models = by_name(first)
        self.in_force = self.wanted = Accepted(first, models, {}, frozenset(models), self.latest)
        self._told: Accepted | None = None
        self._base: Accepted | None = None  # of what was told, the last that was in force
        self.closed = False
        self._telling = False
        self._committing = False
        self._left: Accepted | None = None  # what was committed still when its thread gave up
        # Guards all of these; what is in force and wanted is read without it.
        self._changed = threading.Condition(threading.Lock())

    def accept(
        self,
        config: ServerConfig,
        *,
        seen: Accepted,
        origin: str = "call",
        atomic: bool = False,
        expected: int | None = None,
        deadline: float | None = None,
    ) -> Accepted | None:
        """Want *config*, and put it in force unless it is atomic.

        Args:
            config: A configuration that holds for what was *seen*.
            seen: What was wanted when that was found.
            origin: Who asks for it.
            atomic: Whether it comes into force by a commit.
            expected: The generation that has to be in force; None for any.
            deadline: When to give up; None: never.

        Blocks: while an atomic one is being committed, which takes the manager a step.

        Returns:
            What was accepted; what is in force, where it is the same; None where something else is wanted by
            now than was seen.

        Raises:
            FailedPreconditionError: Another generation than the expected one is in force.
            WaitTimeoutError: The manager has not answered a commit by the deadline.
            ClosedError: The core was closed.
        """
        in_force = self.in_force
        # Not under the lock: what is compared may be foreign.
        models = _with_those_of(in_force.models, by_name(config), _moves(in_force.config, config))
        changed = _changed(in_force.models, models)
        same = not changed and _places(config) == _places(in_force.config)
        with self._changed:
            if not self._may_change_by_locked(deadline):
                raise WaitTimeoutError(UNANSWERED)
            if self.closed:
                raise ClosedError("the server core was closed; make a new one")
            if seen is not self.wanted or in_force is not self.in_force:
                return None
            if expected is not None and expected != in_force.generation:
                raise FailedPreconditionError(
                    f"generation {in_force.generation} of the configuration is in force, not"
                    f" {expected}: somebody else has changed it; read it, and decide again"
                )
            if same and self.wanted is in_force:
                return dataclasses.replace(
                    in_force, before=models, changed=changed, latest=self.latest
                )
            self.latest += 1
            numbered = dataclasses.replace(
                config, models=tuple(models.values()), generation=self.latest, origin=origin
            )
            self.wanted = Accepted(numbered, models, in_force.models, changed, self.latest, atomic)
            if not atomic:
                self.in_force = self.wanted
            return self.wanted

    def begin_commit(self, accepted: Accepted) -> bool:
        """Let nothing else be wanted until `end_commit`, if this atomic one still is; return whether it is."""
        with self._changed:
            if self.closed or self.wanted is not accepted:
                return False
            self._committing = True
            return True

    def end_commit(self, accepted: Accepted, *, done: bool) -> bool:
        """Put it in force if the commit was *done*; return whether nobody waits for it any more.

        Then it is withdrawn where it was not done.
        """
        with self._changed:
            if done:
                in_force = dataclasses.replace(accepted, atomic=False)
                if self._told is accepted:
                    self._told = self._base = in_force
                self.in_force = self.wanted = in_force
            left = self._left is accepted
            if left and not done and self.wanted is accepted:
                self.wanted = self.in_force
            self._committing = False
            self._changed.notify_all()
            return left

    def wait_for_commit(self, deadline: float | None) -> None:
        """Wait until nothing is being committed, the core was closed, or *deadline* has come (None: never)."""
        with self._changed:
            self._may_change_by_locked(deadline)

    def withdraw(self, accepted: Accepted, deadline: float | None) -> bool:
        """Want what is in force in the place of an atomic one; return whether that was still wanted.

        Blocks: while it is being committed, until *deadline* (None: for ever). What is committed still cannot
            be withdrawn.
        """
        with self._changed:
            if not self._may_change_by_locked(deadline):
                self._left = accepted
                return False
            if self.wanted is not accepted:
                return False
            self.wanted = self.in_force
            return True

    def close(self) -> None:
        """Accept nothing more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def hand_on(self) -> None:
        """Tell the stages what is wanted, unless they know.

        Blocks: while another thread tells them.
        """
        with self.undisturbed():
            wanted, in_force = self.wanted, self.in_force
            if wanted.atomic and in_force is not self._base:  # its thread was not quick enough
                self._pass_on(in_force)
            if wanted is not self._told:
                self._pass_on(wanted)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Tell the stages nothing during the block, but for what the block tells them.

        Blocks: while another thread is in such a block.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._telling)
            self._telling = True
        try:
            yield
        finally:
            with self._changed:
                self._telling = False
                self._changed.notify_all()

    def _pass_on(self, accepted: Accepted) -> None:
        self._tell(accepted)
        self._told = accepted
        if not accepted.atomic:
            self._base = accepted

    def _may_change_by_locked(self, deadline: float | None) -> bool:
        """Wait until something else may be wanted; return whether it may, or False at *deadline*."""
        while self._committing and not self.closed:
            if deadline is not None and self._clock.monotonic() >= deadline:
                return False
            self._clock.wait_until(self._changed, deadline)
        return True


def by_name(config: ServerConfig) -> dict[str, ModelConfig]:
    """Return the models of *config* by name."""
    return {model.name: model for model in config.models}


def _places(config: ServerConfig) -> tuple[str | None, str]:
    return config.root_dir, config.storage_path_prefix


def _moves(before: ServerConfig, after: ServerConfig) -> Callable[[ModelConfig], bool]:
    """Return what says whether a model that both have alike comes from another place afterwards."""
    if before.storage_path_prefix != after.storage_path_prefix:
        return lambda _: True
    if before.root_dir != after.root_dir:
        return lambda model: not is_absolute(model.base_path)
    return lambda _: False


def _with_those_of(
    before: Mapping[str, ModelConfig],
    after: Mapping[str, ModelConfig],
    moves: Callable[[ModelConfig], bool],
) -> dict[str, ModelConfig]:
    """Return *after*, with the very objects of *before* where nothing changes: nobody compares them again."""
    shared = {}
    for name, one in after.items():
        known = before.get(name)
        if known is None or not (known is one or known == one):
            shared[name] = one
        else:
            shared[name] = dataclasses.replace(known) if moves(known) else known
    return shared


def _changed(before: Mapping[str, ModelConfig], after: Mapping[str, ModelConfig]) -> frozenset[str]:
    names = before.keys() | after.keys()
    return frozenset(name for name in names if before.get(name) is not after.get(name))
