"""Which directories are watched: a hint to look at once, never the only way to notice something.

A base path is watched alone, not what is in it: no more is needed to see versions come and go. A version that is
not complete is watched as far as its completeness looks into it, until it is complete or gone.

A watch is asked for only after a look has succeeded, so that nothing here touches a path whose
storage is known to hang or may not be read; and the path is looked at again once the watch is in place, so
that nothing slips through between the two.

Where there can be no watch that tells of everything, on file systems that other machines change too, none is placed:
it would only make the polls rarer. Where the system refuses one, for it has limits, that is tried again.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, final

from servman.log import Log
from servman.sources.mounts import kind_of
from servman.sources.observer import native_observer
from servman.sources.placement import Outcome, Placed, Placement, Unreliable, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from servman.clock import Clock
    from servman.sources.look import Place
    from servman.sources.observer import Observer
    from servman.threads import Pool

_log = Log(__name__)

RETRY: Final = 60.0
"""Seconds after which a watch is asked for again that the system has refused."""

_UNREAD: Final = "there is no directory there that could be read"
_TURNED_OFF: Final = "watching is turned off"
_NOT_STARTED: Final = "events are followed once the source is started"


@final
class Watcher:
    """Keeps watches on base paths and incomplete versions, and reports when something happens in one.

    Args:
        limit: How many directories are watched at most, for watchdog starts a thread for each; 0 for
            none.
        clock: The time.
        pool: Places and removes watches; runs jobs one by one, in order.
        observer: Makes the observer, on the watching thread, when the first watch is asked for.
        kind_of: Tells the kind of file system that a path is on, on the watching thread.

    Threads: the actor's; `why_not_watched` and `why_version_not_watched` any, and `close` one that the actor has
        ended before.

    Attributes:
        next_attempt: When `refused_paths` should be asked for; None while nothing is to be tried again.
    """

    def __init__(
        self,
        limit: int,
        clock: Clock,
        pool: Pool,
        observer: Callable[[], Observer] = native_observer,
        kind_of: Callable[[str], str] = kind_of,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._placement = Placement(clock, pool, observer, kind_of)
        self._watches: dict[str, Watch] = {}  # on base paths
        self._versions: dict[tuple[str, bool], Watch] = {}
        self._wanted: dict[Place, Mapping[str, bool]] = {}
        self._counted: set[Watch] = set()  # that count for the limit
        self._complaints: set[str] = set()
        self._post: Callable[[Callable[[], None]], None] | None = None
        self._on_change: Callable[[str], None] | None = None
        self._on_stir: Callable[[str], None] | None = None
        self.next_attempt: float | None = None

    def start(
        self,
        post: Callable[[Callable[[], None]], None],
        on_change: Callable[[str], None],
        on_stir: Callable[[str], None],
    ) -> None:
        """Place watches from now on.

        Args:
            post: Takes what is to be run by the actor. Called from watching threads.
            on_change: Called by the actor with a base path that should be looked at.
            on_stir: Called by the actor with a base path in which a version that is not complete has changed.
        """
        self._post = post
        self._on_change = on_change
        self._on_stir = on_stir

    def why_not_watched(self, path: str) -> str | None:
        """Return why no watch on the base path *path* is in place; None where one is."""
        return self._why_not(self._watches.get(path))

    def why_version_not_watched(self, path: str, is_deep: bool) -> str | None:
        """Return why no such watch on the version in *path* is in place; None where one is."""
        return self._why_not(self._versions.get((path, is_deep)))

    def is_watched(self, path: str) -> bool:
        """Return whether a watch on the base path *path* is in place."""
        watch = self._watches.get(path)
        return watch is not None and watch.identity is not None

    def tells_all(self, path: str) -> bool:
        """Return whether a watch is in place that tells of whatever may happen to the base path *path*."""
        watch = self._watches.get(path)
        return watch is not None and watch.identity is not None and watch.direct

    def attend(self, path: str, identity: tuple[int, int] | None) -> None:
        """Note that a look at *path* succeeded: place a watch, or renew one on what is gone.

        Args:
            path: The base path.
            identity: What the look has found it to be, if it was asked to find out.
        """
        if self._post is None:
            return
        watch = self._watches.get(path)
        if watch is None:
            self._place(Watch(path, path))
        elif self._is_to_be_tried_again(watch):
            self.release(path)
            self._place(Watch(path, path, is_retry=True))
        elif watch.identity is not None and identity is not None and identity != watch.identity:
            self.release(path)
            self._place(Watch(path, path))

    def attend_versions(self, place: Place, wanted: Mapping[str, bool]) -> None:
        """Watch the incomplete versions of one servable, and no other ones.

        Args:
            place: The servable and its base path.
            wanted: The paths of the versions, each with whether all below it matters too.
        """
        if self._post is None:
            return
        before = self._wanted.pop(place, {})
        if wanted:
            self._wanted[place] = wanted
        for key in before.items():
            if not any(key in others.items() for others in self._wanted.values()):
                self._forget(self._versions.pop(key, None))
        for path, is_deep in wanted.items():
            watch = self._versions.get((path, is_deep))
            if watch is None:
                self._place(Watch(path, place[1], is_deep))
            elif self._is_to_be_tried_again(watch):
                self._forget(self._versions.pop((path, is_deep)))
                self._place(Watch(path, place[1], is_deep, is_retry=True))

    def release(self, path: str) -> None:
        """Take the watch on the base path *path* away, if there is one."""
        self._forget(self._watches.pop(path, None))

    def retain(self, places: Collection[Place]) -> None:
        """Take away the watches on all but *places*, each a servable and its base path."""
        paths = {path for _, path in places}
        for path in [path for path in self._watches if path not in paths]:
            self.release(path)
        for place in [place for place in self._wanted if place not in places]:
            self.attend_versions(place, {})

    def refused_paths(self) -> set[str]:
        """Return the base paths to be looked at because a watch there should be tried again now."""
        if self.next_attempt is None:
            return set()
        now = self._clock.monotonic()
        if now < self.next_attempt:
            return set()
        instants = [(watch.retry_at, watch.base_path) for watch in self._all() if watch.retry_at]
        self.next_attempt = min((at for at, _ in instants if at > now), default=None)
        return {path for at, path in instants if at <= now}

    def close(self, deadline: float | None) -> bool:
        """Take all watches away and end the watching threads; see `Placement.close`."""
        return self._placement.close(deadline)

    def _all(self) -> Iterator[Watch]:
        yield from self._watches.values()
        yield from self._versions.values()

    def _why_not(self, watch: Watch | None) -> str | None:
        if watch is not None:
            if watch.identity is not None:
                return None
            if watch.retry_at is None:
                return watch.why_not
            left = max(0.0, watch.retry_at - self._clock.monotonic())
            return f"{watch.why_not}; it is tried again in {left:.0f} s"
        if self._limit <= 0:
            return _TURNED_OFF
        if self._post is None:
            return _NOT_STARTED
        return self._beyond_limit() or _UNREAD

    def _beyond_limit(self) -> str | None:
        return f"max_watches is {self._limit}" if len(self._counted) >= self._limit else None

    def _is_to_be_tried_again(self, watch: Watch) -> bool:
        return watch.retry_at is not None and watch.retry_at <= self._clock.monotonic()

    def _place(self, watch: Watch) -> None:
        why_not = self._beyond_limit()
        if why_not is not None:
            if self._limit > 0:
                self._complain("limit", watch, why_not)
            return
        if watch.is_version:
            self._versions[watch.path, watch.is_deep] = watch
        else:
            self._watches[watch.path] = watch
        self._counted.add(watch)
        self._placement.place(
            watch,
            functools.partial(self._report_outcome, watch),
            functools.partial(self._report_change, watch),
        )

    def _forget(self, watch: Watch | None) -> None:
        if watch is not None:
            self._counted.discard(watch)
            self._placement.take_away(watch)

    def _is_kept(self, watch: Watch) -> bool:
        if watch.is_version:
            return self._versions.get((watch.path, watch.is_deep)) is watch
        return self._watches.get(watch.path) is watch

    def _drop(self, watch: Watch) -> None:
        if watch.is_version:
            del self._versions[watch.path, watch.is_deep]
        else:
            del self._watches[watch.path]
        self._forget(watch)

    def _take_outcome(self, watch: Watch, outcome: Outcome) -> None:
        if not self._is_kept(watch):
            return
        if isinstance(outcome, Placed):
            watch.direct = outcome.direct
            watch.identity = outcome.identity
            if watch.is_retry:
                _log.info("%s is watched now", watch.path)
            self._look(watch, self._on_change)
        elif isinstance(outcome, Unreliable):
            why_not = f"{outcome.kind} does not tell of what happens elsewhere"
            self._obstruct(watch, outcome.kind, why_not)
        elif isinstance(outcome, FileNotFoundError):  # it went between the look and the watch
            self._drop(watch)
        else:
            watch.retry_at = self._clock.monotonic() + RETRY
            if self.next_attempt is None:
                self.next_attempt = watch.retry_at
            self._obstruct(watch, "refused", f"the system refuses ({outcome})")

    def _obstruct(self, watch: Watch, kind: str, why_not: str) -> None:
        # The entry stays, so that it is not tried again at every poll.
        watch.why_not = why_not
        self._counted.discard(watch)
        again = f"; it is tried again every {RETRY:g} s" if watch.retry_at is not None else ""
        self._complain(kind, watch, why_not + again)

    def _complain(self, kind: str, watch: Watch, why_not: str) -> None:
        """Say once for each kind of obstacle what it means."""
        if kind not in self._complaints:
            self._complaints.add(kind)
            _log.warning(
                "%s %s is polled and not watched: %s; the same may hold for others",
                "version" if watch.is_version else "base path",
                watch.path,
                why_not,
            )

    def _take_change(self, watch: Watch, *, gone: bool) -> None:
        watch.is_told = False  # before the look, which sees what happens from now on
        if not self._is_kept(watch):
            return
        if gone:
            self._drop(watch)
        self._look(watch, self._on_stir if watch.is_version and not gone else self._on_change)

    def _look(self, watch: Watch, look: Callable[[str], None] | None) -> None:
        if look is not None:
            look(watch.base_path)

    def _report_outcome(self, watch: Watch, outcome: Outcome) -> None:
        self._report(functools.partial(self._take_outcome, watch, outcome))

    def _report_change(self, watch: Watch, gone: bool) -> None:
        if gone or not watch.is_told:
            watch.is_told = True
            self._report(functools.partial(self._take_change, watch, gone=gone))

    def _report(self, event: Callable[[], None]) -> None:
        if self._post is not None:
            self._post(event)
