"""How a server takes calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from servman.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.server.access import Caller, Tls

MAX_MESSAGE: Final = 2**31 - 1
"""Bytes; the most that gRPC can be told, and what TensorFlow Serving takes."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server takes calls.

    Attributes:
        addresses: Where it listens: "HOST:PORT", where port 0 lets the system choose, or "unix:PATH".
        num_threads: How many requests to models are worked on at once. Default: four for each CPU.
        max_concurrent_calls: How many calls are taken in at once, streams and those that wait included; what comes
            beyond is refused at once. Default 4096.
        max_waiting_calls: How many calls may wait or watch at once. They have threads apart, so that they take
            none from requests to models. Default 256.
        max_message_bytes: How long a request may be. Default: as long as gRPC can have it.
        tls: The server's certificates. Default None: calls are not encrypted.
        token: What every call but those for its health has to bring along, as "authorization: Bearer TOKEN".
            Default None: nothing.
        authorize: Is told who calls what, on the call's thread, and returns whether they may. Default None:
            everybody may.
        reflection: Whether it tells which services it has. Default True.
        reload_timeout: Seconds that a reload may take whose caller sets no deadline. Default 60.
        watch_capacity: How many of the last events are kept for those who watch and lost the connection.
            Default 10,000.
        tensors_as_content: Whether numbers go back as bytes, in `tensor_content`, which is quicker for large
            tensors, and which not every client reads. Default False, as in TensorFlow Serving.
        channel_arguments: More options of gRPC's, such as {"grpc.max_connection_age_ms": 60000}.

    Threads: immutable; any thread.

    Raises:
        InvalidArgumentError: One of them is not as it should be.
    """

    addresses: tuple[str, ...] = ("0.0.0.0:8500",)
    num_threads: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    max_concurrent_calls: int = 4096
    max_waiting_calls: int = 256
    max_message_bytes: int = MAX_MESSAGE
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)
    authorize: Callable[[Caller], bool] | None = None
    reflection: bool = True
    reload_timeout: float = 60.0
    watch_capacity: int = 10_000
    tensors_as_content: bool = False
    channel_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        addresses: object = self.addresses
        if isinstance(addresses, str) or not all(isinstance(one, str) for one in self.addresses):
            raise InvalidArgumentError(
                f'addresses is a tuple of texts, not {addresses!r}; write ("HOST:PORT",)'
            )
        object.__setattr__(self, "addresses", tuple(self.addresses))
        if not self.addresses:
            raise InvalidArgumentError('a server listens somewhere: write addresses=("HOST:PORT",)')
        for name in _COUNTS:
            value: object = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or not 1 <= value <= MAX_MESSAGE
            ):
                raise InvalidArgumentError(
                    f"{name} is a number from 1 to {MAX_MESSAGE}, not {value!r}"
                )
        if not self.reload_timeout > 0:
            raise InvalidArgumentError(f"reload_timeout is a time, not {self.reload_timeout!r}")
        token = self.token
        if token is not None and not (token and token.isascii() and token.isprintable()):
            raise InvalidArgumentError("a token is a text of printable ASCII characters, not empty")


_COUNTS: Final = (
    "num_threads",
    "max_concurrent_calls",
    "max_waiting_calls",
    "max_message_bytes",
    "watch_capacity",
)
