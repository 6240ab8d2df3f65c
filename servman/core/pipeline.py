"""From base paths to loaders: source, prefix and an adapter for each platform, connected."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, final

from servman.adapters import PrefixStoragePathAdapter
from servman.core.config import resolved
from servman.core.intake import Intake
from servman.core.platforms import PlatformAdapters
from servman.errors import NotFoundError, ServmanError
from servman.flow import connect
from servman.forks import tie
from servman.manager import HarnessState, StreamOptions
from servman.sources import FileSystemStoragePathSource, ServableToMonitor, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from servman.clock import Clock
    from servman.core.config import ModelConfig
    from servman.core.configuration import Accepted
    from servman.core.options import ServerCoreOptions
    from servman.ids import ServableRequest
    from servman.manager import AspiredVersionsManager
    from servman.reasons import Reason
    from servman.workers.options import Workers


@final
class Pipeline:
    """Emits to a manager what the base paths of a configuration hold.

    Args:
        options: How to work.
        manager: What the loaders go to.
        clock: The time.
        on_change: Is told of each model whose base path looks different, or that a configuration changes which
            has been taken up, on the source's thread.

    Threads: `tell` and `start` by one at a time; the rest any.

    Attributes:
        source: Looks at the base paths.
        intake: What the manager was given last.
        generation: The configuration that was taken up last: nothing is emitted under an earlier one.
        platforms: The adapters.
    """

    def __init__(
        self,
        options: ServerCoreOptions,
        manager: AspiredVersionsManager,
        clock: Clock,
        *,
        on_change: Callable[[str], None],
    ) -> None:
        self._options = options
        self._manager = manager
        self._clock = clock
        self._on_change = on_change
        self.intake = Intake(clock)
        connect(self.intake, manager)
        self.platforms = PlatformAdapters(options.platforms, self.intake, clock)
        self.generation = 0
        self._prefix = PrefixStoragePathAdapter("")
        connect(self._prefix, self.platforms.router)
        self.source = self._new_source(())
        self._started = False
        # Of what the stages were last told.
        self._servables: dict[str, tuple[ModelConfig, ServableToMonitor]] = {}
        self._staged: frozenset[str] = frozenset()
        self._told_prefix = ""

    def tell(self, accepted: Accepted) -> None:
        """Have what *accepted* configures looked after, and nothing else. Never waits for a base path.

        Raises:
            ClosedError: The source was closed.
        """
        before, self._servables = self._servables, self._servables_of(accepted)
        platforms = {
            # What goes still has to find its way, should it be told late.
            name: model.platform
            for name, (model, _) in (before | self._servables).items()
        }
        undone, self._staged = self._staged, accepted.changed if accepted.atomic else frozenset()
        anew = self._prefixed_anew(accepted)
        first = functools.partial(self._take_up, accepted, platforms, undone, anew)
        servables = [servable for _, servable in self._servables.values()]
        if self._started:
            self.source.update_config(servables, first=first, again=undone | anew)
        else:
            first()
            self.source = self._new_source(servables)

    def start(self) -> None:
        """Begin to look; see `FileSystemStoragePathSource.start`."""
        tie(self._manager, self.source)
        self.source.start()
        self._started = True

    def keep(self) -> None:
        """What was told last is in force: no longer take it back when something else is told."""
        self._staged = frozenset()

    def status(self, name: str) -> SourceStatus:
        """Return what the source knows of *name*; nothing, where it is not told of it yet."""
        try:
            return self.source.status(name)
        except NotFoundError:
            return SourceStatus()

    def versions_cause(self, name: str) -> str:
        """Return why the last list was sent for *name*; see `SourceStatus.versions_cause`."""
        return self.source.versions_cause(name)

    def explain(self, request: ServableRequest) -> Reason | None:
        """Return why *request* is not aspired, as far as the source knows."""
        return self.source.explain(request)

    def _take_up(
        self,
        accepted: Accepted,
        platforms: Mapping[str, str],
        undone: frozenset[str],
        anew: frozenset[str],
    ) -> None:
        """Prepare what comes after the source for *accepted*; nothing of it was emitted yet."""
        if undone:
            self._manager.rollback(undone)
        if accepted.atomic:
            self._manager.hold(accepted.changed)
        self._prefix.prefix = accepted.config.storage_path_prefix
        self.platforms.route(platforms)
        self.intake.forget(undone | anew)
        self.intake.isolate(_workers(accepted.models.values()))
        self._estimate(accepted)
        self._manager.configure(_stream_options(accepted.models.values()))
        if not accepted.atomic:  # else they come with the commit
            self._manager.set_labels(labels_of(accepted.models))
        self.generation = accepted.generation
        for name in accepted.changed | undone:
            self._on_change(name)

    def _estimate(self, accepted: Accepted) -> None:
        """Let models take the memory that is said; what had too little of it may be tried again."""
        before = {name: self.intake.estimate_of(name) for name in accepted.changed}
        self.intake.estimate(_estimates(accepted.models.values()))
        for name, estimate in before.items():
            if self.intake.estimate_of(name) == estimate:
                continue
            for one in self._manager.snapshots(name, count_handles=False):
                if one.aspired and one.state is HarnessState.ERROR:
                    with contextlib.suppress(ServmanError):  # it is not there any more
                        self._manager.retry(one.id)

    def _prefixed_anew(self, accepted: Accepted) -> frozenset[str]:
        """Return the models whose versions have another path now, though the source sees no difference."""
        before, self._told_prefix = self._told_prefix, accepted.config.storage_path_prefix
        return frozenset(accepted.models) if before != self._told_prefix else frozenset()

    def _servables_of(self, accepted: Accepted) -> dict[str, tuple[ModelConfig, ServableToMonitor]]:
        """Return each model with what the source is told of it; what has not changed is not made anew."""
        servables = {}
        for written, model in zip(
            accepted.config.models, resolved(accepted.config).models, strict=True
        ):
            known = self._servables.get(model.name)
            if known is None or known[0] is not written:
                known = (written, servable_of(model, at_startup=not self._started))
            servables[model.name] = known
        return servables

    def _new_source(self, servables: Iterable[ServableToMonitor]) -> FileSystemStoragePathSource:
        options = self._options
        source = FileSystemStoragePathSource(
            servables,
            poll_interval=options.poll_interval,
            watch=options.watch,
            fail_if_zero_versions_at_startup=options.fail_if_zero_versions_at_startup,
            servable_versions_always_present=options.servable_versions_always_present,
            on_change=self._on_change,
            clock=self._clock,
        )
        connect(source, self._prefix)
        return source


def servable_of(model: ModelConfig, *, at_startup: bool) -> ServableToMonitor:
    """Return what a source is told of *model*, whose base path is absolute.

    That a model has no version stops a server only while it is started: later, whoever has the
    configuration changed is told of it.
    """
    return ServableToMonitor(
        model.name,
        model.base_path,
        model.version_policy,
        model.completeness,
        servable_versions_always_present=model.servable_versions_always_present,
        fail_if_zero_versions_at_startup=(
            model.fail_if_zero_versions_at_startup if at_startup else False
        ),
    )


def labels_of(models: Mapping[str, ModelConfig]) -> dict[str, Mapping[str, int]]:
    """Return the labels of those models that have any."""
    return {name: model.version_labels for name, model in models.items() if model.version_labels}


def _stream_options(models: Iterable[ModelConfig]) -> dict[str, StreamOptions]:
    """Return how the manager is to treat those models that say something about it."""
    return {
        model.name: StreamOptions(
            policy=model.aspired_version_policy,
            max_num_load_retries=model.max_num_load_retries,
            load_retry_interval=model.load_retry_interval,
        )
        for model in models
        if model.aspired_version_policy is not None
        or model.max_num_load_retries is not None
        or model.load_retry_interval is not None
    }


def _estimates(models: Iterable[ModelConfig]) -> dict[str, int]:
    return {model.name: model.memory_bytes for model in models if model.memory_bytes is not None}


def _workers(models: Iterable[ModelConfig]) -> dict[str, Workers | Mapping[int, Workers]]:
    return {model.name: model.workers for model in models if model.workers is not None}
