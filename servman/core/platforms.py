"""The way from the router to the manager: an adapter for each platform, whatever state its package is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.adapters import (
    DeferredAdapter,
    DynamicSourceRouter,
    ErrorInjectingAdapter,
    create_adapter,
    registered_platforms,
)
from servman.errors import ServmanError, UnimplementedError, settled
from servman.flow import connect
from servman.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from servman.adapters import SourceAdapter
    from servman.clock import Clock
    from servman.flow import Target
    from servman.ids import ServableRequest
    from servman.loader import Loader


@final
class PlatformAdapters:
    """Makes loaders of paths, each model by the adapter of its platform.

    Every registered platform has a port of the router. Behind the port of one that was not asked for, or
    cannot be used here, stands an adapter that turns its models' versions into that error: so such
    a model ends with a reason, and harms no other.

    Args:
        enabled: The platforms that were asked for.
        target: What the loaders go to.
        clock: The time.

    Attributes:
        router: What the paths are emitted to.
    """

    def __init__(self, enabled: Collection[str], target: Target[Loader], clock: Clock) -> None:
        self._ports = {name: port for port, name in enumerate(sorted(registered_platforms()))}
        self.router: DynamicSourceRouter[str] = DynamicSourceRouter(len(self._ports) + 1, {})
        self._rejected: dict[str, ServmanError] = {}
        self._deferred: dict[str, DeferredAdapter] = {}
        for platform, port in zip(self._ports, self.router.ports, strict=False):
            adapter = self._connected(platform, enabled, target, clock)
            if isinstance(adapter, DeferredAdapter):
                self._deferred[platform] = adapter
            connect(port, adapter)
        late = UnimplementedError(
            "the platform of the model was registered after the server core was made; call"
            " register_platform() first"
        )
        connect(self.router.ports[-1], _connected(ErrorInjectingAdapter(late), target))

    def route(self, platforms: Mapping[str, str]) -> None:
        """Let each model go to its platform from now on."""
        before = self.router.routes if self._deferred else {}
        for platform, adapter in self._deferred.items():
            for name, port in before.items():
                if port == self._ports[platform] and platforms.get(name, platform) != platform:
                    adapter.forget(
                        name
                    )  # its list would come late, after those that go the other way
        self.router.update_routes(
            {
                name: self._ports[platform]
                for name, platform in platforms.items()
                if platform in self._ports
            }
        )

    def explain(self, platform: str, request: ServableRequest) -> Reason | None:
        """Return why a model of *platform* is not served, where that is the platform's fault."""
        deferred = self._deferred.get(platform)
        if deferred is not None:
            return deferred.explain(request)
        error = self._rejected.get(platform)
        if error is None:
            return None
        facts = {"name": request.name, "platform": platform}
        text = f"model {request.name!r}: {error}"
        return Reason(ReasonCode.PLATFORM_UNAVAILABLE, text, facts, error)

    def _connected(
        self, platform: str, enabled: Collection[str], target: Target[Loader], clock: Clock
    ) -> SourceAdapter[str, Loader]:
        try:
            if platform in enabled:
                return _connected(create_adapter(platform, clock=clock), target)
            error: ServmanError = UnimplementedError(
                f"platform {platform!r} is not enabled; name it in"
                f" ServerCoreOptions(platforms=(..., {platform!r})), on the command line in --platforms"
            )
        except UnimplementedError as failed:
            error = failed
        except Exception as failed:  # noqa: BLE001 -- foreign code: an adapter that takes no target
            error = settled(failed)
        self._rejected[platform] = error
        return _connected(ErrorInjectingAdapter(error), target)


def _connected(
    adapter: SourceAdapter[str, Loader], target: Target[Loader]
) -> SourceAdapter[str, Loader]:
    connect(adapter, target)
    return adapter
