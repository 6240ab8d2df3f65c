"""From base paths to loaders: the source, the router and an adapter for each platform, connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from servman.adapters import (
    DynamicSourceRouter,
    ErrorInjectingAdapter,
    create_adapter,
    registered_platforms,
)
from servman.errors import InternalError, UnimplementedError
from servman.flow import connect
from servman.sources import FileSystemStoragePathSource, ServableToMonitor

if TYPE_CHECKING:
    from servman.adapters import SourceAdapter
    from servman.clock import Clock
    from servman.core.config import ServerConfig, ServerCoreOptions
    from servman.errors import ServmanError
    from servman.flow import Target
    from servman.loader import Loader


@final
class Pipeline:
    """Emits to a manager what the base paths of a configuration hold.

    Every registered platform has a port of the router. Behind the port of one that was not asked for, or
    cannot be used here, stands an adapter that turns its models' versions into that error: so such
    a model ends with a reason, and harms no other.

    Attributes:
        source: Looks at the base paths.
        rejected: Platform to the error that its models get.
    """

    def __init__(
        self,
        config: ServerConfig,
        options: ServerCoreOptions,
        manager: Target[Loader],
        clock: Clock,
    ) -> None:
        self.rejected: dict[str, ServmanError] = {}
        self._ports = {name: port for port, name in enumerate(sorted(registered_platforms()))}
        router: DynamicSourceRouter[str] = DynamicSourceRouter(
            len(self._ports) + 1,
            {model.name: self._ports[model.platform] for model in config.models},
        )
        unrouted = InternalError("no platform was found for the model; please report this")
        adapters = [self._adapter(name, options) for name in self._ports]
        adapters.append(ErrorInjectingAdapter(unrouted))
        for port, adapter in zip(router.ports, adapters, strict=True):
            connect(port, adapter)
            connect(adapter, manager)
        self.source = FileSystemStoragePathSource(
            [
                ServableToMonitor(model.name, model.base_path, model.version_policy)
                for model in config.models
            ],
            poll_interval=options.poll_interval,
            watch=options.watch,
            fail_if_zero_versions_at_startup=options.fail_if_zero_versions_at_startup,
            servable_versions_always_present=options.servable_versions_always_present,
            clock=clock,
        )
        connect(self.source, router)

    def _adapter(self, platform: str, options: ServerCoreOptions) -> SourceAdapter[str, Loader]:
        try:
            if platform in options.platforms:
                return create_adapter(platform)
            error = UnimplementedError(
                f"platform {platform!r} is not enabled; name it in"
                f" ServerCoreOptions(platforms=(..., {platform!r}))"
            )
        except UnimplementedError as failed:
            error = failed
        self.rejected[platform] = error
        return ErrorInjectingAdapter(error)
