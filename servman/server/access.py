"""Who may call: certificates, a token, and a hook for everything else."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import grpc

from servman.errors import AccessDeniedError, FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servman.server.methods import Method

_HEADER: Final = "authorization"
_SCHEME: Final = "Bearer "


@final
@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls what, as an authorisation hook is told.

    Attributes:
        method: What is called, such as "/tensorflow.serving.PredictionService/Predict".
        peer: Where the call comes from, such as "ipv4:10.0.0.7:40312".
        identities: The names in the caller's certificate; none without mutual TLS.
        metadata: What the call brings along, by lower-case name; of what comes twice the last.

    Threads: immutable; any thread.
    """

    method: str
    peer: str
    identities: tuple[str, ...]
    metadata: Mapping[str, str | bytes]


Authorize = "Callable[[Caller], bool]"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the server proves who it is, and asks its callers to. All are the contents of PEM files.

    Attributes:
        key: The server's private key.
        certificates: Its certificate, followed by those that vouch for it.
        client_ca: The certificates that may vouch for callers. None: callers are not asked for one; else
            each has to have one.

    Threads: immutable; any thread.
    """

    key: bytes
    certificates: bytes
    client_ca: bytes | None = None

    @classmethod
    def from_files(cls, key: str, certificates: str, client_ca: str | None = None) -> Tls:
        """Read the three from files.

        Raises:
            FailedPreconditionError: One of them cannot be read.
        """
        return cls(
            key=_content(key),
            certificates=_content(certificates),
            client_ca=None if client_ca is None else _content(client_ca),
        )

    def credentials(self) -> grpc.ServerCredentials:
        """Return them as grpc takes them.

        Raises:
            InvalidArgumentError: They are not what they should be.
        """
        try:
            return grpc.ssl_server_credentials(
                [(self.key, self.certificates)],
                root_certificates=self.client_ca,
                require_client_auth=self.client_ca is not None,
            )
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"the TLS certificates cannot be used: {error}") from None

    def __repr__(self) -> str:
        return f"Tls(key=..., certificates=..., client_ca={'...' if self.client_ca else None})"


class _UnauthenticatedError(AccessDeniedError):
    code = "UNAUTHENTICATED"


@final
class Gate:
    """Lets callers in.

    Args:
        token: What each call has to bring along as "authorization: Bearer TOKEN"; None: nothing.
        authorize: Is asked of each call; None: nobody is.

    Threads: any.
    """

    def __init__(self, token: str | None, authorize: Callable[[Caller], bool] | None) -> None:
        self._expected = None if token is None else f"{_SCHEME}{token}".encode()
        self._authorize = authorize

    def check(self, method: Method, context: grpc.ServicerContext) -> None:
        """Refuse a call that may not be made.

        Raises:
            AccessDeniedError: It may not; or another `ServmanError` that the hook raised.
        """
        if self._expected is not None and not method.free:
            self._check_token(self._expected, context)
        if self._authorize is not None and not self._authorize(_caller(method, context)):
            raise AccessDeniedError(f"{method.path}: this caller may not call it")

    def _check_token(self, expected: bytes, context: grpc.ServicerContext) -> None:
        given = dict(context.invocation_metadata()).get(_HEADER)
        if given is None:
            raise _UnauthenticatedError(
                f'this server asks for a token: send metadata "{_HEADER}: {_SCHEME}TOKEN"'
            )
        content = given if isinstance(given, bytes) else given.encode()
        if not hmac.compare_digest(content, expected):
            raise _UnauthenticatedError("the token is not the one of this server")


def _caller(method: Method, context: grpc.ServicerContext) -> Caller:
    identities = context.peer_identities() or ()
    return Caller(
        method=method.path,
        peer=context.peer(),
        identities=tuple(one.decode("utf-8", "replace") for one in identities),
        metadata=dict(context.invocation_metadata()),
    )


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- paths are texts
            return file.read()
    except (OSError, ValueError) as error:
        raise FailedPreconditionError(f"{path} cannot be read: {error}") from None
