"""Changing what a core serves, and saying what that would do: one part of `ServerCore`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Unpack

from servman.clock import deadline_after
from servman.core.editing import ReloadOptions, with_model, with_model_changed, without_model
from servman.core.planner import LiveScene
from servman.core.preview import main_memory
from servman.core.reload import Cancellation
from servman.errors import FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.clock import Clock
    from servman.core.config import ModelConfig, ServerConfig
    from servman.core.plan import Plan
    from servman.core.planner import Planner
    from servman.core.reload import ReloadResult
    from servman.core.reloader import Reloader
    from servman.core.stages import Stages

_PLANNING: Final = 10.0
"""Seconds that base paths and loaders are given to answer before an atomic reload."""


class Reconfiguring:
    """The configuration in force can be replaced, whole or model by model, while it is served.

    Threads: any.
    """

    _clock: Clock
    _stages: Stages
    _planner: Planner
    _reloader: Reloader
    _started: bool

    @property
    def config(self) -> ServerConfig:
        """The configuration in force. Never waits."""
        return self._stages.configuration.in_force.config

    def reload_config(
        self,
        config: ServerConfig,
        *,
        wait: bool = True,
        timeout: float | None = 60.0,
        atomic: bool = False,
        expected_generation: int | None = None,
        origin: str = "call",
        cancellation: Cancellation | None = None,
    ) -> ReloadResult:
        """Serve what *config* says from now on, and nothing else.

        1. It is checked first, and whole. One that has faults changes nothing.
        2. It is in force, and told to every stage, before anything is waited for; the wait holds nothing.
           It is applied at once, whatever the poll interval.
        3. A model that fails harms no other. It can be corrected, repeated or taken back at any moment by
           another call, also while this one waits; the newer one ends the wait of the older.
        4. The same configuration again changes nothing, and waits for what is not there yet.

        With *atomic*, all that is new is loaded beside what is served, and none of it is found. When all of
        it is ready, everything changes in one step: no lookup sees a mixture. Where something fails, or is
        not ready in time, all is put back as it was. The configuration in force is the old one until then.

        Args:
            config: The whole configuration.
            wait: Whether to wait until each model is decided: what is wanted of it serves or has failed, what
                is not wanted any more has gone.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.
            atomic: Whether it is all or nothing.
            expected_generation: The generation that has to be in force; None for any.
            origin: Who asks for it, for the history: "call", "file", "rpc", or whatever tells most.
            cancellation: Ends the wait early; None for none.

        Blocks: with *wait*, until each is decided, a newer configuration is wanted, or the time is up; without,
            while an atomic one of somebody else is let in. Before `start` nothing is waited for.

        Returns:
            What has become of each model. `bool()` says whether all is well.

        Raises:
            InvalidArgumentError: It has faults, and the error lists all of them; or *atomic* without *wait*.
            FailedPreconditionError: Another generation than the expected one is in force; a label names what
                does not serve, and `ServerCoreOptions.strict_version_labels` is set; or, with *atomic*, the new
                cannot be loaded beside the old.
            WaitTimeoutError: An atomic one, this or another, is being let in and the manager has not answered in
                time. It may still be.
            ClosedError: The core was closed, before or during the wait.
        """
        return self._reload(
            lambda _: config,
            wait=wait,
            timeout=timeout,
            atomic=atomic,
            expected_generation=expected_generation,
            origin=origin,
            cancellation=cancellation,
        )

    async def reload_config_async(
        self, config: ServerConfig, **options: Unpack[ReloadOptions]
    ) -> ReloadResult:
        """Do as `reload_config` does, whose options it takes, without blocking the event loop.

        Cancelling the task ends the wait. What is in force by then stays so, until another reload; an atomic one that
        is not is taken back.
        """
        cancellation = options.get("cancellation") or Cancellation()
        options["cancellation"] = cancellation
        try:
            return await asyncio.to_thread(self.reload_config, config, **options)
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

    def add_model(self, model: ModelConfig, **options: Unpack[ReloadOptions]) -> ReloadResult:
        """Serve one more model; else as `reload_config`, whose options it takes.

        Raises:
            AlreadyExistsError: A model of that name is configured.
        """
        return self._reload(lambda config: with_model(config, model), **options)

    def update_model(self, model: ModelConfig, **options: Unpack[ReloadOptions]) -> ReloadResult:
        """Configure the model of that name like this; else as `reload_config`, whose options it takes.

        Raises:
            NotFoundError: No model of that name is configured.
        """
        return self._reload(lambda config: with_model_changed(config, model), **options)

    def remove_model(self, name: str, **options: Unpack[ReloadOptions]) -> ReloadResult:
        """Serve one model less; else as `reload_config`, whose options it takes.

        Raises:
            NotFoundError: No model of that name is configured.
        """
        return self._reload(lambda config: without_model(config, name), **options)

    def plan(self, config: ServerConfig, *, timeout: float | None = 10.0) -> Plan:
        """Say what `reload_config` would do with *config* as the disk stands, and do nothing of it.

        Args:
            config: The whole configuration.
            timeout: Seconds for the base paths of what is new or changed, and for the loaders of what would
                be loaded, to answer. What has not answered by then is told as unknown.

        Blocks: for *timeout* seconds at most (None: as long as they take), and about a second more.
        """
        tracker = self._stages.tracker
        return self._planner.plan(
            self.config,
            config,
            timeout=timeout,
            scene=LiveScene(self._stages.manager, self._stages.pipeline),
            memory_now=0 if tracker is None else main_memory(tracker.used),
        )

    def _reload(
        self,
        change: Callable[[ServerConfig], ServerConfig],
        *,
        wait: bool = True,
        timeout: float | None = 60.0,
        atomic: bool = False,
        expected_generation: int | None = None,
        origin: str = "call",
        cancellation: Cancellation | None = None,
    ) -> ReloadResult:
        deadline = deadline_after(self._clock, timeout)
        if not isinstance(cancellation, Cancellation | None):
            raise InvalidArgumentError(
                f"{cancellation!r} is no Cancellation; make one, or pass None"
            )
        if atomic and not wait:
            raise InvalidArgumentError(
                "an atomic reload has to be waited for: somebody has to let it in; call it with wait=True,"
                " on a thread of yours"
            )
        atomic = atomic and self._started  # before, nothing is served that could be mixed
        if atomic:
            self._check_atomic(change(self.config), timeout)
        accepted = self._reloader.change(
            change,
            origin=origin,
            expected=expected_generation,
            atomic=atomic,
            deadline=deadline,
        )
        if accepted.atomic:
            refused = self._reloader.switch(accepted, deadline, cancellation)
            if refused is not None:
                return refused
        if wait and self._started:  # else nothing would come of it
            return self._reloader.wait(accepted, deadline, cancellation)
        return self._reloader.outcome_unseen(accepted)

    def _check_atomic(self, config: ServerConfig, timeout: float | None) -> None:
        """Refuse what cannot be loaded beside what is served.

        Raises:
            FailedPreconditionError: It cannot; the error lists all of why.
        """
        plan = self.plan(config, timeout=_PLANNING if timeout is None else min(timeout, _PLANNING))
        obstacles = plan.atomic_obstacles
        if obstacles:
            raise FailedPreconditionError(
                "the configuration cannot be put in force all at once: " + "; ".join(obstacles)
            )
