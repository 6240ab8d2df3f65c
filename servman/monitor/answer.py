"""How far a wait has come: the last decision of each request. Pure: no thread, no lock, no clock."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

from servman.monitor.stream import StreamView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from servman.ids import ServableRequest
    from servman.monitor.goals import Decision

Judgement: TypeAlias = "tuple[tuple[ServableRequest, Decision | None], ...]"
"""What is asked of one stream, and how it is decided; None while it is not. Pairs, as hashing takes time."""


class Asked(Protocol):
    """What a wait asks. Pure: it answers from the views that it is shown."""

    @property
    def names(self) -> Collection[str] | None:
        """The streams that it is about; None where it is about all that are known."""
        ...

    @property
    def count(self) -> int | None:
        """How many requests have to be reached; None where all have, and each is to be decided."""
        ...

    def unseen(self) -> Mapping[str, Judgement]:
        """Return what is asked of each stream before anything is known of it."""
        ...

    def judge(self, view: StreamView) -> Judgement:
        """Return what is asked of the stream of *view*, in order, and how the view decides it."""
        ...

    def arrange(self, requests: Iterable[ServableRequest]) -> Iterable[ServableRequest]:
        """Return *requests*, which are all of them, in the order in which they are told."""
        ...


@final
class Answer:
    """How far what is asked has come.

    Threads: one at a time; a waiter hands it from the thread that asks to the dispatcher and back.
    """

    def __init__(self, question: Asked) -> None:
        self.question: Final = question
        self._wanted = question.count
        self._streams: dict[str, Judgement] = dict(question.unseen())
        # Counted along, so that an event costs as much as its own stream, however many there are.
        self._reached = self._failed = self._pending = 0
        for judgement in self._streams.values():
            self._count(judgement, 1)

    @property
    def complete(self) -> bool:
        """Whether the wait is over.

        Every request is decided at one moment, or as many as are counted are reached or can no longer be.
        """
        if self._pending == 0:
            return True
        if self._wanted is None:
            return False
        return self._reached >= self._wanted or self._reached + self._pending < self._wanted

    @property
    def reached(self) -> bool:
        """Whether every request came to the goal, or as many as are counted."""
        if self._wanted is None:
            return self._pending == self._failed == 0
        return self._reached >= self._wanted

    @property
    def decisions(self) -> dict[ServableRequest, Decision]:
        """The decision of each request that has one."""
        return {request: one for request, one in self.table().items() if one is not None}

    def table(self) -> dict[ServableRequest, Decision | None]:
        """Return each request and its decision, if it has one."""
        every = dict(itertools.chain.from_iterable(self._streams.values()))
        if len(self._streams) <= 1:
            return every
        return {request: every[request] for request in self.question.arrange(every)}

    def look(self, streams: Mapping[str, StreamView]) -> bool:
        """Decide every request anew; return whether the answer is complete."""
        names = self.question.names
        if names is None:
            for name in self._streams.keys() - streams.keys():
                self._count(self._streams.pop(name), -1)
            names = streams.keys()
        for name in names:
            self.see(streams.get(name) or StreamView(name))
        return self.complete

    def see(self, view: StreamView) -> bool:
        """Decide the requests on this stream anew; return whether the answer is complete."""
        judgement = self.question.judge(view)
        before = self._streams.get(view.name, ())
        if judgement == before:  # as after most events
            return self.complete
        self._count(before, -1)
        self._count(judgement, 1)
        if judgement:
            self._streams[view.name] = judgement
        else:
            self._streams.pop(view.name, None)
        return self.complete

    def _count(self, judgement: Judgement, step: int) -> None:
        for _, decision in judgement:
            if decision is None:
                self._pending += step
            elif decision.reached:
                self._reached += step
            else:
                self._failed += step
