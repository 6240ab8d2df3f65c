"""What a wait asks of a server, checked before it is asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeAlias, final

from servman.errors import InvalidArgumentError
from servman.ids import AnyRequest, ServableId, ServableRequest
from servman.state import ManagerState

Requests: TypeAlias = AnyRequest | Iterable[AnyRequest]


@final
@dataclass(frozen=True, slots=True)
class Question:
    """Asks that requests come to a goal.

    Attributes:
        requests: What is asked for, each once; none: every model that the server is configured for.
        goal: The state in question.
        count: How many have to come to it; None: all.
        fail_fast: Whether the first failure ends the wait.
    """

    requests: tuple[ServableRequest, ...]
    goal: ManagerState = ManagerState.AVAILABLE
    count: int | None = None
    fail_fast: bool = False

    @classmethod
    def of(
        cls,
        requests: Requests,
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        count: int | None = None,
        fail_fast: bool = False,
    ) -> Self:
        """Make a question of what a caller passed in.

        Raises:
            InvalidArgumentError: A request is none, the goal is no `ManagerState`, or there are not as
                many requests as *count*.
        """
        if not isinstance(goal, ManagerState):
            raise InvalidArgumentError(f"a goal is a ManagerState, not {goal!r}")
        every = tuple(dict.fromkeys(map(ServableRequest.of, _several(requests))))
        if count is not None and (
            not isinstance(count, int)
            or isinstance(count, bool)
            or count < 1
            or (every and count > len(every))
        ):
            raise InvalidArgumentError(
                "a count is None (all) or an int from 1 to the number of different requests"
                f"{f', here {len(every)}' if every else ''}, not {count!r}"
            )
        return cls(every, goal, count, fail_fast)

    def __str__(self) -> str:
        what = ", ".join(map(str, self.requests)) or "every configured model"
        return what if self.goal is ManagerState.AVAILABLE else f"{what} to be {self.goal.name}"


def _several(requests: Requests) -> Iterable[AnyRequest]:
    one = isinstance(requests, (str, ServableId, ServableRequest))
    if one or not isinstance(requests, Iterable):
        return (requests,)  # type: ignore[return-value] # `of` refuses what is no request
    return requests
