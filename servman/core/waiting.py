"""What a core offers to those who wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from servman.ids import AnyRequest, ServableRequest
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from servman.core.config import ServerConfig
    from servman.ids import ServableId
    from servman.monitor import ServableStateMonitor, WaitFuture, WaitProgress, WaitResult


class Waiting(ABC):
    """Waits on the monitor; where nothing is named, for every configured model.

    Threads: any.
    """

    @property
    @abstractmethod
    def config(self) -> ServerConfig:
        """The configuration in force. Never waits."""

    @property
    @abstractmethod
    def monitor(self) -> ServableStateMonitor:
        """What has happened to every version, and a way to wait for it."""

    def wait_until_available(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Wait until each of *requests* (none: every configured model) is available.

        Args:
            requests: "m" for any version, "m:3", "m:newest", "m@stable", an id or a request.
            timeout: Seconds to wait; None waits for ever, 0 does not wait.
            count: How many have to be available, 1 for any of them; None for all.
            progress: Called on this thread when the wait begins, and when anything of what is awaited has
                changed; see `ServableStateMonitor.wait_until`.

        Blocks: until then, until the first failure (with a *count*, until so many no longer can be), or for
            *timeout* seconds. Holds nothing that anybody else needs.

        Returns:
            Which version answers each request that is available.

        Raises:
            ServableUnavailableError: A version that is wanted has failed; its states and reasons say why.
            WaitTimeoutError: The time is up; its reasons say what each missing request waits for.
            ClosedError: The core was closed.
            InvalidArgumentError: A request cannot be read, or there are not as many as *count*.
        """
        return self.monitor.wait_until_available(
            *self._or_all(requests), timeout=timeout, count=count, progress=progress
        )

    async def wait_until_available_async(
        self,
        *requests: AnyRequest,
        timeout: float | None = None,  # noqa: ASYNC109 -- as `wait_until_available`
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Do as `wait_until_available` does, without blocking the event loop."""
        return await self.monitor.wait_until_available_async(
            *self._or_all(requests), timeout=timeout, count=count, progress=progress
        )

    def wait_until(
        self,
        requests: AnyRequest | Iterable[AnyRequest] = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait until each of *requests* (none: every configured model) is decided.

        With *count* the wait ends when so many have come to *goal*, or no longer can.

        Blocks: until then, or for *timeout* seconds (None: for ever).

        Returns:
            What was reached, what is missing, and why.
        """
        return self.monitor.wait_until(
            self._or_all(requests), goal, timeout=timeout, count=count, progress=progress
        )

    async def wait_until_async(
        self,
        requests: AnyRequest | Iterable[AnyRequest] = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as `wait_until`
        count: int | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Do as `wait_until` does, without blocking the event loop."""
        return await self.monitor.wait_until_async(
            self._or_all(requests), goal, timeout=timeout, count=count, progress=progress
        )

    def wait_until_settled(
        self,
        names: str | Iterable[str] = (),
        *,
        timeout: float | None = None,
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Wait until nothing is on its way in the models *names*, or anywhere in the core.

        Every version that is aspired is available or has failed, and every other one has ended. Without
        names: every configured model, and what is left of others, as they are when the wait begins.

        Blocks: until then, or for *timeout* seconds (None: for ever).

        Returns:
            What is true where nothing has failed; `timed_out` tells that it has not settled.
        """
        return self.monitor.wait_until_settled(
            self._or_all_names(names), timeout=timeout, progress=progress
        )

    async def wait_until_settled_async(
        self,
        names: str | Iterable[str] = (),
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- as `wait_until_settled`
        progress: Callable[[WaitProgress], None] | None = None,
    ) -> WaitResult:
        """Do as `wait_until_settled` does, without blocking the event loop."""
        return await self.monitor.wait_until_settled_async(
            self._or_all_names(names), timeout=timeout, progress=progress
        )

    def wait_future(
        self,
        requests: AnyRequest | Iterable[AnyRequest] = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = None,
        count: int | None = None,
    ) -> WaitFuture:
        """Begin to wait as `wait_until` does; return a future of its result. Never blocks.

        Cancelling it withdraws the wait.
        """
        return self.monitor.wait_future(self._or_all(requests), goal, timeout=timeout, count=count)

    def _or_all(self, requests: AnyRequest | Iterable[AnyRequest]) -> list[AnyRequest]:
        chosen: list[AnyRequest]
        if isinstance(requests, AnyRequest | Mapping) or not isinstance(requests, Iterable):
            chosen = [ServableRequest.of(requests)]  # type: ignore[arg-type] # it refuses what is no request
        else:
            chosen = list(requests)
        return chosen or [ServableRequest.latest(model.name) for model in self.config.models]

    def _or_all_names(self, names: str | Iterable[str]) -> str | Iterable[str]:
        if isinstance(names, str) or not isinstance(names, Iterable):
            return names  # the monitor refuses what is no name
        configured = (model.name for model in self.config.models)
        return list(names) or [*configured, *self.monitor.get_live_states()]
