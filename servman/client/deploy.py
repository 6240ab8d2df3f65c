"""What a deploy script calls: one import, one call, one clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servman.client.async_client import AsyncClient
from servman.client.client import Client
from servman.state import ManagerState

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from servman.client.result import RemoteProgress, RemoteWaitResult
    from servman.ids import AnyRequest, ServableId, ServableRequest


def wait_until_available(
    *requests: AnyRequest,
    server: str | None = None,
    timeout: float | None = 60.0,
    count: int | None = None,
    progress: Callable[[RemoteProgress], None] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    token: str | None = None,
) -> dict[ServableRequest, ServableId]:
    """Wait until each of *requests* (none: every configured model) is available on a server.

    A server that is not up yet, restarts or drops the connection is waited for, up to the deadline.
    TensorFlow Serving, which has no call for it, is asked for the states again and again.

    Args:
        requests: "m" for any version, "m:3", "m:newest", "m@stable", an id or a request.
        server: "host:8500", "[::1]:8500", "unix:/run/servman.sock" or another name that gRPC knows. None: what
            the environment variable SERVMAN_SERVER says.
        timeout: Seconds to wait; None waits for ever, 0 asks once.
        count: How many have to be available, 1 for any of them; None for all.
        progress: Called on this thread at the beginning, and when something has changed that it tells.
        credentials: For TLS, what `grpc.ssl_channel_credentials` returns. None: no TLS.
        token: Sent with the call, for a server that asks for one.

    Blocks: until then, until the first failure (with a *count*, until so many no longer can be), or for
        *timeout* seconds; one more where the server does not answer. Ctrl-C ends it at once.

    Threads: any.

    Returns:
        Which version answers each request that is available.

    Raises:
        ServableUnavailableError: A version that is wanted has failed; its states and reasons say why.
        ServerUnreachableError: There was no server when the time was up: it was never reached, or has
            gone away; the text says which.
        WaitTimeoutError: The time is up; its reasons say what each missing request waits for.
        InvalidArgumentError: No server is named, or what is passed can never be right.
        AccessDeniedError: The server wants another token or certificate.
        UnimplementedError: What is there cannot answer it.
    """
    with Client(server, credentials=credentials, token=token) as client:
        return client.wait_until_available(
            *requests, timeout=timeout, count=count, progress=progress
        )


async def wait_until_available_async(
    *requests: AnyRequest,
    server: str | None = None,
    timeout: float | None = 60.0,  # noqa: ASYNC109 -- as `wait_until_available`
    count: int | None = None,
    progress: Callable[[RemoteProgress], None] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    token: str | None = None,
) -> dict[ServableRequest, ServableId]:
    """Do as `wait_until_available` does, without blocking the event loop."""
    async with AsyncClient(server, credentials=credentials, token=token) as client:
        return await client.wait_until_available(
            *requests, timeout=timeout, count=count, progress=progress
        )


def wait_until(
    *requests: AnyRequest,
    goal: ManagerState = ManagerState.AVAILABLE,
    server: str | None = None,
    timeout: float | None = 60.0,
    count: int | None = None,
    progress: Callable[[RemoteProgress], None] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    token: str | None = None,
) -> RemoteWaitResult:
    """Wait until each of *requests* (none: every configured model) is decided on a server.

    It raises nothing because of a model: the result tells. The rest is as with `wait_until_available`.

    Args:
        requests: As there.
        goal: The state to wait for, such as `ManagerState.END`.
        server: As there.
        timeout: As there.
        count: How many have to come to the goal: the wait ends when they have, or no longer can.
        progress: As there.
        credentials: As there.
        token: As there.

    Blocks: until each is decided, or for *timeout* seconds; one more where the server does not answer.

    Threads: any.

    Returns:
        What was reached, what is missing, and why. `bool()` of it says whether all was reached.

    Raises:
        ServerUnreachableError: There was no server when the time was up.
        ServmanError: The server has refused the call.
    """
    with Client(server, credentials=credentials, token=token) as client:
        return client.wait_until(requests, goal, timeout=timeout, count=count, progress=progress)
