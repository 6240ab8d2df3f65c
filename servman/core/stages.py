"""Every stage of a core, built and connected, started in order and closed in reverse."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, final

from servman.core.configuration import Configuration
from servman.core.history import History
from servman.core.journal import Journal
from servman.core.noticeboard import Noticeboard
from servman.core.pipeline import Pipeline
from servman.core.readiness import Roll
from servman.events import EventBus
from servman.forks import tie
from servman.manager import AspiredVersionsManager, ResourceTracker
from servman.manager.causes import Cause
from servman.monitor import ServableStateMonitor
from servman.resources import MAIN_MEMORY, ResourceAllocation

if TYPE_CHECKING:
    from servman.clock import Clock
    from servman.core.config import ServerConfig
    from servman.core.options import ServerCoreOptions
    from servman.manager import CloseReport

_LEAST: Final = 0.5
"""Seconds that a stage is given to end its idle threads, even if the deadline has come."""


@final
class Stages:
    """What serves the models of a configuration, and what writes down how that goes.

    Args:
        config: The first configuration, which was checked.
        options: How to work.
        clock: The time.

    Attributes:
        configuration: What is in force.
        pipeline: From base paths to loaders.
        manager: What holds the models in memory.
        tracker: What is set aside for them; None where there is no limit.
        event_bus: What carries every change of state.
        monitor: What has happened to every version, and a way to wait for it.
        history: What has happened to every model, with durations and causes.
        journal: Writes that to a file.
        roll: Which models were available once, and which are now.
        noticeboard: Tells which models something has happened to.

    Threads: `start` and `close` by one; what the attributes say for themselves.
    """

    def __init__(self, config: ServerConfig, options: ServerCoreOptions, clock: Clock) -> None:
        self._clock = clock
        self.event_bus = EventBus(clock=clock)
        self.noticeboard = Noticeboard(clock)
        self.tracker = _tracker(options)
        self.manager = AspiredVersionsManager(
            policy=options.aspired_version_policy,
            event_bus=self.event_bus,
            num_load_threads=options.num_load_threads,
            num_unload_threads=options.num_unload_threads,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval,
            should_retry=options.should_retry,
            load_timeout=options.load_timeout,
            pre_load_hook=options.pre_load_hook,
            sort_actions=options.sort_actions,
            resource_tracker=self.tracker,
            on_change=self.noticeboard.post,
            clock=clock,
        )
        on_change = self.noticeboard.post
        self.pipeline = Pipeline(options, self.manager, clock, on_change=on_change)
        self.configuration = Configuration(config, self.pipeline.tell, clock)
        self.journal = Journal(options.history_file, clock)
        self.history = History(
            capacity=options.history_capacity,
            max_age=options.history_max_age,
            clock=clock,
            cause_of=self._versions_cause,
            journal=self.journal,
        )
        self.roll = Roll()
        # Before the monitor, so that whoever is told of something by a wait finds it in all of them.
        self.event_bus.attach(self.roll)
        self.event_bus.attach(self.history)
        self.monitor = ServableStateMonitor(
            self.event_bus, log_capacity=options.log_capacity, labels=True, clock=clock
        )
        tie(self.manager, self.monitor, self.event_bus, self.journal)

    def start(self) -> None:
        """Start all of them.

        Raises:
            ServmanError: The source refuses, for a model without versions. Nothing was started.
        """
        # The source first: it may refuse, and then nothing runs. The manager's mailbox is open anyway.
        self.pipeline.start()
        self.journal.start()
        self.manager.start()

    def _versions_cause(self, name: str) -> str:
        # From here on no list of the source's is taken up.
        closing = self.configuration.closed
        return Cause.CLOSING.value if closing else self.pipeline.versions_cause(name)

    def close(self, deadline: float | None) -> CloseReport:
        """Close all of them, from the source on; one that raises stops none.

        Blocks: until that is done, or until *deadline* (None: for ever).
        """

        def left() -> float | None:
            return None if deadline is None else max(_LEAST, deadline - self._clock.monotonic())

        def end() -> float | None:
            seconds = left()
            return None if seconds is None else self._clock.monotonic() + seconds

        with contextlib.ExitStack() as stages:  # last in, first out
            stages.callback(lambda: self.journal.close(end()))
            stages.callback(lambda: self.event_bus.close(left()))
            stages.callback(lambda: self.monitor.close(left()))
            try:
                self.pipeline.source.close(left())
            finally:
                report = self.manager.close(left())
        return report


def _tracker(options: ServerCoreOptions) -> ResourceTracker | None:
    limit = options.total_model_memory_limit_bytes
    return None if limit is None else ResourceTracker(ResourceAllocation({MAIN_MEMORY: limit}))
