"""What is told of a wait while it lasts, to whoever asked to be told."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, final

from servman.errors import InvalidArgumentError
from servman.log import Log
from servman.monitor.explanation import telling_version
from servman.monitor.stream import StreamView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.ids import ServableRequest
    from servman.monitor.answer import Answer, Asked
    from servman.state import ServableState

_log = Log(__name__)

_NAMED: Final = 10
"""How many requests a text names at most."""


@final
@dataclass(frozen=True, slots=True)
class WaitProgress:
    """How far a wait has come. `str()` of it is for people.

    Attributes:
        decided: Each request that is decided, and the state that did it.
        pending: Each that is not, and the state that says most of it; None where none is known.

    Threads: never changes; any thread.
    """

    decided: Mapping[ServableRequest, ServableState]
    pending: Mapping[ServableRequest, ServableState | None]

    def __str__(self) -> str:
        count = f"{len(self.decided)} of {len(self.decided) + len(self.pending)} decided"
        named = [
            f"{request} ({'nothing known' if state is None else state})"
            for request, state in itertools.islice(self.pending.items(), _NAMED)
        ]
        if len(self.pending) > _NAMED:
            named.append(f"and {len(self.pending) - _NAMED} more")
        return f"{count}; pending: {', '.join(named)}" if named else count


@final
class Course:
    """Follows one wait for its callback.

    What changes while the callback runs is told by one more call, as it stands then. What the callback
    raises is logged, and the wait goes on.

    Threads: `put` by the dispatcher; all else by the thread that waits.
    """

    def __init__(self, question: Asked, tell: Callable[[WaitProgress], None]) -> None:
        self._question = question
        self._tell = tell
        self._lock = threading.Lock()  # guards `_news`
        self._news: dict[str, StreamView] = {}
        self._asked: dict[str, tuple[ServableRequest, ...]] = {}
        self._decided: dict[ServableRequest, ServableState] = {}
        self._pending: dict[ServableRequest, ServableState | None] = {}
        self._told: WaitProgress | None = None
        self._over = False

    @classmethod
    def of(cls, question: Asked, tell: Callable[[WaitProgress], None] | None) -> Self | None:
        """Return the course of a wait, or None where nobody wants to be told.

        Raises:
            InvalidArgumentError: *tell* cannot be called.
        """
        if tell is None:
            return None
        if not callable(tell):
            raise InvalidArgumentError(f"progress is told to something to call, not {tell!r}")
        return cls(question, tell)

    def put(self, views: Mapping[str, StreamView]) -> bool:
        """Note that streams stand like this now; return whether `report` has to be called for it."""
        with self._lock:
            first = not self._news
            self._news.update(views)
            return first

    def look(self, streams: Mapping[str, StreamView]) -> None:
        """See how all the streams stand when the wait begins."""
        names = self._question.names
        for name in streams if names is None else names:
            self._see(streams.get(name) or StreamView(name))

    def report(self) -> None:
        """Tell how far it is, if that has changed and the wait is not over."""
        with self._lock:
            news, self._news = self._news, {}
        for view in news.values():
            self._see(view)
        self._report(WaitProgress(dict(self._decided), dict(self._pending)))

    def conclude(self, answer: Answer) -> None:
        """Tell how it has ended, if that was not told: by *answer*, which may know of a passing state."""
        table = answer.table()
        self._report(
            WaitProgress(
                {request: one.state for request, one in table.items() if one is not None},
                {
                    request: self._pending.get(request)
                    for request, one in table.items()
                    if one is None
                },
            )
        )

    def stop(self) -> None:
        """Tell no more: the wait is over."""
        self._over = True

    def _see(self, view: StreamView) -> None:
        judgement = dict(self._question.judge(view))
        for request in self._asked.pop(view.name, ()):
            if judgement.get(request) is None:
                self._decided.pop(request, None)
            if request not in judgement:
                self._pending.pop(request, None)
        for request, decision in judgement.items():
            if decision is not None:
                self._pending.pop(request, None)
                self._decided[request] = decision.state
            else:
                version = telling_version(request, view)
                self._pending[request] = None if version is None else view.states.get(version)
        if judgement:
            self._asked[view.name] = tuple(judgement)

    def _report(self, progress: WaitProgress) -> None:
        if self._over or progress == self._told:
            return
        self._told = progress
        try:
            self._tell(progress)
        except Exception:  # noqa: BLE001 -- foreign code; what is to end the thread ends the wait
            _log.exception("a progress callback raised: %r", self._tell)
