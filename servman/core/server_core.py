"""`ServerCore`: builds every stage from a configuration, connects them and runs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar, final, overload

from servman.clock import Clock, SystemClock, deadline_after
from servman.core.config import ServerConfig
from servman.core.config_file import ConfigFile
from servman.core.examiner import Examiner
from servman.core.explainer import ConfigExplainer, LabelExplainer, OnItsWay
from servman.core.options import ServerCoreOptions
from servman.core.planner import Planner
from servman.core.readiness import Probes, Readiness
from servman.core.reconfiguring import Reconfiguring
from servman.core.reloader import Reloader
from servman.core.stages import Stages
from servman.core.transition import change_in_words
from servman.core.validation import check
from servman.core.waiting import Waiting
from servman.errors import ClosedError, FailedPreconditionError, NotFoundError
from servman.forks import tie
from servman.ids import AnyRequest, ServableRequest
from servman.reasons import Reason, ReasonCode, first_reason
from servman.state import ManagerState
from servman.threads import refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.core.config import ModelConfig
    from servman.core.config_actor import ConfigFileStatus
    from servman.core.configuration import Accepted
    from servman.core.diagnosis import Diagnosis
    from servman.core.transition import Transition
    from servman.errors import ServmanError
    from servman.events import EventBus
    from servman.manager import AspiredVersionsManager, CloseReport, ServableHandle
    from servman.monitor import ServableStateMonitor, WaitResult

T = TypeVar("T")


@final
class ServerCore(Reconfiguring, Waiting):
    """Serves the models of a configuration: loads their versions as they appear, and hands out handles.

    1. `start` never waits for a model: wait with `wait_until_available`, which always comes back with
       what was reached or the reason.
    2. One model that is misconfigured, missing, broken or slow harms no other.
    3. Reading (`config`, `explain`, handles, waits) takes no lock that a load, a look at the disk or a
       change of the configuration could hold.
    4. In a child that is forked after `start`, every use raises `FailedPreconditionError`, and nothing hangs:
       fork first, start afterwards.

    A context manager, and an asynchronous one, that starts and closes it.

    Args:
        config: The models. An empty configuration serves nothing.
        options: How to work.

    Raises:
        InvalidArgumentError: The configuration has faults, and the error lists all of them; or an option
            has one.

    Threads: any.
    """

    def __init__(
        self, config: ServerConfig | None = None, *, options: ServerCoreOptions | None = None
    ) -> None:
        config = ServerConfig() if config is None else config
        options = ServerCoreOptions() if options is None else options
        check(config, options)
        self._clock: Clock = options.clock or SystemClock()
        self._stages = Stages(config, options, self._clock)
        self._manager, self._monitor = self._stages.manager, self._stages.monitor
        self._pipeline, configuration = self._stages.pipeline, self._stages.configuration
        self._on_its_way = OnItsWay(configuration)
        # From what stands nearest to serving outwards, but for what makes all the rest pointless.
        self._explainers = (
            ConfigExplainer(self, self._pipeline.platforms),
            LabelExplainer(self._manager, self._pipeline),
            self._manager,
            self._pipeline,
            self._on_its_way,
        )
        for explainer in self._explainers:
            self._monitor.add_explainer(explainer)
        self._reloader = Reloader(
            self._stages,
            explain=self._reason,
            note=self._note_config,
            options=options,
            clock=self._clock,
        )
        self._planner = Planner(options, self._clock)
        self._examiner = Examiner(
            self._stages,
            reason=self._reason,
            poll_interval=options.poll_interval,
            clock=self._clock,
        )
        self._probes = Probes(
            self,
            {
                "manager": lambda: self._manager.running,
                "source": lambda: self._pipeline.source.running,
            },
            self._stages.roll,
            lambda name: self._reason(ServableRequest.latest(name)),
            without_models=options.ready_without_models,
        )
        self._config_file = self._followed(options)
        self._initial_load_threads = options.num_initial_load_threads
        self._started = False
        self._closed = False
        configuration.hand_on()
        self._note_config(configuration.in_force)
        tie(self, self._manager)

    # ---- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start looking for versions and loading them. Never waits for a model.

        Starting twice does nothing.

        Blocks: only with `fail_if_zero_versions_at_startup`, for one look at each base path.

        Raises:
            ClosedError: The core was closed.
            ServmanError: With `fail_if_zero_versions_at_startup`, a model has no version. Nothing was
                started, but that a config file is followed; it may be called again. A `with` block closes
                the core.
        """
        if self._closed:
            raise ClosedError("the server core was closed; make a new one")
        if self._config_file is not None:
            self._config_file.start()
        with self._stages.configuration.undisturbed():
            self._stages.start()
            is_first, self._started = not self._started, True
        if is_first:
            self._hurry()

    def poll(self) -> None:
        """Look at every base path now, and at the config file, if one is followed. Never waits.

        For whoever has turned polling off, or knows that something has changed.

        Raises:
            ClosedError: The core was closed.
            FailedPreconditionError: It was not started.
        """
        if self._closed:
            raise ClosedError("the server core was closed; make a new one")
        if not self._started:
            raise FailedPreconditionError("the server core was not started; call start() first")
        if self._config_file is not None:
            self._config_file.poll()
        self._pipeline.source.poll()

    def close(self, timeout: float | None = 30.0) -> CloseReport:
        """Look no more, let handles close, unload everything, end every wait and every thread.

        Idempotent; one deadline for all of it.

        Blocks: until that is done, or for *timeout* seconds (None: for ever).

        Returns:
            Which versions had to be left behind at the deadline, and why.

        Raises:
            FailedPreconditionError: The caller is one of servman's own threads. Nothing was changed.
        """
        refuse_own_thread("ServerCore.close()")
        deadline = deadline_after(self._clock, timeout)
        self._closed = True
        self._stages.configuration.close()
        self._stages.noticeboard.wake()
        try:
            if self._config_file is not None:
                self._config_file.close(timeout)
        finally:
            report = self._stages.close(deadline)
        return report

    async def aclose(self, timeout: float | None = 30.0) -> CloseReport:  # noqa: ASYNC109 -- as `close`
        """Do as `close` does, without blocking the event loop."""
        return await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        try:
            self.start()
        except (
            BaseException
        ):  # nobody else would: there is no exit from a block that was not entered
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.start)
        except BaseException:  # as above; the task may have been cancelled
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._started

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    # ---- the stages ----------------------------------------------------------------------------

    @property
    def models(self) -> Mapping[str, ModelConfig]:
        """The models of the configuration in force, by name. Never waits."""
        return self._stages.configuration.in_force.models

    @property
    def config_file_status(self) -> ConfigFileStatus | None:
        """What is known of the config file that is followed; None where none is. Never waits."""
        return None if self._config_file is None else self._config_file.status

    @property
    def manager(self) -> AspiredVersionsManager:
        """What holds the models in memory."""
        return self._manager

    @property
    def monitor(self) -> ServableStateMonitor:
        """What has happened to every version, and a way to wait for it."""
        return self._monitor

    @property
    def event_bus(self) -> EventBus:
        """What carries every change of state."""
        return self._stages.event_bus

    # ---- serving -------------------------------------------------------------------------------

    @overload
    def get_servable_handle(
        self, request: AnyRequest, type: None = None
    ) -> ServableHandle[Any]: ...
    @overload
    def get_servable_handle(self, request: AnyRequest, type: type[T]) -> ServableHandle[T]: ...

    def get_servable_handle(
        self, request: AnyRequest, type: type[Any] | None = None
    ) -> ServableHandle[Any]:
        """Return a handle on the version that *request* asks for. Takes no lock, never waits.

        Args:
            request: "m" for the latest, "m:3", "m:earliest", "m:newest", "m@stable", an id or a request.
            type: What the servable must be an instance of; None takes any.

        Raises:
            NotFoundError: No such version is available; the error's reason says why.
            InvalidArgumentError: The request cannot be read, its label is none that there is, or the servable is of
                another type.
            ClosedError: The core was closed.
        """
        try:
            return self._manager.get_servable_handle(request, type)
        except NotFoundError:
            wanted = ServableRequest.of(request)
        # The manager knows of what is aspired; the core also knows why nothing is.
        reason = self._reason(wanted)
        if reason.code is ReasonCode.AVAILABLE:  # it came up since the lookup
            reason = self._on_its_way.explain(wanted)
        raise NotFoundError(f"servable not found for request {wanted}: {reason}", reason=reason)

    # ---- why, and history ----------------------------------------------------------------------

    def explain(self, request: AnyRequest) -> Diagnosis:
        """Say what is going on with a model, one version of it, or one of its labels. Never waits.

        Args:
            request: "m" for the model, "m:3" or "m@stable", an id or a request.

        Raises:
            InvalidArgumentError: The request cannot be read.
        """
        return self._examiner.examine(request)

    def history(self, name: str | None = None, limit: int | None = None) -> tuple[Transition, ...]:
        """Return what has happened to the model *name*, oldest first. Never waits.

        What `wait_until_available` or a subscriber was told of is there when they are told.

        Args:
            name: The model; None for all of them, and for the configurations.
            limit: How many transitions at most, the last ones; None for all that are kept.

        Raises:
            InvalidArgumentError: *limit* is no such number.
        """
        return self._stages.history.transitions(name, limit)

    # ---- probes --------------------------------------------------------------------------------

    @property
    def live(self) -> Readiness:
        """Whether it was started, was not closed, and its threads run. Never waits."""
        return self._probes.live

    @property
    def ready(self) -> Readiness:
        """Whether it lives, and every required model was available once. Never waits.

        It stays so during reloads: a model that comes later, or fails later, does not change it. Closing
        does, and a configuration without models, unless `ServerCoreOptions.ready_without_models`.
        """
        return self._probes.ready

    @property
    def healthy(self) -> Readiness:
        """Whether it lives, and every required model is available now. Never waits."""
        return self._probes.healthy

    def _followed(self, options: ServerCoreOptions) -> ConfigFile | None:
        if options.config_file is None:
            return None
        return ConfigFile(
            options.config_file,
            lambda config: self.reload_config(config, wait=False, origin="file"),
            refused=self._note_refused_file,
            poll_interval=options.config_file_poll_interval,
            watch_events=options.watch,
            allow_empty=options.allow_empty_config,
            clock=self._clock,
        )

    def _note_refused_file(self, error: ServmanError) -> None:
        in_force = self._stages.configuration.in_force.generation
        self._stages.history.note_config(
            in_force, "file", "the config file was refused", str(error)
        )

    def _hurry(self) -> None:
        """Let more loads run at once, if asked for, until the first models are decided."""
        if self._initial_load_threads is not None and self.models:
            usual = self._manager.num_load_threads

            def slow_down(_: WaitResult) -> None:
                self._manager.num_load_threads = usual

            first = [ServableRequest.latest(name) for name in self.models]
            self._manager.num_load_threads = self._initial_load_threads
            self._monitor.notify_when(first, ManagerState.AVAILABLE, slow_down)

    def _note_config(self, accepted: Accepted, error: str = "") -> None:
        """Remember that *accepted* has come into force, or, with *error*, that it has not."""
        config = accepted.config
        if error:
            text = f"generation {config.generation} did not come into force"
            in_force = self._stages.configuration.in_force.generation
            error = "; ".join(line.strip() for line in error.splitlines())
            self._stages.history.note_config(in_force, config.origin, text, error)
            return
        required = (name for name, model in accepted.models.items() if model.required)
        self._stages.roll.configure(config.generation, len(accepted.models), required)
        text = change_in_words(accepted.before, accepted.models)
        self._stages.history.note_config(config.generation, config.origin, text)

    def _reason(self, request: ServableRequest) -> Reason:
        return first_reason(self._explainers, request) or self._on_its_way.explain(request)
