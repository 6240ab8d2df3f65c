"""What a client says and hears, apart from how: talks that any transport can carry out.

A talk is a generator. It yields what is to be done next, a call or a pause, and is sent what came of it;
what it returns is the result. So a wait with all its retries is written once, for threads and for
event loops, and is tested without a network.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

if TYPE_CHECKING:
    from servman.client.methods import Method

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class Call:
    """A question to the server.

    Attributes:
        method: What is called.
        request: The message that is sent.
        timeout: Seconds that the answer may take, the connection included; None: for ever.
    """

    method: Method
    request: Any
    timeout: float | None


@final
@dataclass(frozen=True, slots=True)
class Pause:
    """A pause until the instant *until* on the client's clock."""

    until: float


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What the server has answered."""

    content: bytes


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """How a call has failed.

    Attributes:
        code: The name of the gRPC status code.
        text: What is said of it.
    """

    code: str
    text: str


Talk: TypeAlias = Generator[Call | Pause, Any, T]
"""What is sent to it after a call is an answer or a failure, and after a pause nothing that counts."""


def ask(call: Call) -> Talk[Answer | Failure]:
    """Make *call*; return what came of it."""
    reply: Answer | Failure = yield call
    return reply
