"""What a wait asks that ends when nothing is on its way any more. Pure: no thread, no lock, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, final

from servman.errors import InvalidArgumentError, LoadCancelledError
from servman.ids import ServableRequest, check_name
from servman.monitor.goals import Decision
from servman.state import ManagerState

if TYPE_CHECKING:
    from servman.monitor.answer import Judgement
    from servman.monitor.stream import StreamView
    from servman.state import ServableState


@final
@dataclass(frozen=True, slots=True)
class Settlement:
    """Asks that every version that is aspired has come to the end of its way, and all others are gone.

    It asks for versions, so for specific requests. A stream by name of which nothing is known stands for
    itself, and is pending.

    Attributes:
        names: The streams; None: all that are known, at each moment.
    """

    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, names: str | Iterable[str]) -> Self:
        """Make one of what a caller passed in; no name means all.

        Raises:
            InvalidArgumentError: A name is none.
        """
        if not isinstance(names, Iterable):
            raise InvalidArgumentError(f"names are texts, not {names!r}")
        several = (names,) if isinstance(names, str) else names
        return cls(tuple(dict.fromkeys(map(check_name, several))) or None)

    @property
    def count(self) -> None:
        """None: everything has to settle."""
        return

    def unseen(self) -> dict[str, Judgement]:
        """Return that of streams asked for by name nothing is known yet; see `Asked`."""
        return {name: ((ServableRequest.latest(name), None),) for name in self.names or ()}

    def judge(self, view: StreamView) -> Judgement:
        """Return which versions of *view* are to settle, and how those did that have; see `Asked`."""
        if view.aspired is None and not view.states:
            return () if self.names is None else ((ServableRequest.latest(view.name), None),)
        versions = {*view.states, *(view.aspired or ())}
        return tuple(
            (ServableRequest.specific(view.name, version), _settled(version, view))
            for version in sorted(versions)
            if not _gone(version, view)
        )

    def arrange(self, requests: Iterable[ServableRequest]) -> Iterable[ServableRequest]:
        """Return *requests* by name and version; see `Asked`."""
        return sorted(requests, key=lambda request: (request.name, request.version or 0))


def _settled(version: int, view: StreamView) -> Decision | None:
    """Return how *version* has settled, or None while it is on its way."""
    state = view.states.get(version)
    if state is None:
        return None
    if state.manager_state is ManagerState.AVAILABLE:
        wanted = view.aspired is None or version in view.aspired
        return Decision(reached=True, state=state) if wanted else None
    return Decision(reached=False, state=state) if _failed(state, view) else None


def _gone(version: int, view: StreamView) -> bool:
    """Whether *version* has ended and nothing says that it is wanted."""
    state = view.states.get(version)
    if state is None or state.manager_state is not ManagerState.END:
        return False
    return not _failed(state, view) and version not in (view.aspired or ())


def _failed(state: ServableState, view: StreamView) -> bool:
    if view.aspired is not None:
        return view.failed(state.id.version)
    # Nobody tells what is wanted, but whoever sees a load fail has wanted it.
    ended = state.manager_state is ManagerState.END and state.error is not None
    return ended and not isinstance(state.error, LoadCancelledError)
