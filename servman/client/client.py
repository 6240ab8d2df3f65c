"""A client of a servman server, for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

import grpc

from servman.client import questions
from servman.client.channel import Channel
from servman.client.question import Question, Requests
from servman.client.talk import Call
from servman.client.wait import RemoteWait
from servman.client.watching import ENDED, WatchEvent, Watching
from servman.clock import Clock, SystemClock
from servman.forks import tie
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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


@final
class Client:
    """Asks a servman server. Close it, or use it as a context manager.

    Waits, and `watch`, reach a server that is not up yet, restarts or drops the connection as soon as
    it is there, up to their deadline. Everything else is asked once.

    Args:
        server: "host:8500", "[::1]:8500", "unix:/run/servman.sock" or another name that gRPC knows. None: what
            the environment variable SERVMAN_SERVER says.
        credentials: For TLS, what `grpc.ssl_channel_credentials` returns. None: no TLS.
        token: Sent with every call, for a server that asks for one. Without TLS others can read it.
        clock: Reads the time and waits for it.

    Threads: any.

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
        tie(self._channel, self)

    @property
    def server(self) -> str:
        """The address."""
        return self._channel.server

    # ---- waiting -------------------------------------------------------------------------------

    def wait_until_available(
        self,
        *requests: AnyRequest,
        timeout: float | None = 60.0,
        count: int | None = None,
        progress: Callable[[RemoteProgress], None] | None = None,
        give_up: Callable[[RemoteProgress], bool] | None = None,
    ) -> dict[ServableRequest, ServableId]:
        """Wait until each of *requests* (none: every configured model) is available on the server.

        TensorFlow Serving, which has no call for it, is asked for the states again and again; it cannot be
        asked for "m:newest", nor for all models.

        Args:
            requests: "m" for any version, "m:3", "m:newest", "m@stable", an id or a request.
            timeout: Seconds to wait; None waits for ever, 0 asks once.
            count: How many have to be available, 1 for any of them; None for all.
            progress: Called on this thread at the beginning, and when something has changed that it tells.
            give_up: Asked on this thread whenever the server has told how far it is; true ends the wait as if
                the time were up. For who does not want to wait until a load has failed for good, say: the
                facts of a pending reason tell how many "attempts" were begun, and that the next comes
                after "retry_in" seconds.

        Blocks: until then, until the first failure (with a *count*, until so many no longer can be), or for
            *timeout* seconds; one more where the server does not answer. Ctrl-C ends it at once.

        Returns:
            Which version answers each request that is available.

        Raises:
            ServableUnavailableError: A version that is wanted has failed; its states and reasons say why.
            ServerUnreachableError: There was no server when the time was up: it was never reached, or has
                gone away.
            WaitTimeoutError: The time is up; its reasons say what each missing request waits for.
            InvalidArgumentError: A request cannot be read, or there are not as many as *count*.
            AccessDeniedError: The server wants another token or certificate.
            UnimplementedError: What is there cannot answer it.
            ClosedError: The client was closed.
        """
        question = Question.of(requests, count=count, fail_fast=True)
        result = self._wait(question, timeout, progress, give_up)
        if not result:
            raise result.error(timeout)
        return dict(result.ids)

    def wait_until(
        self,
        requests: Requests = (),
        goal: ManagerState = ManagerState.AVAILABLE,
        *,
        timeout: float | None = 60.0,
        count: int | None = None,
        progress: Callable[[RemoteProgress], None] | None = None,
    ) -> RemoteWaitResult:
        """Wait until each of *requests* (none: every configured model) is decided.

        With *count* the wait ends when so many have come to *goal*, or no longer can.

        Blocks: until then, or for *timeout* seconds; one more where the server does not answer.

        Returns:
            What was reached, what is missing, and why.

        Raises:
            ServmanError: As `wait_until_available`, but for what the result tells.
        """
        return self._wait(Question.of(requests, goal, count=count), timeout, progress)

    def watch(
        self, names: str | Iterable[str] = (), *, timeout: float | None = None
    ) -> Iterator[WatchEvent]:
        """Follow what happens to the models *names* (none: all), over restarts of the server as well.

        A `Snapshot` comes first, and again where events may be missing: when the server was restarted, or the
        connection was lost for so long that it has forgotten. Close the iterator to end it.

        Blocks: in each step until something happens; it ends after *timeout* seconds, if there is one.

        Raises:
            ServerUnreachableError: There was no server when the time was up.
            ServmanError: The server has refused it.
        """
        return self._follow(Watching(names, timeout, self.server, self._clock))

    # ---- looking -------------------------------------------------------------------------------

    def status(
        self, names: str | Iterable[str] = (), *, timeout: float | None = 10.0
    ) -> ServerStatus:
        """Return how the server and the models *names* (none: all) stand.

        TensorFlow Serving can be asked for models by name.

        Blocks: until it answers, for *timeout* seconds at most.

        Raises:
            ServerUnreachableError: It does not answer.
            ServmanError: It has refused the call.
        """
        return self._run(questions.status(self.server, names, timeout))

    def explain(self, request: AnyRequest, *, timeout: float | None = 10.0) -> Explanation:
        """Return why *request* is as it is; see `status` for the rest."""
        return self._run(questions.explain(self.server, request, timeout))

    def history(
        self, name: str | None = None, *, limit: int | None = None, timeout: float | None = 10.0
    ) -> tuple[dict[str, object], ...]:
        """Return what has happened to *name* (None: to all), oldest first; see `status` for the rest.

        Each is what `Transition.as_dict` returns on the server. *limit* is how many of the newest.
        """
        return self._run(questions.history(self.server, name, limit, timeout))

    def config(self, *, timeout: float | None = 10.0) -> RemoteConfig:
        """Return the configuration in force; see `status` for the rest."""
        return self._run(questions.config(self.server, timeout))

    # ---- changing ------------------------------------------------------------------------------

    def plan(self, config: str, *, timeout: float | None = 30.0) -> RemotePlan:
        """Return what it would do to put *config* in force on the server, as things stand there.

        Args:
            config: The text of a configuration file; of a `ServerConfig`, `format_model_config` makes it.
            timeout: Seconds for base paths and loaders to answer.

        Blocks: until it answers, for *timeout* seconds and two at most.

        Raises:
            InvalidArgumentError: *config* is no configuration.
            ServmanError: As `status`.
        """
        return self._run(questions.plan(self.server, config, timeout))

    def reload(
        self,
        config: str,
        *,
        wait: bool = True,
        timeout: float | None = 60.0,
        atomic: bool = False,
        expected_generation: int | None = None,
    ) -> RemoteReload:
        """Put *config* in force on the server, in place of the configuration that it has.

        Args:
            config: The text of a configuration file; of a `ServerConfig`, `format_model_config` makes it.
            wait: Whether to wait until every model is as wanted, or has failed.
            timeout: Seconds to wait.
            atomic: All at once, when all of it is ready, or not at all.
            expected_generation: Refuse if another configuration than this is in force.

        Blocks: as said, for *timeout* seconds and two at most.

        Raises:
            InvalidArgumentError: *config* is no configuration, or has faults.
            FailedPreconditionError: Another generation is in force, or it cannot be atomic.
            ServerUnreachableError: There is no answer; the text says whether the configuration may have come
                into force. It is never sent twice.
            ServmanError: As `status`.
        """
        return self._run(
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(
        self,
        question: Question,
        timeout: float | None,
        progress: Callable[[RemoteProgress], None] | None,
        give_up: Callable[[RemoteProgress], bool] | None = None,
    ) -> RemoteWaitResult:
        wait = RemoteWait(question, timeout, self.server, self._clock, progress, give_up=give_up)
        return self._run(wait.talk())

    def _follow(self, watching: Watching) -> Iterator[WatchEvent]:
        while True:
            failure = ENDED
            with self._channel.stream(watching.call()) as answers:
                try:
                    for content in answers:
                        event = watching.take(content)
                        if event is not None:
                            yield event
                except grpc.RpcError as error:
                    failure = self._channel.failure(error)
            if watching.is_over(failure):
                return
            self._run(watching.bear(failure))

    def _run(self, talk: Talk[T]) -> T:
        """Carry *talk* out; return what it returns."""
        reply: object = None
        while True:
            try:
                step = talk.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Call):
                reply = self._channel.ask(step)
            else:
                self._channel.pause(step.until)
                reply = None
