"""Watches on the directories in which a config file is changed or replaced: a hint to read it at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, final

from servman.log import Log
from servman.sources.placement import Placed, Unreliable, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.clock import Clock
    from servman.sources.placement import Outcome, Placement

_log = Log(__name__)

RETRY: Final = 60.0
"""Seconds after which a watch that the system has refused is asked for again."""


@final
class ConfigWatch:
    """Keeps a watch on each of a few directories, and tells when something happens in one.

    That is the one that the file is in and, where it is a link, the one that its target is in. In the former
    Kubernetes switches the link `..data` of a ConfigMap.

    Args:
        path: The config file.
        placement: Places the watches, on a thread of its own.
        post: Takes what is to be run by the actor. Called from watching threads.
        look: Called by the actor when the file should be read.
        clock: The time.

    Threads: the actor's; `why_not` any, and `close` one that the actor has ended before.

    Attributes:
        why_not: Why not every directory is watched; None where each is.
    """

    def __init__(
        self,
        path: str,
        placement: Placement,
        post: Callable[[Callable[[], None]], None],
        look: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._path = path
        self._placement = placement
        self._post = post
        self._look = look
        self._clock = clock
        self._watches: dict[str, Watch] = {}
        self._complaints: set[str] = set()
        self.why_not: str | None = "the file was not looked at yet"

    def attend(self, directories: Mapping[str, tuple[int, int]]) -> None:
        """Watch *directories*, each with the identity that it has now, and no others."""
        for path in [path for path in self._watches if path not in directories]:
            self._drop(self._watches[path])
        for path, identity in directories.items():
            watch = self._watches.get(path)
            if watch is not None and self._is_stale(watch, identity):
                self._drop(watch)
                watch = None
            if watch is None:
                self._place(Watch(path, self._path))
        self._note()

    def close(self, deadline: float | None) -> bool:
        """Take all watches away and end the watching threads; see `Placement.close`."""
        return self._placement.close(deadline)

    def _is_stale(self, watch: Watch, identity: tuple[int, int]) -> bool:
        if watch.retry_at is not None:
            return watch.retry_at <= self._clock.monotonic()
        return watch.identity is not None and watch.identity != identity

    def _place(self, watch: Watch) -> None:
        self._watches[watch.path] = watch
        self._placement.place(
            watch,
            lambda outcome: self._post(functools.partial(self._take_outcome, watch, outcome)),
            functools.partial(self._report, watch),
        )

    def _drop(self, watch: Watch) -> None:
        del self._watches[watch.path]
        self._placement.take_away(watch)

    def _report(self, watch: Watch, gone: bool) -> None:
        # On the observer's thread, under its lock; many events are one look.
        if gone or not watch.is_told:
            watch.is_told = True
            self._post(functools.partial(self._take_change, watch, gone=gone))

    def _take_outcome(self, watch: Watch, outcome: Outcome) -> None:
        if self._watches.get(watch.path) is not watch:
            return
        if isinstance(outcome, Placed):
            watch.identity = outcome.identity
            self._look()  # for what happened before the watch was there
        elif isinstance(outcome, Unreliable):
            self._obstruct(watch, f"{outcome.kind} does not tell of what happens elsewhere")
        elif isinstance(outcome, FileNotFoundError):  # it went between the look and the watch
            self._drop(watch)
        else:
            watch.retry_at = self._clock.monotonic() + RETRY
            self._obstruct(watch, f"the system refuses ({outcome})")
        self._note()

    def _take_change(self, watch: Watch, *, gone: bool) -> None:
        watch.is_told = False  # before the look, which sees what happens from now on
        if self._watches.get(watch.path) is not watch:
            return
        if gone:
            self._drop(watch)
            self._note()
        self._look()

    def _obstruct(self, watch: Watch, why_not: str) -> None:
        watch.why_not = why_not
        if why_not not in self._complaints:
            self._complaints.add(why_not)
            _log.warning("config file %s is polled and not watched: %s", self._path, why_not)

    def _note(self) -> None:
        reasons = [one.why_not for one in self._watches.values() if one.identity is None]
        if not self._watches:
            reasons = ["its directory cannot be found"]
        self.why_not = reasons[0] if reasons else None
