"""A version that was published is waited for on the server, and taken back where it does not load.

A server repeats a load that has failed, by default five times and a minute apart. A deploy does not wait for
repeats that come too late for it: a version whose load has failed, and that has no time left for another
attempt, has failed. A version that nobody has seen fail stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from servman.cli.plain import echo
from servman.errors import (
    AccessDeniedError,
    LoadCancelledError,
    ServableUnavailableError,
    ServerUnreachableError,
    ServmanError,
    WaitTimeoutError,
)
from servman.ids import ServableRequest
from servman.publishing import withdraw_version
from servman.reasons import ReasonCode

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from servman.cli.wait_display import Tell
    from servman.client import Client, RemoteProgress
    from servman.ids import ServableId
    from servman.reasons import Reason


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version on its way from the disk into service.

    Attributes:
        client: Asks the server.
        published: The version.
        base_path: Where it was published, and is taken from if it fails to load; None: it is kept.
        fail_fast: Whether the first attempt to load it is the last that is waited for.
        told: Where it is noted whether it was "taken_back".

    Threads: one at a time.
    """

    client: Client
    published: ServableId
    base_path: str | None
    fail_fast: bool
    told: MutableMapping[str, object]

    def run(self, timeout: float, tell: Tell) -> None:
        """Wait for *timeout* seconds until it is available, and *tell* how far it is.

        Raises:
            ServableUnavailableError: It has failed to load, and was taken back unless it is to be kept.
            ServmanError: It is not available for another reason, and stays.
        """
        try:
            self.client.wait_until_available(
                self.published, timeout=timeout, progress=tell, give_up=self._is_hopeless
            )
        except (ServableUnavailableError, WaitTimeoutError) as error:
            failure = self._failure(error)
            if failure is None:
                self._say("is published, and stays so")
                raise
            self._end(failure)
        except BaseException:
            self._say("is published, and stays so")
            raise

    def _is_hopeless(self, progress: RemoteProgress) -> bool:
        """Tell whether its load has failed, and is repeated too late, if ever, to be waited for."""
        reason = progress.pending.get(self._request)
        if reason is None or not failed_attempts(reason):
            return False
        retry_in, remaining = reason.facts.get("retry_in"), progress.remaining
        late = isinstance(retry_in, float) and remaining is not None and retry_in > remaining
        return self.fail_fast or late

    def _failure(
        self, error: ServableUnavailableError | WaitTimeoutError
    ) -> ServableUnavailableError | None:
        """Return the failure to load that is behind *error*; None where it tells of none."""
        if isinstance(error, ServerUnreachableError):
            return None
        if isinstance(error, ServableUnavailableError):
            state = error.states.get(self.published)
            cause = None if state is None else state.error
            # without an error it was unloaded; a load is cancelled where the version is no longer wanted
            return None if cause is None or isinstance(cause, LoadCancelledError) else error
        reason = error.reasons.get(self._request)
        if reason is None or not failed_attempts(reason):
            return None
        return ServableUnavailableError(
            f"{self.published} has failed to load on {self.client.server}, and is not waited for any longer:"
            f" {reason}",
            states=error.states,
            reasons=error.reasons,
        )

    def _end(self, failure: ServableUnavailableError) -> None:
        """Take the version back and raise *failure*, unless it serves after all.

        A server goes on trying, so that it is asked once more: what may serve by now is not taken away.
        """
        try:
            self.client.wait_until_available(self.published, timeout=0.0)
        except ServerUnreachableError:
            self._say("stays: the server has gone away, and may have loaded it meanwhile")
            raise failure from None
        except ServmanError:
            if self.base_path is not None:
                self._take_back(self.base_path)
            raise failure from None

    def _take_back(self, base_path: str) -> None:
        try:
            withdraw_version(base_path, self.published)
        except ServmanError as error:  # told beside the reason for which it was to go
            self._say(f"could not be taken back: {error}")
        else:
            self.told["taken_back"] = True
            self._say("was taken back")

    def _say(self, what: str) -> None:
        echo(f"{self.published} {what}", err=True)

    @property
    def _request(self) -> ServableRequest:
        return ServableRequest.of(self.published)


def check_access(client: Client, name: str) -> None:
    """Ask the server once about the model *name*, so that a caller whom it refuses is told beforehand.

    Whatever else keeps it from answering may pass, and is no reason not to publish.

    Raises:
        AccessDeniedError: It refuses the caller.
    """
    try:
        client.wait_until(name, timeout=0.0, progress=lambda _: None)
    except AccessDeniedError:
        raise
    except ServmanError:
        return


def failed_attempts(reason: Reason) -> int:
    """Return how many attempts to load have failed of a version that is missing for *reason*."""
    attempts = reason.facts.get("attempts")
    begun = attempts if isinstance(attempts, int) else 0
    match reason.code:
        case ReasonCode.RETRYING:
            return max(1, begun)
        case ReasonCode.QUEUED:
            return begun
        case ReasonCode.LOADING:
            return max(0, begun - 1)  # the last one runs
        case _:
            return 0
