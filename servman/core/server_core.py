"""`ServerCore`: builds every stage from a configuration, connects them and runs them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, final, overload

from servman.clock import Clock, SystemClock, deadline_after
from servman.core.config import ServerConfig, ServerCoreOptions, check
from servman.core.diagnosis import Diagnosis
from servman.core.pipeline import Pipeline
from servman.errors import ClosedError, NotFoundError
from servman.events import EventBus
from servman.forks import tie
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.manager import AspiredVersionsManager, CloseReport, ResourceTracker
from servman.monitor import ServableStateMonitor
from servman.reasons import Reason, ReasonCode, first_reason
from servman.resources import MAIN_MEMORY, ResourceAllocation
from servman.state import ManagerState
from servman.threads import refuse_own_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servman.core.config import ModelConfig
    from servman.errors import ServmanError
    from servman.manager import ServableHandle
    from servman.monitor import WaitResult

T = TypeVar("T")

_NAMED: Final = 10
"""How many models a text names at most."""

_LEAST: Final = 0.5
"""Seconds that a stage is given to end its idle threads, even if the deadline has come."""


@final
class ServerCore:
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
        config, options = config or ServerConfig(), options or ServerCoreOptions()
        check(config, options)
        self._config = config
        by_name = operator.attrgetter("name")
        self._models = {model.name: model for model in sorted(config.models, key=by_name)}
        self._clock: Clock = options.clock or SystemClock()
        self._event_bus = EventBus(clock=self._clock)
        self._monitor = ServableStateMonitor(
            self._event_bus, log_capacity=options.log_capacity, clock=self._clock
        )
        self._manager = AspiredVersionsManager(
            policy=options.aspired_version_policy,
            event_bus=self._event_bus,
            num_load_threads=options.num_load_threads,
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval,
            load_timeout=options.load_timeout,
            resource_tracker=_memory(options),
            clock=self._clock,
        )
        self._pipeline = Pipeline(config, options, self._manager, self._clock)
        # From what stands nearest to serving outwards, but for what makes all the rest pointless.
        self._explainers = (
            _ConfigExplainer(self, self._models, self._pipeline.rejected),
            self._manager,
            self._pipeline.source,
        )
        for explainer in self._explainers:
            self._monitor.add_explainer(explainer)
        self._started = False
        self._closed = False
        tie(self, self._pipeline.source, self._manager, self._monitor, self._event_bus)

    # ---- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start looking for versions and loading them. Never waits for a model.

        Starting twice does nothing.

        Blocks: only with `fail_if_zero_versions_at_startup`, for one look at each base path.

        Raises:
            ClosedError: The core was closed.
            ServmanError: With `fail_if_zero_versions_at_startup`, a model has no version. Nothing was
                started; it may be called again.
        """
        if self._closed:
            raise ClosedError("the server core was closed; make a new one")
        # The source first: it may refuse, and then nothing runs. The manager's mailbox is open anyway.
        self._pipeline.source.start()
        self._manager.start()
        self._started = True

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

        def left() -> float | None:
            return None if deadline is None else max(_LEAST, deadline - self._clock.monotonic())

        with contextlib.ExitStack() as stages:  # last in, first out; one that raises stops none
            stages.callback(lambda: self._event_bus.close(left()))
            stages.callback(lambda: self._monitor.close(left()))
            try:
                self._pipeline.source.close(left())
            finally:
                report = self._manager.close(left())
        return report

    async def aclose(self, timeout: float | None = 30.0) -> CloseReport:  # noqa: ASYNC109 -- as `close`
        """Do as `close` does, without blocking the event loop."""
        return await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
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
    def config(self) -> ServerConfig:
        """The configuration in force. Never waits."""
        return self._config

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
        return self._event_bus

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
            request: "m" for the latest, "m:3", "m:earliest", "m:newest", an id or a request.
            type: What the servable must be an instance of; None takes any.

        Raises:
            NotFoundError: No such version is available; the error's reason says why.
            InvalidArgumentError: The request cannot be read, or the servable is of another type.
            ClosedError: The core was closed.
        """
        try:
            return self._manager.get_servable_handle(request, type)
        except NotFoundError:
            wanted = ServableRequest.of(request)
        # The manager knows of what is aspired; the core also knows why nothing is.
        reason = self._reason(wanted)
        if reason.code is ReasonCode.AVAILABLE:  # it came up since the lookup
            reason = _on_its_way(wanted)
        raise NotFoundError(f"servable not found for request {wanted}: {reason}", reason=reason)

    # ---- waiting, and why ----------------------------------------------------------------------

    def wait_until_available(
        self, *requests: AnyRequest, timeout: float | None = None
    ) -> dict[ServableRequest, ServableId]:
        """Wait until each of *requests* (none: every configured model) is available.

        Blocks: until then, until the first failure, or for *timeout* seconds (None: for ever). Holds
            nothing that anybody else needs.

        Returns:
            Which version answers each request.

        Raises:
            ServableUnavailableError: A version that is wanted has failed; its states and reasons say why.
            WaitTimeoutError: The time is up; its reasons say what each missing request waits for.
            ClosedError: The core was closed.
            InvalidArgumentError: A request cannot be read.
        """
        return self._monitor.wait_until_available(*self._or_all(requests), timeout=timeout)

    async def wait_until_available_async(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,  # noqa: ASYNC109 -- as `wait_until_available`
    ) -> dict[ServableRequest, ServableId]:
        """Do as `wait_until_available` does, without blocking the event loop."""
        return await self._monitor.wait_until_available_async(
            *self._or_all(requests), timeout=timeout
        )

    def wait_until(
        self,
        requests: AnyRequest | Iterable[AnyRequest] = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
    ) -> WaitResult:
        """Wait until each of *requests* (none: every configured model) is decided.

        Blocks: until then, or for *timeout* seconds (None: for ever).

        Returns:
            What was reached, what is missing, and why.
        """
        return self._monitor.wait_until(self._or_all(requests), goal, timeout=timeout)

    async def wait_until_async(
        self,
        requests: AnyRequest | Iterable[AnyRequest] = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as `wait_until`
    ) -> WaitResult:
        """Do as `wait_until` does, without blocking the event loop."""
        return await self._monitor.wait_until_async(self._or_all(requests), goal, timeout=timeout)

    def explain(self, name: str) -> Diagnosis:
        """Say what is going on with the model *name*. Never waits.

        Raises:
            InvalidArgumentError: *name* cannot name a model.
        """
        reason = self._reason(ServableRequest.newest(name))
        config = self._model(name)
        return Diagnosis(
            name,
            config,
            tuple(one for one in self._manager.list_available_ids() if one.name == name),
            None if reason.code is ReasonCode.AVAILABLE else reason,
            self._manager.snapshots(name),
            None if config is None else self._pipeline.source.status(name),
        )

    def _reason(self, request: ServableRequest) -> Reason:
        return first_reason(self._explainers, request) or _on_its_way(request)

    def _model(self, name: str) -> ModelConfig | None:
        return self._models.get(name)

    def _or_all(self, requests: AnyRequest | Iterable[AnyRequest]) -> list[AnyRequest]:
        chosen: list[AnyRequest]
        if isinstance(requests, AnyRequest) or not isinstance(requests, Iterable):
            chosen = [ServableRequest.of(requests)]  # which refuses what is no request
        else:
            chosen = list(requests)
        return chosen or [ServableRequest.latest(model.name) for model in self._config.models]


def _on_its_way(request: ServableRequest) -> Reason:
    return Reason(ReasonCode.UNKNOWN, f"{request} is on its way; ask again")


def _memory(options: ServerCoreOptions) -> ResourceTracker | None:
    limit = options.total_model_memory_limit_bytes
    return None if limit is None else ResourceTracker(ResourceAllocation({MAIN_MEMORY: limit}))


@final
class _ConfigExplainer:
    """Answers where it is the configuration, or the core itself, that nothing comes of."""

    def __init__(
        self,
        core: ServerCore,
        models: Mapping[str, ModelConfig],
        rejected: Mapping[str, ServmanError],
    ) -> None:
        self._core = core
        self._models = models
        self._rejected = rejected

    def explain(self, request: ServableRequest) -> Reason | None:
        core, name = self._core, request.name
        if core.closed:
            return Reason(
                ReasonCode.CLOSED, f"{name} is not served: the server core is closed or closing"
            )
        model = self._models.get(name)
        if model is None:
            known = ", ".join(itertools.islice(self._models, _NAMED)) or "none"
            if len(self._models) > _NAMED:
                known += f" and {len(self._models) - _NAMED} more"
            text = f"no model {name!r} is configured (there are: {known}); add it to the config"
            return Reason(ReasonCode.NOT_CONFIGURED, text, {"name": name})
        if not core.started:
            text = f"{name} is not served: the server core was not started; call start()"
            return Reason(ReasonCode.NOT_LOOKED_YET, text, {"name": name})
        error = self._rejected.get(model.platform)
        if error is not None:
            facts = {"name": name, "platform": model.platform}
            return Reason(ReasonCode.PLATFORM_UNAVAILABLE, f"model {name!r}: {error}", facts, error)
        return None
