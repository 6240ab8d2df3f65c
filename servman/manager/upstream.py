"""The stages that feed a manager and belong to it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servman.clock import Clock


@final
class Upstream:
    """Starts and closes stages.

    Args:
        stages: In the order in which things flow, chain after chain. One that needs neither has no
            `start()` or no `close(timeout)`.

    Threads: `start` by one at a time; `close` by any.
    """

    def __init__(self, stages: Sequence[Any]) -> None:
        self._stages = tuple(stages)
        self._started = 0
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._closing = False
        self._closed = False

    def start(self) -> None:
        """Start the stages that have not been started, what receives before what sends.

        Raises:
            Exception: What a stage raises; a further call goes on with that stage.
        """
        while self._started < len(self._stages):
            stage = self._stages[-1 - self._started]
            if hasattr(stage, "start"):
                stage.start()
            self._started += 1

    def close(self, clock: Clock, deadline: float | None) -> None:
        """Close the stages, what sends before what receives; a second caller waits for the first.

        Blocks: until that is done, or for *deadline*.

        Raises:
            Exception: What a stage raises; the others are closed all the same.
        """
        with self._changed:
            while self._closing and not self._closed:
                if deadline is not None and clock.monotonic() >= deadline:
                    return
                clock.wait_until(self._changed, deadline)
            if self._closed:
                return
            self._closing = True
        over = False
        try:
            self._close_all(clock, deadline)
            over = True
        except Exception:
            over = True  # that stage will not do better the next time
            raise
        finally:
            with self._changed:  # after a Ctrl-C whoever comes next closes them anew
                self._closing, self._closed = False, over
                self._changed.notify_all()

    def _close_all(self, clock: Clock, deadline: float | None) -> None:
        def close(stage: Any) -> None:
            stage.close(None if deadline is None else max(0.0, deadline - clock.monotonic()))

        with contextlib.ExitStack() as stages:  # last in, first out; one that raises stops none
            for stage in reversed(self._stages):
                if hasattr(stage, "close"):
                    stages.callback(close, stage)
