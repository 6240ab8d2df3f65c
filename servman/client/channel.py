"""The connection to a server: what a talk says is carried out over gRPC, by threads and by event loops."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, final

import grpc

from servman.client.address import is_local, server_address
from servman.client.talk import Answer, Call, Failure
from servman.errors import ClosedError, InvalidArgumentError
from servman.forks import watch
from servman.log import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servman.clock import Clock

_log = Log(__name__)

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A server that comes up is noticed within a second, and a place that swallows packets after five.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A machine that is gone without a word is noticed while a call waits.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", -1),
    # One client, one connection: a wait by another client does not share its fate.
    ("grpc.use_local_subchannel_pool", 1),
)

_LONGEST: Final = 1e9
"""Seconds; more are none to wait for."""

_CLOSED: Final = "the client was closed"


@final
class Channel:
    """A connection that is made when it is first needed, and made again by gRPC whenever it breaks.

    Args:
        server: The address; None: what SERVMAN_SERVER says.
        credentials: What `grpc.ssl_channel_credentials` and its like return; None: no TLS.
        token: Sent with every call as "authorization: Bearer ..."; None: nothing.
        clock: Reads the time and waits for it.

    Attributes:
        server: The address.

    Threads: any.

    Raises:
        InvalidArgumentError: One of them is of no use.
    """

    def __init__(
        self,
        server: str | None,
        credentials: grpc.ChannelCredentials | None,
        token: str | None,
        clock: Clock,
    ) -> None:
        if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
            raise InvalidArgumentError(
                f"credentials are what grpc.ssl_channel_credentials() returns, not {credentials!r}"
            )
        self.server: Final = server_address(server)
        self._credentials = credentials
        self._metadata = () if token is None else (("authorization", f"Bearer {_checked(token)}"),)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())  # guards the two below
        self._channel: grpc.Channel | None = None
        self._closed = False

    def ask(self, call: Call) -> Answer | Failure:
        """Make *call* and wait for what comes of it. Ctrl-C ends it at once, and the call with it.

        Raises:
            ClosedError: The channel was closed, perhaps meanwhile.
        """
        future = self._begin(call)
        try:
            return self._outcome(future)
        except BaseException:
            future.cancel()
            raise

    async def ask_async(self, call: Call) -> Answer | Failure:
        """Do as `ask` does, without blocking the event loop; cancelling it cancels the call."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        future = self._begin(call)
        future.add_done_callback(lambda _: _post(loop, done.set))
        try:
            await done.wait()
        except BaseException:
            future.cancel()
            raise
        return self._outcome(future)

    @contextlib.contextmanager
    def stream(self, call: Call) -> Iterator[Any]:
        """Make *call*, which is answered by a stream; yield it, and end it afterwards.

        Raises:
            ClosedError: The channel was closed.
        """
        with self._using() as channel:
            answers: Any = channel.unary_stream(call.method.path, request_serializer=_serialize)(
                call.request, timeout=_limited(call.timeout), metadata=self._metadata
            )
        try:
            yield answers
        finally:
            answers.cancel()

    def failure(self, error: grpc.RpcError) -> Failure:
        """Return how a call has failed that has raised *error*.

        Raises:
            ClosedError: Because the channel was closed.
        """
        if self._closed:
            raise ClosedError(_CLOSED) from None
        # What a call raises is a call, too, which knows how it has ended.
        code = getattr(error, "code", lambda: None)()
        text = getattr(error, "details", lambda: None)()
        return Failure("UNKNOWN" if code is None else code.name, text or "")

    def pause(self, until: float) -> None:
        """Wait until the instant *until*.

        Raises:
            ClosedError: The channel was closed, perhaps meanwhile.
        """
        with self._changed:
            while not self._closed and self._clock.monotonic() < until:
                self._clock.wait_until(self._changed, until)
        self.check()

    async def pause_async(self, until: float) -> None:
        """Do as `pause` does, without blocking the event loop."""
        if (left := until - self._clock.monotonic()) > 0:
            await asyncio.sleep(left)
        self.check()

    def check(self) -> None:
        """Raise if the channel was closed.

        Raises:
            ClosedError: As said.
        """
        if self._closed:
            raise ClosedError(_CLOSED)

    def close(self) -> None:
        """End every call, and make no more."""
        with self._changed:
            self._closed = True
            channel, self._channel = self._channel, None
            self._changed.notify_all()
        if channel is not None:
            channel.close()

    def _begin(self, call: Call) -> Any:
        with self._using() as channel:
            return channel.unary_unary(call.method.path, request_serializer=_serialize).future(
                call.request, timeout=_limited(call.timeout), metadata=self._metadata
            )

    def _outcome(self, future: Any) -> Answer | Failure:
        try:
            return Answer(future.result())
        except grpc.RpcError as error:
            return self.failure(error)
        except grpc.FutureCancelledError:
            self.check()
            return Failure("CANCELLED", "the call was cancelled")

    @contextlib.contextmanager
    def _using(self) -> Iterator[grpc.Channel]:
        """Yield the gRPC channel; what it raises because it was closed meanwhile is told as such."""
        try:
            yield self._open()
        except ValueError:  # gRPC's word for a channel that is closed
            self.check()
            raise

    def _open(self) -> grpc.Channel:
        watch(self)
        with self._changed:
            channel, closed = self._channel, self._closed
        if closed:
            raise ClosedError(_CLOSED)
        if channel is not None:
            return channel
        return self._keep(self._connect())

    def _connect(self) -> grpc.Channel:
        if self._credentials is not None:
            return grpc.secure_channel(self.server, self._credentials, OPTIONS)
        if self._metadata and not is_local(self.server):
            _log.warning("the token for %s is sent without TLS: pass credentials", self.server)
        return grpc.insecure_channel(self.server, OPTIONS)

    def _keep(self, made: grpc.Channel) -> grpc.Channel:
        """Keep the channel that was *made*, unless another thread was faster."""
        with self._changed:
            if self._channel is None and not self._closed:
                self._channel = made
            kept = self._channel
        if kept is not made:
            made.close()
        if kept is None:
            raise ClosedError(_CLOSED)
        return kept


def _serialize(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content


def _limited(timeout: float | None) -> float | None:
    """Return *timeout* as gRPC can hold it: beyond some centuries it takes one for a time that has passed."""
    return None if timeout is None or timeout > _LONGEST else timeout


def _post(loop: asyncio.AbstractEventLoop, job: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
        loop.call_soon_threadsafe(job)


def _checked(token: str) -> str:
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise InvalidArgumentError("a token is a text of printable ASCII characters, not empty")
    return token
