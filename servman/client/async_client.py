"""A client of a servman server, for event loops; what it asks is what `Client` asks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import grpc

from servman.client import questions
from servman.client.channel import Channel
from servman.client.question import Question, Requests
from servman.client.talk import Call, Failure
from servman.client.wait import RemoteWait
from servman.client.watching import ENDED, WatchEvent, Watching
from servman.clock import Clock, SystemClock
from servman.forks import tie
from servman.state import ManagerState
from servman.threads import WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from servman.client.answers import (
        Explanation,
        RemoteConfig,
        RemotePlan,
        RemoteReload,
        ServerStatus,
    )
    from servman.client.result import RemoteProgress, RemoteWaitResult
    from servman.client.talk import Talk
    from servman.ids import AnyRequest, ServableId, ServableRequest

T = TypeVar("T")

_MOST_WATCHES: Final = 1024
"""Threads that read streams, one for each `watch` while it waits for its next event; the rest queue."""


@final
class AsyncClient:
    """Asks a servman server without blocking the event loop. Close it, or use it with `async with`.

    What it can do, promises and raises is told at `Client`. Cancelling a call ends it on the server, too.

    Args:
        server: As for `Client`.
        credentials: As for `Client`.
        token: As for `Client`.
        clock: Reads the time; pauses are those of the event loop.

    Threads: any, and any event loop.

    Raises:
        InvalidArgumentError: No server is named, or one of them is of no use.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = SystemClock() if clock is None else clock
        self._channel = Channel(server, credentials, token, self._clock)
        self._pool = WorkerPool("client-watch", _MOST_WATCHES, self._clock)
        tie(self._channel, self, self._pool)

    @property
    def server(self) -> str:
        """The address."""
        return self._channel.server

    # ---- waiting -------------------------------------------------------------------------------

    async def wait_until_available(
        self,
        *requests: AnyRequest,
        timeout: float | None = 60.0,  # noqa: ASYNC109 -- as `Client`, on the injected clock
        count: int | None = None,
        progress: Callable[[RemoteProgress], None] | None = None,
        give_up: Callable[[RemoteProgress], bool] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Wait until each of *requests* is available; see `Client`. Callbacks are called on the loop."""
        question = Question.of(requests, count=count, fail_fast=True)
        result = await self._wait(question, timeout, progress, give_up)
        if not result:
            raise result.error(timeout)
        return dict(result.ids)

    async def wait_until(
        self,
        requests: Requests = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = 60.0,  # noqa: ASYNC109 -- as above
        count: int | None = None,
        progress: Callable[[RemoteProgress], None] | None = None,
    ) -> RemoteWaitResult:
        """Wait until each of *requests* is decided; see `Client`. *progress* is called on the loop."""
        return await self._wait(Question.of(requests, goal, count=count), timeout, progress)

    def watch(
        self, names: str | Iterable[str] = (), *, timeout: float | None = None
    ) -> AsyncGenerator[WatchEvent, None]:
        """Follow what happens to the models *names* (none: all); see `Client`."""
        return self._follow(Watching(names, timeout, self.server, self._clock))

    # ---- looking -------------------------------------------------------------------------------

    async def status(
        self,
        names: str | Iterable[str] = (),
        *,
        timeout: float | None = 10.0,  # noqa: ASYNC109 -- as above
    ) -> ServerStatus:
        """Return how the server and the models *names* stand; see `Client`."""
        return await self._run(questions.status(self.server, names, timeout))

    async def explain(
        self,
        request: AnyRequest,
        *,
        timeout: float | None = 10.0,  # noqa: ASYNC109 -- as above
    ) -> Explanation:
        """Return why *request* is as it is; see `Client`."""
        return await self._run(questions.explain(self.server, request, timeout))

    async def history(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        timeout: float | None = 10.0,  # noqa: ASYNC109 -- as above
    ) -> tuple[dict[str, object], ...]:
        """Return what has happened to *name*; see `Client`."""
        return await self._run(questions.history(self.server, name, limit, timeout))

    async def config(self, *, timeout: float | None = 10.0) -> RemoteConfig:  # noqa: ASYNC109 -- as above
        """Return the configuration in force; see `Client`."""
        return await self._run(questions.config(self.server, timeout))

    # ---- changing ------------------------------------------------------------------------------

    async def plan(
        self,
        config: str,
        *,
        timeout: float | None = 30.0,  # noqa: ASYNC109 -- as above
    ) -> RemotePlan:
        """Return what it would do to put *config* in force; see `Client`."""
        return await self._run(questions.plan(self.server, config, timeout))

    async def reload(
        self,
        config: str,
        *,
        wait: bool = True,
        timeout: float | None = 60.0,  # noqa: ASYNC109 -- as above
        atomic: bool = False,
        expected_generation: int | None = None,
    ) -> RemoteReload:
        """Put *config* in force on the server; see `Client`."""
        return await self._run(
            questions.reload(
                self.server,
                config,
                timeout,
                wait=wait,
                atomic=atomic,
                expected_generation=expected_generation,
            )
        )

    # ---- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; calls that run raise `ClosedError`. Once is enough, and more does no harm."""
        self._channel.close()
        self._pool.finish()  # what is queued ends at once, and whoever awaits it is told

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _wait(
        self,
        question: Question,
        timeout: float | None,  # noqa: ASYNC109 -- as above
        progress: Callable[[RemoteProgress], None] | None,
        give_up: Callable[[RemoteProgress], bool] | None = None,
    ) -> RemoteWaitResult:
        wait = RemoteWait(question, timeout, self.server, self._clock, progress, give_up=give_up)
        return await self._run(wait.talk())

    async def _follow(self, watching: Watching) -> AsyncGenerator[WatchEvent, None]:
        while True:
            failure = ENDED
            with self._channel.stream(watching.call()) as answers:
                while not isinstance(got := await self._next(answers), Failure):
                    event = watching.take(got)
                    if event is not None:
                        yield event
                failure = got
            if watching.is_over(failure):
                return
            await self._run(watching.bear(failure))

    async def _next(self, answers: Any) -> bytes | Failure:
        """Return the next of *answers*, for which a thread waits, or how they have ended."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bytes | Failure | BaseException] = loop.create_future()

        def put(got: bytes | Failure | BaseException) -> None:
            if not arrived.done():
                arrived.set_result(got)

        def read() -> None:
            got = self._read(answers)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(put, got)

        if not self._pool.submit(read):
            self._channel.check()
        got = await arrived
        if isinstance(got, BaseException):
            raise got
        return got

    def _read(self, answers: Any) -> bytes | Failure | BaseException:
        try:
            content: bytes | None = next(answers, None)
        except grpc.RpcError as error:
            try:
                return self._channel.failure(error)
            except BaseException as closed:  # noqa: BLE001 -- raised where it is awaited
                return closed
        return ENDED if content is None else content

    async def _run(self, talk: Talk[T]) -> T:
        """Carry *talk* out; return what it returns."""
        reply: object = None
        while True:
            try:
                step = talk.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Call):
                reply = await self._channel.ask_async(step)
            else:
                await self._channel.pause_async(step.until)
                reply = None
